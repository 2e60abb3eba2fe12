//! HD: the HTTP surface and headers.

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::Pkce;
use doorward_testkit::raw;
use doorward_testkit::{PASSWORD, marker, mcp};
use serde_json::json;

use crate::support::RA;

crate::shared_catalogue!();

/// A whole request as text, with a `tools/call` body that holds `marker`.
fn raw_call(line: &str, headers: &[(&str, &str)], marker: &str) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "t_read", "arguments": { "marker": marker }, "_meta": mcp::meta() } })
    .to_string();
    let mut out = format!("{line}\r\n");
    let usual = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", mcp::MODERN),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "t_read"),
    ];
    for (name, value) in headers.iter().chain(&usual) {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    out
}

#[tokio::test]
async fn hd_01_headers_that_a_client_forges_never_arrive() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let forged = marker();
    let names = [
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x-FORWARDED-user",
        "X-Auth-Request-Email",
        "X_Auth_Request_Email",
        "x-mcp-authorized",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "Forwarded",
        "Via",
        "Doorward-Identity",
        "Doorward_Identity",
        "dOORWARD-iDENTITY",
        "X-Doorward-User",
        "X_Doorward_User",
        "X-Doorward-Groups",
        "Remote-User",
        "User-Agent",
        "Referer",
        "Mcp_Name",
        "MCP_METHOD",
        "mcp_session_id",
        "Accept_",
        "X-Original-URL",
        "X-HTTP-Method-Override",
        "Baggage",
    ];
    let case = marker();
    let mut request = catalogue.call(&case).bearer(&token);
    for name in names {
        request = request.header(name, &forged);
    }
    assert_eq!(request.send().await.status, 200);
    let seen = catalogue.up_a.the(&case);
    let text = String::from_utf8_lossy(&seen.head).into_owned();
    assert!(!text.contains(&forged), "{text}");
    let mut names: Vec<String> = seen
        .headers()
        .into_iter()
        .map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"))
        .collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "each header once: {text}");
    assert_eq!(seen.values("Mcp-Name"), ["t_read"]);
    assert_eq!(seen.values("Mcp-Method"), ["tools/call"]);
    assert_eq!(seen.values("MCP-Protocol-Version"), [mcp::MODERN]);
    assert_eq!(seen.values("Host"), [catalogue.up_a.address().to_string()]);
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_02_s15_no_credential_reaches_an_upstream() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let (case, cookie, proxy) = (marker(), marker(), marker());
    let request = catalogue.call(&case).bearer(&token);
    let request = request
        .header("Cookie", &format!("session={cookie}"))
        .header("Proxy-Authorization", &format!("Basic {proxy}"));
    assert_eq!(request.send().await.status, 200);
    let bytes = catalogue.up_a.the(&case).bytes();
    for (what, secret) in [
        ("token", token.as_str()),
        ("cookie", &cookie),
        ("proxy credential", &proxy),
    ] {
        assert!(
            raw::find(&bytes, secret.as_bytes()).is_none(),
            "{what}: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert!(catalogue.up_a.the(&case).values("Authorization").is_empty());
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_03_headers_that_name_a_public_path_open_nothing() {
    let catalogue = catalogue().await;
    for name in [
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Forwarded",
        "X-Forwarded-Prefix",
        "X-Original-URI",
    ] {
        for value in [
            "/healthz",
            "/.well-known/oauth-protected-resource/a/mcp",
            "for=127.0.0.1;proto=https",
        ] {
            let case = marker();
            let reply = catalogue.call(&case).header(name, value).send().await;
            catalogue.assert_u401(&reply, RA, false);
            catalogue.up_a.assert_never_saw(&case);
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_04_a_foreign_host_changes_no_url() {
    let catalogue = catalogue().await;
    let (host, address) = (catalogue.doorward.host(), catalogue.doorward.address());
    let check = |what: &str, reply: &raw::RawReply| {
        let text = reply.text();
        assert!(!text.contains("evil"), "{what}: {text}");
        assert!(
            matches!(reply.status, 400 | 403 | 421) || text.contains(catalogue.issuer()),
            "{what}: {text}"
        );
    };
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/a/mcp",
        "/a/mcp",
    ] {
        let port = host.rsplit(':').next().unwrap();
        for bad in [
            "evil.test".to_owned(),
            format!("{host}/x?"),
            format!("{host}#"),
            format!("{host}@evil.test"),
            format!("evil.test, {host}"),
            format!("localhost.evil.test:{port}"),
            String::new(),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {bad}\r\n\r\n");
            let reply = raw::send(address, request.as_bytes()).await;
            check(&format!("Host: {bad}"), &reply);
            assert!(
                matches!(reply.status, 400 | 403 | 421),
                "Host: {bad}: {}",
                reply.text()
            );
        }
        let twice = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\n\r\n");
        let reply = raw::send(address, twice.as_bytes()).await;
        check("two Hosts", &reply);
        assert!(
            matches!(reply.status, 400 | 403 | 421),
            "two Hosts: {}",
            reply.text()
        );
        let none = raw::send(address, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await;
        assert!(matches!(none.status, 400 | 403 | 421), "no Host: {}", none.text());
        let absolute = format!("GET http://evil.test{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        check("absolute form", &raw::send(address, absolute.as_bytes()).await);
        let forwarded = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: evil.test\r\nForwarded: host=evil.test\r\n\r\n"
        );
        check(
            "X-Forwarded-Host",
            &raw::send(address, forwarded.as_bytes()).await,
        );
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_04_another_loopback_spelling_is_told_the_right_url() {
    let catalogue = catalogue().await;
    let port = catalogue.doorward.address().port();
    for spelling in ["localhost", "[::1]", "127.0.0.2"] {
        let request = raw_call(
            &format!("POST {RA} HTTP/1.1"),
            &[("Host", &format!("{spelling}:{port}"))],
            "x",
        );
        let reply = raw::send(catalogue.doorward.address(), request.as_bytes()).await;
        assert_eq!(reply.status, 421, "{spelling}: {}", reply.text());
        assert!(reply.text().contains(catalogue.issuer()), "{}", reply.text());
        for open in ["/healthz", "/readyz"] {
            let request = format!("GET {open} HTTP/1.1\r\nHost: {spelling}:{port}\r\n\r\n");
            assert_eq!(
                raw::send(catalogue.doorward.address(), request.as_bytes())
                    .await
                    .status,
                200
            );
        }
    }
}

const FOREIGN: [&str; 6] = [
    "https://evil.test",
    "null",
    "http://localhost.evil.test",
    "file://",
    "http://127.0.0.1.evil.test",
    "",
];

#[tokio::test]
async fn hd_05_foreign_origins_are_refused_everywhere() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let client = catalogue.n1().await;
    for origin in FOREIGN {
        let case = marker();
        let reply = catalogue
            .call(&case)
            .bearer(&token)
            .header("Origin", origin)
            .send()
            .await;
        assert_eq!(reply.status, 403, "MCP, {origin}: {}", reply.text());
        catalogue.up_a.assert_never_saw(&case);
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "dwr_x"),
            ("client_id", client.id.as_str()),
        ];
        let reply = catalogue
            .doorward
            .post("/token")
            .form(&form)
            .header("Origin", origin)
            .send()
            .await;
        assert_eq!(reply.status, 403, "/token, {origin}: {}", reply.text());
        let metadata = json!({ "client_name": "x", "redirect_uris": ["http://127.0.0.1/cb"] });
        let reply = catalogue
            .doorward
            .post("/register")
            .json(&metadata)
            .header("Origin", origin)
            .send()
            .await;
        assert_eq!(reply.status, 403, "/register, {origin}: {}", reply.text());
    }
    let case = marker();
    let foreign_host = catalogue
        .call(&case)
        .bearer(&token)
        .header("Host", "attacker.test")
        .send()
        .await;
    assert!(
        matches!(foreign_host.status, 403 | 421),
        "{}",
        foreign_host.text()
    );
    catalogue.up_a.assert_never_saw(&case);
    let own = catalogue
        .call(&case)
        .bearer(&token)
        .header("Origin", catalogue.issuer())
        .send()
        .await;
    assert_eq!(own.status, 200, "{}", own.text());
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_05_form_pages_want_to_know_where_a_post_comes_from() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let url = client.authorize_url(&Pkce::new(), &catalogue.ra());
    let own = catalogue.issuer();
    for (origin, fetch_site, passes) in [
        (Some(own), "same-origin", true),
        (None, "same-origin", true),
        (Some("null"), "same-origin", true),
        (None, "", false),
        (None, "cross-site", false),
        (None, "same-site", false),
        (None, "none", false),
        (Some("null"), "cross-site", false),
        (Some("null"), "", false),
        (Some("https://evil.test"), "same-origin", false),
        (Some("http://localhost.evil.test"), "same-origin", false),
        (Some("file://"), "same-origin", false),
    ] {
        let mut browser = Browser::new(&catalogue.doorward);
        let page = browser.get(&url).await;
        let mut form = page.login_form();
        form.fill("username", "alice");
        form.fill("password", PASSWORD);
        let fields = form.fields("");
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let action = url::Url::parse(&page.url)
            .unwrap()
            .join(&form.action)
            .unwrap()
            .to_string();
        let mut request = catalogue.doorward.post(&action).form(&fields);
        request = request.header("Cookie", &browser.cookie_header().unwrap());
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        if !fetch_site.is_empty() {
            request = request.header("Sec-Fetch-Site", fetch_site);
        }
        let reply = request.send().await;
        let what = format!(
            "Origin {origin:?}, Sec-Fetch-Site {fetch_site:?}: {}",
            reply.status
        );
        assert_eq!(reply.status < 400, passes, "{what}");
        if !passes {
            assert_eq!(reply.status, 403, "{what}");
            assert!(
                reply.headers.get("Set-Cookie").is_none(),
                "nobody is signed in: {what}"
            );
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_06_a_cookie_opens_no_mcp_endpoint() {
    let catalogue = catalogue().await;
    let cookies = catalogue.alice().await.cookie_header().unwrap();
    let case = marker();
    for kind in [
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/json"),
        None,
    ] {
        let request = catalogue
            .call(&case)
            .without("Content-Type")
            .header("Cookie", &cookies);
        let request = request
            .header("Origin", "https://evil.test")
            .header("Sec-Fetch-Site", "cross-site");
        let request = match kind {
            Some(kind) => request.header("Content-Type", kind),
            None => request,
        };
        let reply = request.send().await;
        assert!(
            matches!(reply.status, 401 | 403 | 415),
            "{kind:?}: {}",
            reply.status
        );
        catalogue.up_a.assert_never_saw(&case);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_07_no_foreign_site_may_read_with_credentials() {
    let catalogue = catalogue().await;
    for path in [
        RA,
        "/token",
        "/register",
        "/authorize",
        "/login",
        "/consent",
        "/setup",
    ] {
        for method in ["OPTIONS", "GET"] {
            let request = catalogue
                .doorward
                .request(method, path)
                .header("Origin", "https://evil.test");
            let request = request
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "authorization, content-type");
            let reply = request.send().await;
            let what = format!("{method} {path}: {:?}", reply.headers);
            assert_eq!(reply.header("Access-Control-Allow-Credentials"), None, "{what}");
            assert_ne!(
                reply.header("Access-Control-Allow-Origin"),
                Some("https://evil.test"),
                "{what}"
            );
            if matches!(path, "/authorize" | "/login" | "/consent" | "/setup") {
                assert_eq!(
                    reply.header("Access-Control-Allow-Origin"),
                    None,
                    "pages never: {what}"
                );
            }
        }
    }
    for public in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/a/mcp",
        "/.well-known/jwks.json",
    ] {
        let reply = catalogue
            .doorward
            .get(public)
            .header("Origin", "https://evil.test")
            .send()
            .await;
        assert_eq!(reply.header("Access-Control-Allow-Origin"), Some("*"), "{public}");
        assert_eq!(reply.header("Access-Control-Allow-Credentials"), None);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_07_an_allowed_origin_may_use_the_mcp_endpoint() {
    let up = doorward_testkit::upstream::Upstream::start();
    let config = format!(
        "allowed_origins = [\"http://localhost:6274\"]\n{}",
        crate::support::two_servers(&up.url(), &up.url())
    );
    let doorward = doorward_testkit::Doorward::builder()
        .config(&config)
        .start()
        .await;
    for path in [RA, "/token", "/register"] {
        let preflight = doorward
            .request("OPTIONS", path)
            .header("Origin", "http://localhost:6274")
            .header("Access-Control-Request-Method", "POST")
            .header(
                "Access-Control-Request-Headers",
                "authorization, content-type, mcp-protocol-version, mcp-session-id",
            );
        let reply = preflight.send().await;
        assert!(matches!(reply.status, 200 | 204), "{path}: {}", reply.status);
        assert_eq!(
            reply.header("Access-Control-Allow-Origin"),
            Some("http://localhost:6274")
        );
        let allowed = reply
            .header("Access-Control-Allow-Headers")
            .unwrap_or_default()
            .to_ascii_lowercase();
        if path == RA {
            for name in [
                "authorization",
                "content-type",
                "mcp-protocol-version",
                "mcp-session-id",
            ] {
                assert!(allowed.contains(name), "{name}: {allowed}");
            }
        }
        assert!(
            reply
                .header("Vary")
                .unwrap_or_default()
                .to_ascii_lowercase()
                .contains("origin"),
            "{:?}",
            reply.headers
        );
    }
    let refused = mcp::call(&doorward, RA, "t_read", &json!({}))
        .header("Origin", "http://localhost:6274")
        .send()
        .await;
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.header("Access-Control-Allow-Origin"),
        Some("http://localhost:6274")
    );
    let exposed = refused
        .header("Access-Control-Expose-Headers")
        .unwrap_or_default()
        .to_ascii_lowercase();
    for name in ["www-authenticate", "mcp-session-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}

#[tokio::test]
async fn hd_08_odd_spellings_of_the_path_open_nothing() {
    let catalogue = catalogue().await;
    let host = catalogue.doorward.host();
    for path in [
        "/a/mcp/",
        "//a/mcp",
        "/a//mcp",
        "/x/../a/mcp",
        "/./a/mcp",
        "/a%2Fmcp",
        "/a%2fmcp",
        "/a/mcp%00",
        "/a/mcp;v=1",
        "/a;v=1/mcp",
        "/A/MCP",
        "/a/%6dcp",
        "/healthz/../a/mcp",
        "/.well-known/oauth-protected-resource/../../a/mcp",
        "/.well-known/oauth-protected-resource/%2e%2e/%2e%2e/a/mcp",
        "/a/mcp%23",
        "/a/mcp%3f",
        "/a/mcp?x=/healthz",
        "/a/mcp/healthz",
        "/\\a\\mcp",
        "/a/mcp%20",
    ] {
        let case = marker();
        let request = raw_call(&format!("POST {path} HTTP/1.1"), &[("Host", &host)], &case);
        let reply = raw::send(catalogue.doorward.address(), request.as_bytes()).await;
        assert!(
            matches!(reply.status, 400 | 401 | 404),
            "{path}: {}",
            reply.text()
        );
        catalogue.up_a.assert_never_saw(&case);
        catalogue.up_b.assert_never_saw(&case);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn hd_09_looking_like_a_health_check_opens_nothing() {
    let catalogue = catalogue().await;
    for (name, value) in [
        ("User-Agent", "ELB-HealthChecker/2.0"),
        ("User-Agent", "GoogleHC/1.0"),
        ("User-Agent", "kube-probe/1.31"),
        ("User-Agent", "Azure Traffic Manager Endpoint Monitor"),
        ("X-Health-Check", "1"),
        ("X-Envoy-Internal", "true"),
        ("X-Kubernetes-Probe", "readiness"),
    ] {
        let case = marker();
        let reply = catalogue.call(&case).header(name, value).send().await;
        catalogue.assert_u401(&reply, RA, false);
        catalogue.up_a.assert_never_saw(&case);
    }
    catalogue.still_good().await;
}
