//! Somebody wants to get into another person's account, or to have another person's browser change it.

use doorward_authorization_server::passkey::key::ES256;
use doorward_authorization_server::passkey::soft::SoftPasskey;
use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::html::Form;
use doorward_testkit::{Doorward, PASSWORD};

use crate::passkeys::asked;
use crate::sign_in::{PROXIED, add_app, attempt, next_code, press, start, to_the_code};
use crate::support::RA;

fn is_in(browser: &Browser) -> bool {
    browser.cookies.keys().any(|name| name.contains("session"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_10_hd_03_a_second_forwarded_header_exempts_nobody() {
    let doorward = start(PROXIED).await;
    let mut attacker = Browser::new(&doorward);
    let page = attacker.get("/login").await;
    // The proxy writes X-Forwarded-For, and passes on what it does not know.
    for forwarded in ["for=192.0.2.1", "for=127.0.0.1", "x"] {
        let mut attacker = attacker
            .clone()
            .with_header("X-Forwarded-For", "203.0.113.9")
            .with_header("Forwarded", forwarded);
        let mut refused = 0;
        for n in 0..70 {
            let answer = attempt(&mut attacker, &page, &format!("user{n}"), "wrong").await;
            refused += u32::from(answer.reply.status == 429);
        }
        assert!(refused > 0, "{forwarded}");
    }
    // Who is told apart still gets in.
    let mut alice = Browser::new(&doorward).with_header("X-Forwarded-For", "198.51.100.7");
    let page = alice.get("/login").await;
    attempt(&mut alice, &page, "alice", PASSWORD).await;
    assert!(is_in(&alice));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_link_does_not_get_past_the_second_step() {
    let config = format!("[[servers]]\nname = \"a\"\npath = \"{RA}\"\ndemo = true\n");
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .public_url("http://localhost:{port}")
        .start()
        .await;
    let (secret, _) = add_app(&mut Browser::new(&doorward)).await;
    let link = doorward.command(&["user", "passwd", "alice"]).ok().stdout;
    let link = link.lines().last().unwrap().to_owned();
    let token = link.split_once("token=").unwrap().1.to_owned();

    let mut thief = Browser::new(&doorward);
    let page = thief.get(&link).await;
    let (mut form, challenge, rp) = asked(&page, "/setup/passkey");
    let passkey = SoftPasskey::new(ES256, b"a credential of the thief");
    let answer = passkey.answer("webauthn.create", &rp, &doorward.public_url, &challenge);
    form.fill("credential", &answer.registration());
    let refused = thief.submit(&page, &form, "").await;
    assert!(refused.text().contains("has a second step"), "{}", refused.text());
    let page = thief.get("/login").await;
    let (mut form, challenge, rp) = asked(&page, "/login/passkey");
    let answer = passkey.answer("webauthn.get", &rp, &doorward.public_url, &challenge);
    form.fill("credential", &passkey.assertion(&answer));
    thief.submit(&page, &form, "").await;
    assert!(!is_in(&thief));

    // The link still does what it is for; the code is asked as before; and it works once.
    let mut alice = Browser::new(&doorward);
    let page = alice.get(&link).await;
    let new = "a brand new password";
    press(
        &mut alice,
        &page,
        "/setup",
        &[("password", new), ("password_again", new)],
    )
    .await;
    let page = alice.get("/login").await;
    let page = attempt(&mut alice, &page, "alice", new).await;
    assert!(!is_in(&alice));
    press(&mut alice, &page, "/login/code", &[("code", &next_code(&secret))]).await;
    assert!(is_in(&alice));
    assert!(thief.get(&link).await.form_with("password").is_none());

    // Neither the log nor the traces know the link, before or after.
    let logs = doorward.logged("setup: password set").await;
    assert!(!logs.contains(&token));
    for file in std::fs::read_dir(&doorward.data).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let found = bytes
            .windows(token.len())
            .any(|window| window == token.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_before_ends_with_the_password_and_with_the_account() {
    let doorward = start("").await;
    let link = || {
        let link = doorward.command(&["user", "passwd", "alice"]).ok().stdout;
        link.lines().last().unwrap().to_owned()
    };
    let first = link();
    let mut alice = Browser::new(&doorward);
    let page = alice.get("/security").await;
    attempt(&mut alice, &page, "alice", PASSWORD).await;
    let page = alice.get("/security").await;
    let new = "a brand new password";
    let fields = [("password", new), ("password_again", new)];
    press(&mut alice, &page, "/security/password", &fields).await;
    let mut thief = Browser::new(&doorward);
    assert!(thief.get(&first).await.form_with("password").is_none());
    let second = link();
    assert!(thief.get(&second).await.form_with("password").is_some());
    doorward.command(&["user", "disable", "alice"]).ok();
    doorward.command(&["user", "enable", "alice"]).ok();
    assert!(thief.get(&second).await.form_with("password").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_code_lets_one_in_whoever_comes_at_once() {
    for recovers in [false, true] {
        let doorward = start("").await;
        let (secret, codes) = add_app(&mut Browser::new(&doorward)).await;
        let code = if recovers {
            codes[3].to_uppercase()
        } else {
            next_code(&secret)
        };
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let mut browser = Browser::new(&doorward);
            let page = to_the_code(&mut browser, "/login").await;
            let code = code.clone();
            racing.spawn(async move {
                press(&mut browser, &page, "/login/code", &[("code", &code)]).await;
                is_in(&browser)
            });
        }
        let got_in = racing.join_all().await;
        let got_in = got_in.into_iter().filter(|is_in| *is_in).count();
        assert_eq!(got_in, 1, "recovers: {recovers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_step_is_of_one_person_in_one_browser() {
    let doorward = start("").await;
    let (_, codes) = add_app(&mut Browser::new(&doorward)).await;
    let mut alice = Browser::new(&doorward);
    let page = to_the_code(&mut alice, "/login").await;
    let step = page.form_with("step").unwrap();

    // In another browser, with that browser's own csrf value.
    let mut thief = Browser::new(&doorward);
    let own = thief.get("/login").await;
    let mut stolen = step.clone();
    stolen.fill("csrf", own.login_form().value("csrf").unwrap());
    stolen.fill("code", &codes[0]);
    let refused = thief.submit(&own, &stolen, "").await;
    assert!(refused.text().contains("took too long"), "{}", refused.text());
    assert!(!is_in(&thief));

    // What was sealed for something else is no step, and a step is nothing else.
    let page = alice.get("/login").await;
    let passkey = page.form_with("ceremony").unwrap();
    let mut form = step.clone();
    form.fill("step", passkey.value("ceremony").unwrap());
    form.fill("code", &codes[0]);
    assert!(alice.submit(&page, &form, "").await.reply.status >= 400);
    let mut form = passkey.clone();
    form.fill("ceremony", step.value("step").unwrap());
    assert!(alice.submit(&page, &form, "").await.reply.status >= 400);
    assert!(!is_in(&alice));

    // Bob's codes are nothing at alice's step, and a step of before is nothing after the password changed.
    let mut form = step.clone();
    form.fill("code", "000000");
    alice.submit(&page, &form, "").await;
    doorward
        .command_with(
            &["user", "passwd", "alice", "--password-stdin"],
            "a brand new password\n",
        )
        .ok();
    let mut form = step.clone();
    form.fill("code", &codes[0]);
    let refused = alice.submit(&page, &form, "").await;
    assert!(refused.text().contains("took too long"), "{}", refused.text());
    assert!(!is_in(&alice));
}

/// Everything that a page of somebody who signed in a moment ago can post, filled in so that it would work.
async fn forms_of(browser: &mut Browser) -> Vec<(Page, Form)> {
    let mut all = Vec::new();
    for path in [
        "/account",
        "/account/end?what=everything",
        "/security",
        "/device",
        "/login",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.reply.status, 200, "{path}: {}", page.text());
        for mut form in page.forms() {
            for (name, value) in [
                ("password", "a brand new password"),
                ("password_again", "a brand new password"),
                ("user_code", "BCDF-GHJK"),
                ("credential", "{}"),
            ] {
                if form.has(name) {
                    form.fill(name, value);
                }
            }
            all.push((page.clone(), form));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn cn_05_cn_06_hd_05_no_form_of_an_account_is_posted_by_another_site() {
    let doorward = start("[grants]\ndevice = true\n").await;
    let enter = async |name: &str| {
        let mut browser = Browser::new(&doorward);
        let page = browser.get("/security").await;
        attempt(&mut browser, &page, name, PASSWORD).await;
        browser
    };
    let mut alice = enter("alice").await;
    let mut bob = enter("bob").await;
    let bobs = bob.get("/account").await.form_with("csrf").unwrap();
    let bobs = bobs.value("csrf").unwrap().to_owned();
    let forms = forms_of(&mut alice).await;
    let mut actions: Vec<&str> = forms.iter().map(|(_, form)| form.action.as_str()).collect();
    actions.sort_unstable();
    actions.dedup();
    for action in [
        "/account/end",
        "/device",
        "/logout",
        "/security/app",
        "/security/passkeys",
        "/security/password",
    ] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    // Routes whose forms are on no page of an account as it is now.
    let any = forms[0].0.clone();
    let mut posts: Vec<(Page, Form)> = forms
        .into_iter()
        .filter(|(_, form)| form.method == "post")
        .collect();
    let csrf = posts[0].1.clone();
    for action in [
        "/security/app/confirm",
        "/security/app/remove",
        "/security/codes",
        "/security/passkeys/remove",
        "/login",
        "/login/code",
        "/login/passkey",
        "/consent",
        "/setup",
        "/setup/passkey",
    ] {
        let mut form = csrf.clone();
        form.action = action.into();
        posts.push((any.clone(), form));
    }
    let sessions_of = |name: &str| {
        let shown = doorward.command(&["user", "show", name, "--format", "json"]).ok();
        shown.json()["sessions"].as_array().unwrap().len()
    };
    for (page, form) in &posts {
        let mut without = form.clone();
        without.remove("csrf");
        let mut with_bobs = form.clone();
        with_bobs.fill("csrf", &bobs);
        let cross = alice
            .clone()
            .with_header("Origin", "https://evil.test")
            .with_header("Sec-Fetch-Site", "cross-site");
        let sandboxed = alice
            .clone()
            .with_header("Origin", "null")
            .with_header("Sec-Fetch-Site", "cross-site");
        let sibling = alice
            .clone()
            .with_header("Origin", "null")
            .with_header("Sec-Fetch-Site", "same-site");
        for (what, mut browser, form) in [
            ("no csrf", alice.clone(), &without),
            ("bob's csrf", alice.clone(), &with_bobs),
            ("another site", cross, form),
            ("a sandbox", sandboxed, form),
            ("a sibling", sibling, form),
        ] {
            let answer = browser.submit_without_following(page, form, "").await;
            let action = &form.action;
            assert_eq!(answer.reply.status, 403, "{action}, {what}: {}", answer.text());
            let header = |name: &str| answer.reply.header(name).unwrap_or_default().to_owned();
            let policy = header("Content-Security-Policy");
            assert!(policy.contains("frame-ancestors 'none'"), "{action}: {policy}");
            assert!(!policy.contains("unsafe"), "{action}: {policy}");
            assert_eq!(header("X-Frame-Options"), "DENY", "{action}");
            assert_eq!(header("Cache-Control"), "no-store", "{action}");
            assert_eq!(header("Access-Control-Allow-Origin"), "", "{action}");
        }
    }
    assert_eq!((sessions_of("alice"), sessions_of("bob")), (1, 1));
    let mut again = enter("alice").await;
    assert!(is_in(&again), "the password is what it was");
    assert!(
        again
            .get("/security")
            .await
            .text()
            .contains("Add an authenticator app")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cn_07_names_of_devices_and_passkeys_are_text() {
    let config = format!("[[servers]]\nname = \"a\"\npath = \"{RA}\"\ndemo = true\n");
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .public_url("http://localhost:{port}")
        .start()
        .await;
    let evil = "\"><svg/onload=alert(1)>'<script>alert(2)</script>";
    let mut browser = Browser::new(&doorward).with_header("User-Agent", evil);
    let page = browser.get("/security").await;
    attempt(&mut browser, &page, "alice", PASSWORD).await;
    let page = browser.get("/security").await;
    let (mut form, challenge, rp) = asked(&page, "/security/passkeys");
    let passkey = SoftPasskey::new(ES256, b"a credential");
    let answer = passkey.answer("webauthn.create", &rp, &doorward.public_url, &challenge);
    form.fill("credential", &answer.registration());
    form.fill("name", evil);
    let page = browser.submit(&page, &form, "").await;
    assert!(page.text().contains("svg/onload"), "{}", page.text());
    let account = browser.get("/account").await;
    for page in [&page, &account] {
        let html = page.reply.text();
        assert!(!html.contains("<svg/onload"), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_of_somebody_else_is_not_registered_again() {
    let config = format!("[[servers]]\nname = \"a\"\npath = \"{RA}\"\ndemo = true\n");
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .user("bob", PASSWORD)
        .public_url("http://localhost:{port}")
        .start()
        .await;
    for (name, added) in [("alice", true), ("bob", false)] {
        let mut browser = Browser::new(&doorward);
        let page = browser.get("/security").await;
        attempt(&mut browser, &page, name, PASSWORD).await;
        let page = browser.get("/security").await;
        let (mut form, challenge, rp) = asked(&page, "/security/passkeys");
        // The same credential id, another key.
        let passkey = SoftPasskey::new(ES256, b"the id that alice has");
        let answer = passkey.answer("webauthn.create", &rp, &doorward.public_url, &challenge);
        form.fill("credential", &answer.registration());
        let page = browser.submit(&page, &form, "").await;
        assert_eq!(
            page.text().contains("The passkey is added"),
            added,
            "{}",
            page.text()
        );
        assert!(page.reply.status < 500, "{}", page.text());
    }
}
