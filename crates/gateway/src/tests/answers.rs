//! What comes back from upstreams, and what happens when nothing does.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn hd_15_nothing_but_mcp_comes_back() {
    let fixture = Fixture::new().await;
    let hostile = [
        ("content-type", "application/json"),
        ("set-cookie", "a=b"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("clear-site-data", "\"*\""),
        ("alt-svc", "h3=\":1\""),
        ("www-authenticate", "Bearer realm=evil"),
        ("location", "https://evil.test"),
        ("server", "x"),
        ("strict-transport-security", "max-age=0"),
        ("content-security-policy", "x"),
        ("refresh", "0"),
        ("link", "x"),
        ("cache-control", "no-cache"),
        ("x-accel-buffering", "no"),
        ("retry-after", "3"),
    ];
    fixture.upstream.answer(answer(200, &hostile, OK));
    let response = fixture.post("alice", CALL, &[]).await;
    let mut names: Vec<_> = response
        .headers()
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cache-control",
            "content-type",
            "retry-after",
            "x-accel-buffering",
            "x-content-type-options"
        ]
    );
    assert_eq!(text(response).await, OK);

    for (status, kind, gateway_status, reason) in [
        (401, "application/json", 502, "upstream_refused"),
        (403, "application/json", 502, "upstream_refused"),
        (407, "application/json", 502, "upstream_refused"),
        (301, "application/json", 502, "upstream_not_mcp"),
        (302, "text/html", 502, "upstream_not_mcp"),
        (304, "application/json", 502, "upstream_not_mcp"),
        (307, "application/json", 502, "upstream_not_mcp"),
        (200, "text/html", 502, "upstream_not_mcp"),
        (200, "image/svg+xml", 502, "upstream_not_mcp"),
        (200, "application/jsonp", 502, "upstream_not_mcp"),
        (404, "text/plain", 404, "upstream_status"),
        (405, "text/html", 405, "upstream_status"),
        (500, "text/html", 500, "upstream_status"),
    ] {
        let mut headers = hostile;
        headers[0].1 = kind;
        fixture
            .upstream
            .answer(answer(status, &headers, "<script>evil</script>"));
        let response = fixture.post("alice", CALL, &[]).await;
        assert_eq!(response.status(), gateway_status, "{status} {kind}");
        for name in [
            "www-authenticate",
            "location",
            "set-cookie",
            "access-control-allow-origin",
            "alt-svc",
        ] {
            assert!(response.headers().get(name).is_none(), "{status} {kind} {name}");
        }
        let body = error(response).await;
        assert_eq!(body["error"]["code"], gateway_status);
        assert_eq!(body["error"]["data"]["reason"], reason, "{status} {kind}");
        assert_eq!(body["id"], 7);
        assert!(!body.to_string().contains("evil"));
    }
    let coded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    fixture.upstream.answer(answer(200, &coded, OK));
    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 502);
    let two = [
        ("content-type", "application/json"),
        ("content-type", "text/html"),
    ];
    fixture.upstream.answer(answer(200, &two, OK));
    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 502);
}

#[tokio::test]
async fn statuses_pass_with_json_or_without_a_body() {
    let fixture = Fixture::new().await;
    for status in [200, 202, 204, 400, 404, 405, 409, 500, 503] {
        fixture.upstream.answer(answer(status, &[], ""));
        let response = fixture.post("alice", CALL, &[]).await;
        assert_eq!(response.status(), status);
        assert!(response.headers().get("content-type").is_none());
        assert_eq!(text(response).await, "");
    }
    for status in [200, 400, 404, 405, 500] {
        fixture.upstream.answer(json(status, r#"{"error":"kept"}"#));
        let response = fixture.post("alice", CALL, &[]).await;
        assert_eq!(response.status(), status);
        assert_eq!(text(response).await, r#"{"error":"kept"}"#);
    }
    fixture
        .upstream
        .answer(answer(202, &[("content-type", "text/plain")], "Accepted"));
    let response = fixture.post("alice", CALL, &[]).await;
    assert_eq!(
        (response.status().as_u16(), text(response).await.as_str()),
        (202, "")
    );
}

/// What Node's `writeHead(200).end()` sends: no type, and no length from which one could tell that it is empty.
fn chunked_nothing() -> Response<ScriptBody> {
    let nothing = futures_util::stream::empty::<Result<Frame<Bytes>, BoxError>>();
    Response::new(StreamBody::new(nothing).boxed())
}

#[tokio::test]
async fn any_success_will_do_where_no_message_is_owed() {
    let fixture = Fixture::new().await;
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let answers = || {
        [
            chunked_nothing(),
            answer(200, &[("content-type", "text/html")], "<evil>"),
        ]
    };
    for request in [
        post("alice", notification, &[]),
        post("alice", result, &[]),
        request("DELETE", "/a/mcp", "alice", "", &[]),
    ] {
        for given in answers() {
            fixture.upstream.answer(given);
            let response = fixture.send(request.clone()).await;
            assert_eq!(response.status(), 200, "{request:?}");
            assert!(response.headers().get("content-type").is_none());
            assert_eq!(text(response).await, "");
        }
    }
    for given in answers() {
        fixture.upstream.answer(given);
        assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 502);
    }
}

#[tokio::test]
async fn ft_an_upstream_that_is_not_there_is_502_at_once() {
    // Bound, so that nobody else gets it, and not listened at.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap();
    let url = format!("http://{address}/");
    let fixture = Fixture::with(Arc::default(), &settings(), &[("a", &url)]);
    let started = Instant::now();
    let response = fixture.post("alice", CALL, &[]).await;
    // Milliseconds on an idle machine, and far less than a connection may take.
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!(response.status(), 502);
    let body = error(response).await;
    assert_eq!(body["error"]["code"], 502);
    assert_eq!(body["error"]["data"]["reason"], "upstream_unreachable");
    assert!(
        !body.to_string().contains(&address.port().to_string()),
        "addresses stay inside"
    );
}

#[tokio::test]
async fn ft_a_tls_handshake_that_never_ends_is_502() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let mut settings = settings();
    settings.connect_timeout = Duration::from_millis(100);
    let fixture = Fixture::with(Arc::default(), &settings, &[("a", &url)]);
    let response = fixture.post("alice", CALL, &[]).await;
    assert_eq!(
        error(response).await["error"]["data"]["reason"],
        "upstream_unreachable"
    );
    drop(listener);
}

/// A raw upstream: `answer` is written after the head of each request, then the connection is closed if so
/// told. Gives the address and how many requests came.
async fn raw(answer: &'static str, close: bool) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(CALL.as_bytes()) {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap();
                if read == 0 {
                    break;
                }
                head.extend_from_slice(&buffer[..read]);
            }
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !close {
                open.push(stream);
            }
        }
    });
    (url, count)
}

#[tokio::test]
async fn ft_a_silent_upstream_is_504_and_is_not_asked_again() {
    let (url, count) = raw("", false).await;
    let mut settings = settings();
    settings.head_timeout = Duration::from_millis(1500);
    let fixture = Fixture::with(Arc::default(), &settings, &[("a", &url)]);
    let response = fixture.post("alice", CALL, &[]).await;
    assert_eq!(response.status(), 504);
    assert_eq!(
        error(response).await["error"]["data"]["reason"],
        "upstream_timed_out"
    );
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn p11_a_call_that_broke_off_is_never_sent_again() {
    for partial in ["", "HTTP/1.1 200", "garbage\r\n\r\n"] {
        let (url, count) = raw(partial, true).await;
        let fixture = Fixture::with(Arc::default(), &settings(), &[("a", &url)]);
        let response = fixture.post("alice", CALL, &[]).await;
        assert_eq!(response.status(), 502, "{partial}");
        assert_eq!(
            error(response).await["error"]["data"]["reason"],
            "upstream_failed"
        );
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1, "{partial}");
    }
}

#[tokio::test]
async fn ft_a_body_that_is_cut_is_never_a_clean_end() {
    for partial in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\"",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"jso\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n8\r\ndata: x\n\r\n",
    ] {
        let (url, _) = raw(partial, true).await;
        let fixture = Fixture::with(Arc::default(), &settings(), &[("a", &url)]);
        let response = fixture.post("alice", CALL, &[]).await;
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err(), "{partial}");
    }
}

#[tokio::test]
async fn ft_the_client_sees_an_aborted_connection_when_a_body_is_cut() {
    let partial = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"jso\r\n";
    let (url, _) = raw(partial, true).await;
    let fixture = Fixture::with(Arc::default(), &settings(), &[("a", &url)]);
    let (client, gateway_side) = tokio::io::duplex(64 << 10);
    let gateway = Arc::clone(&fixture.gateway);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let gateway = Arc::clone(&gateway);
        async move {
            let route = gateway.route(request.uri().path()).unwrap();
            Ok::<_, std::convert::Infallible>(gateway.handle(route, request).await)
        }
    });
    tokio::spawn(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(gateway_side), service),
    );
    let mut client = client;
    let request = format!(
        "POST /a/mcp HTTP/1.1\r\nhost: gw.test\r\nauthorization: Bearer alice\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{CALL}",
        CALL.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("{\"jso"),
        "{answer}"
    );
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "the last chunk says that the body is whole: {answer}"
    );
}

#[tokio::test]
async fn an_in_process_server_gets_the_principal_and_the_same_headers() {
    let service = tower::service_fn(|request: Request<Bytes>| async move {
        let principal = request.extensions().get::<Arc<Principal>>().expect("a principal");
        let body = format!(
            r#"{{"user":"{}","authorization":{}}}"#,
            principal.username(),
            request.headers().contains_key("authorization")
        );
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("x-evil", "1");
        Ok::<_, std::convert::Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
    });
    let servers = vec![unlimited(Arc::new(server("a")), Upstream::in_process(service))];
    let fixture = Fixture::of(Arc::default(), &settings(), servers);
    let response = fixture.post("bob", CALL, &[]).await;
    assert!(response.headers().get("x-evil").is_none());
    assert_eq!(text(response).await, r#"{"user":"bob","authorization":false}"#);
}

/// As Node's `writeHead(202).end()` answers: chunks, of which there is none.
#[tokio::test]
async fn a_connection_goes_on_after_an_answer_whose_body_nobody_needs() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        let (sender, mut answer) = events();
        drop(sender);
        *answer.status_mut() = http::StatusCode::ACCEPTED;
        fixture.upstream.answer(answer);
        let said = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
        let response = fixture.post("alice", said, &[]).await;
        assert_eq!(response.status(), 202);
        assert_eq!(text(response).await, "");
    }
    assert_eq!(fixture.upstream.connections.load(Ordering::Relaxed), 1);
}
