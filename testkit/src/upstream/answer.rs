//! What a test scripts.

use std::sync::Arc;

use serde_json::{Value, json};

use super::recorded::Recorded;

/// A piece of a scripted answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes, flushed at once. With a chunked answer each is one chunk.
    Bytes(Vec<u8>),
    /// Goes on when the test says so ([`tokio::sync::Notify::notify_one`]).
    Wait(Arc<tokio::sync::Notify>),
    /// Never goes on; ends when the peer closes.
    Hang,
    /// Closes the connection without an end.
    Cut,
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside the framing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub parts: Vec<Part>,
    /// Whether it is sent in chunks as they come (else with `Content-Length`).
    pub chunked: bool,
}

impl Answer {
    /// An answer with a body of one piece.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), content_type.into())],
            parts: vec![Part::Bytes(body.into())],
            chunked: false,
        }
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::new(200, "application/json", value.to_string())
    }

    /// A JSON-RPC result for `request`.
    #[must_use]
    pub fn result(request: &Recorded, result: &Value) -> Self {
        Self::json(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }))
    }

    /// 200 with an event stream.
    #[must_use]
    pub fn events(parts: Vec<Part>) -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type".into(), "text/event-stream".into())],
            parts,
            chunked: true,
        }
    }

    /// An answer without body or content type.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            parts: Vec::new(),
            chunked: false,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// `data: …` as an event-stream piece.
#[must_use]
pub fn event(id: Option<&str>, data: &Value) -> Part {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Part::Bytes(format!("{id}data: {data}\n\n").into_bytes())
}

/// The answers of a small, stateless MCP server of both eras: every tool answers `NAME ok`, and
/// `arguments.answer` when it is there.
#[must_use]
pub fn friendly(request: &Recorded) -> Answer {
    let body = request.json();
    if request.method() != "POST" {
        return Answer::empty(405);
    }
    let tool = |name: &str| json!({ "name": name, "description": name, "inputSchema": { "type": "object" } });
    let result = match body["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json!({ "protocolVersion": body["params"]["protocolVersion"], "capabilities": { "tools": {} },
            "serverInfo": { "name": "upstream", "version": "1" } })
        }
        "server/discover" => {
            json!({ "resultType": "complete", "supportedVersions": [crate::mcp::MODERN], "capabilities": { "tools": {} },
            "serverInfo": { "name": "upstream", "version": "1" } })
        }
        "ping" => json!({}),
        "tools/list" => json!({ "resultType": "complete", "tools": [tool("t_read"), tool("t_write")] }),
        "tools/call" => {
            let said = body["params"]["arguments"]["answer"].as_str().map_or_else(
                || format!("{} ok", body["params"]["name"].as_str().unwrap_or_default()),
                str::to_owned,
            );
            json!({ "resultType": "complete", "content": [{ "type": "text", "text": said }] })
        }
        _ if body["id"].is_null() => return Answer::empty(202),
        _ => {
            return Answer::json(&json!({ "jsonrpc": "2.0", "id": body["id"],
                "error": { "code": -32601, "message": "no such method" } }));
        }
    };
    Answer::result(request, &result)
}
