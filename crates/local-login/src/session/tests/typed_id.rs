//! A client id that somebody typed is written down when it was good for something.

use super::*;

fn typed(client_id: &str, patience: Duration) -> Settings {
    let mut settings = Place::settings();
    settings.login_timeout = patience;
    settings.application.pre_registered = Some(PreRegistered {
        client_id: client_id.to_owned(),
        client_secret: None,
        token_endpoint_auth_method: None,
        issuer: None,
    });
    settings
}

#[tokio::test]
async fn a_client_id_that_nobody_could_log_in_with_is_not_kept() {
    let place = Place::new();
    let machine = place.machine_with(typed("mistyped", Duration::from_millis(50)));
    machine.session.log_in(false).await.unwrap_err();
    assert!(machine.addresses()[0].as_str().contains("client_id=mistyped"));
    let machine = place.machine();
    let (done, asked) = tokio::join!(machine.session.log_in(false), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    assert_eq!(asked["client_id"], "client-0");
}

#[tokio::test]
async fn a_client_id_that_somebody_logged_in_with_is_kept() {
    let place = Place::new();
    let machine = place.machine_with(typed("given", Duration::from_secs(60)));
    let (done, _) = tokio::join!(machine.session.log_in(false), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    let machine = place.machine();
    let (done, asked) = tokio::join!(machine.session.log_in(true), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    assert_eq!(asked["client_id"], "given");
    assert_eq!(place.world.count("/register"), 0);
}
