//! Families HD: hosts, headers, origins, paths.

use super::*;

const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn hd_01_headers_that_look_like_ours_do_not_pass() {
    let fixture = Fixture::new().await;
    let forged = [
        ("X-Forwarded-User", "admin"),
        ("X_Forwarded_User", "admin"),
        ("X-Auth-Request-Email", "admin@x"),
        ("x-mcp-authorized", "1"),
        ("mcp_session_id", "stolen"),
        ("Mcp-Session_Id", "stolen"),
        ("mcp-session_id", "stolen"),
        ("Mcp_Name", "t_admin"),
        ("mcp-name_", "t_admin"),
        ("mcp-protocol_version", "2025-11-25"),
        ("Doorward-Identity", "x"),
        ("X-Doorward-User", "admin"),
        ("Last_Event_Id", "9"),
        ("user-agent", "x"),
        ("origin", "https://gw.test"),
        ("transfer_encoding", "chunked"),
    ];
    let body = modern("tools/call", r#""name":"t_read""#);
    let mut headers = vec![VERSION, ("mcp-method", "tools/call"), ("mcp-name", "t_read")];
    headers.extend(forged);
    headers.push(("mcp-param-user_id", "7"));
    headers.push(("traceparent", "00-x"));
    let response = fixture.post("alice", &body, &headers).await;
    assert_eq!(response.status(), 200);
    let seen = &fixture.upstream.seen()[0];
    assert_eq!(
        names(&seen.headers),
        [
            "accept",
            "content-length",
            "content-type",
            "host",
            "mcp-method",
            "mcp-name",
            "mcp-param-user_id",
            "mcp-protocol-version",
            "traceparent"
        ]
    );
    for (name, values) in [
        ("mcp-name", 1),
        ("mcp-method", 1),
        ("mcp-protocol-version", 1),
        ("content-type", 1),
    ] {
        assert_eq!(seen.headers.get_all(name).iter().count(), values, "{name}");
    }
}

#[tokio::test]
async fn hd_02_no_credential_reaches_the_upstream() {
    let fixture = Fixture::new().await;
    let secrets = [
        ("cookie", "session=SECRET"),
        ("proxy-authorization", "Basic SECRET"),
        ("x-api-key", "SECRET"),
    ];
    assert_eq!(fixture.post("alice", CALL, &secrets).await.status(), 200);
    let seen = format!("{:?}", fixture.upstream.seen());
    for secret in ["SECRET", "Bearer", "alice", "authorization", "cookie"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}

#[tokio::test]
async fn p3_the_upstream_gets_the_very_bytes_and_its_own_host_and_path() {
    let fixture = Fixture::new().await;
    let body = " {\"jsonrpc\" : \"2.0\",\n\"id\":7, \"method\":\"tools/c\\u0061ll\",\"params\":{\"name\":\"t_read\",\"arguments\":{\"n\":1.0e2}}}\n";
    assert_eq!(fixture.post("alice", body, &[]).await.status(), 200);
    let seen = &fixture.upstream.seen()[0];
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("POST", "/up?fixed=1")
    );
    assert!(
        seen.headers["host"].to_str().unwrap().starts_with("127.0.0.1:"),
        "not the client's Host"
    );
}

#[tokio::test]
async fn mb_05_legacy_requests_are_forwarded_without_mirrored_headers() {
    let fixture = Fixture::new().await;
    let lie = [
        ("mcp-name", "t_admin"),
        ("mcp-method", "tools/list"),
        ("mcp-param-x", "1"),
        ("mcp-protocol-version", "2025-06-18"),
        ("last-event-id", "9"),
    ];
    assert_eq!(fixture.post("alice", CALL, &lie).await.status(), 200);
    assert_eq!(
        names(&fixture.upstream.seen()[0].headers),
        [
            "accept",
            "content-length",
            "content-type",
            "host",
            "mcp-protocol-version"
        ]
    );
}

#[tokio::test]
async fn hd_05_x1_only_known_origins_are_let_in() {
    let fixture = Fixture::new().await;
    for origin in [
        "https://evil.test",
        "null",
        "http://localhost.evil.test",
        "file://",
        "http://gw.test",
        "https://gw.test:8443",
        "https://gw.test.",
        "HTTPS://GW.TEST",
        "https://gw.test/",
        "http://localhost:62740",
        "http://localhost",
        "",
    ] {
        let response = fixture.post("alice", CALL, &[("origin", origin)]).await;
        assert_eq!(response.status(), 403, "{origin}");
        assert!(response.headers().get("access-control-allow-origin").is_none());
        assert_eq!(error(response).await["error"]["data"]["reason"], "origin");
    }
    let two = [("origin", "https://gw.test"), ("origin", "https://gw.test")];
    assert_eq!(fixture.post("alice", CALL, &two).await.status(), 403);
    assert!(fixture.upstream.seen().is_empty());
    for headers in [
        &[][..],
        &[("origin", "https://gw.test")],
        &[("origin", "http://localhost:6274")],
    ] {
        assert_eq!(
            fixture.post("alice", CALL, headers).await.status(),
            200,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn hd_06_simple_cross_site_requests_are_refused() {
    let fixture = Fixture::new().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "application/json; charset=utf-16",
        "application/jsonp",
        "text/json",
    ] {
        let response = fixture
            .post("alice", CALL, &[("content-type", content_type)])
            .await;
        assert_eq!(response.status(), 415, "{content_type}");
    }
    let mut bare = post("alice", CALL, &[]);
    bare.headers_mut().remove("content-type");
    assert_eq!(fixture.send(bare).await.status(), 415);
    let cookie_only = post(
        "",
        CALL,
        &[("cookie", "session=x"), ("content-type", "text/plain")],
    );
    assert_eq!(fixture.send(cookie_only).await.status(), 401);
    assert!(fixture.upstream.seen().is_empty());
    for content_type in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
    ] {
        assert_eq!(
            fixture
                .post("alice", CALL, &[("content-type", content_type)])
                .await
                .status(),
            200
        );
    }
}

#[tokio::test]
async fn hd_07_preflights_are_answered_for_configured_origins_only() {
    let fixture = Fixture::new().await;
    let preflight = |origin| {
        request(
            "OPTIONS",
            "/a/mcp",
            "",
            "",
            &[
                ("origin", origin),
                ("access-control-request-method", "POST"),
                (
                    "access-control-request-headers",
                    "authorization,mcp-param-region,x-evil,mcp-param-a b",
                ),
            ],
        )
    };
    let response = fixture.send(preflight("http://localhost:6274")).await;
    assert_eq!(response.status(), 204);
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:6274");
    assert!(headers.get("access-control-allow-credentials").is_none());
    let allowed = headers["access-control-allow-headers"].to_str().unwrap();
    assert!(
        allowed.contains("authorization") && allowed.ends_with(", mcp-param-region"),
        "{allowed}"
    );
    let response = fixture.send(preflight("https://evil.test")).await;
    assert_eq!(response.status(), 403);
    assert!(
        response
            .headers()
            .keys()
            .all(|name| !name.as_str().starts_with("access-control"))
    );
    // A refusal too can be read by the page, which needs the challenge.
    let refused = fixture
        .post("", CALL, &[("origin", "http://localhost:6274")])
        .await;
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.headers()["access-control-allow-origin"],
        "http://localhost:6274"
    );
    let exposed = refused.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(exposed.contains("WWW-Authenticate") && exposed.contains("Mcp-Session-Id"));
}

#[tokio::test]
async fn hd_08_only_the_raw_path_leads_to_a_server() {
    let fixture = Fixture::new().await;
    for path in [
        "/a/mcp/",
        "//a/mcp",
        "/x/../a/mcp",
        "/a%2Fmcp",
        "/a/mcp%00",
        "/a/mcp;v=1",
        "/A/MCP",
        "/healthz/../a/mcp",
        "/.well-known/oauth-protected-resource/../../a/mcp",
        "/a/mcp%23",
        "/a/./mcp",
        "/a/%6dcp",
        "/a\\mcp",
        "a/mcp",
        "",
        "/",
        "/a",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/A/mcp",
    ] {
        assert_eq!(fixture.gateway.route(path), None, "{path}");
    }
    assert!(fixture.gateway.route("/a/mcp").is_some());
}

#[tokio::test]
async fn hd_03_hd_09_nothing_opens_a_door_without_a_token() {
    let fixture = Fixture::new().await;
    for headers in [
        [("x-forwarded-uri", "/healthz")],
        [("x-original-url", "/healthz")],
        [("x-rewrite-url", "/.well-known/x")],
        [("forwarded", "for=127.0.0.1;proto=https")],
        [("user-agent", "GoogleHC/1.0")],
        [("user-agent", "ELB-HealthChecker/2.0")],
        [("authorization", "Basic YWRtaW46YWRtaW4=")],
    ] {
        let response = fixture.post("", CALL, &headers).await;
        assert_eq!(response.status(), 401, "{headers:?}");
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!(
            challenge,
            "Bearer resource_metadata=\"https://gw.test/.well-known/oauth-protected-resource/a/mcp\", scope=\"a\""
        );
    }
    assert!(fixture.upstream.seen().is_empty());
}

#[tokio::test]
async fn hd_12_connection_cannot_strip_what_we_set() {
    let fixture = Fixture::new().await;
    let body = modern("tools/call", r#""name":"t_read""#);
    let headers = [
        VERSION,
        ("mcp-method", "tools/call"),
        ("mcp-name", "t_read"),
        (
            "connection",
            "close, X-Auth-User, Mcp-Name, Mcp-Method, Content-Type, Authorization",
        ),
        ("keep-alive", "timeout=1"),
        ("te", "trailers"),
        ("upgrade", "foo"),
    ];
    assert_eq!(fixture.post("alice", &body, &headers).await.status(), 200);
    let seen = &fixture.upstream.seen()[0].headers;
    assert_eq!(
        (&seen["mcp-name"], &seen["content-type"]),
        (&"t_read".parse().unwrap(), &"application/json".parse().unwrap())
    );
    for name in ["connection", "keep-alive", "te", "upgrade", "authorization"] {
        assert!(!seen.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn hd_13_other_methods_are_refused_and_without_a_token_are_401_first() {
    let fixture = Fixture::new().await;
    for method in ["PUT", "PATCH", "TRACE", "HEAD", "OPTIONS", "BREW"] {
        assert_eq!(
            fixture
                .send(request(method, "/a/mcp", "", "", &[]))
                .await
                .status(),
            401,
            "{method}"
        );
        let response = fixture
            .send(request(method, "/a/mcp", "alice", "", &[("x-echo", "me")]))
            .await;
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "POST, GET, DELETE");
        assert!(
            !format!("{:?}", response.headers()).contains("me\""),
            "{method} is not echoed"
        );
    }
    for method in ["GET", "DELETE"] {
        let modern = [VERSION, ("mcp-session-id", "x"), ("last-event-id", "1")];
        let response = fixture
            .send(request(method, "/a/mcp", "alice", "", &modern))
            .await;
        assert_eq!(response.status(), 405, "{method}");
        assert!(response.headers().get("mcp-session-id").is_none());
    }
    assert!(fixture.upstream.seen().is_empty());
}
