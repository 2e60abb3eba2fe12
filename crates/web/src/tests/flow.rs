//! Complete flows, as a client and a browser see them.

use doorward_jose::{JwkSet, UnverifiedJws};
use http::StatusCode;

use super::harness::*;

#[tokio::test]
async fn r12_a_complete_code_flow() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;

    let mut browser = site.browser();
    let login = browser.get(&authorize_url(&client, &[])).await;
    assert_eq!(login.status, StatusCode::OK);
    assert!(login.body.contains("<h1>Sign in</h1>"), "{}", login.body);
    let consent = browser.sign_in(&login, "alice", PASSWORD).await;
    assert_eq!(consent.status, StatusCode::OK);
    let back = browser.answer(&consent, "approve").await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    let query = back.location();
    insta::assert_snapshot!(
        back.header("location").replace(&query["code"], "CODE"),
        @"http://127.0.0.1:43123/cb?code=CODE&state=S1&iss=https%3A%2F%2Fmcp.example.com"
    );

    let tokens = site.token(&redeem(&client, &query["code"])).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.body);
    assert_eq!(tokens.header("cache-control"), "no-store");
    assert_eq!(tokens.header("content-type"), "application/json");
    let tokens = tokens.json();
    assert_eq!(
        (&tokens["scope"], &tokens["expires_in"]),
        (&"notes".into(), &600.into())
    );

    let keys = site.call(http::Method::GET, "/.well-known/jwks.json", &[]).await;
    let keys = JwkSet::parse(keys.body.as_bytes()).unwrap();
    let token = UnverifiedJws::parse(tokens["access_token"].as_str().unwrap()).unwrap();
    let verified = token.verify_with(&keys).unwrap();
    assert_eq!(verified.typ(), Some("at+jwt"));
    let mut claims = serde_json::Value::Object(verified.claims().as_object().clone());
    for id in ["jti", "sub", "family", "client_id"] {
        claims[id] = "ID".into();
    }
    claims.sort_all_objects();
    insta::assert_snapshot!(serde_json::to_string_pretty(&claims).unwrap(), @r#"
    {
      "aud": "https://mcp.example.com/notes/mcp",
      "auth_time": 1800000000,
      "client_id": "ID",
      "exp": 1800000600,
      "family": "ID",
      "groups": [
        "eng"
      ],
      "iat": 1800000000,
      "iss": "https://mcp.example.com",
      "jti": "ID",
      "rev": 0,
      "scope": "notes",
      "sub": "ID",
      "username": "alice"
    }
    "#);

    let refresh = tokens["refresh_token"].as_str().unwrap();
    let again = site.token(&refresh_fields(&client, refresh)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    assert_ne!(again.json()["refresh_token"], tokens["refresh_token"]);
    assert_ne!(again.json()["access_token"], tokens["access_token"]);
}

#[tokio::test]
async fn lk_01_lk_02_each_step_is_one_event_without_secrets_and_without_raw_text() {
    let (log, guard) = Log::capture();
    let site = Site::new().await;
    let client = site
        .register("evil\r\n\u{1b}[31mname", &["http://127.0.0.1/cb"])
        .await;
    let mut browser = site.browser();
    let login = browser
        .get(&authorize_url(&client, &[("state", "a\r\nb\u{1b}")]))
        .await;
    browser
        .sign_in(&login, "nobody\r\n\u{1b}", "wrong-password-typed")
        .await;
    let consent = browser.sign_in(&login, "alice", PASSWORD).await;
    let code = browser.answer(&consent, "approve").await.location()["code"].clone();
    let tokens = site.token(&redeem(&client, &code)).await.json();
    let (access, refresh) = (
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
    );
    let second = site.token(&refresh_fields(&client, refresh)).await.json();
    site.token(&redeem(&client, &code)).await;
    site.browser().get("/authorize?client_id=x%0d%0a%1b").await;
    drop(guard);
    let text = log.text();
    for step in [
        "register: done",
        "authorize: request accepted",
        "sign-in: failed",
        "sign-in: done",
        "consent: given",
        "token: code redeemed",
        "token: refreshed",
        "token: refused",
        "refused",
    ] {
        assert!(text.contains(step), "{step} in {text}");
    }
    let session = browser.session().unwrap().to_owned();
    let csrf = consent.hidden("csrf");
    for secret in [
        PASSWORD,
        "wrong-password-typed",
        &code,
        access,
        refresh,
        second["refresh_token"].as_str().unwrap(),
        VERIFIER,
        &session,
        &csrf,
        &consent.hidden("request"),
    ] {
        assert!(!text.contains(secret), "a secret in {text}");
    }
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
    let begins = |line: &str| levels.iter().any(|level| line.trim_start().starts_with(level));
    assert!(text.lines().all(begins), "one line per event: {text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn a_second_authorization_goes_straight_to_consent_and_never_skips_it() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;
    let mut browser = site.browser();
    let first = browser.consent_page(&client, &[]).await;
    browser.answer(&first, "approve").await;
    let second = browser.get(&authorize_url(&client, &[])).await;
    assert!(second.body.contains("name=\"decision\""), "{}", second.body);
    assert!(
        browser
            .answer(&second, "approve")
            .await
            .location()
            .contains_key("code")
    );
    let login = browser.get(&authorize_url(&client, &[("prompt", "login")])).await;
    assert!(login.body.contains("<h1>Sign in</h1>"));
}

#[tokio::test]
async fn not_you_signs_out_and_goes_on_with_the_same_request() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    let old = browser.cookies.clone();
    let (csrf, sealed) = (consent.hidden("csrf"), consent.hidden("request"));
    let login = browser
        .post("/logout", &[("csrf", csrf.as_str()), ("request", &sealed)])
        .await;
    assert_eq!(login.status, StatusCode::OK);
    assert!(login.body.contains("Test client") && browser.session().is_none());

    let mut stale = site.browser();
    stale.cookies = old;
    stale
        .answer(&consent, "approve")
        .await
        .assert_page("the old session is dead");

    let consent = browser.sign_in(&login, "bob", PASSWORD).await;
    assert!(consent.body.contains(">bob<"), "{}", consent.body);
    assert!(
        browser
            .answer(&consent, "approve")
            .await
            .location()
            .contains_key("code")
    );
    assert!(
        !browser
            .answer(&consent, "deny")
            .await
            .headers
            .contains_key("location"),
        "one answer only"
    );
}

#[tokio::test]
async fn a_lost_reply_can_be_repeated_and_the_first_code_is_void() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    let first = browser.answer(&consent, "approve").await.location()["code"].clone();
    let second = browser.answer(&consent, "approve").await.location()["code"].clone();
    assert_ne!(first, second);
    assert_eq!(
        site.token(&redeem(&client, &first)).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(site.token(&redeem(&client, &second)).await.status, StatusCode::OK);
    browser
        .answer(&consent, "approve")
        .await
        .assert_page("a code after the first was redeemed");
}

#[tokio::test]
async fn a_setup_link_sets_a_password_once() {
    let site = Site::new().await;
    let link = site.setup_link("bob").await;
    let mut browser = site.browser();
    let before = site.store.tables();
    let page = browser.get(&format!("/setup?token={link}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.body.contains("bob") && page.header("referrer-policy") == "same-origin");
    assert_eq!(
        format!("{before:?}"),
        format!("{:?}", site.store.tables()),
        "GET only reads"
    );

    let csrf = page.hidden("csrf");
    let fields = |password, again| {
        [
            ("csrf", csrf.clone()),
            ("token", link.clone()),
            ("password", password),
            ("password_again", again),
        ]
    };
    for (password, again, problem) in [
        ("a new long password", "another long password", "not the same"),
        ("short", "short", "at least 8"),
        ("", "", "at least 8"),
    ] {
        let fields = fields(password.to_owned(), again.to_owned());
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let page = browser.post("/setup", &fields).await;
        assert!(page.body.contains(problem), "{password}: {}", page.body);
    }
    let good = fields("a new long password".into(), "a new long password".into());
    let good: Vec<(&str, &str)> = good.iter().map(|(name, value)| (*name, value.as_str())).collect();
    site.browser()
        .post("/setup", &good)
        .await
        .assert_page("without the cookie of the page");
    let done = browser.post("/setup", &good).await;
    assert!(
        done.status == StatusCode::OK && done.body.contains("Your password is set"),
        "{}",
        done.body
    );
    browser
        .post("/setup", &good)
        .await
        .assert_page("the link was used");
    browser
        .get(&format!("/setup?token={link}"))
        .await
        .assert_page("the link was used");
    browser
        .get("/setup?token=nonsense")
        .await
        .assert_page("no such link");
    browser.get("/setup").await.assert_page("no link");

    let login = browser.get("/login").await;
    let csrf = login.hidden("csrf");
    let old = [
        ("csrf", csrf.as_str()),
        ("username", "bob"),
        ("password", PASSWORD),
    ];
    assert!(browser.post("/login", &old).await.body.contains("do not fit"));
    let new = [
        ("csrf", csrf.as_str()),
        ("username", "Bob "),
        ("password", "a new long password"),
    ];
    let signed_in = browser.post("/login", &new).await;
    assert!(signed_in.body.contains("You are signed in"), "{}", signed_in.body);
    assert!(browser.get("/login").await.body.contains("You are signed in"));
    let out = browser
        .post("/logout", &[("csrf", signed_in.hidden("csrf").as_str())])
        .await;
    assert!(out.body.contains("You are signed out") && browser.session().is_none());
    assert!(browser.get("/login").await.body.contains("<h1>Sign in</h1>"));
}

#[tokio::test]
async fn two_tabs_that_sign_in_one_after_the_other_both_get_their_code() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;
    let mut browser = site.browser();
    let one = browser.get(&authorize_url(&client, &[])).await;
    let two = browser.get(&authorize_url(&client, &[])).await;
    let one = browser.sign_in(&one, "alice", PASSWORD).await;
    let two = browser.sign_in(&two, "alice", PASSWORD).await;
    let one = browser.answer(&one, "approve").await;
    one.assert_page("of the session before");
    assert!(one.body.contains("name=\"decision\""), "{}", one.body);
    for page in [&one, &two] {
        let answer = browser.answer(page, "approve").await;
        assert!(answer.location().contains_key("code"));
    }
}

#[tokio::test]
async fn two_tabs_that_begin_at_once_go_on_with_the_cookie_that_was_kept() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;
    let mut browser = site.browser();
    let first = site.browser().get(&authorize_url(&client, &[])).await;
    browser.get(&authorize_url(&client, &[])).await;
    let login = browser.sign_in(&first, "alice", PASSWORD).await;
    login.assert_page("of the cookie that was not kept");
    assert!(login.body.contains("sign in once more") && login.body.contains("alice"));
    let consent = browser.sign_in(&login, "alice", PASSWORD).await;
    assert!(
        browser
            .answer(&consent, "approve")
            .await
            .location()
            .contains_key("code")
    );

    let mut without = site.browser();
    let reply = without.sign_in(&first, "alice", PASSWORD).await;
    assert!(
        !reply.body.contains("name=\"password\""),
        "cookies are off: no endless loop"
    );
}

#[tokio::test]
async fn a_session_that_ends_under_the_consent_page_leads_to_the_login_page() {
    let site = Site::new().await;
    let client = site.register("Test client", &["http://127.0.0.1:1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    browser.cookies.retain(|name, _| !name.contains("session"));
    let login = browser.answer(&consent, "approve").await;
    login.assert_page("without a session");
    let again = browser.sign_in(&login, "bob", PASSWORD).await;
    assert!(again.body.contains(">bob<"), "{}", again.body);
    assert!(
        browser
            .answer(&again, "approve")
            .await
            .location()
            .contains_key("code")
    );
}
