//! The adapter between rmcp's transport and an authorizer, against servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

mod page;
mod support;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::any;
use doorward_rmcp_client::{AuthorizedClient, ClientError};
use futures_util::StreamExt as _;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient as _, StreamableHttpError, StreamableHttpPostResponse,
};
use support::{Counter, Server, authorizer, message, network};

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add_note","arguments":{}}}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(
    client: &AuthorizedClient,
    url: &str,
) -> Result<StreamableHttpPostResponse, StreamableHttpError<ClientError>> {
    client
        .post_message(url.into(), message(CALL), None, None, HashMap::new())
        .await
}

#[tokio::test]
async fn a22_a34_each_request_carries_the_token_of_the_moment_and_a_refused_one_is_sent_again() {
    let seen = Counter::default();
    let counter = seen.clone();
    let server = Server::start(Router::new().route(
        "/mcp",
        any(move |uri: Uri, headers: HeaderMap| {
            let counter = counter.clone();
            async move {
                counter.note(&headers);
                assert!(uri.query().is_none(), "no token in a URL");
                match headers.get("authorization").and_then(|value| value.to_str().ok()) {
                    Some("Bearer 2") => answer(200, &[JSON, ("dpop-nonce", "n")], RESULT),
                    Some("Bearer 1") => answer(
                        403,
                        &[("www-authenticate", "Bearer error=\"insufficient_scope\"")],
                        "",
                    ),
                    _ => answer(401, &[("www-authenticate", "Bearer")], "{}"),
                }
            }
        }),
    ))
    .await;
    let authorizer = authorizer(3);
    let client = AuthorizedClient::new(server.url(), network(), authorizer.clone());
    for _ in 0..2 {
        let got = post(&client, server.url().as_str()).await.unwrap();
        assert!(matches!(
            got,
            StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Response(_), _)
        ));
    }
    assert_eq!(
        seen.authorizations(),
        ["Bearer 0", "Bearer 1", "Bearer 2", "Bearer 2"]
    );
    let attempts = authorizer.attempts.lock().unwrap().clone();
    assert_eq!(
        attempts,
        [
            (401, "Bearer 0".into(), "tools/call add_note".into(), 1),
            (403, "Bearer 1".into(), "tools/call add_note".into(), 2)
        ]
    );
    assert_eq!(
        authorizer.answered.load(Ordering::SeqCst),
        2,
        "nonces are taken over from good answers"
    );
}

#[tokio::test]
async fn cl_13_a36_a_server_that_refuses_for_ever_is_given_up() {
    for patience in [2, u8::MAX] {
        let seen = Counter::default();
        let counter = seen.clone();
        let server = Server::start(Router::new().route(
            "/mcp",
            any(move |headers: HeaderMap| {
                counter.note(&headers);
                async { answer(401, &[], "") }
            }),
        ))
        .await;
        let client = AuthorizedClient::new(server.url(), network(), authorizer(patience));
        let error = post(&client, server.url().as_str()).await.unwrap_err();
        assert!(
            matches!(error, StreamableHttpError::Client(ClientError::Authorization(_))),
            "{error}"
        );
        assert!(error.to_string().contains("gave up"), "{error}");
        assert!(seen.authorizations().len() <= 8);
    }
}

#[tokio::test]
async fn cl_09_no_redirect_is_followed_and_no_other_server_gets_the_token() {
    let canary = Counter::default();
    let counter = canary.clone();
    let elsewhere = Server::start(Router::new().fallback(any(move |headers: HeaderMap| {
        counter.note(&headers);
        async { answer(200, &[JSON], RESULT) }
    })))
    .await;
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url().to_string();
        let server = Server::start(Router::new().route(
            "/mcp",
            any(move || {
                let location = location.clone();
                async move { answer(status, &[("location", &location)], "") }
            }),
        ))
        .await;
        let client = AuthorizedClient::new(server.url(), network(), authorizer(3));
        let error = post(&client, server.url().as_str()).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        let other = post(&client, elsewhere.url().as_str()).await.unwrap_err();
        assert!(
            matches!(other, StreamableHttpError::Client(ClientError::OtherServer)),
            "{other}"
        );
    }
    assert!(canary.authorizations().is_empty());
}

#[tokio::test]
async fn a22_nobody_else_sets_the_headers_that_authorize() {
    let server = Server::start(Router::new()).await;
    let client = AuthorizedClient::new(server.url(), network(), authorizer(3));
    let url = server.url();
    for name in ["authorization", "dpop", "host", "mcp-session-id", "accept"] {
        let custom = HashMap::from([(name.parse().unwrap(), "x".parse().unwrap())]);
        let error = client
            .post_message(url.as_str().into(), message(CALL), None, None, custom)
            .await
            .unwrap_err();
        assert!(
            matches!(error, StreamableHttpError::ReservedHeaderConflict(_)),
            "{name}: {error}"
        );
    }
    let token = Some("stolen".to_owned());
    let error = client
        .get_stream(url.as_str().into(), None, None, token, HashMap::new())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, StreamableHttpError::ReservedHeaderConflict(_)),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_server_answers_is_what_rmcp_hears() {
    let server = Server::start(Router::new().route(
        "/mcp",
        any(|headers: HeaderMap| async move {
            let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":403,"message":"the policy says no"}}"#;
            match headers["x-case"].to_str().unwrap() {
                "policy" => answer(403, &[JSON], error),
                "accepted" => answer(202, &[], ""),
                "gone" => answer(404, &[JSON], "{}"),
                "busy" => answer(503, &[("retry-after", "7")], "later"),
                "many" => answer(429, &[JSON, ("retry-after", "9")], error),
                "html" => answer(200, &[("content-type", "text/html")], "<p>"),
                "broken" => answer(200, &[JSON], "\u{1b}[2J{"),
                _ => answer(405, &[], ""),
            }
        }),
    ))
    .await;
    let client = AuthorizedClient::new(server.url(), network(), authorizer(3));
    let url = server.url();
    let case = |name: &str, session: Option<&str>| {
        let custom = HashMap::from([("x-case".parse().unwrap(), name.parse().unwrap())]);
        client.post_message(
            url.as_str().into(),
            message(CALL),
            session.map(Into::into),
            None,
            custom,
        )
    };
    let policy = case("policy", None).await.unwrap();
    assert!(matches!(
        policy,
        StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(_), _)
    ));
    assert!(matches!(
        case("accepted", None).await.unwrap(),
        StreamableHttpPostResponse::Accepted
    ));
    assert!(matches!(
        case("gone", Some("s")).await,
        Err(StreamableHttpError::SessionExpired)
    ));
    assert!(matches!(
        case("gone", None).await,
        Err(StreamableHttpError::UnexpectedServerResponse(_))
    ));
    for (name, status, after) in [("busy", 503, "7"), ("many", 429, "9")] {
        let Err(StreamableHttpError::HttpStatus(error)) = case(name, None).await else {
            panic!("{name}");
        };
        assert_eq!(
            (error.status, error.retry_after.as_deref()),
            (status, Some(after))
        );
    }
    assert!(matches!(
        case("html", None).await,
        Err(StreamableHttpError::UnexpectedContentType(_))
    ));
    let broken = case("broken", None).await.unwrap_err().to_string();
    assert!(!broken.contains('\u{1b}'), "{broken}");
    let custom = HashMap::from([("x-case".parse().unwrap(), "none".parse().unwrap())]);
    let none = client
        .get_stream(url.as_str().into(), None, None, None, custom.clone())
        .await;
    assert!(matches!(
        none.err().unwrap(),
        StreamableHttpError::ServerDoesNotSupportSse
    ));
    assert!(
        client
            .delete_session(url.as_str().into(), "s".into(), None, custom)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn cl_15_streams_are_read_event_by_event_and_bounded() {
    let server = Server::start(Router::new().route(
        "/mcp",
        any(|headers: HeaderMap| async move {
            let stream = ("content-type", "text/event-stream; charset=utf-8");
            assert_eq!(headers["accept"], "application/json, text/event-stream");
            if headers.get("last-event-id").is_some_and(|id| id == "big") {
                return answer(200, &[stream], &format!("data: ok\n\ndata: {}\n\n", "x".repeat(100)));
            }
            answer(200, &[stream], "id: 1\nretry: 500\n\n: idle\n\nid: 2\nevent: message\ndata: {\"a\":1}\ndata: 2\r\n\r\ndata: cut")
        }),
    ))
    .await;
    let client = AuthorizedClient::new(server.url(), network(), authorizer(3));
    let url = server.url();
    let open = |id: Option<&str>| {
        client.get_stream_with_max_sse_event_size(
            url.as_str().into(),
            Some("s".into()),
            id.map(str::to_owned),
            None,
            HashMap::new(),
            64,
        )
    };
    let events: Vec<_> = open(None).await.unwrap().map(Result::unwrap).collect().await;
    let shown: Vec<_> = events
        .iter()
        .map(|event| (event.id.as_deref(), event.data.as_deref()))
        .collect();
    assert!(shown.contains(&(Some("2"), Some("{\"a\":1}\n2"))), "{shown:?}");
    assert!(events.iter().any(|event| event.retry == Some(500)));
    assert!(
        !shown
            .iter()
            .any(|(_, data)| data.is_some_and(|data| data.contains("cut")))
    );
    let mut events = open(Some("big")).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data.as_deref(), Some("ok"));
    assert!(events.next().await.unwrap().is_err());
    assert!(events.next().await.is_none(), "nothing is read after that");
}

#[tokio::test]
async fn an_older_server_is_told_apart_by_its_status() {
    let server =
        Server::start(Router::new().route("/mcp", any(|| async { (StatusCode::NOT_FOUND, "what?") }))).await;
    let client = AuthorizedClient::new(server.url(), network(), authorizer(3));
    let url = server.url();
    let discover: ClientJsonRpcMessage =
        message(r#"{"jsonrpc":"2.0","id":3,"method":"server/discover","params":{}}"#);
    let got = client
        .post_message(url.as_str().into(), discover, None, None, HashMap::new())
        .await
        .unwrap();
    let StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), None) = got else {
        panic!("{got:?}");
    };
    assert_eq!(error.id, Some(rmcp::model::RequestId::Number(3)));
}

#[tokio::test]
async fn cl_13_a_refusal_whose_body_never_ends_is_a_refusal() {
    let server = Server::start(Router::new().route(
        "/mcp",
        any(|headers: HeaderMap| async move {
            if headers["authorization"] == "Bearer 1" {
                return answer(200, &[JSON], RESULT);
            }
            let endless = futures_util::stream::once(async { Ok::<_, std::io::Error>("{") });
            let endless = endless.chain(futures_util::stream::pending());
            let mut refused = answer(401, &[("www-authenticate", "Bearer")], "");
            *refused.body_mut() = Body::from_stream(endless);
            refused
        }),
    ))
    .await;
    let client = AuthorizedClient::new(server.url(), network(), authorizer(3));
    let url = server.url();
    let got = post(&client, url.as_str());
    let got = tokio::time::timeout(std::time::Duration::from_secs(60), got).await;
    let got = got.expect("nobody waits for the end of it").unwrap();
    assert!(matches!(
        got,
        StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Response(_), _)
    ));
}
