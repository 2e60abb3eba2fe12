use super::*;
use crate::named_url::UrlPolicy;
use crate::testing::{headers, tokens};

const RESOURCE: &str = "https://mcp.example.com";

struct Case<'a> {
    status: u16,
    challenge: &'a str,
    sent: Option<&'a str>,
    tries: u8,
    known: Known<'a>,
}

fn play(case: &Case<'_>, step_ups: &mut StepUps) -> Decision {
    let mut sent = HeaderMap::new();
    if let Some(token) = case.sent {
        sent.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    }
    let answer = headers(&[("www-authenticate", case.challenge)]);
    let attempt = Attempt {
        status: StatusCode::from_u16(case.status).unwrap(),
        headers: &answer,
        sent: &sent,
        operation: "tools/call x",
        tries: case.tries,
    };
    decide(
        &attempt,
        &Challenge::read(&answer, &UrlPolicy::strict()),
        case.known,
        step_ups,
    )
}

fn why(decision: Decision) -> Why {
    match decision {
        Decision::Authorize(why) => *why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn d5_a30_a_401_asks_for_a_login_or_a_renewal() {
    let kept = tokens("https://as.example", RESOURCE);
    let mut ups = StepUps::default();
    let first = Case {
        status: 401,
        challenge: "Bearer scope=a",
        sent: None,
        tries: 1,
        known: Known::default(),
    };
    let asked = why(play(&first, &mut ups));
    assert!(asked.rejected.is_none() && !asked.no_refresh && asked.challenge.unwrap().scope.is_some());
    // Some servers say invalid_token to a request without a token.
    let chatty = Case {
        challenge: "Bearer error=\"invalid_token\"",
        ..first
    };
    assert!(why(play(&chatty, &mut ups)).rejected.is_none());
    let known = Known {
        tokens: Some(&kept),
        ..Known::default()
    };
    let refused = Case {
        status: 401,
        challenge: "Bearer error=\"invalid_token\"",
        sent: Some("access-1"),
        tries: 1,
        known,
    };
    let asked = why(play(&refused, &mut ups));
    assert_eq!(asked.rejected, Some(Secret::new("access-1")));
    assert!(!asked.no_refresh);
    // The renewed one is refused as well: a login, not another renewal.
    assert!(why(play(&Case { tries: 2, ..refused }, &mut ups)).no_refresh);
}

#[test]
fn tokens_that_another_process_got_meanwhile_are_tried_first() {
    let kept = tokens("https://as.example", RESOURCE);
    let known = Known {
        tokens: Some(&kept),
        ..Known::default()
    };
    for sent in [None, Some("older")] {
        let case = Case {
            status: 401,
            challenge: "Bearer",
            sent,
            tries: 1,
            known,
        };
        assert!(matches!(play(&case, &mut StepUps::default()), Decision::Again));
    }
}

#[test]
fn cl_13_three_tries_and_no_login_after_a_login() {
    let kept = tokens("https://as.example", RESOURCE);
    let known = Known {
        tokens: Some(&kept),
        from_login: Some(&kept.access_token),
        ..Known::default()
    };
    let case = Case {
        status: 401,
        challenge: "Bearer",
        sent: Some("access-1"),
        tries: 2,
        known,
    };
    assert!(matches!(
        play(&case, &mut StepUps::default()),
        Decision::GiveUp(Error::GaveUp { tries: 2, .. })
    ));
    let known = Known {
        tokens: Some(&kept),
        ..Known::default()
    };
    let case = Case {
        tries: 3,
        known,
        ..case
    };
    assert!(matches!(
        play(&case, &mut StepUps::default()),
        Decision::GiveUp(Error::GaveUp { tries: 3, .. })
    ));
}

#[test]
fn cl_13_a_login_that_brought_nothing_is_not_repeated() {
    let kept = tokens("https://as.example", RESOURCE);
    let known = Known {
        tokens: Some(&kept),
        in_vain: true,
        ..Known::default()
    };
    let case = Case {
        status: 401,
        challenge: "Bearer error=\"invalid_token\"",
        sent: Some("access-1"),
        tries: 1,
        known,
    };
    assert!(matches!(
        play(&case, &mut StepUps::default()),
        Decision::GiveUp(Error::GaveUp { tries: 1, .. })
    ));
    // Somebody else may have logged in better.
    let older = Case {
        sent: Some("older"),
        ..case
    };
    assert!(matches!(play(&older, &mut StepUps::default()), Decision::Again));
}

#[test]
fn a34_a35_insufficient_scope_asks_for_the_union() {
    let kept = tokens("https://as.example", RESOURCE);
    let known = Known {
        tokens: Some(&kept),
        ..Known::default()
    };
    for challenge in [
        "Bearer error=\"insufficient_scope\", scope=\"write\"",
        "Bearer scope=\"write\"",
    ] {
        let case = Case {
            status: 403,
            challenge,
            sent: Some("access-1"),
            tries: 1,
            known,
        };
        let asked = why(play(&case, &mut StepUps::default()));
        assert_eq!(asked.scope.unwrap().to_string(), "notes write");
    }
    let granted = Case {
        status: 403,
        challenge: "Bearer error=\"insufficient_scope\", scope=\"notes\"",
        sent: Some("access-1"),
        tries: 1,
        known,
    };
    assert!(matches!(
        play(&granted, &mut StepUps::default()),
        Decision::GiveUp(_)
    ));
    let plain = Case {
        status: 403,
        challenge: "Basic",
        ..granted
    };
    assert!(matches!(
        play(&plain, &mut StepUps::default()),
        Decision::GiveUp(_)
    ));
}

#[test]
fn a_nonce_is_taken_over_once_and_is_no_reason_to_log_in() {
    let kept = tokens("https://as.example", RESOURCE);
    let known = Known {
        tokens: Some(&kept),
        from_login: None,
        in_vain: false,
        new_nonce: true,
    };
    let case = Case {
        status: 401,
        challenge: "DPoP error=\"use_dpop_nonce\"",
        sent: Some("access-1"),
        tries: 1,
        known,
    };
    assert!(matches!(play(&case, &mut StepUps::default()), Decision::Again));
    let known = Known {
        new_nonce: false,
        ..known
    };
    assert!(matches!(
        play(
            &Case {
                known,
                tries: 2,
                ..case
            },
            &mut StepUps::default()
        ),
        Decision::GiveUp(_)
    ));
    // Another request has noted it a moment ago.
    assert!(matches!(
        play(&Case { known, ..case }, &mut StepUps::default()),
        Decision::Again
    ));
}

#[test]
fn a30_a_400_is_the_end() {
    let case = Case {
        status: 400,
        challenge: "Bearer error=\"invalid_request\", error_description=\"no\u{9}\"",
        sent: None,
        tries: 1,
        known: Known::default(),
    };
    let Decision::GiveUp(error) = play(&case, &mut StepUps::default()) else {
        panic!()
    };
    assert!(
        error.to_string().contains("400") && error.to_string().contains("invalid_request"),
        "{error}"
    );
}

#[test]
fn a22_tokens_go_into_the_header_with_their_scheme_and_do_not_print() {
    let mut kept = tokens("https://as.example", RESOURCE);
    let header = authorization(&kept).unwrap();
    assert_eq!(
        (header.to_str().unwrap(), header.is_sensitive()),
        ("Bearer access-1", true)
    );
    kept.dpop = true;
    assert_eq!(authorization(&kept).unwrap(), "DPoP access-1");
}
