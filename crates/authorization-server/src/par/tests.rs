use doorward_oauth::client_auth as wire;
use proptest::prelude::*;

use super::*;
use crate::client_auth::authenticate;
use crate::fixture::{self, NOW};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn http(body: &str) -> HttpRequest<'_> {
    HttpRequest {
        content_type: &["application/x-www-form-urlencoded"],
        authorization: &[],
        query: None,
        body: body.as_bytes(),
    }
}

fn good(client: &Client) -> String {
    format!(
        "client_id={}&response_type=code&redirect_uri=https%3A%2F%2Fc.test%2Fcb&state=a%26b&code_challenge={CHALLENGE}&code_challenge_method=S256",
        client.id
    )
}

fn push(client: &Client, body: &str) -> Result<PushedRequest, PushRefusal> {
    let settings = fixture::settings();
    let call = parse(&http(body))?;
    let presented = wire::read(&[], &call.form).unwrap();
    let caller = authenticate(&settings, &presented, Some(client.clone()), None, NOW).unwrap();
    decide(&settings, &call, &caller, NOW)
}

#[test]
fn a_pushed_request_is_for_its_client_and_its_time() {
    let client = fixture::client(&["https://c.test/cb"]);
    let pushed = push(&client, &good(&client)).unwrap();
    let id = Some(client.id.as_str());
    let query = pushed.clone().open(id, NOW).unwrap();
    assert!(
        query.contains("state=a%26b") && query.contains(CHALLENGE),
        "{query}"
    );
    let last = NOW.plus(LIFETIME);
    assert!(
        pushed
            .clone()
            .open(id, UnixTime::from_millis(last.millis() - 1))
            .is_ok()
    );
    assert_eq!(pushed.clone().open(id, last), Err(PageProblem::PushedRequest));
    assert_eq!(
        pushed.clone().open(Some("other"), NOW),
        Err(PageProblem::PushedRequest)
    );
    assert_eq!(pushed.open(None, NOW), Err(PageProblem::PushedRequest));
}

#[test]
fn what_the_authorization_endpoint_would_refuse_is_refused_now() {
    let client = fixture::client(&["https://c.test/cb"]);
    for (change, code) in [
        ("&prompt=none", None),
        (
            "&resource=https%3A%2F%2Fevil.test%2F",
            Some(ErrorCode::InvalidTarget),
        ),
        ("&request=a.b.c", Some(ErrorCode::RequestNotSupported)),
        ("&request_uri=x", Some(ErrorCode::InvalidRequest)),
        ("&response_mode=fragment", Some(ErrorCode::InvalidRequest)),
        ("&scope=%22", Some(ErrorCode::InvalidScope)),
        ("&prompt=none+login", Some(ErrorCode::InvalidRequest)),
    ] {
        let body = good(&client) + change;
        assert_eq!(
            push(&client, &body).err().map(|refusal| refusal.code()),
            code,
            "{change}"
        );
    }
    let elsewhere = good(&client).replace("c.test", "evil.test");
    assert_eq!(push(&client, &elsewhere).unwrap_err().status(), 400);
    let long = format!("{}&nonce={}", good(&client), "x".repeat(MAX_QUERY));
    assert_eq!(push(&client, &long).unwrap_err(), PushRefusal::TooLong);
    let mut pending = client.clone();
    pending.status = doorward_records::client::ClientStatus::Pending;
    assert!(push(&pending, &good(&client)).is_err());
}

proptest! {
    /// Whatever is pushed, what is taken up later is the client's own request without its credentials.
    #[test]
    fn any_form_is_carried_unchanged_or_refused(pairs in proptest::collection::vec(("[a-z_]{1,14}", ".{0,10}"), 0..8)) {
        let body = url::form_urlencoded::Serializer::new("client_id=c1".to_owned()).extend_pairs(&pairs).finish();
        if let Ok(call) = parse(&http(&body))
            && let Ok(pushed) = unjudged(&call, NOW)
        {
            let client = call.presented.client_id().as_str().to_owned();
            let query = pushed.open(Some(&client), NOW).unwrap();
            let form = doorward_oauth::form::Form::parse(query.as_bytes()).unwrap();
            prop_assert_eq!(form.get("client_id"), Some(client.as_str()));
            for name in pushed::CREDENTIALS {
                prop_assert!(!form.has(name));
            }
        }
    }
}
