//! The relay: both protocol eras, JSON and streams, sessions, several servers.

use std::sync::Arc;
use std::time::Duration;

use doorward_testkit::http::Request;
use doorward_testkit::upstream::{Answer, Recorded, event, friendly};
use doorward_testkit::{Doorward, PASSWORD, marker, mcp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{Catalogue, RA, RB};

crate::shared_catalogue!();

/// A legacy server with sessions: the id that it gives is `SESSION-` and the marker of the client's name.
fn with_sessions(request: &Recorded) -> Answer {
    let body = request.json();
    let session = request.values("Mcp-Session-Id").first().cloned();
    match (request.method().as_str(), body["method"].as_str()) {
        ("POST", Some("initialize")) => {
            let name = body["params"]["clientInfo"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            friendly(request).header("Mcp-Session-Id", &format!("SESSION-{name}"))
        }
        (_, _) if session.is_none() => Answer::new(400, "application/json", "{}"),
        (_, _)
            if session
                .as_deref()
                .is_some_and(|session| session.ends_with("-dead")) =>
        {
            Answer::new(
                404,
                "application/json",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#,
            )
        }
        ("GET", _) => Answer::events(vec![event(
            Some("7"),
            &json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {
                "session": session, "after": request.values("Last-Event-ID") } }),
        )]),
        ("DELETE", _) => Answer::empty(204),
        _ => friendly(request),
    }
}

fn initialize_as(name: &str) -> Value {
    let mut message = mcp::initialize();
    message["params"]["clientInfo"]["name"] = json!(name);
    message
}

/// Opens a session; the id that the client got.
async fn open_session(catalogue: &Catalogue, name: &str, token: &str) -> String {
    let reply = mcp::legacy(&catalogue.doorward, RA, None, &initialize_as(name))
        .bearer(token)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(mcp::answer(&reply)["result"]["protocolVersion"], mcp::LEGACY);
    reply.header("Mcp-Session-Id").expect("a session id").to_owned()
}

async fn sessions() -> &'static Catalogue {
    static SHARED: tokio::sync::OnceCell<Catalogue> = tokio::sync::OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let catalogue = Catalogue::start().await;
            catalogue.up_a.script(with_sessions);
            catalogue.up_b.script(with_sessions);
            catalogue
        })
        .await
}

fn list() -> Value {
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {} })
}

#[tokio::test]
async fn a_modern_call_passes_with_the_same_bytes() {
    let catalogue = catalogue().await;
    let case = marker();
    let request = catalogue
        .call(&case)
        .bearer(&catalogue.t().await)
        .header("Mcp-Param-Region", "eu");
    let sent = request.body_bytes().clone();
    let reply = request
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .send()
        .await;
    assert_eq!(mcp::text_of(&reply), "t_read ok");
    assert!(
        reply
            .header("Content-Type")
            .unwrap()
            .starts_with("application/json")
    );
    let seen = catalogue.up_a.the(&case);
    assert_eq!(seen.body, sent.as_ref());
    assert_eq!(seen.target(), "/mcp");
    assert_eq!(seen.values("Mcp-Param-Region"), ["eu"]);
    assert_eq!(seen.values("Accept"), ["application/json, text/event-stream"]);
    assert_eq!(seen.values("traceparent").len(), 1);
    assert_eq!(reply.header("Mcp-Session-Id"), None);
}

#[tokio::test]
async fn discover_and_lists_pass() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    for method in ["server/discover", "tools/list"] {
        let reply = mcp::modern(&catalogue.doorward, RA, method, json!({}))
            .bearer(&token)
            .send()
            .await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        assert_eq!(mcp::answer(&reply)["id"], 1);
    }
}

#[tokio::test]
async fn two_servers_have_an_upstream_each() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let tokens = client.login("bob", PASSWORD, &catalogue.rb()).await;
    assert_eq!(tokens.body["scope"], "b");
    let case = marker();
    let reply = catalogue.call_at(RB, &case).bearer(&tokens.access).send().await;
    assert_eq!(reply.status, 200);
    assert_eq!(catalogue.up_b.with(&case).len(), 1);
    catalogue.up_a.assert_never_saw(&case);
}

#[tokio::test]
async fn events_are_flushed_as_they_come() {
    let catalogue = catalogue().await;
    let (case, go) = (marker(), Arc::new(Notify::new()));
    let signal = Arc::clone(&go);
    catalogue.up_a.script_for(&case, move |request| {
        let progress =
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
        let result = json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": { "content": [] } });
        Answer::events(vec![
            event(None, &progress),
            doorward_testkit::upstream::Part::Wait(Arc::clone(&signal)),
            event(Some("2"), &result),
        ])
    });
    let mut stream = catalogue.call(&case).bearer(&catalogue.t().await).stream().await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["Content-Type"], "text/event-stream");
    let first = stream
        .event()
        .await
        .expect("the first event before the second exists");
    assert!(first.data.contains("progress"));
    go.notify_one();
    let second = stream.event().await.expect("the second");
    assert_eq!(second.id.as_deref(), Some("2"));
    assert!(stream.event().await.is_none(), "the end");
}

#[tokio::test]
async fn many_streams_run_side_by_side() {
    let catalogue = catalogue().await;
    let (case, go) = (marker(), Arc::new(Notify::new()));
    let signal = Arc::clone(&go);
    catalogue.up_a.script_for(&case, move |request| {
        let own = json!({ "jsonrpc": "2.0", "id": 1, "result": { "you": request.json()["params"]["arguments"]["you"] } });
        Answer::events(vec![
            event(None, &json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} })),
            doorward_testkit::upstream::Part::Wait(Arc::clone(&signal)),
            event(None, &own),
        ])
    });
    let token = catalogue.t().await;
    let mut streams = Vec::new();
    for you in 0..50 {
        let arguments = json!({ "marker": case, "you": you });
        let mut stream = mcp::call(&catalogue.doorward, RA, "t_read", &arguments)
            .bearer(&token)
            .stream()
            .await;
        stream
            .event()
            .await
            .expect("every stream begins while all others are open");
        streams.push(stream);
    }
    for (you, mut stream) in streams.into_iter().enumerate() {
        let answer = loop {
            go.notify_waiters();
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), stream.event()).await {
                break answer.expect("an answer");
            }
        };
        let answer: Value = serde_json::from_str(&answer.data).unwrap();
        assert_eq!(answer["result"]["you"], you, "each its own answer");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_call() {
    let catalogue = catalogue().await;
    let case = marker();
    catalogue.up_a.script_for(&case, |_| {
        let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} });
        Answer::events(vec![
            event(None, &progress),
            doorward_testkit::upstream::Part::Hang,
        ])
    });
    let token = catalogue.t().await;
    let mut stream = catalogue.call(&case).bearer(&token).stream().await;
    stream.event().await.expect("the call runs");
    let busy = catalogue.up_a.hanging();
    assert!(busy >= 1);
    drop(stream);
    doorward_testkit::eventually("the upstream sees the end", Duration::from_secs(60), || async {
        (catalogue.up_a.hanging() < busy).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_legacy_session_lives_through_the_relay() {
    let catalogue = sessions().await;
    let token = catalogue.t().await;
    let name = marker();
    let session = open_session(catalogue, &name, &token).await;
    assert!(
        !session.contains("SESSION-") && session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)),
        "{session}"
    );
    let upstream_session = format!("SESSION-{name}");

    let done = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let accepted = mcp::legacy(&catalogue.doorward, RA, Some(&session), &done)
        .bearer(&token)
        .send()
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let tools = mcp::legacy(&catalogue.doorward, RA, Some(&session), &list())
        .bearer(&token)
        .send()
        .await;
    assert_eq!(mcp::answer(&tools)["result"]["tools"][0]["name"], "t_read");
    let with_session: Vec<Recorded> = catalogue.up_a.with(&upstream_session);
    assert!(with_session.len() >= 2, "the upstream hears its own id");
    assert!(
        with_session
            .iter()
            .all(|request| request.values("Mcp-Session-Id") == [upstream_session.clone()])
    );
    assert!(catalogue.up_a.with(&session).is_empty(), "and never ours");

    let get = catalogue
        .doorward
        .get(RA)
        .bearer(&token)
        .header("Accept", "text/event-stream");
    let get = get
        .header("MCP-Protocol-Version", mcp::LEGACY)
        .header("Mcp-Session-Id", &session);
    let mut stream = get.header("Last-Event-ID", "6").stream().await;
    assert_eq!(stream.status, 200);
    let first = stream.event().await.expect("an event");
    assert_eq!(first.id.as_deref(), Some("7"));
    let params = serde_json::from_str::<Value>(&first.data).unwrap()["params"].clone();
    assert_eq!(params, json!({ "session": upstream_session, "after": ["6"] }));

    let end = catalogue
        .doorward
        .request("DELETE", RA)
        .bearer(&token)
        .header("Mcp-Session-Id", &session);
    let ended = end.header("MCP-Protocol-Version", mcp::LEGACY).send().await;
    assert!(
        matches!(ended.status, 200 | 204),
        "{} {}",
        ended.status,
        ended.text()
    );
    assert!(
        catalogue
            .up_a
            .with(&upstream_session)
            .iter()
            .any(|request| request.method() == "DELETE")
    );
}

#[tokio::test]
async fn mb_17_b15_b16_a_session_is_bound_to_its_user_server_and_client() {
    let catalogue = sessions().await;
    let token = catalogue.t().await;
    let name = marker();
    let session = open_session(catalogue, &name, &token).await;
    let before = catalogue.up_a.with(&name).len();

    let client = catalogue.n1().await;
    let bob = client.login("bob", PASSWORD, &catalogue.ra()).await;
    let other_client = catalogue.tokens(&client).await;
    let on_b = client.login("alice", PASSWORD, &catalogue.rb()).await;
    let ask = |path: &str, session: &str, token: Option<&str>| -> Request {
        let request = mcp::legacy(&catalogue.doorward, path, Some(session), &list());
        match token {
            Some(token) => request.bearer(token),
            None => request,
        }
    };
    let stolen = ask(RA, &session, Some(&bob.access)).send().await;
    assert!(
        matches!(stolen.status, 403 | 404),
        "bob with alice's session: {}",
        stolen.status
    );
    let foreign = ask(RA, &session, Some(&other_client.access)).send().await;
    assert!(
        matches!(foreign.status, 403 | 404),
        "another client of alice: {}",
        foreign.status
    );
    let elsewhere = ask(RB, &session, Some(&on_b.access)).send().await;
    assert!(
        matches!(elsewhere.status, 403 | 404),
        "on another server: {}",
        elsewhere.status
    );
    assert_eq!(
        ask(RA, &session, None).send().await.status,
        401,
        "without a token"
    );
    for odd in [
        format!("SESSION-{name}"),
        format!("{session}A"),
        session[..session.len() - 2].to_owned(),
        "x".into(),
    ] {
        let reply = ask(RA, &odd, Some(&token)).send().await;
        assert!(matches!(reply.status, 400 | 404), "{odd}: {}", reply.status);
    }
    assert_eq!(catalogue.up_a.with(&name).len(), before, "none of it arrived");
    catalogue.up_b.assert_never_saw(&name);

    // The same user and client with another token goes on.
    assert_eq!(ask(RA, &session, Some(&token)).send().await.status, 200);
}

#[tokio::test]
async fn a_dead_upstream_session_is_a_404() {
    let catalogue = sessions().await;
    let token = catalogue.t().await;
    let session = open_session(catalogue, &format!("{}-dead", marker()), &token).await;
    let reply = mcp::legacy(&catalogue.doorward, RA, Some(&session), &list())
        .bearer(&token)
        .send()
        .await;
    assert_eq!(reply.status, 404, "{}", reply.text());
}

#[tokio::test]
async fn a_session_survives_a_restart_of_ours() {
    let catalogue = Catalogue::start().await;
    catalogue.up_a.script(with_sessions);
    let token = catalogue.t().await;
    let session = open_session(&catalogue, &marker(), &token).await;
    catalogue.doorward.kill();
    catalogue.doorward.start_again().await;
    let reply = mcp::legacy(&catalogue.doorward, RA, Some(&session), &list())
        .bearer(&token)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn a_real_server_is_reached_in_both_eras() {
    let address = crate::support::rmcp_server();
    let doorward = Doorward::builder()
        .upstream(&format!("http://{address}/mcp"))
        .user("alice", PASSWORD)
        .start()
        .await;
    let client = doorward_testkit::oauth::OAuthClient::native(&doorward).await;
    let tokens = client.login("alice", PASSWORD, &doorward.url("/mcp")).await;
    let modern = mcp::call(&doorward, "/mcp", "echo", &json!({ "text": "hello" }))
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(mcp::text_of(&modern), "hello");
    let opened = mcp::legacy(&doorward, "/mcp", None, &mcp::initialize())
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    let session = opened.header("Mcp-Session-Id").expect("a session").to_owned();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let accepted = mcp::legacy(&doorward, "/mcp", Some(&session), &ready)
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(accepted.status, 202);
    let call = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": { "name": "echo", "arguments": { "text": "again" } } });
    let reply = mcp::legacy(&doorward, "/mcp", Some(&session), &call)
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(mcp::text_of(&reply), "again");
    let end = doorward
        .request("DELETE", "/mcp")
        .bearer(&tokens.access)
        .header("Mcp-Session-Id", &session);
    let ended = end.header("MCP-Protocol-Version", mcp::LEGACY).send().await;
    assert!((200..300).contains(&ended.status), "{}", ended.status);
    let after = mcp::legacy(&doorward, "/mcp", Some(&session), &call)
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(after.status, 404);
}
