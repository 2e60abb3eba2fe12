//! From the token to the verdict: what is refused, how, and in which order.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body as HttpBody;

use super::*;

#[tokio::test]
async fn r39_rs_14_a_token_is_good_for_one_server_only() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 200);
    let mut other = post("alice", CALL, &[]);
    *other.uri_mut() = "/b/mcp".parse().unwrap();
    let response = fixture.send(other).await;
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("error=\"invalid_token\"") && challenge.contains("/b/mcp\""),
        "{challenge}"
    );
    let asked = fixture.tokens.resources_asked.lock().unwrap().clone();
    assert_eq!(asked, ["https://gw.test/a/mcp", "https://gw.test/b/mcp"]);
    assert_eq!(fixture.upstream.seen().len(), 1);
}

/// A body that must not be looked at.
struct Untouchable;

impl HttpBody for Untouchable {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        panic!("the body was read");
    }
}

async fn unread(fixture: &Fixture, request: Request<Full<Bytes>>) -> Response<Body> {
    let route = fixture.gateway.route("/a/mcp").unwrap();
    fixture.gateway.handle(route, request.map(|_| Untouchable)).await
}

#[tokio::test]
async fn a24_without_a_good_token_the_body_is_not_read() {
    let fixture = Fixture::new().await;
    for (token, status) in [("", 401), ("forged", 401)] {
        let response = unread(&fixture, post(token, CALL, &[])).await;
        assert_eq!(response.status(), status);
        let error = error(response).await;
        assert_eq!(error["id"], Value::Null);
        assert!(
            error.as_object().unwrap().contains_key("id"),
            "null for legacy revisions"
        );
        assert_eq!(error["error"]["code"], 401);
        assert!(!error.to_string().contains("forged"));
        let modern = unread(
            &fixture,
            post(token, CALL, &[("mcp-protocol-version", "2026-07-28")]),
        )
        .await;
        assert!(!super::error(modern).await.as_object().unwrap().contains_key("id"));
    }
    let two = post("alice", CALL, &[("authorization", "Bearer bob")]);
    assert_eq!(unread(&fixture, two).await.status(), 400);
    let mut query = post("", CALL, &[]);
    *query.uri_mut() = "/a/mcp?access_token=alice".parse().unwrap();
    assert_eq!(unread(&fixture, query).await.status(), 400);
}

#[tokio::test]
async fn ds_01_ds_09_long_and_encoded_bodies_are_refused() {
    let fixture = Fixture::new().await;
    let declared = post("alice", CALL, &[("content-length", "104857600")]);
    assert_eq!(unread(&fixture, declared).await.status(), 413);
    for encoding in ["gzip", "br", "identity, gzip", "deflate"] {
        let encoded = post("alice", CALL, &[("content-encoding", encoding)]);
        assert_eq!(unread(&fixture, encoded).await.status(), 415, "{encoding}");
    }
    let chunks =
        (0..200).map(|_| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b' '; 1024]))));
    let body = StreamBody::new(futures_util::stream::iter(chunks));
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let response = fixture
        .gateway
        .handle(route, post("alice", "", &[]).map(|_| body))
        .await;
    assert_eq!(response.status(), 413);
    assert_eq!(
        fixture
            .post("alice", CALL, &[("content-encoding", "identity")])
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let fixture = Fixture::new().await;
    let chunks = CALL
        .as_bytes()
        .chunks(7)
        .map(|chunk| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::copy_from_slice(chunk))));
    let chunks: Vec<_> = chunks.collect();
    let body = StreamBody::new(futures_util::stream::iter(chunks));
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let response = fixture
        .gateway
        .handle(route, post("alice", "", &[]).map(|_| body))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(fixture.upstream.seen()[0].body, CALL);
}

#[tokio::test(start_paused = true)]
async fn ds_02_a_body_that_does_not_come_is_408() {
    let fixture = Fixture::with(Arc::default(), &settings(), &[("a", "http://127.0.0.1:1/")]);
    let body = StreamBody::new(futures_util::stream::pending::<
        Result<Frame<Bytes>, std::convert::Infallible>,
    >());
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let response = fixture
        .gateway
        .handle(route, post("alice", "", &[]).map(|_| body))
        .await;
    assert_eq!(response.status(), 408);
}

#[tokio::test]
async fn mb_08_to_mb_11_ambiguous_bodies_are_400_and_reach_nobody() {
    let fixture = Fixture::new().await;
    for (body, code) in [
        (format!("[{CALL}]"), -32600),
        (
            CALL.replace("\"t_read\"", "\"t_read\",\"name\":\"t_admin\""),
            -32600,
        ),
        (
            CALL.replace("\"t_read\"", "\"t_read\",\"Name\":\"t_admin\""),
            -32600,
        ),
        (
            CALL.replace("\"t_read\"", "\"t_read\",\"na\\u006de\":\"t_admin\""),
            -32600,
        ),
        (format!("{CALL}{CALL}"), -32700),
        (CALL.replace('}', ""), -32700),
        (String::new(), -32700),
    ] {
        let response = fixture.post("alice", &body, &[]).await;
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(error(response).await["error"]["code"], code, "{body}");
    }
    assert!(fixture.upstream.seen().is_empty());
}

#[tokio::test]
async fn x2_mb_01_to_mb_04_headers_must_match_the_body() {
    let fixture = Fixture::new().await;
    let body = modern("tools/call", r#""name":"t_admin""#);
    let version = ("mcp-protocol-version", "2026-07-28");
    for (headers, code) in [
        (
            vec![version, ("mcp-method", "tools/call"), ("mcp-name", "t_read")],
            -32020,
        ),
        (
            vec![version, ("mcp-method", "tools/list"), ("mcp-name", "t_admin")],
            -32020,
        ),
        (vec![version, ("mcp-method", "tools/call")], -32020),
        (
            vec![("mcp-method", "tools/call"), ("mcp-name", "t_admin")],
            -32020,
        ),
    ] {
        let response = fixture.post("alice", &body, &headers).await;
        assert_eq!(response.status(), 400);
        let error = error(response).await;
        assert_eq!(
            (&error["error"]["code"], &error["id"]),
            (&code.into(), &"m".into()),
            "{headers:?}"
        );
    }
    let unknown = body.replace("2026-07-28", "v999");
    let headers = [
        ("mcp-protocol-version", "v999"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t_admin"),
    ];
    let error = error(fixture.post("alice", &unknown, &headers).await).await;
    assert_eq!(error["error"]["code"], -32022);
    assert_eq!(error["error"]["data"]["requested"], "v999");
    assert_eq!(error["error"]["data"]["supported"][0], "2026-07-28");
    let removed = [version, ("mcp-method", "ping")];
    let response = fixture.post("alice", &modern("ping", ""), &removed).await;
    assert_eq!(response.status(), 404);
    assert_eq!(super::error(response).await["error"]["code"], -32601);
    assert!(fixture.upstream.seen().is_empty());
}

#[tokio::test]
async fn r37_people_whom_the_rule_does_not_name_get_403_without_a_challenge() {
    let fixture = Fixture::new().await;
    let response = fixture.post("mallory", CALL, &[]).await;
    assert_eq!(response.status(), 403);
    assert!(response.headers().get("www-authenticate").is_none());
    let error = error(response).await;
    assert_eq!((&error["error"]["code"], &error["id"]), (&403.into(), &7.into()));
    assert_eq!(error["error"]["data"]["reason"], "not_allowed");
    assert!(fixture.upstream.seen().is_empty());
}

#[tokio::test]
async fn a31_a32_r40_a_missing_scope_is_a_challenge_with_all_that_is_needed() {
    let fixture = Fixture::new().await;
    let response = fixture.post("alice-no-scope", CALL, &[]).await;
    assert_eq!(response.status(), 403);
    let challenge = response.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"a other\""),
        "{challenge}"
    );
    let error = error(response).await;
    assert_eq!(
        error["error"]["data"]["scopes"],
        serde_json::json!(["a", "other"])
    );
    assert!(uuid::Uuid::parse_str(error["error"]["data"]["decision_id"].as_str().unwrap()).is_ok());
    let open = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(fixture.post("alice-no-scope", open, &[]).await.status(), 200);
    assert_eq!(fixture.upstream.seen().len(), 1);
}

#[tokio::test]
async fn an_accept_that_excludes_mcp_is_406() {
    let fixture = Fixture::new().await;
    for accept in [
        "text/html",
        "application/json",
        "text/event-stream",
        "*/*;q=0",
        "application/json, text/event-stream;q=0",
        "",
    ] {
        let response = fixture.post("alice", CALL, &[("accept", accept)]).await;
        assert_eq!(response.status(), 406, "{accept}");
    }
    for accept in [
        "*/*",
        "application/*, text/*",
        "text/event-stream;q=0.5,Application/JSON",
    ] {
        assert_eq!(
            fixture.post("alice", CALL, &[("accept", accept)]).await.status(),
            200,
            "{accept}"
        );
    }
    let mut none = post("alice", CALL, &[]);
    none.headers_mut().remove("accept");
    assert_eq!(fixture.send(none).await.status(), 200);
    for seen in fixture.upstream.seen() {
        assert_eq!(
            seen.headers["accept"], "application/json, text/event-stream",
            "servers look for the words"
        );
    }
    let get = request("GET", "/a/mcp", "alice", "", &[("accept", "application/json")]);
    assert_eq!(fixture.send(get).await.status(), 406);
}
