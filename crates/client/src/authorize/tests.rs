use doorward_types::random::CountingRandom;
use serde_json::json;

use super::*;
use crate::named_url::UrlPolicy;
use crate::server_metadata::ServerMetadata;
use crate::testing::{client, metadata_with, url};

const ISSUER: &str = "https://as.example";

fn discovered(changes: &serde_json::Value) -> Discovered {
    let body = metadata_with(ISSUER, changes).to_string();
    let at = url("https://as.example/.well-known/oauth-authorization-server");
    Discovered {
        server: url("https://mcp.example.com/mcp"),
        resource: "HTTPS://mcp.example.com".into(),
        sign_on: None,
        resource_metadata: None,
        authorization_server: ServerMetadata::parse(ISSUER, &at, body.as_bytes(), &UrlPolicy::strict())
            .unwrap()
            .unwrap(),
    }
}

fn ask<'a>(client: &'a ClientInformation, scope: &'a ScopeSet, extra: &'a [(String, String)]) -> Ask<'a> {
    Ask {
        client,
        redirect_uri: "http://127.0.0.1:4711/callback",
        scope,
        extra,
        dpop_jkt: None,
    }
}

fn query(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().into_owned().collect()
}

fn get(url: &Url, name: &str) -> Option<String> {
    let found: Vec<String> = query(url)
        .into_iter()
        .filter(|(n, _)| n == name)
        .map(|(_, value)| value)
        .collect();
    assert!(found.len() < 2, "{name} {found:?}");
    found.first().cloned()
}

#[test]
fn s5_a19_s9_r19_what_the_authorization_request_says() {
    let (client, scope) = (client(ISSUER), "b a".parse().unwrap());
    let random = CountingRandom::default();
    let (url, pending) = request(&discovered(&json!({})), ask(&client, &scope, &[]), &random).unwrap();
    assert!(url.as_str().starts_with("https://as.example/authorize?"));
    assert_eq!(get(&url, "response_type").as_deref(), Some("code"));
    assert_eq!(get(&url, "client_id").as_deref(), Some("client-1"));
    assert_eq!(
        get(&url, "redirect_uri").as_deref(),
        Some("http://127.0.0.1:4711/callback")
    );
    assert_eq!(
        get(&url, "resource").as_deref(),
        Some("HTTPS://mcp.example.com"),
        "byte for byte"
    );
    assert_eq!(get(&url, "scope").as_deref(), Some("a b"));
    assert_eq!(get(&url, "code_challenge_method").as_deref(), Some("S256"));
    let challenge = CodeChallenge::parse(&get(&url, "code_challenge").unwrap()).unwrap();
    assert!(challenge.is_answered_by(pending.verifier.expose()));
    assert_eq!(get(&url, "state").as_deref(), Some(pending.state.expose()));
    assert!(!url.as_str().contains(pending.verifier.expose()));
    let (_, second) = request(&discovered(&json!({})), ask(&client, &scope, &[]), &random).unwrap();
    assert!(second.state != pending.state && second.verifier != pending.verifier);
}

#[test]
fn a13_the_issuer_is_recorded_with_verifier_and_state() {
    let (client, scope) = (client(ISSUER), ScopeSet::empty());
    let (url, pending) = request(
        &discovered(&json!({})),
        ask(&client, &scope, &[]),
        &CountingRandom::default(),
    )
    .unwrap();
    assert_eq!((pending.issuer.as_str(), pending.iss_required), (ISSUER, true));
    assert_eq!(pending.token_endpoint.as_str(), "https://as.example/token");
    assert_eq!(get(&url, "scope"), None, "nothing to ask for: no parameter (A12)");
    let silent = json!({ "authorization_response_iss_parameter_supported": null });
    let (_, pending) = request(
        &discovered(&silent),
        ask(&client, &scope, &[]),
        &CountingRandom::default(),
    )
    .unwrap();
    assert!(!pending.iss_required);
}

#[test]
fn parameters_of_the_user_come_along_but_never_in_the_place_of_ours() {
    let (client, scope) = (client(ISSUER), "a offline_access".parse().unwrap());
    let extra = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    let send = |extra: &[(String, String)]| {
        request(
            &discovered(&json!({})),
            ask(&client, &scope, extra),
            &CountingRandom::default(),
        )
    };
    let (url, _) = send(&extra("audience")).unwrap();
    assert_eq!(
        (get(&url, "audience").as_deref(), get(&url, "prompt").as_deref()),
        (Some("x"), Some("consent"))
    );
    let (url, _) = send(&extra("prompt")).unwrap();
    assert_eq!(get(&url, "prompt").as_deref(), Some("x"));
    for name in OURS {
        assert!(matches!(send(&extra(name)), Err(Error::NeedsUser(_))), "{name}");
    }
}

#[test]
fn an_endpoint_keeps_its_query_but_does_not_answer_for_the_client() {
    let (client, scope) = (client(ISSUER), ScopeSet::empty());
    let with = |endpoint: &str| {
        let discovered = discovered(&json!({ "authorization_endpoint": endpoint }));
        request(&discovered, ask(&client, &scope, &[]), &CountingRandom::default())
    };
    let (url, _) = with("https://as.example/authorize?tenant=1").unwrap();
    assert!(
        url.as_str()
            .starts_with("https://as.example/authorize?tenant=1&response_type=code&")
    );
    for bad in ["state=x", "client_id=evil", "re%64irect_uri=https://evil.example"] {
        assert!(
            with(&format!("https://as.example/authorize?{bad}")).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_key_is_announced_with_the_request() {
    let (client, scope) = (client(ISSUER), ScopeSet::empty());
    let ask = Ask {
        dpop_jkt: Some("thumb"),
        ..ask(&client, &scope, &[])
    };
    let (url, pending) = request(&discovered(&json!({})), ask, &CountingRandom::default()).unwrap();
    assert_eq!(get(&url, "dpop_jkt").as_deref(), Some("thumb"));
    assert!(pending.dpop);
}

#[test]
fn s4_a_code_comes_to_this_machine_or_over_https() {
    let (client, scope) = (client(ISSUER), ScopeSet::empty());
    let with = |redirect_uri| {
        let ask = Ask {
            redirect_uri,
            ..ask(&client, &scope, &[])
        };
        request(&discovered(&json!({})), ask, &CountingRandom::default())
    };
    for good in [
        "http://127.0.0.1:1/cb",
        "http://[::1]:1/cb",
        "http://localhost:1/cb",
        "https://app.example/cb",
        "com.example.app:/cb",
    ] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in [
        "http://app.example/cb",
        "javascript:alert(1)",
        "http://0.0.0.0:1/cb",
        "cb",
        "https://app.example/cb#x",
    ] {
        assert!(matches!(with(bad), Err(Error::NeedsUser(_))), "{bad}");
    }
}
