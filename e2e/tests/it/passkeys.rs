//! Passkeys: in a real browser with an authenticator of its own, and with one in software whose answers are wrong.

use doorward_authorization_server::passkey::key::ES256;
use doorward_authorization_server::passkey::soft::{Answer, SoftPasskey};
use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::html::{self, Form};
use doorward_testkit::oauth::{OAuthClient, Pkce, parameter};
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::json;

use crate::chromium::Chromium;
use crate::support::RA;

async fn start() -> Doorward {
    let config = format!("[[servers]]\nname = \"a\"\npath = \"{RA}\"\ndemo = true\n");
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    builder
        .user("bob", PASSWORD)
        .public_url("http://localhost:{port}")
        .start()
        .await
}

/// Gives the browser a built-in authenticator that knows its person.
async fn with_authenticator(chromium: &Chromium) {
    chromium.dev_tools("WebAuthn.enable", json!({})).await;
    let options = json!({ "options": {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
        "hasUserVerification": true, "isUserVerified": true, "automaticPresenceSimulation": true,
    }});
    chromium
        .dev_tools("WebAuthn.addVirtualAuthenticator", options)
        .await;
}

const ADD: &str = "form[action='/security/passkeys'] button";
const SIGN_IN: &str = "form[action='/login/passkey'] button";

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_added_signs_in_and_is_removed_in_chromium() {
    let doorward = start().await;
    let chromium = Chromium::start().await;
    with_authenticator(&chromium).await;
    chromium.goto(&doorward.url("/security")).await;
    chromium.shows("Sign in").await;
    chromium.look("login-with-passkey").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("How you sign in").await;
    chromium.press(ADD).await;
    chromium.appears(".notice.good").await;
    chromium.look("security").await;
    chromium.press("form[action='/security/app'] button").await;
    chromium.shows("Add an authenticator app").await;
    chromium.look("security-app").await;
    chromium.goto(&doorward.url("/security")).await;
    // The same device makes no second one.
    chromium.press(ADD).await;
    let said = "form[action='/security/passkeys'] [data-said]:not(:empty)";
    chromium.appears(said).await;

    chromium.goto(&doorward.url("/account")).await;
    chromium.press("form[action='/logout'] button").await;
    chromium.shows("You are signed out").await;
    let client = OAuthClient::native(&doorward).await;
    chromium
        .goto(&client.authorize_url(&Pkce::new(), &doorward.url(RA)))
        .await;
    chromium.press(SIGN_IN).await;
    chromium.appears("button[name=decision]").await;
    let json = doorward
        .command(&["user", "show", "alice", "--format", "json"])
        .ok()
        .json();
    assert_eq!(json["sessions"][0]["methods"][1], "mfa");
    assert_ne!(json["passkeys"][0]["last_used"], json!(null));

    chromium.goto(&doorward.url("/security")).await;
    chromium.shows("How you sign in").await;
    chromium
        .press("form[action='/security/passkeys/remove'] button")
        .await;
    chromium.appears(".notice.good").await;
    let json = doorward
        .command(&["user", "show", "alice", "--format", "json"])
        .ok()
        .json();
    assert_eq!(json["passkeys"], json!([]));
    chromium.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_link_makes_a_passkey_in_the_place_of_a_password() {
    let doorward = start().await;
    let link = doorward.command(&["user", "passwd", "alice"]).ok().stdout;
    let link = link.lines().last().unwrap().to_owned();
    let chromium = Chromium::start().await;
    with_authenticator(&chromium).await;
    chromium.goto(&link).await;
    chromium.look("setup-with-passkey").await;
    chromium.press("form[action='/setup/passkey'] button").await;
    chromium.shows("Your passkey is ready").await;
    chromium.goto(&doorward.url("/login?next=security")).await;
    chromium.press(SIGN_IN).await;
    chromium.shows("How you sign in").await;
    // It is the only way in by now.
    chromium
        .press("form[action='/security/passkeys/remove'] button")
        .await;
    chromium.appears("#problem").await;
    chromium.stop().await;
    let mut browser = Browser::new(&doorward);
    let page = browser.get("/login").await;
    let mut form = page.login_form();
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    let page = browser.submit(&page, &form, "").await;
    assert!(
        page.text().contains("do not fit"),
        "the old password is gone: {}",
        page.text()
    );
}

/// The form of a page that asks for a passkey, and what it asks.
pub(crate) fn asked(page: &Page, action: &str) -> (Form, String, String) {
    let text = page.reply.text();
    let tags = html::tags(&text);
    let form = tags.iter().find(|tag| tag.get("action") == Some(action));
    let form = form.unwrap_or_else(|| panic!("no {action}: {text}"));
    let challenge = form.get("data-challenge").unwrap().to_owned();
    let rp = form.get("data-rp").unwrap().to_owned();
    let form = page
        .forms()
        .into_iter()
        .find(|form| form.action == action)
        .unwrap();
    (form, challenge, rp)
}

async fn sign_in_to_security(browser: &mut Browser, username: &str) -> Page {
    let page = browser.get("/security").await;
    let mut form = page.login_form();
    form.fill("username", username);
    form.fill("password", PASSWORD);
    browser.submit(&page, &form, "").await
}

struct World {
    doorward: Doorward,
    passkey: SoftPasskey,
}

impl World {
    /// Alice has a passkey in software.
    async fn new() -> Self {
        let doorward = start().await;
        let passkey = SoftPasskey::new(ES256, b"a credential of alice");
        let mut browser = Browser::new(&doorward);
        let page = sign_in_to_security(&mut browser, "alice").await;
        let (mut form, challenge, rp) = asked(&page, "/security/passkeys");
        let answer = passkey.answer("webauthn.create", &rp, &doorward.public_url, &challenge);
        form.fill("credential", &answer.registration());
        let page = browser.submit(&page, &form, "").await;
        assert!(page.text().contains("The passkey is added"), "{}", page.text());
        let again = browser.submit(&page, &form, "").await;
        assert!(again.text().contains("was not added"), "{}", again.text());
        Self { doorward, passkey }
    }

    /// Opens the login page and answers its question.
    async fn answer(&self, browser: &mut Browser, url: &str, change: impl Fn(&mut Answer)) -> (Page, Form) {
        let page = browser.get(url).await;
        let (mut form, challenge, rp) = asked(&page, "/login/passkey");
        let mut answer = self
            .passkey
            .answer("webauthn.get", &rp, &self.doorward.public_url, &challenge);
        change(&mut answer);
        form.fill("credential", &self.passkey.assertion(&answer));
        (page, form)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cn_08_a_passkey_answer_is_good_once_in_one_browser() {
    let world = World::new().await;
    let client = OAuthClient::native(&world.doorward).await;
    let url = client.authorize_url(&Pkce::new(), &world.doorward.url(RA));
    let mut browser = Browser::new(&world.doorward);
    let (page, form) = world
        .answer(&mut browser, &url, |answer| answer.counter = 1)
        .await;
    let prelogin = browser.clone();
    // Somebody else's browser, with what was sent in this one.
    let mut thief = Browser::new(&world.doorward);
    let own = thief.get("/login").await;
    let mut stolen = form.clone();
    stolen.fill("csrf", own.login_form().value("csrf").unwrap());
    stolen.remove("request");
    let refused = thief.submit(&own, &stolen, "").await;
    assert!(refused.text().contains("did not work here"), "{}", refused.text());

    let consent = browser.submit(&page, &form, "").await;
    assert!(consent.form_with("decision").is_some(), "{}", consent.text());
    let back = browser
        .submit_without_following(&consent, &consent.consent_form(), "approve")
        .await;
    assert!(parameter(back.reply.location().unwrap(), "code").is_some());
    // Replayed, with the cookies from before the sign-in.
    let mut replayed = prelogin;
    let page = replayed.submit(&page, &form, "").await;
    assert!(page.text().contains("did not work here"), "{}", page.text());
    assert!(!replayed.cookies.keys().any(|name| name.contains("session")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_prove_too_little_sign_nobody_in() {
    let world = World::new().await;
    type Change = fn(&mut Answer);
    let changes: [(&str, Change); 6] = [
        ("not verified", |answer| answer.flags = 0x01),
        ("another site", |answer| answer.rp_id_hash = [0; 32]),
        ("another origin", |answer| {
            answer.client_data = answer.client_data.replace("http://localhost", "http://127.0.0.1");
        }),
        ("another ceremony", |answer| {
            answer.client_data = answer.client_data.replace("webauthn.get", "webauthn.create");
        }),
        ("another account", |answer| answer.user_handle = Some(vec![0; 16])),
        ("another credential", |answer| answer.id = b"nobody's".to_vec()),
    ];
    for (what, change) in changes {
        let mut browser = Browser::new(&world.doorward);
        let (page, form) = world.answer(&mut browser, "/login", change).await;
        let page = browser.submit(&page, &form, "").await;
        assert!(
            page.text().contains("did not work here"),
            "{what}: {}",
            page.text()
        );
        assert!(
            !browser.cookies.keys().any(|name| name.contains("session")),
            "{what}"
        );
    }
    // A copy of it counts from where it was copied.
    for (counter, works) in [(5, true), (5, false), (4, false), (6, true)] {
        let mut browser = Browser::new(&world.doorward);
        let set = |answer: &mut Answer| answer.counter = counter;
        let (page, form) = world.answer(&mut browser, "/login", set).await;
        browser.submit(&page, &form, "").await;
        let is_in = browser.cookies.keys().any(|name| name.contains("session"));
        assert_eq!(is_in, works, "{counter}");
    }
    world.doorward.command(&["user", "disable", "alice"]).ok();
    let mut browser = Browser::new(&world.doorward);
    let (page, form) = world
        .answer(&mut browser, "/login", |answer| answer.counter = 9)
        .await;
    let page = browser.submit(&page, &form, "").await;
    assert!(page.text().contains("did not work here"), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn cn_06_only_pages_that_ask_for_a_passkey_load_a_script() {
    let doorward = start().await;
    let mut browser = Browser::new(&doorward);
    for (path, scripted) in [("/login", true), ("/", false), ("/nothing", false)] {
        let page = browser.get(path).await;
        let policy = page.reply.header("Content-Security-Policy").unwrap().to_owned();
        assert_eq!(policy.contains("script-src 'self'"), scripted, "{path}: {policy}");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let scripts = html::tags(&page.reply.text())
            .into_iter()
            .filter(|tag| tag.name == "script")
            .collect::<Vec<_>>();
        assert_eq!(scripts.len(), usize::from(scripted), "{path}");
        for script in scripts {
            let source = browser.get(script.get("src").unwrap()).await;
            assert_eq!(source.reply.status, 200);
            assert!(
                source
                    .reply
                    .header("Content-Type")
                    .unwrap()
                    .starts_with("text/javascript")
            );
        }
    }
}
