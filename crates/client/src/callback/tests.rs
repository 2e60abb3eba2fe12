use doorward_types::scope::ScopeSet;

use super::*;
use crate::testing::{client, url};

const ISSUER: &str = "https://as.example/t";

fn pending(iss_required: bool) -> Pending {
    Pending {
        issuer: ISSUER.into(),
        iss_required,
        token_endpoint: url("https://as.example/token"),
        resource: "https://mcp.example.com/mcp".into(),
        verifier: Secret::new("verifier"),
        state: Secret::new("the-state"),
        redirect_uri: "http://127.0.0.1:4711/callback".into(),
        requested: ScopeSet::empty(),
        client: client(ISSUER),
        dpop: false,
        sign_on: None,
    }
}

fn judge(query: &str, iss_required: bool) -> Result<String, CallbackError> {
    let code = CallbackParameters::from_query(query)?.judge(&pending(iss_required))?;
    Ok(code.expose().to_owned())
}

fn failed(result: Result<String, CallbackError>) -> Error {
    match result {
        Err(CallbackError::Failed(error)) => *error,
        other => panic!("{other:?}"),
    }
}

const GOOD: &str = "https%3A%2F%2Fas.example%2Ft";

#[test]
fn a16_the_table_of_the_specification() {
    let with = |iss: &str| format!("code=c&state=the-state&iss={iss}");
    for required in [true, false] {
        assert_eq!(judge(&with(GOOD), required).unwrap(), "c");
        assert!(judge(&with("https%3A%2F%2Fevil.example"), required).is_err());
    }
    assert!(judge("code=c&state=the-state", true).is_err());
    assert_eq!(judge("code=c&state=the-state", false).unwrap(), "c");
}

#[test]
fn a17_cl_05_nothing_is_folded_before_comparing() {
    for other in [
        "https%3A%2F%2Fas.example%2Ft%2F",
        "https%3A%2F%2FAS.example%2Ft",
        "HTTPS%3A%2F%2Fas.example%2Ft",
        "https%3A%2F%2Fas.example%3A443%2Ft",
        "https%3A%2F%2Fas.example%2F%2574",
        "",
        "https%3A%2F%2Fas.example%2Ft&iss=https%3A%2F%2Fas.example%2Ft",
    ] {
        for required in [true, false] {
            let result = judge(&format!("code=c&state=the-state&iss={other}"), required);
            let Error::Refused(refusal) = failed(result) else {
                panic!("{other}")
            };
            assert_eq!(refusal.rule, "A16");
        }
    }
}

#[test]
fn a18_cl_05_an_error_of_somebody_else_is_not_shown() {
    let query = "error=access_denied&error_description=call+0800-EVIL&error_uri=https%3A%2F%2Fevil.example&state=the-state";
    for (query, required) in [
        (format!("{query}&iss=https%3A%2F%2Fevil.example"), false),
        (query.to_owned(), true),
    ] {
        let error = judge(&query, required).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("EVIL") && !text.contains("access_denied") && !text.contains("evil.example"),
            "{text}"
        );
    }
    let Error::Answered {
        code, description, ..
    } = failed(judge(&format!("{query}&iss={GOOD}"), true))
    else {
        panic!()
    };
    assert_eq!(
        (code.as_str(), description.as_deref()),
        ("access_denied", Some("call 0800-EVIL"))
    );
}

#[test]
fn s9_cl_06_another_state_is_not_for_us() {
    for query in [
        "code=c",
        "code=c&state=",
        "code=c&state=the-stat",
        "code=c&state=THE-STATE",
        "code=c&state=the-state&state=the-state",
        "code=c&state=other&state=the-state",
        "error=access_denied&state=other",
        "code=c&state=%zz",
        "",
    ] {
        assert!(
            matches!(judge(query, false), Err(CallbackError::NotOurs)),
            "{query}"
        );
    }
}

#[test]
fn an_answer_is_one_code_or_one_error() {
    for query in [
        "",
        "code=",
        "code=a&code=b",
        "code=a&error=x",
        "error=x&error=y",
        "foo=bar",
    ] {
        let result = judge(&format!("state=the-state&{query}"), false);
        assert!(matches!(failed(result), Error::Refused(_)), "{query}");
    }
    let Error::Answered { code, .. } = failed(judge("state=the-state&error=%22%1b", false)) else {
        panic!()
    };
    assert_eq!(code, "invalid_request");
}

#[test]
fn a_pasted_url_is_read_and_its_values_are_not_printed() {
    let text = " http://127.0.0.1:4711/callback?code=s3cret&state=the-state#_=_ \n";
    let answer = CallbackParameters::from_url(text).unwrap();
    assert_eq!(answer.judge(&pending(false)).unwrap().expose(), "s3cret");
    assert!(!format!("{answer:?}").contains("s3cret"));
    assert!(CallbackParameters::from_url("http://127.0.0.1:4711/callback").is_err());
}

proptest::proptest! {
    #[test]
    fn a16_cl_06_no_query_without_state_and_issuer_gives_a_code(query in "((code|state|iss|error)=[a-z%0-9:/]{0,12}&?){0,5}") {
        proptest::prop_assert!(judge(&query, true).is_err());
    }
}
