//! The same requests directly and through the gateway, and the answers side by side.
//!
//! Over HTTP everything that a client can see must be the same: status, headers, every byte of the body.
//! Over stdio there are no statuses or streams to compare with, so the messages must be.

mod peer;
mod requests;

use doorward_testkit::everything::serve as everything;
use doorward_testkit::http::Streaming;
use doorward_testkit::mcp::{self, Event};
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::{Value, json};

use peer::{Peer, Seen, direct, logged_in};
use requests::{conversations, legacy, modern, refused_modern, tool};

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

async fn protect(upstream: &str) -> (Doorward, Peer) {
    let doorward = Doorward::builder()
        .upstream(upstream)
        .user("alice", PASSWORD)
        .start()
        .await;
    let peer = logged_in(&doorward).await;
    (doorward, peer)
}

async fn protect_command() -> (Doorward, Peer) {
    let doorward = Doorward::builder()
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_everything-stdio"))
        .user("alice", PASSWORD)
        .start()
        .await;
    let peer = logged_in(&doorward).await;
    (doorward, peer)
}

/// The next `count` events of a stream.
async fn events(stream: &mut Streaming, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(stream.event().await.expect("the stream stays open"));
    }
    events
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

/// Revisions whose clients send less: 2025-03-26 has no version header.
#[tokio::test(flavor = "multi_thread")]
async fn older_revisions_are_answered_the_same() {
    let server = everything::start();
    let (_doorward, gateway) = protect(&server.url()).await;
    let direct = direct(server);
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18"] {
        let mut seen = Vec::new();
        for peer in [&gateway, &direct] {
            let as_sent = |session: Option<&str>, message: &Value| {
                let request = peer.legacy(session, message).without("MCP-Protocol-Version");
                match revision {
                    "2025-03-26" => request,
                    _ => request.header("MCP-Protocol-Version", revision),
                }
            };
            let mut initialize = mcp::initialize();
            initialize["params"]["protocolVersion"] = json!(revision);
            let reply = peer
                .legacy(None, &initialize)
                .without("MCP-Protocol-Version")
                .send()
                .await;
            let session = reply.header("Mcp-Session-Id").expect("a session id").to_owned();
            let mut all = vec![Seen::of(&reply)];
            let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
            for message in [
                initialized,
                tool(1, "test_multiple_content_types"),
                tool(2, "no_such_tool"),
            ] {
                all.push(Seen::of(&as_sent(Some(&session), &message).send().await));
            }
            seen.push(all);
        }
        assert_eq!(seen[0], seen[1], "{revision}");
        assert!(seen[0][0].body.contains(revision), "{:?}", seen[0][0]);
    }
}

/// Over both kinds of upstream: whoever relays an acknowledgement has to be ready for what follows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_right_after_the_acknowledgement_is_told() {
    let (_http, over_http) = protect(&everything::start().url()).await;
    let (_stdio, over_stdio) = protect_command().await;
    for peer in [over_http, over_stdio] {
        for round in 0..50 {
            let (kind, change) = match round % 2 {
                0 => ("toolsListChanged", "test_trigger_tool_change"),
                _ => ("promptsListChanged", "test_trigger_prompt_change"),
            };
            let filter = json!({ "notifications": { kind: true } });
            let mut stream = peer.modern("subscriptions/listen", filter).stream().await;
            events(&mut stream, 1).await;
            assert_eq!(peer.call(change, json!({})).send().await.status, 200);
            let told = events(&mut stream, 1).await;
            assert!(told[0].data.contains("list_changed"), "{round}: {told:?}");
        }
    }
}

/// What a command says over lines, another one of its kind says over HTTP. The status must be the same, too:
/// there it is ours.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_the_same_over_stdio() {
    let (_doorward, gateway) = protect_command().await;
    let direct = direct(everything::start());
    for ((name, there), (_, here)) in modern(&direct).into_iter().zip(modern(&gateway)) {
        let (there, here) = (Seen::of(&there.send().await), Seen::of(&here.send().await));
        assert_eq!(here.status, there.status, "{name}: {here:?} instead of {there:?}");
        assert_eq!(here.messages(), there.messages(), "{name}");
    }
    let (ours, theirs) = (gateway.session().await, direct.session().await);
    for (name, message) in legacy() {
        let here = Seen::of(&gateway.legacy(Some(&ours), &message).send().await);
        let there = Seen::of(&direct.legacy(Some(&theirs), &message).send().await);
        assert_eq!(here.status, there.status, "{name}: {here:?} instead of {there:?}");
        // The server over HTTP writes its log to the standing stream. A command does not say where it
        // belongs, so it comes with the one call that is going on.
        let (log, here): (Vec<_>, Vec<_>) = here.messages().into_iter().partition(is_log);
        assert_eq!(here, there.messages(), "{name}");
        assert_eq!(
            log.len(),
            if name == "logging" { 3 } else { 0 },
            "{name}: {log:?}"
        );
    }
    for (call, answer) in conversations() {
        let here = conversation(&gateway, &ours, call.clone(), &answer).await;
        let there = conversation(&direct, &theirs, call, &answer).await;
        assert_eq!(messages(&here), messages(&there));
    }
    end(&gateway, &ours).await;
}

fn is_log(message: &Value) -> bool {
    message["method"] == "notifications/message"
}

/// The messages of a conversation, without what numbers them: event ids, and the ids of the server's own
/// requests.
fn messages(events: &[Event]) -> Vec<Value> {
    let messages = events.iter().filter(|event| !event.data.is_empty());
    messages
        .map(|event| {
            let mut message: Value = serde_json::from_str(&event.data).expect("an event holds JSON");
            if message.get("method").is_some() {
                message["id"] = json!("theirs");
            }
            message
        })
        .collect()
}
