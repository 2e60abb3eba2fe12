use serde_json::json;

use super::*;
use crate::testing::{client, response, url};

fn read(status: u16, body: &str) -> Result<TokenResponse, Error> {
    process(
        Hop::Token,
        &url("https://as.example/token"),
        &response(status, body),
    )
}

fn good(changes: &serde_json::Value) -> Result<TokenResponse, Error> {
    let mut body = json!({ "access_token": "at", "token_type": "Bearer" });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    read(200, &body.to_string())
}

#[test]
fn a19_r19_a_request_carries_what_it_was_given_and_nothing_prints_it() {
    let authentication = ClientAuthentication::None {
        client_id: client("i").client_id,
    };
    let request = TokenRequest::new(&url("https://as.example/token"), "authorization_code")
        .with_secret("code", &Secret::new("a&b=c d"))
        .with("resource", "https://mcp.example.com/mcp")
        .with_scope(&ScopeSet::empty())
        .authenticated(&authentication);
    assert!(!format!("{request:?}").contains("a&b"));
    let built = request.build();
    assert_eq!(
        (built.method, built.hop, built.named_by),
        (Method::POST, Hop::Token, NamedBy::Server)
    );
    assert_eq!(
        built.headers.get(CONTENT_TYPE).unwrap(),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        built.body.unwrap().expose(),
        "grant_type=authorization_code&code=a%26b%3Dc+d&resource=https%3A%2F%2Fmcp.example.com%2Fmcp&client_id=client-1"
    );
    assert_eq!(built.url.query(), None, "nothing secret goes into a URL (A22)");
}

#[test]
fn the_answer_of_rfc_6749() {
    let tokens =
        good(&json!({ "token_type": "bEARER", "expires_in": 60, "refresh_token": "rt", "scope": "b a" }))
            .unwrap();
    assert_eq!(tokens.access_token, Secret::new("at"));
    assert_eq!(tokens.refresh_token, Some(Secret::new("rt")));
    assert_eq!(
        (tokens.dpop, tokens.expires_in),
        (false, Some(Duration::from_secs(60)))
    );
    assert_eq!(tokens.scope.unwrap().to_string(), "a b");
    assert!(good(&json!({ "token_type": "DPoP" })).unwrap().dpop);
    assert!(good(&json!({ "token_type": "N_A" })).unwrap().not_applicable);
    assert!(good(&json!({})).unwrap().scope.is_none());
}

#[test]
fn expiry_is_read_in_the_forms_that_there_are() {
    for (value, expected) in [
        (json!(3600), Some(3600)),
        (json!("3600"), Some(3600)),
        (json!(3599.9), Some(3599)),
        (json!(0), Some(0)),
        (json!(u64::MAX), Some(315_360_000)),
        (json!(-1), None),
        (json!("soon"), None),
        (json!(null), None),
        (json!([1]), None),
    ] {
        let told = good(&json!({ "expires_in": value })).unwrap().expires_in;
        assert_eq!(told, expected.map(Duration::from_secs), "{value}");
    }
}

#[test]
fn answers_that_are_not_right_are_refused() {
    for changes in [
        json!({ "access_token": null }),
        json!({ "access_token": "" }),
        json!({ "access_token": 1 }),
        json!({ "access_token": "a\nb" }),
        json!({ "access_token": "ä" }),
        json!({ "access_token": "x".repeat(MAX_TOKEN + 1) }),
        json!({ "token_type": null }),
        json!({ "token_type": "mac" }),
        json!({ "token_type": 1 }),
        json!({ "refresh_token": ["x"] }),
        json!({ "scope": ["a"] }),
        json!({ "scope": "a\"b" }),
        json!({ "scope": "x".repeat(5000) }),
    ] {
        assert!(matches!(good(&changes), Err(Error::Refused(_))), "{changes}");
    }
    for (status, body) in [
        (200, ""),
        (200, "[]"),
        (
            200,
            "{\"access_token\":\"a\",\"access_token\":\"b\",\"token_type\":\"Bearer\"}",
        ),
        (201, "{\"access_token\":\"a\",\"token_type\":\"Bearer\"}"),
        (302, "{\"error\":\"x\"}"),
        (400, "{}"),
        (400, "{\"error\":7}"),
        (400, "{\"error\":\"a\\\"b\"}"),
    ] {
        assert!(
            matches!(read(status, body), Err(Error::Refused(_))),
            "{status} {body}"
        );
    }
}

#[test]
fn r21_a_server_in_trouble_says_nothing_about_the_grant() {
    use crate::refresh::{Failure, failure};
    for (status, body) in [
        (500, r#"{"error":"internal_error"}"#),
        (502, r#"{"error":"invalid_grant"}"#),
        (503, r#"{"error":"unavailable\u001b[2J"}"#),
        (503, r#"{"error":"invalid_client"}"#),
        (429, r#"{"error":"rate_limited"}"#),
        (504, "<html>"),
        (429, ""),
        (408, r#"{"error":"timeout"}"#),
    ] {
        let error = read(status, body).unwrap_err();
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{status} {body}: {error}"
        );
        assert_eq!(failure(&error), Failure::Passing, "{status} {body}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
    for code in WAITS {
        let body = json!({ "error": code }).to_string();
        assert!(
            matches!(read(429, &body), Err(Error::Answered { code: told, .. }) if told == code),
            "{code}"
        );
    }
    let error = read(400, r#"{"error":"invalid_grant"}"#).unwrap_err();
    assert_eq!(failure(&error), Failure::Grant);
}

#[test]
fn an_oauth_error_is_told_without_what_a_terminal_would_obey() {
    let error = read(
        400,
        "{\"error\":\"invalid_grant\",\"error_description\":\"no\\u001b[2J\"}",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the token endpoint answered invalid_grant: no\\u{1b}[2J"
    );
}

#[test]
fn cl_09_a_redirect_of_the_token_endpoint_is_not_followed() {
    let Err(Error::Refused(refusal)) = read(307, "") else {
        panic!()
    };
    assert!(refusal.problem.contains("never followed"), "{}", refusal.problem);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100), status in 200u16..600) {
        let mut answer = response(status, "");
        answer.body = bytes.into();
        proptest::prop_assert!(process(Hop::Token, &url("https://as.example/token"), &answer).is_err());
    }
}
