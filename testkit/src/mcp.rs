//! MCP messages as clients of either era send them.

use serde_json::{Value, json};

use crate::http::{Reply, Request, Site};

/// The stateless revision.
pub const MODERN: &str = "2026-07-28";
/// The newest revision with sessions.
pub const LEGACY: &str = "2025-11-25";

/// The `_meta` that every modern request carries.
#[must_use]
pub fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "h", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A modern request to `path`, without a token. `params` gets its `_meta`; the headers follow the body.
///
/// # Panics
/// When `params` is no object.
#[must_use]
pub fn modern(site: &Site, path: &str, method: &str, params: Value) -> Request {
    let mut params = params;
    params
        .as_object_mut()
        .expect("params are an object")
        .insert("_meta".into(), meta());
    let mut request = site
        .post(path)
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", MODERN)
        .header("Mcp-Method", method);
    if let Some(name) = params
        .get("name")
        .or_else(|| params.get("uri"))
        .and_then(Value::as_str)
    {
        request = request.header("Mcp-Name", name);
    }
    request.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }))
}

/// A modern `tools/call`, without a token.
#[must_use]
pub fn call(site: &Site, path: &str, tool: &str, arguments: &Value) -> Request {
    modern(
        site,
        path,
        "tools/call",
        json!({ "name": tool, "arguments": arguments }),
    )
}

/// A legacy message to `path`, without a token.
#[must_use]
pub fn legacy(site: &Site, path: &str, session: Option<&str>, message: &Value) -> Request {
    let request = site
        .post(path)
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", LEGACY)
        .json(message);
    match session {
        Some(session) => request.header("Mcp-Session-Id", session),
        None => request,
    }
}

/// The legacy handshake's first message.
#[must_use]
pub fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "h", "version": "1" } } })
}

/// The JSON-RPC answer in a body that is JSON or an event stream.
///
/// # Panics
/// When there is none.
#[track_caller]
#[must_use]
pub fn answer(reply: &Reply) -> Value {
    let kind = reply.header("Content-Type").unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return reply.json();
    }
    let mut text = reply.text();
    while let Some(event) = take_event(&mut text) {
        if let Ok(value) = serde_json::from_str::<Value>(&event.data)
            && (value.get("result").is_some() || value.get("error").is_some())
        {
            return value;
        }
    }
    panic!("an answer in the stream: {reply:?}");
}

/// The first text of a `tools/call` result.
///
/// # Panics
/// When there is none.
#[track_caller]
#[must_use]
pub fn text_of(reply: &Reply) -> String {
    let value = answer(reply);
    value["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("a text result: {value}"))
        .to_owned()
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub event: Option<String>,
    /// `data:` lines, joined.
    pub data: String,
}

/// Takes the first whole event off the front of `buffer`; comments are skipped.
#[must_use]
pub fn take_event(buffer: &mut String) -> Option<Event> {
    loop {
        let normal = buffer.replace("\r\n", "\n");
        let end = normal.find("\n\n")?;
        let block = normal[..end].to_owned();
        *buffer = normal[end + 2..].to_owned();
        let mut event = Event::default();
        let mut data = Vec::new();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.into()),
                "event" => event.event = Some(value.into()),
                "data" => data.push(value.to_owned()),
                _ => {}
            }
        }
        if event.id.is_some() || event.event.is_some() || !data.is_empty() {
            event.data = data.join("\n");
            return Some(event);
        }
    }
}
