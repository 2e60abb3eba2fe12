//! Sessions of the legacy revisions under stress: many streams, broken ones, upstreams that come back.

use std::sync::Arc;
use std::time::Duration;

use doorward_testkit::http::Request;
use doorward_testkit::upstream::{Answer, Part, Recorded, Upstream, event, friendly};
use doorward_testkit::{Doorward, eventually, mcp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{Catalogue, RA};

/// A legacy server with sessions that live as long as it does, and that can send missed events again: each event
/// of a GET stream has the number after the last one that the client saw, and after every third one the stream breaks.
fn resumable(request: &Recorded) -> Answer {
    let body = request.json();
    let session = request.values("Mcp-Session-Id").first().cloned();
    match (request.method().as_str(), body["method"].as_str()) {
        ("POST", Some("initialize")) => friendly(request).header("Mcp-Session-Id", "first-life"),
        _ if session.as_deref() != Some("first-life") => Answer::new(404, "text/plain", "Session not found"),
        ("GET", _) => {
            let after: u64 = request
                .values("Last-Event-ID")
                .first()
                .map_or(0, |id| id.parse().unwrap());
            let numbered = |number: u64| {
                let message =
                    json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "n": number } });
                event(Some(&number.to_string()), &message)
            };
            Answer::events(
                (after + 1..=after + 3)
                    .map(numbered)
                    .chain([Part::Pause(Duration::from_millis(100)), Part::Cut])
                    .collect(),
            )
        }
        _ => friendly(request),
    }
}

/// A POST in a legacy session.
fn in_session(doorward: &Doorward, token: &str, session: &str, message: &Value) -> Request {
    mcp::legacy(doorward, RA, Some(session), message).bearer(token)
}

/// GET that opens, or opens again, the session's stream.
fn open_stream(doorward: &Doorward, token: &str, session: &str) -> Request {
    doorward
        .get(RA)
        .bearer(token)
        .header("Accept", "text/event-stream")
        .header("MCP-Protocol-Version", mcp::LEGACY)
        .header("Mcp-Session-Id", session)
}

async fn open_session(doorward: &Doorward, token: &str) -> String {
    let reply = mcp::legacy(doorward, RA, None, &mcp::initialize())
        .bearer(token)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("Mcp-Session-Id").expect("a session").to_owned()
}

#[tokio::test]
async fn a_broken_stream_is_resumed_where_it_broke() {
    let catalogue = Catalogue::start().await;
    catalogue.up_a.script(resumable);
    let token = catalogue.t().await;
    let session = open_session(&catalogue.doorward, &token).await;
    let (mut last, mut breaks) = (0, 0);
    while last < 9 {
        let request = open_stream(&catalogue.doorward, &token, &session);
        let request = if last == 0 {
            request
        } else {
            request.header("Last-Event-ID", &last.to_string())
        };
        let mut stream = request.stream().await;
        assert_eq!(stream.status, 200);
        // What comes together with the break may be lost with it; the next stream begins with it then.
        while let Some(event) = stream.event().await {
            last += 1;
            assert_eq!(
                event.id,
                Some(last.to_string()),
                "nothing twice, nothing left out"
            );
        }
        breaks += 1;
        assert!(breaks < 20, "every stream but a few brings an event");
    }
    assert!(breaks >= 3, "{breaks}");
}

#[tokio::test]
async fn many_streams_of_one_session_run_side_by_side() {
    const CALLS: usize = 60;
    let catalogue = Catalogue::start().await;
    let gates: Vec<Arc<Notify>> = (0..CALLS).map(|_| Arc::default()).collect();
    let of_script = gates.clone();
    catalogue.up_a.script(move |request| {
        let body = request.json();
        if body["method"] == "initialize" {
            return friendly(request).header("Mcp-Session-Id", "one");
        }
        assert_eq!(request.values("Mcp-Session-Id"), ["one"]);
        if request.method() == "GET" {
            let message = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
            return Answer::events(vec![event(None, &message), Part::Hang]);
        }
        let id = body["id"].as_u64().unwrap();
        let ask = json!({ "jsonrpc": "2.0", "id": format!("ask-{id}"), "method": "sampling/createMessage", "params": {} });
        let result = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [] } });
        Answer::events(vec![
            event(None, &ask),
            Part::Wait(Arc::clone(&of_script[usize::try_from(id).unwrap()])),
            event(None, &result),
        ])
    });
    let token = catalogue.t().await;
    let session = open_session(&catalogue.doorward, &token).await;
    let mut unasked = open_stream(&catalogue.doorward, &token, &session).stream().await;
    assert!(
        unasked
            .event()
            .await
            .expect("an event")
            .data
            .contains("notifications/message")
    );
    let mut streams = Vec::new();
    for id in 0..CALLS {
        let call =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "t_read" } });
        let mut stream = in_session(&catalogue.doorward, &token, &session, &call)
            .stream()
            .await;
        let ask = stream
            .event()
            .await
            .expect("the server's question, on the stream of its call");
        assert!(ask.data.contains(&format!("\"ask-{id}\"")), "{}", ask.data);
        streams.push(stream);
    }
    // Answered from the last to the first.
    for (id, mut stream) in streams.into_iter().enumerate().rev() {
        gates[id].notify_one();
        let answer: Value = serde_json::from_str(&stream.event().await.expect("an answer").data).unwrap();
        assert_eq!(answer["id"], id);
        assert!(stream.rest().await.expect("a proper end").is_empty());
    }
    assert_eq!(
        catalogue.up_a.hanging(),
        1,
        "the session's own stream is still open"
    );
    drop(unasked);
}

#[tokio::test]
async fn after_a_restart_of_the_upstream_clients_begin_anew() {
    let port = doorward_testkit::port::Port::reserve();
    let first = Upstream::scripted_at(port.number(), resumable);
    let doorward = Doorward::builder()
        .config(&crate::support::two_servers(&first.url(), &first.url()))
        .user("alice", doorward_testkit::PASSWORD)
        .start()
        .await;
    let client = doorward_testkit::oauth::OAuthClient::native(&doorward).await;
    let token = client
        .login("alice", doorward_testkit::PASSWORD, &doorward.url(RA))
        .await
        .access;
    let session = open_session(&doorward, &token).await;
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    assert_eq!(
        in_session(&doorward, &token, &session, &list).send().await.status,
        200
    );
    let mut stream = open_stream(&doorward, &token, &session).stream().await;
    stream.event().await.expect("an event");

    first.stop();
    eventually("the upstream is gone", Duration::from_secs(60), || async {
        tokio::net::TcpStream::connect(first.address()).await.err()
    })
    .await;
    assert!(stream.rest().await.is_err(), "a break is a break");
    let down = in_session(&doorward, &token, &session, &list).send().await;
    assert_eq!(down.status, 502, "{}", down.text());
    assert_eq!(mcp::answer(&down)["id"], 2);

    // It comes back and knows nobody any more.
    let second = Upstream::scripted_at(port.number(), |request| {
        let known = request.values("Mcp-Session-Id") == ["second-life"];
        match request.json()["method"].as_str() {
            Some("initialize") => friendly(request).header("Mcp-Session-Id", "second-life"),
            _ if !known => Answer::new(404, "text/plain", "Session not found"),
            _ => friendly(request),
        }
    });
    let over = in_session(&doorward, &token, &session, &list).send().await;
    assert_eq!(over.status, 404, "{}", over.text());
    assert_eq!(open_stream(&doorward, &token, &session).send().await.status, 404);
    let anew = open_session(&doorward, &token).await;
    assert_ne!(anew, session);
    assert_eq!(
        in_session(&doorward, &token, &anew, &list).send().await.status,
        200
    );
    assert_eq!(second.with("second-life").len(), 1);
}
