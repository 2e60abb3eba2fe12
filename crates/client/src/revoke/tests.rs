use serde_json::json;

use super::*;
use crate::named_url::UrlPolicy;
use crate::testing::{metadata_with, response, tokens, url};

const ISSUER: &str = "https://as.example";

fn server(changes: &serde_json::Value) -> ServerMetadata {
    let body = metadata_with(ISSUER, changes).to_string();
    let at = url("https://as.example/.well-known/oauth-authorization-server");
    ServerMetadata::parse(ISSUER, &at, body.as_bytes(), &UrlPolicy::strict())
        .unwrap()
        .unwrap()
}

fn public() -> ClientAuthentication {
    ClientAuthentication::None {
        client_id: "client-1".into(),
    }
}

#[test]
fn the_refresh_token_goes_first_and_both_go() {
    let built = requests(&server(&json!({})), &tokens(ISSUER, "r"), &public());
    let bodies: Vec<String> = built
        .iter()
        .map(|request| request.build().body.unwrap().expose().to_owned())
        .collect();
    assert_eq!(
        bodies,
        [
            "token=refresh-1&token_type_hint=refresh_token&client_id=client-1",
            "token=access-1&token_type_hint=access_token&client_id=client-1",
        ]
    );
}

#[test]
fn a25_tokens_are_shown_to_no_other_server() {
    assert!(
        requests(
            &server(&json!({})),
            &tokens("https://other.example", "r"),
            &public()
        )
        .is_empty()
    );
    assert!(
        requests(
            &server(&json!({ "revocation_endpoint": null })),
            &tokens(ISSUER, "r"),
            &public()
        )
        .is_empty()
    );
}

#[test]
fn an_answer_is_a_yes_or_an_error() {
    let built = requests(&server(&json!({})), &tokens(ISSUER, "r"), &public());
    let judge = |status, body: &str| process(&built[0], &response(status, body));
    assert!(judge(200, "").is_ok());
    assert!(judge(400, "{\"error\":\"unsupported_token_type\"}").is_ok());
    assert!(judge(400, "{\"error\":\"invalid_client\"}").is_err());
    assert!(judge(503, "").is_err() && judge(302, "").is_err());
}
