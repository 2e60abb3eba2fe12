use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;

fn form(text: &str) -> Form {
    Form::parse(text.as_bytes()).unwrap()
}

fn header(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

/// A token that can be taken apart; nobody signed it.
fn assertion(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"ES256"}"#), part(claims), part("x"))
}

#[test]
fn each_method_is_told_by_where_the_credential_is() {
    let basic = header("c1:s%3A+%2B");
    let jwt = assertion(r#"{"iss":"c1"}"#);
    let asserted = format!(
        "client_assertion={jwt}&client_assertion_type={}",
        ASSERTION_TYPE.replace(':', "%3A")
    );
    for (headers, body, credential) in [
        (&[][..], "client_id=c1", Credential::None),
        (
            &[],
            "client_id=c1&client_secret=&client_assertion=",
            Credential::None,
        ),
        (
            &[],
            "client_id=c1&client_secret=s",
            Credential::Post(Secret::new("s")),
        ),
        (&[basic.as_str()], "", Credential::Basic(Secret::new("s: +"))),
        (
            &[basic.as_str()],
            "client_id=c1",
            Credential::Basic(Secret::new("s: +")),
        ),
        (
            &[],
            asserted.as_str(),
            Credential::Assertion(Secret::new(jwt.as_str())),
        ),
    ] {
        let presented = read(headers, &form(body)).unwrap();
        assert_eq!(presented.client_id().as_str(), "c1", "{body}");
        assert_eq!(*presented.credential(), credential, "{body}");
    }
    for method in Method::ALL {
        assert_eq!(Method::from_name(method.name()), Some(method));
    }
    assert_eq!(Method::from_name("client_secret_jwt"), None);
}

#[test]
fn tk_08_two_methods_at_once_are_an_invalid_request() {
    let (basic, jwt) = (header("c1:s"), assertion(r#"{"iss":"c1"}"#));
    let asserted = format!(
        "client_assertion={jwt}&client_assertion_type={}",
        ASSERTION_TYPE.replace(':', "%3A")
    );
    for (headers, body) in [
        (&[basic.as_str()][..], "client_id=c1&client_secret=s"),
        (&[basic.as_str(), basic.as_str()], "client_id=c1"),
        (&[basic.as_str()], asserted.as_str()),
        (&[], &format!("{asserted}&client_secret=s")),
        (&[], &format!("client_assertion={jwt}&client_id=c1")),
        (&[], "client_assertion_type=x&client_id=c1"),
        (&[], ""),
    ] {
        let refused = read(headers, &form(body)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidRequest, "{body}: {refused}");
    }
}

#[test]
fn tk_08_broken_credentials_are_an_invalid_client() {
    for bad in [
        "Bearer x".into(),
        "Basic".into(),
        "Basic ".into(),
        "".into(),
        "Basic !!!".into(),
        format!("Basic {}", STANDARD.encode("c1:s").trim_end_matches('=')),
        format!("Basic {}", URL_SAFE_NO_PAD.encode("c1:\u{ff}\u{fe}?>")),
        header("c1"),
        header(":s"),
        header("c1:s%"),
        header("c1:s%zz"),
        header("c1:%ff"),
        header("c1:a b"),
        header("c1:\u{e9}"),
        format!("{}, {}", header("c1:s"), header("c1:s")),
    ] {
        let refused = read(&[&bad], &form("")).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidClient, "{bad}");
    }
    let refused = read(&[&header("c1:s")], &form("client_id=c2")).unwrap_err();
    assert_eq!(refused, PresentError::OtherClient);
}

#[test]
fn tk_10_an_assertion_must_say_who_it_is_from() {
    let kind = ASSERTION_TYPE.replace(':', "%3A");
    for (claims, more) in [
        ("{}", ""),
        (r#"{"iss":7}"#, ""),
        (r#"{"iss":"c1","iss":"c2"}"#, ""),
        (r#"{"iss":"c1"}"#, "&client_id=c2"),
    ] {
        let body = format!(
            "client_assertion={}&client_assertion_type={kind}{more}",
            assertion(claims)
        );
        let refused = read(&[], &form(&body)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidClient, "{claims} {more}");
    }
    let saml = "client_assertion=x&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Asaml2-bearer";
    assert_eq!(read(&[], &form(saml)).unwrap_err(), PresentError::AssertionType);
}

proptest! {
    /// Every id and secret comes through Basic as it was.
    #[test]
    fn basic_round_trips(id in ".{1,20}", secret in ".{0,20}") {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let value = header(&format!("{}:{}", encode(&id), encode(&secret)));
        let presented = read(&[&value], &Form::default()).unwrap();
        prop_assert_eq!(presented.client_id().as_str(), id.as_str());
        prop_assert_eq!(presented.credential(), &Credential::Basic(Secret::new(secret)));
    }

    /// Whatever comes, it is read as one method or refused, and nothing of it is printed.
    #[test]
    fn any_text_is_read_or_refused(value in ".{0,60}", body in "[a-z_=&.%0-9A-F]{0,60}") {
        if let Ok(form) = Form::parse(body.as_bytes())
            && let Ok(presented) = read(&[&value], &form)
        {
            prop_assert_eq!(presented.credential().method(), Method::ClientSecretBasic);
            let shown = format!("{presented:?}");
            prop_assert!(shown.contains("[redacted]"));
        }
    }
}
