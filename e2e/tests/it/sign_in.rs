//! Signing in under attack, and with a second factor.

use std::time::Duration;

use doorward_authorization_server::totp::TotpSecret;
use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens, with};
use doorward_testkit::{Doorward, PASSWORD, eventually, html, mcp};
use doorward_types::time::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::RA;

pub(crate) const PROXIED: &str = "trusted_proxies = [\"127.0.0.1\", \"::1\"]\n";

fn full() -> bool {
    std::env::var_os("DOORWARD_FULL").is_some()
}

/// One server for alice and bob; `config` comes first.
pub(crate) async fn start(config: &str) -> Doorward {
    let config = format!("{config}[[servers]]\nname = \"a\"\npath = \"{RA}\"\ndemo = true\n");
    let builder = Doorward::builder().config(&config);
    builder
        .user("alice", PASSWORD)
        .user("bob", PASSWORD)
        .start()
        .await
}

/// A browser behind a proxy that says so.
fn at(doorward: &Doorward, address: &str) -> Browser {
    Browser::new(doorward).with_header("X-Forwarded-For", address)
}

pub(crate) async fn attempt(browser: &mut Browser, page: &Page, username: &str, password: &str) -> Page {
    let mut form = page.login_form();
    form.fill("username", username);
    form.fill("password", password);
    browser.submit_without_following(page, &form, "").await
}

/// Whether somebody signed in there a moment ago.
async fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/security").await.text().contains("How you sign in")
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_10_many_wrong_passwords_from_many_peers_leave_the_owner_in() {
    let doorward = start(PROXIED).await;
    // Alice signed in once, at home.
    let mut home = at(&doorward, "198.51.100.7");
    let page = home.get("/login").await;
    assert_eq!(
        attempt(&mut home, &page, "alice", PASSWORD).await.reply.status,
        200
    );

    let (peers, each) = if full() { (200_u32, 50) } else { (20, 20) };
    let mut patterns = Vec::new();
    for name in ["alice", "nobody-has-this-name"] {
        let mut pattern = Vec::new();
        let mut attacker = Browser::new(&doorward);
        let page = attacker.get("/login").await;
        for peer in 0..peers {
            let address = format!("203.0.{}.{}", 113 + peer / 250, peer % 250);
            let mut attacker = attacker.clone().with_header("X-Forwarded-For", &address);
            for n in 0..each {
                let answer = attempt(&mut attacker, &page, name, &format!("wrong {peer} {n}")).await;
                let reply = &answer.reply;
                if reply.status == 429 {
                    let seconds: u64 = reply.header("Retry-After").unwrap().parse().unwrap();
                    assert!((1..=120).contains(&seconds), "{seconds}");
                    assert!(
                        answer.text().contains("too many attempts to sign in. Wait "),
                        "{}",
                        answer.text()
                    );
                } else {
                    assert_eq!(reply.status, 200);
                    assert!(answer.text().contains("do not fit"), "{}", answer.text());
                }
                pattern.push(reply.status);
            }
            // The right password is not looked at either: else it could be told from the wrong ones.
            let answer = attempt(&mut attacker, &page, name, PASSWORD).await;
            assert_eq!(answer.reply.status, 429);
        }
        let looked_at = pattern.iter().filter(|status| **status == 200).count();
        assert!(
            looked_at <= peers as usize * 5 + 20,
            "{looked_at} of {}",
            pattern.len()
        );
        patterns.push(looked_at);
    }
    // The lanes fill by time, so the two rounds can differ by what came back meanwhile.
    assert!(
        patterns[0].abs_diff(patterns[1]) <= peers as usize,
        "{patterns:?}"
    );

    // At home, from wherever it is used; even behind one of the attackers' addresses.
    for address in ["198.51.100.7", "203.0.113.3"] {
        let mut home = home.clone().with_header("X-Forwarded-For", address);
        home.cookies.retain(|name, _| name.contains("known"));
        let page = home.get("/login").await;
        attempt(&mut home, &page, "alice", PASSWORD).await;
        assert!(is_signed_in(&mut home).await, "{address}");
    }
    // In a new browser, at an address that attacked nobody.
    let mut elsewhere = at(&doorward, "192.0.2.55");
    let page = elsewhere.get("/login").await;
    attempt(&mut elsewhere, &page, "alice", PASSWORD).await;
    assert!(is_signed_in(&mut elsewhere).await);
    // And everybody else, there too.
    let mut bob = at(&doorward, "203.0.113.3");
    let page = bob.get("/login").await;
    attempt(&mut bob, &page, "bob", PASSWORD).await;
    assert!(is_signed_in(&mut bob).await);
    doorward.logged("sign-in: refused, too many attempts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_10_many_wrong_codes_from_many_peers_leave_the_owner_in() {
    let doorward = start(PROXIED).await;
    let client = OAuthClient::native(&doorward).await;
    let mut alice = at(&doorward, "198.51.100.7");
    let resource = doorward.url(RA);
    let approved = client.approve(&mut alice, "alice", PASSWORD, &resource).await;
    let rounds = if full() { 10_000 } else { 500 };
    for n in 0..rounds {
        let form = with(client.code_form(&approved), "code", Some(&format!("wrong-{n}")));
        let fields: Vec<(&str, &str)> = form.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let peer = format!("203.0.113.{}", n % 250);
        let reply = doorward
            .post("/token")
            .header("X-Forwarded-For", &peer)
            .form(&fields)
            .send()
            .await;
        assert!(matches!(reply.status, 400 | 429), "{}", reply.text());
    }
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    assert!(tokens.refresh.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_10_hd_03_forged_addresses_gain_nothing() {
    let doorward = start("").await;
    let mut attacker = Browser::new(&doorward);
    let page = attacker.get("/login").await;
    let mut refused = 0;
    for n in 0..40 {
        let forged = format!("203.0.113.{n}");
        let mut attacker = attacker
            .clone()
            .with_header("X-Forwarded-For", &forged)
            .with_header("Forwarded", &format!("for={forged}"))
            .with_header("X-Real-IP", &forged);
        let answer = attempt(&mut attacker, &page, "alice", "wrong").await;
        refused += u32::from(answer.reply.status == 429);
    }
    assert!(refused >= 20, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hd_03_a_header_left_of_what_the_proxy_wrote_gains_nothing() {
    let doorward = start(PROXIED).await;
    let mut attacker = Browser::new(&doorward);
    let page = attacker.get("/login").await;
    let mut refused = 0;
    for n in 0..40 {
        let mut attacker = attacker
            .clone()
            .with_header("X-Forwarded-For", &format!("198.51.100.{n}, 203.0.113.9"));
        let answer = attempt(&mut attacker, &page, "alice", "wrong").await;
        refused += u32::from(answer.reply.status == 429);
    }
    assert!(refused >= 20, "{refused}");
}

/// The code that the app shows in the next step: the one of this step was used when the app was added.
pub(crate) fn next_code(secret: &TotpSecret) -> String {
    let now = SystemClock.now();
    secret.code(now.plus(Duration::from_secs(30))).to_string()
}

/// The secret that the page shows for typing.
fn secret_of(page: &Page) -> TotpSecret {
    let page = page.reply.text();
    let tags = html::tags(&page);
    let shown = tags
        .iter()
        .find(|tag| tag.get("class") == Some("secret"))
        .unwrap();
    let text: String = shown.text.split_whitespace().collect();
    let mut bits = String::new();
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            _ => character - b'2' + 26,
        };
        bits.push_str(&format!("{value:05b}"));
    }
    let bytes: Vec<u8> = (0..bits.len() / 8)
        .map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).unwrap())
        .collect();
    TotpSecret::from_bytes(bytes).unwrap()
}

/// Presses the one button of the form with this action.
pub(crate) async fn press(browser: &mut Browser, page: &Page, action: &str, fields: &[(&str, &str)]) -> Page {
    let mut form = page
        .forms()
        .into_iter()
        .find(|form| form.action == action)
        .unwrap_or_else(|| panic!("no {action}: {}", page.text()));
    for (name, value) in fields {
        form.fill(name, value);
    }
    browser.submit(page, &form, "").await
}

/// Signs in without an app, and adds an authenticator app: its secret and the recovery codes.
pub(crate) async fn add_app(browser: &mut Browser) -> (TotpSecret, Vec<String>) {
    let page = browser.get("/security").await;
    let page = attempt(browser, &page, "alice", PASSWORD).await;
    assert_eq!(page.reply.status, 303);
    let page = browser.get("/security").await;
    let page = press(browser, &page, "/security/app", &[]).await;
    let secret = secret_of(&page);
    let page = press(browser, &page, "/security/app/confirm", &[("code", "000000")]).await;
    assert_eq!(page.reply.status, 400, "{}", page.text());
    let code = secret.code(SystemClock.now()).to_string();
    let page = press(browser, &page, "/security/app/confirm", &[("code", &code)]).await;
    let text = page.reply.text();
    let codes = html::tags(&text)
        .into_iter()
        .filter(|tag| tag.name == "code" && tag.text.matches('-').count() == 3)
        .map(|tag| tag.text)
        .collect::<Vec<_>>();
    assert_eq!(codes.len(), 10, "{}", page.text());
    (secret, codes)
}

/// From the password to the page that asks for a code.
pub(crate) async fn to_the_code(browser: &mut Browser, url: &str) -> Page {
    let page = browser.get(url).await;
    let page = attempt(browser, &page, "alice", PASSWORD).await;
    assert!(page.form_with("code").is_some(), "{}", page.text());
    assert!(!browser.cookies.keys().any(|name| name.contains("session")));
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_and_each_code_is_good_once() {
    let doorward = start("").await;
    let (secret, codes) = add_app(&mut Browser::new(&doorward)).await;
    let client = OAuthClient::native(&doorward).await;
    let url = client.authorize_url(&Pkce::new(), &doorward.url(RA));
    let mut browser = Browser::new(&doorward);
    let step = to_the_code(&mut browser, &url).await;
    for wrong in ["000000", "", "aaaa-bbbb-cccc-dddd"] {
        let page = press(&mut browser, &step, "/login/code", &[("code", wrong)]).await;
        assert!(page.text().contains("not right"), "{}", page.text());
    }
    let code = next_code(&secret);
    let consent = press(&mut browser, &step, "/login/code", &[("code", &code)]).await;
    assert!(consent.form_with("decision").is_some(), "{}", consent.text());

    let mut second = Browser::new(&doorward);
    let step = to_the_code(&mut second, "/login?next=security").await;
    let page = press(&mut second, &step, "/login/code", &[("code", &code)]).await;
    assert!(page.text().contains("not right"), "used: {}", page.text());
    let page = press(
        &mut second,
        &step,
        "/login/code",
        &[("code", &codes[2].to_uppercase())],
    )
    .await;
    assert!(page.text().contains("9 recovery codes left"), "{}", page.text());

    // What the first step proved is worth nothing in another browser.
    let mut thief = Browser::new(&doorward);
    let step = to_the_code(&mut Browser::new(&doorward), "/login?next=security").await;
    thief.get("/login").await;
    let mut form = step.form_with("code").unwrap();
    let own = thief.get("/login").await.login_form();
    form.fill("csrf", own.value("csrf").unwrap());
    form.fill("code", &codes[3]);
    let page = thief.submit(&step, &form, "").await;
    assert!(page.text().contains("sign in once more"), "{}", page.text());
    assert!(!is_signed_in(&mut thief).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_10_codes_are_throttled_and_an_operator_takes_the_second_factor_away() {
    let doorward = start("").await;
    let (_, codes) = add_app(&mut Browser::new(&doorward)).await;
    // Somebody who knows the password, in a browser that is not known.
    let mut thief = Browser::new(&doorward);
    let step = to_the_code(&mut thief, "/login").await;
    let mut refused = 0;
    for n in 0..20 {
        let page = press(&mut thief, &step, "/login/code", &[("code", &format!("{n:06}"))]).await;
        refused += u32::from(page.reply.status == 429);
    }
    assert_eq!(refused, 15);
    let page = press(&mut thief, &step, "/login/code", &[("code", &codes[0])]).await;
    assert_eq!(page.reply.status, 429, "not looked at");
    let shown = doorward.command(&["user", "show", "alice"]).ok().stdout;
    assert!(shown.contains("10 recovery codes left"), "{shown}");
    doorward.command(&["user", "reset-second-factor", "alice"]).ok();
    let mut alice = Browser::new(&doorward);
    let page = alice.get("/login").await;
    attempt(&mut alice, &page, "alice", PASSWORD).await;
    assert!(is_signed_in(&mut alice).await);
}

/// Makes every sign-in so many milliseconds older: the rows are read for each request.
fn age_sessions(doorward: &Doorward, millis: i64) {
    let database = rusqlite::Connection::open(doorward.data.join("doorward.db")).unwrap();
    let sql = "UPDATE sessions SET authenticated_at = authenticated_at - ?1";
    assert_eq!(database.execute(sql, [millis]).unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_account_take_a_fresh_sign_in() {
    let doorward = start("").await;
    let mut browser = Browser::new(&doorward);
    let page = browser.get("/security").await;
    attempt(&mut browser, &page, "alice", PASSWORD).await;
    let page = browser.get("/security").await;
    let form = page
        .forms()
        .into_iter()
        .find(|form| form.action == "/security/password")
        .unwrap();
    age_sessions(&doorward, 6 * 60 * 1000);
    let again = browser.get("/security").await;
    assert!(
        again.text().contains("Confirm that it is you"),
        "{}",
        again.text()
    );
    let mut form = form;
    form.fill("password", "another good password");
    form.fill("password_again", "another good password");
    let refused = browser.submit_without_following(&page, &form, "").await;
    assert_eq!(refused.reply.status, 403);
    assert!(refused.text().contains("Confirm that it is you"));
    let page = attempt(&mut browser, &refused, "alice", PASSWORD).await;
    assert_eq!(page.reply.location(), Some("/security"));
    assert!(browser.get("/security").await.text().contains("New password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cn_08_cn_05_a_new_password_signs_every_other_browser_out() {
    let doorward = start("").await;
    let mut browsers: Vec<Browser> = (0..3).map(|_| Browser::new(&doorward)).collect();
    for browser in &mut browsers {
        let page = browser.get("/security").await;
        attempt(browser, &page, "alice", PASSWORD).await;
        assert!(is_signed_in(browser).await);
    }
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url(RA);
    let tokens = client.login("alice", PASSWORD, &resource).await;
    let before = browsers[0].cookie_header();
    let page = browsers[0].get("/security").await;
    let new = "another good password";
    let fields = [("password", new), ("password_again", new)];
    // Forged: with the csrf value of another session.
    let other = browsers[1].get("/security").await;
    let mut form = page
        .forms()
        .into_iter()
        .find(|form| form.action == "/security/password")
        .unwrap();
    let stolen = other.form_with("password").unwrap();
    form.fill("csrf", stolen.value("csrf").unwrap());
    let forged = browsers[0].submit_without_following(&page, &form, "").await;
    assert_eq!(forged.reply.status, 403);
    let weak = press(
        &mut browsers[0],
        &page,
        "/security/password",
        &[("password", "short"), ("password_again", "short")],
    )
    .await;
    assert_eq!(weak.reply.status, 400);
    let done = press(&mut browsers[0], &page, "/security/password", &fields).await;
    assert!(
        done.text().contains("every other browser is signed out"),
        "{}",
        done.text()
    );
    assert_ne!(browsers[0].cookie_header(), before, "the session id is new");
    assert!(is_signed_in(&mut browsers[0]).await);
    assert!(!is_signed_in(&mut browsers[1]).await && !is_signed_in(&mut browsers[2]).await);
    // Apps go on, unless the person says otherwise.
    let refreshed = Tokens::from_reply(&client.refresh(tokens.refresh(), &resource).await);
    let page = browsers[0].get("/security").await;
    let mut form = page
        .forms()
        .into_iter()
        .find(|form| form.action == "/security/password")
        .unwrap();
    form.fill("password", "a third good password");
    form.fill("password_again", "a third good password");
    form.tick_all();
    let done = browsers[0].submit(&page, &form, "").await;
    assert!(
        done.text().contains("every app has to ask you again"),
        "{}",
        done.text()
    );
    let refused = client.refresh(refreshed.refresh(), &resource).await;
    assert_eq!(refused.oauth_error().as_deref(), Some("invalid_grant"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_change_by_command_and_count_at_once() {
    let config =
        format!("[[servers]]\nname = \"a\"\npath = \"{RA}\"\ndemo = true\nallow = [\"group:eng\"]\n");
    let builder = Doorward::builder().config(&config);
    let doorward = builder.user_in("alice", PASSWORD, &["eng"]).start().await;
    let client = OAuthClient::native(&doorward).await;
    let tokens = client.login("alice", PASSWORD, &doorward.url(RA)).await;
    let call = || mcp::call(&doorward, RA, "whoami", &json!({})).bearer(&tokens.access);
    assert_eq!(call().send().await.status, 200);
    let said = doorward
        .command(&["user", "groups", "alice", "--add", "ops", "--remove", "eng"])
        .ok()
        .stdout;
    assert!(said.contains("is in ops"), "{said}");
    eventually("the old group is gone", Duration::from_secs(60), async || {
        (call().send().await.status == 401).then_some(())
    })
    .await;
    for (args, code) in [
        (&["user", "groups", "alice"][..], 2),
        (&["user", "groups", "alice", "--remove", "eng"], 1),
        (&["user", "groups", "alice", "--add", "a,b"], 2),
        (&["user", "groups", "alice", "--add", "x", "--remove", "x"], 2),
        (&["user", "groups", "nobody", "--add", "x"], 1),
        (&["user", "show", "nobody"], 1),
        (&["user", "reset-second-factor", "nobody"], 1),
    ] {
        let finished = doorward.command(args);
        assert_eq!(finished.code, code, "{args:?}: {}", finished.stderr);
    }
    let json = doorward
        .command(&["user", "show", "alice", "--format", "json"])
        .ok()
        .json();
    assert_eq!(json["groups"], json!(["ops"]));
    assert_eq!(json["sessions"][0]["methods"], json!(["pwd"]));
    assert_eq!(json["clients"].as_array().unwrap().len(), 1);
}
