use super::*;
use crate::error::Error;
use crate::named_url::UrlPolicy;
use crate::server_metadata::ServerMetadata;
use crate::testing::{metadata, tokens, url};

const ISSUER: &str = "https://as.example";
const RESOURCE: &str = "https://mcp.example.com";

fn discovered(issuer: &str, resource: &str) -> Discovered {
    let body = metadata(issuer).to_string();
    let at = url("https://as.example/.well-known/oauth-authorization-server");
    Discovered {
        server: url("https://mcp.example.com/mcp"),
        resource: resource.into(),
        sign_on: None,
        resource_metadata: None,
        authorization_server: ServerMetadata::parse(issuer, &at, body.as_bytes(), &UrlPolicy::strict())
            .unwrap()
            .unwrap(),
    }
}

fn response(scope: Option<&str>, refresh_token: Option<&str>) -> TokenResponse {
    TokenResponse {
        access_token: Secret::new("access-2"),
        dpop: false,
        not_applicable: false,
        expires_in: Some(Duration::from_secs(60)),
        refresh_token: refresh_token.map(Secret::new),
        scope: scope.map(|scope| scope.parse().unwrap()),
        issued_token_type: None,
        id_token: None,
    }
}

#[test]
fn a25_d2_a_refresh_token_goes_only_to_who_issued_it() {
    let client = ClientAuthentication::None {
        client_id: "client-1".into(),
    };
    let ask = |issuer, resource| {
        let token = Secret::new("refresh-1");
        request(
            &discovered(issuer, resource),
            &tokens(ISSUER, RESOURCE),
            &token,
            &client,
        )
    };
    let body = ask(ISSUER, RESOURCE).unwrap().build().body.unwrap();
    assert_eq!(
        body.expose(),
        "grant_type=refresh_token&refresh_token=refresh-1&resource=https%3A%2F%2Fmcp.example.com&client_id=client-1"
    );
    for (issuer, resource) in [
        ("https://other.example", RESOURCE),
        (ISSUER, "https://mcp.example.com/"),
        ("https://as.example/", RESOURCE),
    ] {
        let Err(Error::Refused(refusal)) = ask(issuer, resource) else {
            panic!("{issuer} {resource}")
        };
        assert_eq!(refusal.rule, "A25");
    }
}

#[test]
fn a27_what_is_not_told_stays_as_it_was() {
    let (old, now) = (tokens(ISSUER, RESOURCE), UnixTime::from_seconds(100));
    let kept = renewed(&old, response(None, None), now);
    assert_eq!(kept.refresh_token, old.refresh_token);
    assert_eq!(
        (kept.scope, kept.requested),
        (old.scope.clone(), old.requested.clone())
    );
    assert_eq!(kept.expires_at, Some(UnixTime::from_seconds(160)));
    assert_eq!(kept.access_token, Secret::new("access-2"));
    let rotated = renewed(&old, response(Some("less"), Some("refresh-2")), now);
    assert_eq!(rotated.refresh_token, Some(Secret::new("refresh-2")));
    assert_eq!(rotated.scope.to_string(), "less");
    let asked = "a b".parse().unwrap();
    let first = issued((ISSUER, RESOURCE, "c"), &asked, response(None, None), now);
    assert_eq!(
        (first.scope.clone(), first.requested, first.refresh_token),
        (asked.clone(), asked, None)
    );
}

#[test]
fn r21_a_token_is_renewed_before_it_ends() {
    let mut token = tokens(ISSUER, RESOURCE);
    assert!(
        !is_due(&token, UnixTime::from_seconds(i64::MAX / 2000)),
        "no end told"
    );
    token.expires_at = Some(UnixTime::from_seconds(100));
    for (now, due, over) in [
        (80, false, false),
        (90, true, false),
        (99, true, false),
        (100, true, true),
    ] {
        let now = UnixTime::from_seconds(now);
        assert_eq!((is_due(&token, now), is_over(&token, now)), (due, over), "{now}");
    }
}

#[test]
fn r21_a_short_life_is_used() {
    let mut token = tokens(ISSUER, RESOURCE);
    token.issued_at = Some(UnixTime::from_seconds(1000));
    for (life, due) in [(5000, 4990), (100, 90), (50, 45), (10, 9)] {
        token.expires_at = Some(UnixTime::from_seconds(1000 + life));
        assert!(!is_due(&token, UnixTime::from_seconds(1000 + due - 1)), "{life}");
        assert!(is_due(&token, UnixTime::from_seconds(1000 + due)), "{life}");
    }
    // A clock that was set back between the two.
    token.expires_at = Some(UnixTime::from_seconds(10));
    assert!(!is_due(&token, UnixTime::from_seconds(9)) && is_due(&token, UnixTime::from_seconds(10)));
    let fresh = renewed(&token, response(None, None), UnixTime::from_seconds(100));
    assert_eq!(fresh.issued_at, Some(UnixTime::from_seconds(100)));
}

#[test]
fn a_failure_says_what_it_is_about() {
    let answered = |code: &str| Error::Answered {
        hop: Hop::Token,
        code: code.into(),
        description: None,
    };
    assert_eq!(failure(&answered("invalid_grant")), Failure::Grant);
    assert_eq!(failure(&answered("invalid_target")), Failure::Grant);
    assert_eq!(failure(&answered("invalid_client")), Failure::Client);
    assert_eq!(failure(&answered("temporarily_unavailable")), Failure::Passing);
    assert_eq!(failure(&answered("invalid_dpop_proof")), Failure::Passing);
    assert_eq!(failure(&Error::NeedsUser(String::new())), Failure::Passing);
}
