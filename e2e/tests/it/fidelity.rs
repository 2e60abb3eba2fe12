//! The same requests directly and through the gateway, and the answers side by side.
//!
//! Over HTTP everything that a client can see must be the same: status, headers, every byte of the body.
//! Over stdio there are no statuses or streams to compare with, so the messages must be.

use std::collections::BTreeMap;

use doorward_testkit::everything::serve as everything;
use doorward_testkit::http::{Reply, Request, Streaming};
use doorward_testkit::mcp::{self, Event, take_event};
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, Site};
use serde_json::{Value, json};

const PATH: &str = "/mcp";

/// What an upstream's answer keeps through the gateway. A session id is ours, so only that there is one
/// counts.
const HEADERS: [&str; 5] = [
    "content-type",
    "cache-control",
    "mcp-session-id",
    "retry-after",
    "x-accel-buffering",
];

/// Text that a careless reader or writer of JSON changes.
const AWKWARD: &str = "Zoë \u{2028}\u{2029}\u{85} \u{1F600} \" \\ / \n\r\t \u{7f} </script> %0a";

/// Somebody to ask: the server itself, or the gateway with a token.
struct Peer {
    site: Site,
    token: Option<String>,
}

impl Peer {
    fn modern(&self, method: &str, params: Value) -> Request {
        self.admitted(mcp::modern(&self.site, PATH, method, params))
    }

    fn call(&self, tool: &str, arguments: Value) -> Request {
        self.modern("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    fn legacy(&self, session: Option<&str>, message: &Value) -> Request {
        self.admitted(mcp::legacy(&self.site, PATH, session, message))
    }

    fn plain(&self, method: &str) -> Request {
        self.admitted(self.site.request(method, PATH))
    }

    fn admitted(&self, request: Request) -> Request {
        let request = request.lenient();
        match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    /// Opens a legacy session whose client can be asked anything.
    async fn session(&self) -> String {
        let mut message = mcp::initialize();
        message["params"]["capabilities"] = json!({ "sampling": {}, "elicitation": {}, "roots": {} });
        let reply = self.legacy(None, &message).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let session = reply.header("Mcp-Session-Id").expect("a session id").to_owned();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let reply = self.legacy(Some(&session), &initialized).send().await;
        assert_eq!(reply.status, 202, "{}", reply.text());
        session
    }
}

/// What a client saw.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
}

impl Seen {
    fn of(reply: &Reply) -> Self {
        let mut headers = BTreeMap::new();
        for name in HEADERS {
            if let Some(value) = reply.header(name) {
                let value = if name == "mcp-session-id" { "one" } else { value };
                headers.insert(name, value.to_owned());
            }
        }
        Self {
            status: reply.status,
            headers,
            body: reply.text(),
        }
    }

    /// The JSON-RPC messages of the body, in order.
    fn messages(&self) -> Vec<Value> {
        if self
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            let mut text = self.body.clone();
            return std::iter::from_fn(|| take_event(&mut text))
                .filter(|event| !event.data.is_empty())
                .map(|event| serde_json::from_str(&event.data).expect("an event holds JSON"))
                .collect();
        }
        serde_json::from_str(&self.body).into_iter().collect()
    }

    /// Status and JSON-RPC error code: what a refusal of our own has in common with the server's.
    fn refusal(&self) -> (u16, Vec<i64>) {
        let codes = self
            .messages()
            .iter()
            .filter_map(|message| message["error"]["code"].as_i64())
            .collect();
        (self.status, codes)
    }
}

/// Calls whose answers pass as they are.
fn modern(peer: &Peer) -> Vec<(&'static str, Request)> {
    let mut progress = json!({ "name": "test_tool_with_progress", "arguments": {} });
    progress["_meta"] = mcp::meta();
    progress["_meta"]["progressToken"] = json!("token é");
    let progress = peer
        .call("test_tool_with_progress", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": "a string", "method": "tools/call", "params": progress }));
    let mut logging = json!({ "name": "test_logging_tool", "arguments": {} });
    logging["_meta"] = mcp::meta();
    logging["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
    let logging = peer
        .call("test_logging_tool", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": 9_007_199_254_740_991_u64, "method": "tools/call", "params": logging }));
    let awkward_id = peer
        .call("test_simple_text", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": AWKWARD, "method": "tools/call",
            "params": { "name": "test_simple_text", "arguments": {}, "_meta": mcp::meta() } }));
    let mut capable = json!({ "name": "test_input_required_result_capabilities" });
    capable["_meta"] = mcp::meta();
    capable["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({ "roots": {}, "elicitation": {} });
    let capable = peer
        .call("test_input_required_result_capabilities", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": capable }));
    let answered = json!({ "name": "test_input_required_result_elicitation", "arguments": {},
        "inputResponses": { "user_name": { "action": "accept", "content": { "name": AWKWARD } } } });
    let argument = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
        "argument": { "name": "arg1", "value": "par" } });
    vec![
        ("discover", peer.modern("server/discover", json!({}))),
        ("tools", peer.modern("tools/list", json!({}))),
        ("text", peer.call("test_simple_text", json!({}))),
        (
            "no arguments",
            peer.modern("tools/call", json!({ "name": "test_simple_text" })),
        ),
        ("image", peer.call("test_image_content", json!({}))),
        (
            "several contents",
            peer.call("test_multiple_content_types", json!({})),
        ),
        ("tool's error", peer.call("test_error_handling", json!({}))),
        (
            "awkward text",
            peer.call("json_schema_2020_12_tool", json!({ "name": AWKWARD })),
        ),
        ("progress", progress),
        ("log level", logging),
        ("awkward id", awkward_id),
        (
            "mirrored argument",
            peer.call("test_custom_header", json!({ "value": "eu" }))
                .header("Mcp-Param-Value", "eu"),
        ),
        (
            "missing capability",
            peer.call("test_missing_capability", json!({})),
        ),
        (
            "input required",
            peer.call("test_input_required_result_elicitation", json!({})),
        ),
        ("input given", peer.modern("tools/call", answered)),
        ("inputs by capability", capable),
        ("unknown tool", peer.call("no_such_tool", json!({}))),
        ("prompts", peer.modern("prompts/list", json!({}))),
        (
            "prompt",
            peer.modern(
                "prompts/get",
                json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": AWKWARD, "arg2": "" } }),
            ),
        ),
        (
            "prompt with image",
            peer.modern("prompts/get", json!({ "name": "test_prompt_with_image" })),
        ),
        (
            "prompt needs input",
            peer.modern(
                "prompts/get",
                json!({ "name": "test_input_required_result_prompt" }),
            ),
        ),
        (
            "unknown prompt",
            peer.modern("prompts/get", json!({ "name": "no_such_prompt" })),
        ),
        ("resources", peer.modern("resources/list", json!({}))),
        ("templates", peer.modern("resources/templates/list", json!({}))),
        (
            "resource",
            peer.modern("resources/read", json!({ "uri": "test://static-text" })),
        ),
        (
            "binary resource",
            peer.modern("resources/read", json!({ "uri": "test://static-binary" })),
        ),
        (
            "template's resource",
            peer.modern("resources/read", json!({ "uri": "test://template/7/data" })),
        ),
        (
            "unknown resource",
            peer.modern("resources/read", json!({ "uri": "test://nothing" })),
        ),
        ("completion", peer.modern("completion/complete", argument)),
        ("skills", peer.modern("skills/list", json!({}))),
        (
            "a skill",
            peer.modern(
                "skills/get",
                json!({ "uri": "skill://doorward/greeting/SKILL.md" }),
            ),
        ),
        (
            "a folder",
            peer.modern(
                "resources/directory/read",
                json!({ "uri": "skill://doorward/greeting" }),
            ),
        ),
        (
            "no folder",
            peer.modern(
                "resources/directory/read",
                json!({ "uri": "skill://doorward/nothing" }),
            ),
        ),
        ("task without the capability", peer.call("failing_job", json!({}))),
    ]
}

/// Requests that the gateway refuses by itself: status and code are the server's, the words are ours.
fn refused_modern(peer: &Peer) -> Vec<(&'static str, Request)> {
    let text = || peer.call("test_simple_text", json!({}));
    let version = |version: &str| {
        let mut params = json!({ "_meta": mcp::meta() });
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(version);
        peer.modern("tools/list", json!({}))
            .set("MCP-Protocol-Version", version)
            .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params }))
    };
    vec![
        ("wrong Mcp-Name", text().set("Mcp-Name", "test_image_content")),
        ("no Mcp-Name", text().without("Mcp-Name")),
        ("wrong Mcp-Method", text().set("Mcp-Method", "tools/list")),
        ("no Mcp-Method", text().without("Mcp-Method")),
        (
            "versions that differ",
            text().set("MCP-Protocol-Version", mcp::LEGACY),
        ),
        ("unknown version", version("2099-01-01")),
        ("removed method", peer.modern("ping", json!({}))),
        ("unknown method", peer.modern("no/such", json!({}))),
        (
            "GET",
            peer.plain("GET")
                .header("Accept", "text/event-stream")
                .header("MCP-Protocol-Version", mcp::MODERN),
        ),
        (
            "DELETE",
            peer.plain("DELETE").header("MCP-Protocol-Version", mcp::MODERN),
        ),
    ]
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn tool(id: u64, name: &str) -> Value {
    request(id, "tools/call", json!({ "name": name, "arguments": {} }))
}

/// Messages of a session, in order: the server numbers its streams.
fn legacy() -> Vec<(&'static str, Value)> {
    let mut progress = tool(10, "test_tool_with_progress");
    progress["params"]["_meta"] = json!({ "progressToken": 77 });
    let mut awkward = tool(11, "json_schema_2020_12_tool");
    awkward["params"]["arguments"] = json!({ "name": AWKWARD });
    awkward["id"] = json!(AWKWARD);
    let argument = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
        "argument": { "name": "arg1", "value": "" } });
    vec![
        ("ping", json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })),
        ("tools", request(2, "tools/list", json!({}))),
        ("text", tool(3, "test_simple_text")),
        ("logging", tool(4, "test_tool_with_logging")),
        ("several contents", tool(5, "test_multiple_content_types")),
        ("tool's error", tool(6, "test_error_handling")),
        ("unknown tool", tool(7, "no_such_tool")),
        ("progress", progress),
        ("awkward text", awkward),
        (
            "log level",
            request(12, "logging/setLevel", json!({ "level": "warning" })),
        ),
        ("prompts", request(13, "prompts/list", json!({}))),
        (
            "prompt",
            request(14, "prompts/get", json!({ "name": "test_simple_prompt" })),
        ),
        ("resources", request(15, "resources/list", json!({}))),
        (
            "resource",
            request(16, "resources/read", json!({ "uri": "test://static-text" })),
        ),
        (
            "unknown resource",
            request(17, "resources/read", json!({ "uri": "test://nothing" })),
        ),
        (
            "subscribe",
            request(18, "resources/subscribe", json!({ "uri": "test://static-text" })),
        ),
        (
            "unsubscribe",
            request(
                19,
                "resources/unsubscribe",
                json!({ "uri": "test://static-text" }),
            ),
        ),
        ("completion", request(20, "completion/complete", argument)),
        (
            "notification",
            json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }),
        ),
        (
            "cancellation of nothing",
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": { "requestId": 999, "reason": AWKWARD } }),
        ),
        (
            "needs a newer revision",
            tool(21, "test_input_required_result_elicitation"),
        ),
    ]
}

/// Calls a tool that asks the client something, answers, and gives everything that came.
async fn conversation(peer: &Peer, session: &str, call: Value, answer: &Value) -> Vec<Event> {
    let mut stream = peer.legacy(Some(session), &call).stream().await;
    assert_eq!(stream.status, 200);
    let mut events = Vec::new();
    while let Some(event) = stream.event().await {
        let message: Value = serde_json::from_str(&event.data).unwrap_or_default();
        if message.get("method").is_some() && message.get("id").is_some() {
            let response = json!({ "jsonrpc": "2.0", "id": message["id"], "result": answer });
            let reply = peer.legacy(Some(session), &response).send().await;
            assert_eq!(reply.status, 202, "{}", reply.text());
        }
        events.push(event);
    }
    events
}

fn conversations() -> Vec<(Value, Value)> {
    let mut sampling = tool(30, "test_sampling");
    sampling["params"]["arguments"] = json!({ "prompt": AWKWARD });
    let mut elicitation = tool(31, "test_elicitation");
    elicitation["params"]["arguments"] = json!({ "message": AWKWARD });
    let completion = json!({ "role": "assistant", "model": "m", "stopReason": "endTurn",
        "content": { "type": "text", "text": AWKWARD } });
    let form = json!({ "action": "accept", "content": { "username": AWKWARD, "email": "a@b.test" } });
    vec![
        (sampling, completion),
        (elicitation, form),
        (
            tool(32, "test_elicitation_sep1330_enums"),
            json!({ "action": "decline" }),
        ),
    ]
}

/// The next `count` events of a stream.
async fn events(stream: &mut Streaming, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(stream.event().await.expect("the stream stays open"));
    }
    events
}

async fn protect(upstream: &str) -> (Doorward, Peer) {
    let doorward = Doorward::builder()
        .upstream(upstream)
        .user("alice", PASSWORD)
        .start()
        .await;
    let peer = logged_in(&doorward).await;
    (doorward, peer)
}

async fn logged_in(doorward: &Doorward) -> Peer {
    let client = OAuthClient::register(doorward, "Side by side", "http://127.0.0.1/cb").await;
    let tokens = client.login("alice", PASSWORD, &doorward.url(PATH)).await;
    Peer {
        site: doorward.site().clone(),
        token: Some(tokens.access),
    }
}

fn direct(server: everything::Server) -> Peer {
    Peer {
        site: Site::new(server.url().trim_end_matches(PATH)),
        token: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modern_answers_are_the_same_byte_for_byte() {
    let server = everything::start();
    let (_doorward, gateway) = protect(&server.url()).await;
    let direct = direct(server);
    for ((name, there), (_, here)) in modern(&direct).into_iter().zip(modern(&gateway)) {
        let (there, here) = (Seen::of(&there.send().await), Seen::of(&here.send().await));
        assert!(!there.messages().is_empty(), "{name}: {there:?}");
        assert_eq!(here, there, "{name}");
    }
    for ((name, there), (_, here)) in refused_modern(&direct).into_iter().zip(refused_modern(&gateway)) {
        let (there, here) = (Seen::of(&there.send().await), Seen::of(&here.send().await));
        let ((status, code), (their_status, their_code)) = (here.refusal(), there.refusal());
        assert_eq!(status, their_status, "{name}: {here:?} instead of {there:?}");
        // The server says no word of JSON-RPC about other HTTP methods.
        if !their_code.is_empty() {
            assert_eq!(code, their_code, "{name}: {here:?} instead of {there:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_answers_are_the_same_byte_for_byte() {
    let server = everything::start();
    let (_doorward, gateway) = protect(&server.url()).await;
    let direct = direct(server);
    let (ours, theirs) = (gateway.session().await, direct.session().await);
    for (name, message) in legacy() {
        let here = Seen::of(&gateway.legacy(Some(&ours), &message).send().await);
        let there = Seen::of(&direct.legacy(Some(&theirs), &message).send().await);
        assert_eq!(here, there, "{name}");
    }
    for (call, answer) in conversations() {
        let here = conversation(&gateway, &ours, call.clone(), &answer).await;
        let there = conversation(&direct, &theirs, call, &answer).await;
        assert_eq!(here, there);
    }
    assert_eq!(end(&gateway, &ours).await, end(&direct, &theirs).await);
}

/// Ends a session and knocks again: the statuses.
async fn end(peer: &Peer, session: &str) -> [u16; 3] {
    let end = || {
        peer.plain("DELETE")
            .header("Mcp-Session-Id", session)
            .header("MCP-Protocol-Version", mcp::LEGACY)
    };
    let ended = end().send().await.status;
    let ping = json!({ "jsonrpc": "2.0", "id": 40, "method": "ping" });
    let after = peer.legacy(Some(session), &ping).send().await.status;
    assert_eq!(after, 404);
    [ended, after, end().send().await.status]
}

/// Opens the stream that a session's server may speak on at any time, or resumes another.
async fn listen(peer: &Peer, session: &str, last_event: Option<&str>) -> Streaming {
    let request = peer
        .plain("GET")
        .header("Accept", "text/event-stream")
        .header("MCP-Protocol-Version", mcp::LEGACY)
        .header("Mcp-Session-Id", session);
    let stream = match last_event {
        Some(id) => request.header("Last-Event-ID", id),
        None => request,
    };
    let stream = stream.stream().await;
    assert_eq!(stream.status, 200);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standing_stream_says_the_same() {
    let server = everything::start();
    let (_doorward, gateway) = protect(&server.url()).await;
    let mut seen = Vec::new();
    for peer in [gateway, direct(server)] {
        let session = peer.session().await;
        let mut stream = listen(&peer, &session, None).await;
        let mut all = events(&mut stream, 1).await;
        let call = tool(4, "test_tool_with_logging");
        assert_eq!(peer.legacy(Some(&session), &call).send().await.status, 200);
        all.extend(events(&mut stream, 3).await);
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_resumed_at_the_same_event() {
    let server = everything::start();
    let (_doorward, gateway) = protect(&server.url()).await;
    let mut seen = Vec::new();
    for peer in [gateway, direct(server)] {
        let session = peer.session().await;
        let mut call = tool(4, "test_tool_with_progress");
        call["params"]["_meta"] = json!({ "progressToken": 7 });
        let mut stream = peer.legacy(Some(&session), &call).stream().await;
        let begin = events(&mut stream, 2).await;
        drop(stream);
        let mut resumed = listen(&peer, &session, begin[1].id.as_deref()).await;
        let mut all = begin;
        while let Some(event) = resumed.event().await {
            let last = event.data.contains("\"result\"");
            all.push(event);
            if last {
                break;
            }
        }
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() > 4, "some before the cut, some after it: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_say_the_same() {
    let server = everything::start();
    let (_doorward, gateway) = protect(&server.url()).await;
    let mut seen = Vec::new();
    for peer in [gateway, direct(server)] {
        let filter = json!({ "notifications": { "toolsListChanged": true } });
        let mut stream = peer.modern("subscriptions/listen", filter).stream().await;
        let mut all = events(&mut stream, 1).await;
        for change in ["test_trigger_prompt_change", "test_trigger_tool_change"] {
            assert_eq!(peer.call(change, json!({})).send().await.status, 200);
        }
        all.extend(events(&mut stream, 1).await);
        seen.push((stream.status, all));
    }
    assert_eq!(seen[0], seen[1]);
}
