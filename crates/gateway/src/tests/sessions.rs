//! Legacy sessions are sealed and bound.

use super::*;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;
const JSON: (&str, &str) = ("content-type", "application/json");
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

async fn open(fixture: &Fixture, token: &str) -> String {
    fixture
        .upstream
        .answer(answer(200, &[JSON, ("mcp-session-id", "upstream-1")], OK));
    let response = fixture.post(token, INITIALIZE, &[]).await;
    assert_eq!(response.status(), 200);
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_id_is_sealed_towards_the_client_and_opened_towards_the_upstream() {
    let fixture = Fixture::new().await;
    let sealed = open(&fixture, "alice").await;
    assert!(!sealed.contains("upstream") && sealed.bytes().all(|byte| matches!(byte, 0x21..=0x7e)));
    let session = [
        ("mcp-session-id", sealed.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    // Another token of the same user and client keeps the session.
    fixture
        .upstream
        .answer(answer(200, &[JSON, ("mcp-session-id", "upstream-1")], OK));
    let response = fixture.post("alice-again", LIST, &session).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["mcp-session-id"],
        *sealed,
        "repeated as the client knows it"
    );
    fixture.upstream.answer(answer(202, &[], ""));
    assert_eq!(
        fixture
            .send(request("DELETE", "/a/mcp", "alice", "", &session))
            .await
            .status(),
        202
    );
    let stream = [
        session[0],
        session[1],
        ("accept", "text/event-stream"),
        ("last-event-id", "41"),
    ];
    fixture.upstream.answer(answer(405, &[], ""));
    assert_eq!(
        fixture
            .send(request("GET", "/a/mcp", "alice", "", &stream))
            .await
            .status(),
        405
    );
    let seen = fixture.upstream.seen();
    assert!(seen[0].headers.get("mcp-session-id").is_none());
    for (seen, method) in seen[1..].iter().zip(["POST", "DELETE", "GET"]) {
        assert_eq!(seen.method, method);
        assert_eq!(seen.headers["mcp-session-id"], "upstream-1");
    }
    assert_eq!(seen[3].headers["last-event-id"], "41");
    assert!(seen[2].headers.get("content-type").is_none() && seen[2].body.is_empty());
}

/// An event's id says which stream to go on with: without a session that could be anybody's.
#[tokio::test]
async fn mb_17_a_place_in_a_stream_is_told_only_within_its_session() {
    let fixture = Fixture::new().await;
    let sealed = open(&fixture, "alice").await;
    let place = [
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
        ("last-event-id", "bobs-stream_1"),
        ("mcp-session-id", &*sealed),
    ];
    fixture
        .send(request("GET", "/a/mcp", "alice", "", &place[..3]))
        .await;
    fixture.post("alice", CALL, &place[..3]).await;
    fixture.post("alice", CALL, &place).await;
    let seen = fixture.upstream.seen();
    assert_eq!(seen.len(), 4);
    assert!(
        seen.iter()
            .all(|seen| !seen.headers.contains_key("last-event-id"))
    );
}

#[tokio::test]
async fn mb_17_a_session_opens_only_for_its_user_client_and_server() {
    let fixture = Fixture::new().await;
    let sealed = open(&fixture, "alice").await;
    let mut broken = sealed.clone();
    broken.replace_range(0..1, if sealed.starts_with('A') { "B" } else { "A" });
    let cut = &sealed[..sealed.len() - 1];
    let before = fixture.upstream.seen().len();
    for (token, session) in [
        ("bob", sealed.as_str()),
        ("alice-other-client", &sealed),
        ("alice", &broken),
        ("alice", cut),
        ("alice", "upstream-1"),
        ("alice", ""),
        ("alice", "é"),
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let body = if method == "POST" { LIST } else { "" };
            let mut request = request(method, "/a/mcp", token, body, &[("mcp-session-id", session)]);
            if method == "POST" {
                request
                    .headers_mut()
                    .insert("content-type", "application/json".parse().unwrap());
            }
            let response = fixture.send(request).await;
            assert_eq!(response.status(), 404, "{token} {method} {session}");
            let body = error(response).await;
            assert_eq!(body["error"]["code"], 404);
            assert_eq!(body["error"]["data"]["reason"], "unknown_session");
        }
    }
    let twice = [
        ("mcp-session-id", sealed.as_str()),
        ("mcp-session-id", sealed.as_str()),
    ];
    assert_eq!(fixture.post("alice", LIST, &twice).await.status(), 404);
    let without_token = request("GET", "/a/mcp", "", "", &twice[..1]);
    assert_eq!(fixture.send(without_token).await.status(), 401);
    assert_eq!(
        fixture.upstream.seen().len(),
        before,
        "nothing reached the upstream"
    );
}

#[tokio::test]
async fn a_dead_upstream_session_is_404_so_that_the_client_starts_anew() {
    let fixture = Fixture::new().await;
    let sealed = open(&fixture, "alice").await;
    fixture.upstream.answer(answer(
        404,
        &[("content-type", "text/plain")],
        "Not Found: Session not found",
    ));
    let response = fixture.post("alice", LIST, &[("mcp-session-id", &sealed)]).await;
    assert_eq!(response.status(), 404);
    assert_eq!(error(response).await["id"], 1);
}

#[tokio::test]
async fn modern_messages_have_no_session() {
    let fixture = Fixture::new().await;
    fixture
        .upstream
        .answer(answer(200, &[JSON, ("mcp-session-id", "upstream-1")], OK));
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
        ("mcp-session-id", "x"),
    ];
    let response = fixture.post("alice", &modern("tools/list", ""), &headers).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("mcp-session-id").is_none());
    assert!(fixture.upstream.seen()[0].headers.get("mcp-session-id").is_none());
}

#[tokio::test]
async fn an_upstream_session_id_that_is_none_is_refused() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(2000);
    for id in ["", "with space", &long] {
        fixture
            .upstream
            .answer(answer(200, &[JSON, ("mcp-session-id", id)], OK));
        assert_eq!(fixture.post("alice", INITIALIZE, &[]).await.status(), 502, "{id}");
    }
}
