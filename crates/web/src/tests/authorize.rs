//! `/authorize`: who gets a page, who is sent back, and what is in the answer.

use http::{Method, StatusCode};

use super::harness::*;

#[tokio::test]
async fn az_01_az_02_az_03_s8_unknown_clients_and_redirects_get_a_page() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let web = site
        .register("C2", &["https://claude.ai/cb", "https://claude.ai/other"])
        .await;
    for redirect in [
        "http://localhost:43123/cb",
        "http://127.0.0.1.evil.test/cb",
        "http://127.1/cb",
        "http://2130706433/cb",
        "http://0.0.0.0/cb",
        "http://[::1]/cb",
        "http://a@127.0.0.1/cb",
        "http://127.0.0.1:1/other",
        "http://127.0.0.1:1/cb/",
        "http://127.0.0.1:1/cb?x",
        "http://127.0.0.1:1/cb#x",
        "https://127.0.0.1:1/cb",
        "http://127.0.0.1:1/CB",
        "http://127.0.0.1:1/x/../cb",
        "http://127.0.0.1:1/%63b",
        "http:\\\\127.0.0.1\\cb",
        "http://127.0.0.1:1/cb\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
        "ht\ttp://127.0.0.1:1/cb",
    ] {
        let reply = site
            .browser()
            .get(&authorize_url(&client, &[("redirect_uri", redirect)]))
            .await;
        reply.assert_page(redirect);
    }
    for redirect in [
        "https://claude.ai/CB",
        "https://claude.ai/cb/",
        "https://claude.ai/cb?x=1",
        "https://claude.ai:443/cb",
        "https://claude.ai@evil.test/cb",
        "https://claude.ai.evil.test/cb",
        "https://claude.ai\\cb",
        "https://claude.ai/%2e%2e/cb",
        "https://claude.ai/cb%2500",
        "https://claude.ai/cb#f",
        "http://claude.ai/cb",
        "https://clаude.ai/cb",
        "https://CLAUDE.ai/cb",
        "https:claude.ai/cb",
        "//claude.ai/cb",
        "/cb",
    ] {
        let reply = site
            .browser()
            .get(&authorize_url(&web, &[("redirect_uri", redirect)]))
            .await;
        reply.assert_page(redirect);
    }
    for (changes, why) in [
        (vec![("client_id", "dcr_unknown")], "unknown client"),
        (vec![("-client_id", "")], "no client"),
        (vec![("+client_id", "x")], "two clients"),
        (vec![("+redirect_uri", "https://evil.test/cb")], "two redirects"),
        (vec![("-redirect_uri", "")], "no redirect, and a port is missing"),
        (vec![("state", &"s".repeat(5000))], "a long state"),
    ] {
        site.browser()
            .get(&authorize_url(&client, &changes))
            .await
            .assert_page(why);
    }
    site.browser()
        .get(&authorize_url(&web, &[("-redirect_uri", "")]))
        .await
        .assert_page("two are registered");
    site.browser().get("/authorize").await.assert_page("nothing");
    site.browser()
        .get("/authorize?client_id=%zz")
        .await
        .assert_page("broken");
    assert_eq!(
        site.browser().get(&authorize_url(&client, &[])).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn az_04_az_05_az_06_az_07_az_08_r18_other_problems_go_back_to_the_client_with_iss() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let long = "a".repeat(129);
    for (changes, error) in [
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "code token")], "unsupported_response_type"),
        (vec![("response_type", "id_token")], "unsupported_response_type"),
        (vec![("-response_type", "")], "invalid_request"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("-code_challenge", "")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("-code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge_method", "s256")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
        (vec![("code_challenge", &long)], "invalid_request"),
        (vec![("+scope", "notes")], "invalid_request"),
        (vec![("+state", "S2")], "invalid_request"),
        (
            vec![("resource", "https://mcp.example.com/other/mcp")],
            "invalid_target",
        ),
        (
            vec![("resource", "https://mcp.example.com/notes/mcp#x")],
            "invalid_target",
        ),
        (vec![("resource", "/notes/mcp")], "invalid_target"),
        (
            vec![("+resource", "https://mcp.example.com/notes/mcp")],
            "invalid_target",
        ),
        (vec![("+request", "e30.e30.")], "request_not_supported"),
        (
            vec![("+request_uri", "https://canary.test/")],
            "request_uri_not_supported",
        ),
        (vec![("scope", "no\"tes")], "invalid_scope"),
        (vec![("prompt", "none")], "login_required"),
    ] {
        let reply = site.browser().get(&authorize_url(&client, &changes)).await;
        reply.assert_redirect(error, &format!("{changes:?}"));
        let state = reply.location().get("state").cloned();
        assert_eq!(
            state.as_deref(),
            (changes[0].0 != "+state").then_some("S1"),
            "{changes:?}"
        );
        assert_eq!(
            (reply.status, reply.header("referrer-policy")),
            (StatusCode::FOUND, "no-referrer")
        );
    }
    let unknown = authorize_url(
        &client,
        &[("+x", "https://canary.test/"), ("login_hint", "<script>")],
    );
    assert_eq!(site.browser().get(&unknown).await.status, StatusCode::OK);
}

#[tokio::test]
async fn az_09_az_10_iss_and_state_come_with_denial_too_and_prompt_none_never_gives_a_code() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[("state", "a b&c\"d")]).await;
    let denied = browser.answer(&consent, "deny").await;
    denied.assert_redirect("access_denied", "denied");
    assert_eq!(
        (denied.status, denied.location()["state"].as_str()),
        (StatusCode::SEE_OTHER, "a b&c\"d")
    );
    // Back, then approve: no code.
    browser
        .answer(&consent, "approve")
        .await
        .assert_page("approved after a denial");
    let reply = browser.get(&authorize_url(&client, &[("prompt", "none")])).await;
    reply.assert_redirect("consent_required", "prompt=none");
}

#[tokio::test]
async fn get_authorize_only_reads_and_needs_no_cookie() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let before = format!("{:?}", site.store.tables());
    for _ in 0..3 {
        let reply = site.call(Method::GET, &authorize_url(&client, &[]), &[]).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(
            reply
                .header("set-cookie")
                .starts_with("__Host-doorward_prelogin=")
        );
    }
    let mut browser = site.browser();
    let page = browser.get(&authorize_url(&client, &[])).await;
    let again = browser.get(&authorize_url(&client, &[])).await;
    assert_eq!(again.header("set-cookie"), "", "a cookie only if there is none");
    assert_eq!(format!("{:?}", site.store.tables()), before);
    for page in [page, again] {
        let consent = browser.sign_in(&page, "alice", PASSWORD).await;
        assert!(consent.body.contains("name=\"decision\""));
    }
    let head = site.call(Method::HEAD, &authorize_url(&client, &[]), &[]).await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn a_page_from_another_browser_or_too_old_says_to_start_again() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let (mut mine, mut other) = (site.browser(), site.browser());
    let page = mine.get(&authorize_url(&client, &[])).await;
    let theirs = other.get(&authorize_url(&client, &[])).await;
    let mixed = [
        ("csrf", theirs.hidden("csrf")),
        ("request", page.hidden("request")),
        ("username", "alice".into()),
        ("password", PASSWORD.into()),
    ];
    let mixed: Vec<(&str, &str)> = mixed
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    other
        .post("/login", &mixed)
        .await
        .assert_page("the request of another browser");
    let consent = mine.sign_in(&page, "alice", PASSWORD).await;
    site.clock.advance(std::time::Duration::from_secs(601));
    let late = mine.answer(&consent, "approve").await;
    late.assert_page("too old");
    assert!(late.body.contains("start again"), "{}", late.body);
    mine.sign_in(&page, "alice", PASSWORD)
        .await
        .assert_page("too old");
}

#[tokio::test]
async fn r37_who_may_not_use_the_server_can_go_back_or_sign_in_as_somebody_else() {
    let rule = doorward_policy::AccessRule::parse(&["user:bob"]).unwrap();
    let site = Site::with(Setup {
        servers: vec![server("notes", rule)],
        ..Setup::default()
    })
    .await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(&client, &[])).await;
    let reply = browser.sign_in(&login, "alice", PASSWORD).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.body);
    assert!(reply.body.contains("may not use") && !reply.body.contains("value=\"approve\""));
    // Approving by hand is no way round.
    browser
        .answer(&reply, "approve")
        .await
        .assert_redirect("access_denied", "alice may not");
    let login = browser.get(&authorize_url(&client, &[])).await;
    let fields = [
        ("csrf", login.hidden("csrf")),
        ("request", login.hidden("request")),
    ];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let again = browser.post("/logout", &fields).await;
    assert_eq!(
        again.status,
        StatusCode::OK,
        "the sign-in page for the same request"
    );
    let consent = browser.sign_in(&again, "bob", PASSWORD).await;
    assert!(consent.body.contains("value=\"approve\""), "{}", consent.body);
}
