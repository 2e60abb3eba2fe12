//! EX-06: the device grant (RFC 8628), off unless it is turned on.

use std::time::{Duration, Instant};

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, Reply};
use serde_json::{Value, json};

use crate::support::{RA, assert_no_store, assert_t, two_servers};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A server with the grant on, a client that registered for it, and alice and bob.
pub(crate) struct World {
    pub(crate) doorward: Doorward,
    upstream: Upstream,
    pub(crate) client: OAuthClient,
}

impl World {
    pub(crate) async fn start() -> Self {
        let upstream = Upstream::start();
        let servers = two_servers(&upstream.url(), &upstream.url());
        let config = format!("{servers}\n[grants]\ndevice = true\n");
        let builder = Doorward::builder()
            .config(&config)
            .user("alice", PASSWORD)
            .user("bob", PASSWORD);
        let doorward = builder.start().await;
        let client = client(&doorward, "Television").await;
        Self {
            doorward,
            upstream,
            client,
        }
    }

    fn resource(&self) -> String {
        self.doorward.url(RA)
    }

    async fn ask(&self, client: &OAuthClient) -> Value {
        let fields = [("client_id", client.id.as_str()), ("resource", &self.resource())];
        let reply = self
            .doorward
            .post("/device_authorization")
            .form(&fields)
            .send()
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_no_store(&reply);
        reply.json()
    }

    async fn poll(&self, client: &OAuthClient, codes: &Value) -> Reply {
        let form = [
            ("grant_type", GRANT),
            ("device_code", codes["device_code"].as_str().unwrap()),
            ("client_id", &client.id),
        ];
        let form: Vec<_> = form
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        client.token(&form).await
    }

    /// The page on which `user` has typed the code.
    async fn typed(&self, browser: &mut Browser, code: &str) -> Page {
        let page = browser.get("/device").await;
        let mut form = page
            .form_with("user_code")
            .unwrap_or_else(|| panic!("{}", page.text()));
        form.fill("user_code", code);
        browser.submit(&page, &form, "").await
    }

    /// A device that `user` said yes to, and the codes that it was given.
    pub(crate) async fn connect(&self, user: &str) -> (Tokens, Value) {
        let codes = self.ask(&self.client).await;
        let mut browser = signed_in(&self.doorward, user).await;
        let page = self
            .typed(&mut browser, codes["user_code"].as_str().unwrap())
            .await;
        answer(&mut browser, &page, "approve").await;
        (Tokens::from_reply(&self.poll(&self.client, &codes).await), codes)
    }
}

async fn client(doorward: &Doorward, name: &str) -> OAuthClient {
    OAuthClient::register_with(
        doorward,
        json!({
            "client_name": name,
            "redirect_uris": ["http://127.0.0.1/cb"],
            "grant_types": ["authorization_code", "refresh_token", GRANT],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }),
    )
    .await
}

/// A browser in which somebody is signed in, come to by the address of the device page.
pub(crate) async fn signed_in(doorward: &Doorward, user: &str) -> Browser {
    let mut browser = Browser::new(doorward);
    let login = browser.get("/device").await;
    let mut form = login.login_form();
    form.fill("username", user);
    form.fill("password", PASSWORD);
    let page = browser.submit(&login, &form, "").await;
    assert!(page.url.ends_with("/device"), "{}", page.url);
    browser
}

pub(crate) async fn answer(browser: &mut Browser, page: &Page, decision: &str) -> Page {
    let mut form = page
        .form_with("decision")
        .unwrap_or_else(|| panic!("{}", page.text()));
    form.tick_all();
    browser.submit(page, &form, decision).await
}

#[tokio::test]
async fn ex_06_it_is_off_and_not_advertised_unless_turned_on() {
    let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let metadata = doorward
        .get("/.well-known/oauth-authorization-server")
        .send()
        .await
        .json();
    assert!(metadata.get("device_authorization_endpoint").is_none());
    assert!(
        !metadata["grant_types_supported"]
            .to_string()
            .contains("device_code")
    );
    let reply = doorward
        .post("/device_authorization")
        .form(&[("client_id", "x")])
        .send()
        .await;
    assert!(matches!(reply.status, 404 | 405), "{}", reply.text());
    assert_eq!(doorward.get("/device").send().await.status, 404);
    let client = OAuthClient::native(&doorward).await;
    let form = [
        ("grant_type", GRANT),
        ("device_code", "dwd_x"),
        ("client_id", &client.id),
    ];
    let form: Vec<_> = form
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_t(&client.token(&form).await, &["unsupported_grant_type"]);
}

#[tokio::test]
async fn ex_06_a_device_is_connected() {
    let world = World::start().await;
    let metadata = world
        .doorward
        .get("/.well-known/oauth-authorization-server")
        .send()
        .await
        .json();
    assert_eq!(
        metadata["device_authorization_endpoint"],
        world.doorward.url("/device_authorization")
    );
    assert!(metadata["grant_types_supported"].to_string().contains(GRANT));

    let codes = world.ask(&world.client).await;
    assert_eq!(
        (codes["expires_in"].as_u64(), codes["interval"].as_u64()),
        (Some(600), Some(5))
    );
    assert_eq!(codes["verification_uri"], world.doorward.url("/device"));
    assert_t(
        &world.poll(&world.client, &codes).await,
        &["authorization_pending"],
    );

    // By the link that holds the code, in a browser that nobody is signed in to: nothing is skipped.
    let user_code = codes["user_code"].as_str().unwrap();
    let mut alice = Browser::new(&world.doorward);
    let login = alice
        .get(codes["verification_uri_complete"].as_str().unwrap())
        .await;
    let mut form = login.login_form();
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    let page = alice.submit(&login, &form, "").await;
    let form = page.form_with("user_code").expect("the code is asked for");
    assert_eq!(form.value("user_code"), Some(user_code));
    let page = alice.submit(&page, &form, "").await;
    for words in [
        "Television on a device to use",
        user_code,
        "Did you get this code from somebody else?",
        &world.client.id,
        &world.resource(),
        "Use every tool, prompt and resource of a",
        "My own device, in front of me",
        "alice",
    ] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    let form = page.form_with("decision").unwrap();
    assert!(form.buttons.iter().all(|button| !button.autofocus));
    let compared = form.inputs.iter().find(|input| input.name == "compared");
    assert!(
        compared.is_some_and(|input| !input.checked),
        "nobody ticks it but the person"
    );

    // Without that tick nothing is allowed.
    let unticked = alice.submit(&page, &form, "approve").await;
    assert!(
        unticked
            .text()
            .contains("Say first whether this is the code on your own device")
    );
    assert_t(
        &world.poll(&world.client, &codes).await,
        &["authorization_pending", "slow_down"],
    );
    let done = answer(&mut alice, &unticked, "approve").await;
    assert!(done.text().contains("The device is connected"), "{}", done.text());
    assert!(done.text().contains("Television"));

    let tokens = Tokens::from_reply(&world.poll(&world.client, &codes).await);
    assert_eq!(tokens.claims()["username"], "alice");
    assert_eq!(tokens.claims()["aud"], world.resource());
    let call = doorward_testkit::mcp::call(&world.doorward, RA, "t_read", &json!({ "marker": "device" }));
    assert_eq!(call.bearer(&tokens.access).send().await.status, 200);
    assert_eq!(world.upstream.with("device").len(), 1);
    let refreshed = world.client.refresh(tokens.refresh(), &world.resource()).await;
    assert_eq!(refreshed.status, 200);

    // It is in the account, and the second use of its code ends it.
    let account = alice.get("/account").await;
    assert!(
        account.text().contains("the device on which you read a code"),
        "{}",
        account.text()
    );
    assert_t(&world.poll(&world.client, &codes).await, &["invalid_grant"]);
    let tokens = Tokens::from_reply(&refreshed);
    let after = world.client.refresh(tokens.refresh(), &world.resource()).await;
    assert_t(&after, &["invalid_grant"]);
}

#[tokio::test]
async fn ex_06_polls_and_other_clients() {
    let world = World::start().await;
    let codes = world.ask(&world.client).await;
    assert_t(
        &world.poll(&world.client, &codes).await,
        &["authorization_pending"],
    );
    for _ in 0..10 {
        assert_t(&world.poll(&world.client, &codes).await, &["slow_down"]);
    }
    let other = client(&world.doorward, "Other").await;
    assert_t(&world.poll(&other, &codes).await, &["invalid_grant"]);
    let without = OAuthClient::native(&world.doorward).await;
    assert_t(
        &world.poll(&without, &codes).await,
        &["unauthorized_client", "invalid_grant"],
    );
    let form = [("client_id", without.id.as_str())];
    let refused = world
        .doorward
        .post("/device_authorization")
        .form(&form)
        .send()
        .await;
    assert_t(&refused, &["unauthorized_client", "invalid_target"]);
    let form = [("client_id", "dcr_unknown"), ("resource", &world.resource())];
    let refused = world
        .doorward
        .post("/device_authorization")
        .form(&form)
        .send()
        .await;
    assert_t(&refused, &["invalid_client"]);

    // The harm of all that: none.
    let mut bob = signed_in(&world.doorward, "bob").await;
    let page = world.typed(&mut bob, codes["user_code"].as_str().unwrap()).await;
    let done = answer(&mut bob, &page, "deny").await;
    assert!(
        done.text().contains("The device gets no access"),
        "{}",
        done.text()
    );
    assert_t(&world.poll(&world.client, &codes).await, &["access_denied"]);
    let again = world.typed(&mut bob, codes["user_code"].as_str().unwrap()).await;
    assert!(
        again.text().contains("No device waits for this code"),
        "{}",
        again.text()
    );
}

#[tokio::test]
async fn ex_06_a_thousand_guesses() {
    let world = World::start().await;
    let codes = world.ask(&world.client).await;
    let mut alice = signed_in(&world.doorward, "alice").await;
    let page = alice.get("/device").await;
    let mut form = page.form_with("user_code").unwrap();
    let guesses = if std::env::var_os("DOORWARD_FULL").is_some() {
        1000
    } else {
        100
    };
    let (begun, mut looked_up, mut throttled) = (Instant::now(), 0_u64, 0);
    for guess in 0..guesses {
        form.fill("user_code", &guessed(guess));
        let answer = alice.submit(&page, &form, "").await;
        match answer.reply.status {
            200 => looked_up += 1,
            429 => {
                throttled += 1;
                assert!(answer.reply.header("Retry-After").is_some());
                assert!(answer.text().contains("Too many codes"), "{}", answer.text());
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    // Five at once, and five more in every minute that this took.
    let allowed = 5 + 5 * (begun.elapsed().as_secs() / 60 + 1);
    assert!(
        looked_up >= 5 && looked_up <= allowed,
        "{looked_up} looked up, {throttled} throttled"
    );
    // A renewed session does not help, and others are not held up.
    let mut renewed = signed_in(&world.doorward, "alice").await;
    let refused = world.typed(&mut renewed, &guessed(guesses)).await.reply.status;
    assert!(
        begun.elapsed() > Duration::from_secs(12) || refused == 429,
        "{refused}"
    );
    let mut bob = signed_in(&world.doorward, "bob").await;
    let page = world.typed(&mut bob, codes["user_code"].as_str().unwrap()).await;
    let done = answer(&mut bob, &page, "approve").await;
    assert!(done.text().contains("connected"), "{}", done.text());
    assert_eq!(world.poll(&world.client, &codes).await.status, 200);
}

/// A well-formed code that nobody was given.
fn guessed(number: usize) -> String {
    const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
    let mut left = number;
    let digits = (0..8).map(|_| {
        let letter = LETTERS[left % 20];
        left /= 20;
        char::from(letter)
    });
    digits.collect()
}

#[tokio::test]
async fn cn_05_ex_06_answers_are_not_forged() {
    let world = World::start().await;
    let codes = world.ask(&world.client).await;
    let mut alice = signed_in(&world.doorward, "alice").await;
    let mut bob = signed_in(&world.doorward, "bob").await;
    let page = world
        .typed(&mut alice, codes["user_code"].as_str().unwrap())
        .await;
    let mut right = page.form_with("decision").unwrap();
    right.tick_all();
    for name in ["csrf", "device"] {
        let mut form = right.clone();
        form.remove(name);
        alice.submit(&page, &form, "approve").await;
    }
    let mut evil = alice
        .clone()
        .with_header("Origin", "https://evil.test")
        .with_header("Sec-Fetch-Site", "cross-site");
    assert_eq!(evil.submit(&page, &right, "approve").await.reply.status, 403);
    // What alice was shown is not bob's to answer, with his own csrf value.
    let bobs = bob.get("/device").await;
    let mut stolen = right.clone();
    stolen.fill(
        "csrf",
        bobs.form_with("user_code").unwrap().value("csrf").unwrap(),
    );
    let refused = bob.submit(&page, &stolen, "approve").await;
    assert_eq!(refused.reply.status, 400, "{}", refused.text());
    let mut by_get = right.clone();
    by_get.method = "get".into();
    alice.submit(&page, &by_get, "approve").await;
    assert_t(
        &world.poll(&world.client, &codes).await,
        &["authorization_pending"],
    );
    let done = alice.submit(&page, &right, "approve").await;
    assert!(done.text().contains("connected"), "{}", done.text());
}
