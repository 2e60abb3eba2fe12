//! Logins that would bring nothing, and those that bring something although a renewal does not.

use super::*;

const TEXT: &str = "Bearer error=\"invalid_token\"";

#[tokio::test]
async fn cl_13_what_a_login_did_not_open_asks_for_no_other_login() {
    let place = Place::new();
    place.keep("old", 600);
    let machine = place.machine();
    machine.refused(401, TEXT, "old", 1).await.unwrap();
    let (done, _) = tokio::join!(machine.refused(401, TEXT, "access-0", 2), machine.allow(0));
    done.unwrap();
    assert!(machine.refused(401, TEXT, "access-1", 3).await.is_err());
    // The same token is good for everything else, again and again.
    for _ in 0..3 {
        machine.session.succeeded("tools/list");
        let error = machine.refused(401, TEXT, "access-1", 1).await.unwrap_err();
        assert!(matches!(error, Error::GaveUp { .. }), "{error}");
    }
    assert_eq!(machine.addresses().len(), 1, "one tab");
    assert_eq!(place.world.count("/token"), 2, "one renewal, one code");
    // What is refused for the first time is renewed for, as ever.
    let other = machine.refused_for("tools/call read_note", (401, TEXT), "access-1", 1);
    other.await.unwrap();
    // And once it went through, a refusal means what it says again.
    machine.session.succeeded("tools/call add_note");
    machine.refused(401, TEXT, "access-2", 1).await.unwrap();
}

#[tokio::test]
async fn cl_13_a_sign_of_life_opens_no_page() {
    let place = Place::new();
    let machine = place.machine();
    let error = machine.refused_for("ping", (401, TEXT), "", 1).await.unwrap_err();
    assert!(matches!(error, Error::NeedsUser(_)), "{error}");
    assert!(machine.addresses().is_empty());
    // What can be renewed without anybody is.
    place.keep("old", 600);
    machine.refused_for("ping", (401, TEXT), "old", 1).await.unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
}

#[tokio::test]
async fn who_asks_for_a_login_gets_one_although_the_old_one_cannot_be_renewed() {
    let place = Place::new();
    place.keep("old", -5);
    place.world.closed.store(true, Ordering::SeqCst);
    let trouble = || Err(TransportError::Failed("it answered 500".to_owned()));
    *place.world.token_errors.lock().unwrap() = vec![trouble(), trouble()];
    let machine = place.machine();
    // A program only hears of the trouble: it may pass.
    let error = machine.refused(401, TEXT, "old", 1).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    *place.world.token_errors.lock().unwrap() = vec![trouble(), trouble()];
    let (done, _) = tokio::join!(machine.session.log_in(false), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
}

#[tokio::test]
async fn cl_12_a_login_that_has_just_ended_is_not_repeated() {
    let place = Place::new();
    let machine = place.machine();
    let inner = &machine.session.inner;
    let discovered = discover(inner, &Why::default()).await.unwrap();
    // Between the look at the tokens and the lock somebody else was done.
    place.keep("theirs", 600);
    let entry = login::under_lock(inner, &Why::default(), &discovered)
        .await
        .unwrap();
    assert_eq!(entry.tokens().access_token, Secret::new("theirs"));
    assert!(machine.addresses().is_empty());
    // Not those of another authorization server (G14).
    *place.world.issuer.lock().unwrap() = "https://other.example.com".to_owned();
    let discovered = discover(inner, &Why::default()).await.unwrap();
    let why = Why::default();
    let (entry, _) = tokio::join!(login::under_lock(inner, &why, &discovered), machine.allow(0));
    assert_eq!(entry.unwrap().issuer(), "https://other.example.com");
}

#[tokio::test]
async fn d3_a_server_that_has_answered_as_a_modern_one_has_no_default_paths() {
    let place = Place::new();
    place.world.bare.store(true, Ordering::SeqCst);
    // Nobody knows yet: it may be one of 2025-03-26.
    let machine = place.machine();
    let (done, asked) = tokio::join!(machine.refused(401, "Bearer", "", 1), machine.allow(0));
    done.unwrap();
    assert!(
        machine.addresses()[0]
            .as_str()
            .starts_with("https://mcp.example.com/authorize?")
    );
    assert_eq!(asked["code_challenge_method"], "S256");
    let place = Place::new();
    place.world.bare.store(true, Ordering::SeqCst);
    let machine = place.machine();
    machine.session.is_modern();
    let error = machine.refused(401, "Bearer", "", 1).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused(refusal) if refusal.rule == "D3"),
        "{error}"
    );
    assert!(machine.addresses().is_empty());
    assert_eq!(place.world.count("/register"), 0);
}
