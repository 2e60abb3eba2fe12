use super::*;

fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn challenge(scope: &str) -> Challenge {
    Challenge {
        scope: Some(set(scope)),
        error: Some("insufficient_scope".into()),
        ..Challenge::default()
    }
}

fn next(
    steps: &mut StepUps,
    operation: &str,
    scope: &str,
    requested: &str,
    granted: &str,
) -> Result<String, Error> {
    let scopes = (&set(requested), &set(granted));
    steps
        .next("https://mcp.example.com", operation, &challenge(scope), scopes)
        .map(|union| union.to_string())
}

#[test]
fn a10_a35_the_union_of_what_was_requested_and_what_is_challenged() {
    let mut steps = StepUps::default();
    assert_eq!(
        next(&mut steps, "tools/call w", "write", "basic", "basic").unwrap(),
        "basic write"
    );
}

#[test]
fn a36_cl_13_growing_scopes_end_after_two_step_ups() {
    let mut steps = StepUps::default();
    assert_eq!(next(&mut steps, "op", "b", "a", "a").unwrap(), "a b");
    assert_eq!(next(&mut steps, "op", "c", "a b", "a b").unwrap(), "a b c");
    let error = next(&mut steps, "op", "d", "a b c", "a b c").unwrap_err();
    assert!(matches!(error, Error::GaveUp { tries: 3, .. }), "{error}");
    // Another operation has its own.
    assert!(next(&mut steps, "other", "e", "a b c", "a b c").is_ok());
    steps.succeeded("https://mcp.example.com", "op");
    assert!(next(&mut steps, "op", "d", "a b c", "a b c").is_ok());
}

#[test]
fn a36_cl_13_what_was_granted_is_not_asked_for_again() {
    let mut steps = StepUps::default();
    assert!(matches!(
        next(&mut steps, "op", "admin", "admin", "admin"),
        Err(Error::GaveUp { tries: 1, .. })
    ));
}

#[test]
fn b28_a_refused_elevation_is_remembered_over_operations() {
    let mut steps = StepUps::default();
    assert_eq!(next(&mut steps, "one", "admin", "a", "a").unwrap(), "a admin");
    assert!(next(&mut steps, "one", "admin", "a admin", "a").is_err());
    assert!(next(&mut steps, "two", "admin", "a admin", "a").is_err());
    steps.succeeded("https://mcp.example.com", "three");
    assert!(next(&mut steps, "two", "admin", "a", "a").is_err());
}

#[test]
fn a35_cl_13_a_union_that_was_granted_can_be_asked_for_again_after_a_new_login() {
    let mut steps = StepUps::default();
    assert_eq!(
        next(&mut steps, "call", "write", "read", "read").unwrap(),
        "read write"
    );
    // As often as it is revoked at the server; the new login asked for the initial scopes only.
    for _ in 0..5 {
        steps.granted("https://mcp.example.com", &set("read write"));
        steps.succeeded("https://mcp.example.com", "call");
        assert_eq!(
            next(&mut steps, "call", "write", "read", "read").unwrap(),
            "read write"
        );
    }
}

#[test]
fn b28_a_refused_elevation_stays_refused_when_the_operation_goes_through_without_it() {
    let mut steps = StepUps::default();
    assert!(next(&mut steps, "call", "admin", "a", "a").is_ok());
    steps.succeeded("https://mcp.example.com", "call");
    assert!(next(&mut steps, "call", "admin", "a", "a").is_err());
}

#[test]
fn a34_a_challenge_without_scopes_cannot_be_met() {
    let mut steps = StepUps::default();
    let bare = Challenge {
        error: Some("insufficient_scope".into()),
        ..Challenge::default()
    };
    let scopes = (&set("a"), &set("a"));
    assert!(steps.next("r", "o", &bare, scopes).is_err());
}

#[test]
fn a35_cl_13_a_union_that_was_granted_can_be_asked_for_again_when_the_grant_is_gone() {
    let mut ups = StepUps::default();
    let set = |text: &str| -> ScopeSet {
        text.split(' ')
            .map(|word| word.parse::<doorward_types::scope::Scope>().unwrap())
            .collect()
    };
    let (read, both) = (set("t:read"), set("t:read t:write"));
    let challenge = Challenge {
        scope: Some(set("t:write")),
        bearer: true,
        error: Some("insufficient_scope".into()),
        ..Challenge::default()
    };
    let next = |ups: &mut StepUps| ups.next("r", "tools/call w", &challenge, (&read, &read));
    assert_eq!(next(&mut ups).unwrap(), both);
    assert!(next(&mut ups).is_err(), "asked for and not granted");
    ups.granted("r", &both);
    assert_eq!(next(&mut ups).unwrap(), both);
    ups.granted("r", &both);
    assert!(next(&mut ups).is_err(), "the tries stay limited");
}
