//! Registration and its management under every address where clients look for them.

use http::{Method, StatusCode};
use serde_json::json;

use super::harness::{Setup, Site};

/// Clients of revision 2025-03-26 call `/authorize`, `/token` and `/register` on the origin of the MCP server without
/// having discovered them; an issuer with a path names all of them below that path. Both are there.
#[tokio::test]
async fn r12_default_endpoints_answer_on_the_origin_also_when_the_issuer_has_a_path() {
    let setup = Setup {
        issuer: "https://mcp.example.com/t/acme",
        ..Setup::default()
    };
    let site = Site::with(setup).await;
    let metadata = site
        .call(Method::GET, "/.well-known/oauth-authorization-server/t/acme", &[])
        .await
        .json();
    let named = |name: &str| {
        let url = metadata[name].as_str().unwrap();
        url.strip_prefix("https://mcp.example.com").unwrap().to_owned()
    };
    for (name, default) in [
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
        ("revocation_endpoint", "/revoke"),
        ("introspection_endpoint", "/introspect"),
        ("pushed_authorization_request_endpoint", "/par"),
    ] {
        assert_eq!(named(name), format!("/t/acme{default}"));
        for path in [named(name), default.to_owned()] {
            let reply = site
                .post(&path, "application/x-www-form-urlencoded", String::new())
                .await;
            assert!(
                !matches!(
                    reply.status,
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
                ),
                "{path}: {}",
                reply.body
            );
            assert!(reply.json()["error"].is_string(), "{path}: {}", reply.body);
        }
    }
    let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"] }).to_string();
    let ids = [named("registration_endpoint"), "/register".to_owned()];
    let mut told = Vec::new();
    for path in &ids {
        let reply = site.post(path, "application/json", body.clone()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{path}: {}", reply.body);
        told.push(reply.json()["client_id"].clone());
    }
    assert_eq!(told[0], told[1], "one server, one client");
    for path in ids {
        let managed = format!("{path}/{}", told[0].as_str().unwrap());
        for method in [Method::GET, Method::DELETE] {
            let reply = site.call(method, &managed, &[]).await;
            assert_eq!(
                reply.status,
                StatusCode::UNAUTHORIZED,
                "{managed}: {}",
                reply.body
            );
            assert!(
                reply.header("www-authenticate").starts_with("Bearer "),
                "{managed}"
            );
        }
        let reply = site.call(Method::PATCH, &managed, &[]).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{managed}");
    }
    for path in [named("authorization_endpoint"), "/authorize".to_owned()] {
        let reply = site.call(Method::GET, &path, &[]).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn r17_a_key_registers_and_is_told_where_to_manage_itself() {
    let site = Site::new().await;
    let key = doorward_jose::SigningKey::generate().unwrap();
    let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "private_key_jwt",
        "jwks": { "keys": [key.public_jwk()] } });
    let reply = site.post("/register", "application/json", body.to_string()).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
    assert_eq!(reply.header("cache-control"), "no-store");
    let told = reply.json();
    assert_eq!(told["jwks"]["keys"][0]["kty"], "EC");
    let uri = told["registration_client_uri"].as_str().unwrap();
    let path = uri.strip_prefix("https://mcp.example.com").unwrap();
    let token = format!("Bearer {}", told["registration_access_token"].as_str().unwrap());
    let shown = site.call(Method::GET, path, &[("authorization", &token)]).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
    assert_eq!(shown.json()["client_id"], told["client_id"]);
    let twice = [
        ("authorization", token.as_str()),
        ("authorization", token.as_str()),
    ];
    let reply = site.call(Method::GET, path, &twice).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "two headers are none");
}

#[tokio::test]
async fn hd_05_scripts_of_foreign_origins_manage_nothing() {
    let site = Site::new().await;
    for (origin, allowed) in [("https://evil.test", false), ("http://localhost:6274", true)] {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        let reply = site.call(Method::OPTIONS, "/register/dcc_x", &headers).await;
        let methods = reply.header("access-control-allow-methods");
        assert_eq!(methods.contains("PUT"), allowed, "{origin}: {methods}");
        let reply = site
            .call(Method::DELETE, "/register/dcc_x", &[("origin", origin)])
            .await;
        let expected = if allowed {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(reply.status, expected, "{origin}");
    }
}
