//! Documents, CORS, static files, and what happens when storage does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, StatusCode};

use super::contended::Contended;
use super::harness::*;

const EVIL: &str = "https://evil.test";

#[tokio::test]
async fn r12_d6_a5_az_11_metadata_answers_at_every_form() {
    let oauth = "/.well-known/oauth-authorization-server";
    let openid = "/.well-known/openid-configuration";
    for (issuer, paths) in [
        (
            "https://mcp.example.com",
            vec![oauth.to_owned(), openid.to_owned()],
        ),
        (
            "https://mcp.example.com/t/a",
            vec![
                oauth.to_owned(),
                openid.to_owned(),
                format!("{oauth}/t/a"),
                format!("{openid}/t/a"),
                format!("/t/a{openid}"),
                format!("/t/a{oauth}"),
            ],
        ),
    ] {
        let site = Site::with(Setup {
            issuer,
            ..Setup::default()
        })
        .await;
        for path in paths {
            let reply = site.call(Method::GET, &path, &[("origin", EVIL)]).await;
            assert_eq!(reply.status, StatusCode::OK, "{path}");
            assert_eq!(reply.header("access-control-allow-origin"), "*");
            assert_eq!(reply.header("content-type"), "application/json");
            let document = reply.json();
            assert_eq!(document["issuer"], issuer, "{path}");
            assert_eq!(
                document["code_challenge_methods_supported"],
                serde_json::json!(["S256"])
            );
            assert_eq!(document["authorization_response_iss_parameter_supported"], true);
            for endpoint in [
                "authorization_endpoint",
                "token_endpoint",
                "registration_endpoint",
                "jwks_uri",
            ] {
                let url: url::Url = document[endpoint].as_str().unwrap().parse().unwrap();
                let reply = site.call(Method::GET, url.path(), &[]).await;
                assert_ne!(reply.status, StatusCode::NOT_FOUND, "{url}");
            }
        }
        for path in ["/authorize", "/token", "/register"] {
            assert_ne!(
                site.call(Method::GET, path, &[]).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        let other = site
            .call(Method::GET, &format!("{oauth}/other"), &[("origin", EVIL)])
            .await;
        assert_eq!(
            (other.status, other.header("access-control-allow-origin")),
            (StatusCode::NOT_FOUND, "*")
        );
    }
}

#[tokio::test]
async fn hd_07_pages_never_allow_cors_and_nothing_allows_credentials() {
    let site = Site::new().await;
    let inspector = "http://localhost:6274";
    for path in ["/authorize", "/login", "/consent", "/setup", "/logout", "/"] {
        for origin in [EVIL, inspector] {
            let headers = [("origin", origin), ("access-control-request-method", "POST")];
            let reply = site.call(Method::OPTIONS, path, &headers).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert!(
                !reply
                    .headers
                    .keys()
                    .any(|name| name.as_str().starts_with("access-control")),
                "{path}"
            );
        }
    }
    for path in ["/token", "/register"] {
        let preflight = |origin| [("origin", origin), ("access-control-request-method", "POST")];
        let refused = site.call(Method::OPTIONS, path, &preflight(EVIL)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(!refused.headers.contains_key("access-control-allow-origin"));
        let allowed = site.call(Method::OPTIONS, path, &preflight(inspector)).await;
        assert_eq!(
            (allowed.status, allowed.header("access-control-allow-origin")),
            (StatusCode::NO_CONTENT, inspector)
        );
        assert_eq!(allowed.header("vary"), "Origin");
        assert!(!allowed.headers.contains_key("access-control-allow-credentials"));
    }
    let preflight = [
        ("origin", EVIL),
        ("access-control-request-headers", "mcp-protocol-version"),
    ];
    let document = site
        .call(
            Method::OPTIONS,
            "/.well-known/oauth-authorization-server",
            &preflight,
        )
        .await;
    assert_eq!(
        (document.status, document.header("access-control-allow-origin")),
        (StatusCode::NO_CONTENT, "*")
    );
    assert!(!document.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn hd_05_programs_from_a_foreign_origin_are_refused() {
    let site = Site::new().await;
    for path in ["/token", "/register"] {
        for origin in [EVIL, "null", "http://localhost.evil.test", "file://"] {
            let headers = [("origin", origin), ("content-type", "application/json")];
            let reply = site
                .send(request(Method::POST, path, &headers, "{}".into()))
                .await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path} {origin}");
        }
        for headers in [
            vec![],
            vec![("origin", "https://mcp.example.com")],
            vec![("origin", "http://localhost:6274")],
        ] {
            let reply = site
                .send(request(Method::POST, path, &headers, "{}".into()))
                .await;
            assert_ne!(reply.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn the_start_page_lists_the_servers_and_no_secret() {
    let site = Site::new().await;
    let page = site.call(Method::GET, "/", &[]).await;
    assert!(page.body.contains("https://mcp.example.com/notes/mcp"));
    for secret in ["alice", "dcr_", "password"] {
        assert!(!page.body.contains(secret), "{secret}");
    }
    let style = page
        .body
        .split("href=\"")
        .find(|part| part.starts_with("/static/"))
        .unwrap();
    let style = style.split('"').next().unwrap();
    let sheet = site.call(Method::GET, style, &[]).await;
    assert_eq!(
        (sheet.status, sheet.header("content-type")),
        (StatusCode::OK, "text/css; charset=utf-8")
    );
    assert_eq!(
        sheet.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    let other = site.call(Method::GET, "/static/doorward-x.css", &[]).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn wrong_methods_name_the_right_ones() {
    let site = Site::new().await;
    for (method, path, allow) in [
        (Method::GET, "/register", "POST"),
        (Method::PUT, "/token", "POST"),
        (Method::DELETE, "/login", "GET,HEAD,POST"),
        (Method::POST, "/", "GET,HEAD"),
        (Method::GET, "/logout", "POST"),
    ] {
        let reply = site.call(method, path, &[]).await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, allow),
            "{path}"
        );
    }
}

#[tokio::test]
async fn nothing_is_answered_from_a_store_that_is_gone() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    let code = site.code(&client).await;
    site.store.set_unavailable(true);
    let page = site.browser().get(&authorize_url(&client, &[])).await;
    assert_eq!(
        (page.status, page.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "2")
    );
    let token = site.token(&redeem(&client, &code)).await;
    assert_eq!(
        (token.status, token.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "2")
    );
    assert_eq!(token.json()["error"], "temporarily_unavailable");
    let answer = browser.answer(&consent, "approve").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        site.call(Method::GET, "/readyz", &[]).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        site.call(Method::GET, "/healthz", &[]).await.status,
        StatusCode::OK
    );
    site.store.set_unavailable(false);
    assert_eq!(
        site.token(&redeem(&client, &code)).await.status,
        StatusCode::OK,
        "nothing was burnt"
    );
}

#[tokio::test]
async fn three_conflicts_are_retried_and_the_fourth_is_told() {
    static CONFLICTS: AtomicU32 = AtomicU32::new(0);
    let setup = Setup {
        wrap: |store| {
            Arc::new(Contended {
                store,
                conflicts: &CONFLICTS,
            })
        },
        ..Setup::default()
    };
    let site = Site::with(setup).await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    CONFLICTS.store(4, Ordering::SeqCst);
    let reply = browser.answer(&consent, "approve").await;
    reply.assert_redirect("temporarily_unavailable", "four conflicts");
    CONFLICTS.store(3, Ordering::SeqCst);
    let code = browser.answer(&consent, "approve").await.location()["code"].clone();
    CONFLICTS.store(4, Ordering::SeqCst);
    let refused = site.token(&redeem(&client, &code)).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "2")
    );
    CONFLICTS.store(3, Ordering::SeqCst);
    assert_eq!(site.token(&redeem(&client, &code)).await.status, StatusCode::OK);
}
