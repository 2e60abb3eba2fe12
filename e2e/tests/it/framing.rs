//! HD: where one request ends and the next begins, and connections that would become something else.

use doorward_testkit::raw::{self, RawReply};
use doorward_testkit::{marker, mcp};
use serde_json::json;

use crate::support::{Catalogue, RA};

crate::shared_catalogue!();

/// A whole call; `token` and further header lines as given.
fn call(catalogue: &Catalogue, tool: &str, case: &str, token: Option<&str>, fields: &str) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": tool, "arguments": { "marker": case }, "_meta": mcp::meta() } })
    .to_string();
    let length = body.len();
    let head = head(
        catalogue,
        tool,
        token,
        &format!("{fields}Content-Length: {length}\r\n"),
    );
    format!("{head}{body}")
}

fn head(catalogue: &Catalogue, tool: &str, token: Option<&str>, fields: &str) -> String {
    let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "POST {RA} HTTP/1.1\r\nHost: {}\r\n{bearer}Content-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n{fields}\r\n",
        catalogue.doorward.host(),
        mcp::MODERN
    )
}

/// One refusal, after which the connection is closed.
#[track_caller]
fn assert_refused(what: &str, reply: &RawReply) {
    assert_eq!(reply.statuses(), [400], "{what}: {}", reply.text());
}

#[tokio::test]
async fn hd_10_requests_that_two_readers_would_read_differently_are_refused() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let (outer, hidden) = (marker(), marker());
    let inside = call(catalogue, "t_admin", &hidden, Some(&token), "");
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "t_read", "arguments": { "marker": outer }, "_meta": mcp::meta() } })
    .to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let all = body.len() + inside.len();
    let length = body.len();
    let after_chunks = chunked.len() + inside.len();
    for (what, fields, body) in [
        (
            "CL, TE",
            format!("Content-Length: {after_chunks}\r\nTransfer-Encoding: chunked\r\n"),
            &chunked,
        ),
        (
            "TE, CL",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {after_chunks}\r\n"),
            &chunked,
        ),
        (
            "TE, short CL",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n".into(),
            &chunked,
        ),
        (
            "CL 0, TE",
            "Content-Length: 0\r\nX: y\r\nTransfer-Encoding: Chunked\r\n".into(),
            &chunked,
        ),
        (
            "identity last",
            "Transfer-Encoding: chunked, identity\r\n".into(),
            &chunked,
        ),
        (
            "identity first",
            "Transfer-Encoding: identity, chunked\r\n".into(),
            &chunked,
        ),
        (
            "twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".into(),
            &chunked,
        ),
        ("x", "Transfer-Encoding: xchunked\r\n".into(), &chunked),
        (
            "folded",
            format!("Transfer-Encoding:\r\n chunked\r\nContent-Length: {length}\r\n"),
            &body,
        ),
        (
            "folded after",
            format!("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
            &body,
        ),
        (
            "space before the colon",
            format!("Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n"),
            &body,
        ),
        (
            "two lengths",
            format!("Content-Length: {length}\r\nContent-Length: {all}\r\n"),
            &body,
        ),
        (
            "two lengths, turned",
            format!("Content-Length: {all}\r\nContent-Length: {length}\r\n"),
            &body,
        ),
        (
            "the same length twice",
            format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
            &body,
        ),
        (
            "a list of lengths",
            format!("Content-Length: {length}, {length}\r\n"),
            &body,
        ),
        ("a sign", format!("Content-Length: +{length}\r\n"), &body),
        ("hexadecimal", format!("Content-Length: 0x{length:x}\r\n"), &body),
        (
            "a bare CR",
            format!("X: a\rContent-Length: 0\r\nContent-Length: {length}\r\n"),
            &body,
        ),
        ("a NUL", format!("X: a\0b\r\nContent-Length: {length}\r\n"), &body),
    ] {
        let request = format!(
            "{}{body}{inside}",
            head(catalogue, "t_read", Some(&token), &fields)
        );
        let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
        assert_refused(what, &reply);
    }
    let old = head(
        catalogue,
        "t_read",
        Some(&token),
        "Transfer-Encoding: chunked\r\n",
    )
    .replace("HTTP/1.1", "HTTP/1.0");
    let request = format!("{old}{chunked}{inside}");
    let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
    assert_refused("HTTP/1.0 with chunks", &reply);
    catalogue.up_a.assert_never_saw(&outer);
    catalogue.up_a.assert_never_saw(&hidden);
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_10_chunks_that_two_readers_would_read_differently_are_refused() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let (outer, hidden) = (marker(), marker());
    let inside = call(catalogue, "t_admin", &hidden, Some(&token), "");
    let chunked = head(
        catalogue,
        "t_read",
        Some(&token),
        "Transfer-Encoding: chunked\r\n",
    );
    let filler = format!("{{\"{outer}\":1}}");
    let size = format!("{:x}", filler.len());
    for (what, body) in [
        ("bare LF after the size", format!("{size}\n{filler}\r\n0\r\n\r\n")),
        (
            "bare LF in an extension",
            format!("{size};a\nb\r\n{filler}\r\n0\r\n\r\n"),
        ),
        (
            "bare LF after the chunk",
            format!("{size}\r\n{filler}\n0\r\n\r\n"),
        ),
        ("a sign", format!("+{size}\r\n{filler}\r\n0\r\n\r\n")),
        ("0x", format!("0x{size}\r\n{filler}\r\n0\r\n\r\n")),
        ("no size", format!("\r\n{filler}\r\n0\r\n\r\n")),
        (
            "an overflow",
            format!("1000000000000000{size}\r\n{filler}\r\n0\r\n\r\n"),
        ),
        ("bare LF at the end", format!("{size}\r\n{filler}\r\n0\n\n")),
    ] {
        let request = format!("{chunked}{body}{inside}");
        let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
        assert_refused(what, &reply);
    }
    catalogue.up_a.assert_never_saw(&outer);
    catalogue.up_a.assert_never_saw(&hidden);
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_10_pipelined_requests_are_judged_one_by_one() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let (first, second, third) = (marker(), marker(), marker());
    let chunked = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "t_read", "arguments": { "marker": third }, "_meta": mcp::meta() } })
    .to_string();
    let (left, right) = chunked.split_at(17);
    let all = [
        call(catalogue, "t_read", &first, Some(&token), ""),
        call(catalogue, "t_admin", &second, None, ""),
        format!(
            "{}{:x};x=y\r\n{left}\r\n{:X}\r\n{right}\r\n0\r\nTrailer: 1\r\n\r\n",
            head(
                catalogue,
                "t_read",
                Some(&token),
                "Transfer-Encoding: chunked\r\n"
            ),
            left.len(),
            right.len()
        ),
        format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            catalogue.doorward.host()
        ),
    ]
    .concat();
    let reply = raw::until_closed(catalogue.doorward.address(), all.as_bytes()).await;
    assert_eq!(reply.statuses(), [200, 401, 200, 200], "{}", reply.text());
    assert_eq!(catalogue.up_a.with(&first).len(), 1);
    assert_eq!(catalogue.up_a.with(&third).len(), 1);
    catalogue.up_a.assert_never_saw(&second);
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_11_no_connection_becomes_another_protocol() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    for upgrade in [
        "Upgrade: foo\r\nConnection: upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
        "Upgrade: HTTP/2.0, foo\r\n",
    ] {
        let (first, second) = (marker(), marker());
        let request = [
            call(catalogue, "t_read", &first, Some(&token), upgrade),
            call(catalogue, "t_admin", &second, None, "Connection: close\r\n"),
        ]
        .concat();
        let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
        assert_eq!(reply.statuses(), [200, 401], "{upgrade}: {}", reply.text());
        assert!(reply.headers("Upgrade").is_empty(), "{}", reply.text());
        let seen = catalogue.up_a.the(&first);
        for name in ["Upgrade", "HTTP2-Settings", "Sec-WebSocket-Key"] {
            assert!(seen.values(name).is_empty(), "{name}: {upgrade}");
        }
        catalogue.up_a.assert_never_saw(&second);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_11_what_follows_an_upgrade_is_no_http2() {
    let catalogue = catalogue().await;
    let request = [
        call(
            catalogue,
            "t_read",
            &marker(),
            None,
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        )
        .into_bytes(),
        doorward_testkit::http2::PREFACE.to_vec(),
        doorward_testkit::http2::frame(doorward_testkit::http2::SETTINGS, 0, 0, &[]),
    ]
    .concat();
    let reply = raw::until_closed(catalogue.doorward.address(), &request).await;
    let statuses = reply.statuses();
    assert_eq!(statuses.first(), Some(&401), "{}", reply.text());
    assert!(
        statuses[1..].iter().all(|status| (400..500).contains(status)),
        "{}",
        reply.text()
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_12_a_client_cannot_have_our_headers_removed() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    for named in [
        "close, X-Auth-User, Mcp-Name, Authorization",
        "close, Mcp-Method, MCP-Protocol-Version, Content-Type, Accept",
        "close, Content-Length, Host, Transfer-Encoding",
    ] {
        let case = marker();
        let request = call(
            catalogue,
            "t_read",
            &case,
            Some(&token),
            &format!("Connection: {named}\r\nX-Auth-User: mallory\r\n"),
        );
        let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
        assert_eq!(reply.statuses(), [200], "{named}: {}", reply.text());
        let seen = catalogue.up_a.the(&case);
        assert_eq!(seen.values("Mcp-Name"), ["t_read"], "{named}");
        assert_eq!(seen.values("Mcp-Method"), ["tools/call"], "{named}");
        assert_eq!(seen.values("MCP-Protocol-Version"), [mcp::MODERN], "{named}");
        assert_eq!(seen.values("Content-Type"), ["application/json"], "{named}");
        assert_eq!(
            seen.values("Host"),
            [catalogue.up_a.address().to_string()],
            "{named}"
        );
        for absent in ["Authorization", "X-Auth-User"] {
            assert!(seen.values(absent).is_empty(), "{absent}: {named}");
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_13_other_methods_need_a_token_first_and_do_nothing_then() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let secret = marker();
    for method in [
        "GET", "DELETE", "PUT", "PATCH", "TRACE", "HEAD", "QUERY", "get", "post",
    ] {
        for with_token in [false, true] {
            let bearer = if with_token {
                format!("Authorization: Bearer {token}\r\n")
            } else {
                String::new()
            };
            let request = format!(
                "{method} {RA} HTTP/1.1\r\nHost: {}\r\n{bearer}Accept: application/json, text/event-stream\r\n\
                 MCP-Protocol-Version: {}\r\nX-Secret: {secret}\r\nMcp-Session-Id: {secret}\r\n\
                 Last-Event-ID: {secret}\r\nConnection: close\r\n\r\n",
                catalogue.doorward.host(),
                mcp::MODERN
            );
            let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
            let what = format!("{method}, token: {with_token}: {}", reply.text());
            match (with_token, method) {
                (false, _) => assert_eq!(reply.status, 401, "{what}"),
                // Legacy clients listen and end sessions; this session is nobody's.
                (true, "GET" | "DELETE") => assert!(matches!(reply.status, 400 | 404 | 405), "{what}"),
                (true, _) => assert_eq!(reply.status, 405, "{what}"),
            }
            assert!(!reply.text().contains(&secret), "nothing is echoed: {what}");
            assert!(reply.headers("Mcp-Session-Id").is_empty(), "{what}");
        }
    }
    for target in [
        "127.0.0.1:22",
        &catalogue.up_a.address().to_string(),
        "evil.test:443",
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-Secret: {secret}\r\n\r\n");
        let reply = raw::send(catalogue.doorward.address(), request.as_bytes()).await;
        assert_eq!(reply.status, 405, "CONNECT {target}: {}", reply.text());
        assert!(!reply.text().contains(&secret));
    }
    catalogue.up_a.assert_never_saw(&secret);
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_14_nothing_for_operators_is_on_the_public_listener() {
    let catalogue = catalogue().await;
    let config = std::fs::read_to_string(catalogue.doorward.home().join("doorward.toml")).unwrap();
    let inside = [
        catalogue.up_a.address().to_string(),
        catalogue.doorward.data.display().to_string(),
        config.lines().nth(2).unwrap().to_owned(),
    ];
    for path in [
        "/admin",
        "/admin/",
        "/admin/users",
        "/api/config",
        "/api/users",
        "/config",
        "/config_dump",
        "/config.json",
        "/doorward.toml",
        "/doorward-data/master.key",
        "/master.key",
        "/.env",
        "/debug",
        "/debug/pprof/",
        "/debug/vars",
        "/metrics",
        "/metrics/",
        "/stats",
        "/stats/prometheus",
        "/status",
        "/server-status",
        "/actuator",
        "/actuator/env",
        "/actuator/heapdump",
        "/env",
        "/info",
        "/trace",
        "/quitquitquit",
        "/shutdown",
        "/reload",
        "/logs",
        "/healthz/",
        "/healthz/../metrics",
        "/readyz/verbose",
        "/keys",
        "/tokens",
        "/users",
        "/clients",
        "/sessions",
        "/audit",
        "/.git/config",
        "/swagger.json",
        "/openapi.json",
        "/internal",
        "/v1/config",
        "/clusters",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let reply = catalogue.doorward.request(method, path).send().await;
            assert!(
                matches!(reply.status, 403..=405),
                "{method} {path}: {} {}",
                reply.status,
                reply.text()
            );
            for text in &inside {
                assert!(!reply.text().contains(text), "{method} {path} tells {text}");
            }
        }
    }
    for path in ["/healthz", "/readyz"] {
        let text = catalogue.doorward.get(path).send().await.text();
        assert!(
            inside.iter().all(|inside| !text.contains(inside)),
            "{path}: {text}"
        );
    }
    catalogue.still_good().await;
}
