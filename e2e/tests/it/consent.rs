//! CN: consent and browser pages.

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::http::Destination;
use doorward_testkit::oauth::{OAuthClient, Pkce, parameter, with};
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::json;

use crate::support::{Catalogue, assert_page};

crate::shared_catalogue!();

async fn consent_page(catalogue: &Catalogue, browser: &mut Browser) -> Page {
    let client = catalogue.n1().await;
    browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await
}

#[track_caller]
fn assert_no_code(page: &Page) {
    let status = page.reply.status;
    assert!(matches!(status, 400..=499), "{status}: {}", page.text());
    assert_eq!(page.reply.location(), None);
    assert!(!page.reply.text().contains("code="), "{}", page.reply.text());
}

#[tokio::test]
async fn cn_05_consent_cannot_be_forged() {
    let catalogue = catalogue().await;
    let mut alice = catalogue.alice().await;
    let page = consent_page(catalogue, &mut alice).await;
    let mut right = page.consent_form();
    right.tick_all();

    let mut without = right.clone();
    without.remove("csrf");
    assert_no_code(&alice.submit(&page, &without, "approve").await);
    let mut empty = right.clone();
    empty.fill("csrf", "");
    assert_no_code(&alice.submit(&page, &empty, "approve").await);

    let mut bob = Browser::new(&catalogue.doorward);
    let client = catalogue.n1().await;
    let bobs = bob
        .sign_in(
            &client.authorize_url(&Pkce::new(), &catalogue.ra()),
            "bob",
            PASSWORD,
        )
        .await;
    let mut stolen = right.clone();
    stolen.fill("csrf", bobs.consent_form().value("csrf").unwrap());
    assert_no_code(&alice.submit(&page, &stolen, "approve").await);
    // Alice's whole form in bob's browser, and in one that nobody signed in to.
    assert_no_code(&bob.submit(&page, &right, "approve").await);
    assert_no_code(
        &Browser::new(&catalogue.doorward)
            .submit(&page, &right, "approve")
            .await,
    );

    let mut evil = alice
        .clone()
        .with_header("Origin", "https://evil.test")
        .with_header("Sec-Fetch-Site", "cross-site");
    let forged = evil.submit(&page, &right, "approve").await;
    assert_eq!(forged.reply.status, 403);
    assert_no_code(&forged);

    let mut by_get = right.clone();
    by_get.method = "get".into();
    let page_by_get = alice.submit(&page, &by_get, "approve").await;
    assert!(
        matches!(page_by_get.reply.status, 400 | 403 | 404 | 405 | 414),
        "{}",
        page_by_get.reply.status
    );
    assert_no_code(&page_by_get);

    let done = alice.submit(&page, &right, "approve").await;
    assert!(
        parameter(&done.redirect().unwrap(), "code").is_some(),
        "the right way works still"
    );
    catalogue.still_good().await;
}

/// Every HTML page that can be reached, by name.
async fn all_pages(catalogue: &Catalogue) -> Vec<(&'static str, Page)> {
    let client = catalogue.n1().await;
    let good = client.authorize_url(&Pkce::new(), &catalogue.ra());
    let mut nobody = Browser::new(&catalogue.doorward);
    let mut alice = catalogue.alice().await;
    let mut pages = vec![
        ("login", nobody.get(&good).await),
        ("consent", alice.get(&good).await),
        ("account", alice.get("/account").await),
        ("account: asked", alice.get("/account/end?what=everything").await),
        (
            "account: not there",
            alice.get("/account/end?what=client&id=x").await,
        ),
    ];
    let login = pages[0].1.clone();
    let mut form = login.login_form();
    form.fill("username", "alice");
    form.fill("password", "wrong");
    pages.push(("wrong password", nobody.submit(&login, &form, "").await));
    form.fill("password", "");
    pages.push(("no password", nobody.submit(&login, &form, "").await));
    form.remove("csrf");
    pages.push(("no csrf", nobody.submit(&login, &form, "").await));
    for (name, path) in [
        ("unknown client", "/authorize?client_id=nobody"),
        ("no parameters", "/authorize"),
        ("login by GET", "/login"),
        ("consent by GET", "/consent"),
        ("setup without link", "/setup"),
        ("setup with a wrong link", "/setup?token=wrong"),
        ("nothing there", "/nothing-there"),
        ("root", "/"),
    ] {
        pages.push((
            name,
            nobody
                .visit("GET", &catalogue.doorward.url(path), &[], "none")
                .await,
        ));
    }
    let link = catalogue
        .doorward
        .command(&["user", "add", &doorward_testkit::marker()])
        .ok();
    let link = link
        .stdout
        .split_whitespace()
        .find(|word| word.contains("/setup"))
        .expect("a setup link")
        .to_owned();
    pages.push(("setup", nobody.get(&link).await));
    pages
}

#[tokio::test]
async fn cn_06_every_page_defends_itself() {
    let catalogue = catalogue().await;
    let mut html = 0;
    for (name, page) in all_pages(catalogue).await {
        let reply = &page.reply;
        assert_eq!(
            reply.header("X-Content-Type-Options"),
            Some("nosniff"),
            "{name}: {:?}",
            reply.headers
        );
        if !reply
            .header("Content-Type")
            .unwrap_or_default()
            .starts_with("text/html")
        {
            continue;
        }
        html += 1;
        let policy = reply
            .header("Content-Security-Policy")
            .unwrap_or_else(|| panic!("{name}: a policy"));
        assert!(policy.contains("frame-ancestors 'none'"), "{name}: {policy}");
        assert!(policy.contains("default-src 'none'"), "{name}: {policy}");
        for bad in ["unsafe-inline", "unsafe-eval", "*", "http:", "data:"] {
            assert!(!policy.contains(bad), "{name}: {policy}");
        }
        assert!(
            !policy.contains("form-action"),
            "{name}: browsers apply it to every later redirect: {policy}"
        );
        assert_eq!(reply.header("X-Frame-Options"), Some("DENY"), "{name}");
        assert!(reply.header("Referrer-Policy").is_some(), "{name}");
        let text = reply.text();
        for inline in ["<script>", " onclick=", " onload=", " style=\""] {
            assert!(!text.contains(inline), "{name}: {inline}");
        }
        assert!(
            text.contains("<html lang="),
            "{name}: screen readers need the language"
        );
        if text.contains("<form") {
            crate::support::assert_no_store(reply);
        }
    }
    assert!(html >= 7, "only {html} pages");
    catalogue.still_good().await;
}

#[tokio::test]
async fn cn_07_hostile_text_is_shown_harmlessly() {
    let catalogue = catalogue().await;
    let mut alice = catalogue.alice().await;
    let long = "x".repeat(10 * 1024);
    for hostile in [
        "\"><svg onload=alert(1)>",
        "</script><script>alert(1)</script>",
        "\u{202e}evil\u{202c}",
        "a\u{2066}b\u{2069}\u{200f}",
        "{{7*7}}",
        "\u{1b}[31mred",
        long.as_str(),
    ] {
        let registration = json!({ "client_name": hostile, "redirect_uris": ["http://127.0.0.1/cb"],
            "token_endpoint_auth_method": "none" });
        let registered = catalogue
            .doorward
            .post("/register")
            .json(&registration)
            .send()
            .await;
        let client = if registered.status == 201 {
            OAuthClient {
                id: registered.json()["client_id"].as_str().unwrap().into(),
                ..catalogue.n1().await
            }
        } else {
            assert_eq!(registered.status, 400, "{}", registered.text());
            catalogue.n1().await
        };
        let right = client.parameters(&Pkce::new(), &catalogue.ra());
        for (name, cap) in [
            ("scope", false),
            ("state", true),
            ("error", true),
            ("error_description", true),
            ("login_hint", true),
            ("redirect_uri", true),
            ("client_id", true),
        ] {
            let url = client.url_with(&with(right.clone(), name, Some(hostile)));
            if url.len() > 16 * 1024 && !cap {
                continue;
            }
            for browser in [&mut alice, &mut Browser::new(&catalogue.doorward)] {
                let page = browser.visit("GET", &url, &[], "none").await;
                let text = page.reply.text();
                for raw in [
                    "<svg",
                    "<script>alert",
                    "\u{202e}",
                    "\u{2066}",
                    "\u{200f}",
                    "\u{1b}",
                ] {
                    assert!(!text.contains(raw), "{name} = {hostile:?} comes back as {raw:?}");
                }
                if page.reply.status == 200 {
                    assert!(text.len() < 64 * 1024, "length-capped");
                }
            }
        }
    }
    let long_name = "y".repeat(10 * 1024);
    let page = catalogue
        .doorward
        .get(&format!("/authorize?client_id={long_name}"))
        .send()
        .await;
    assert_page(&page);
    assert!(!page.text().contains(&long_name));
    catalogue.still_good().await;
}

#[tokio::test]
async fn cn_08_a_session_cannot_be_set_beforehand() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let url = client.authorize_url(&Pkce::new(), &catalogue.ra());
    let mut browser = Browser::new(&catalogue.doorward);
    let page = browser.sign_in(&url, "alice", PASSWORD).await;
    assert!(page.form_with("decision").is_some());
    let name = browser
        .cookies
        .keys()
        .find(|name| name.contains("session"))
        .unwrap()
        .clone();
    assert_eq!(
        name,
        format!("doorward_session_{}", catalogue.doorward.address().port()),
        "the port is in the name"
    );
    let first = browser.cookies[&name].clone();
    assert!(
        first.http_only && !first.secure && first.same_site == "lax" && first.path == "/",
        "{first:?}"
    );

    // The victim signs in with a session id that the attacker knows.
    let mut victim = Browser::new(&catalogue.doorward);
    let mut planted = first.clone();
    planted.value = "A".repeat(43);
    victim.cookies.insert(name.clone(), planted.clone());
    victim.sign_in(&url, "bob", PASSWORD).await;
    assert_ne!(
        victim.cookies[&name].value, planted.value,
        "the id changes at sign-in"
    );
    let mut attacker = Browser::new(&catalogue.doorward);
    attacker.cookies.insert(name.clone(), planted);
    assert!(
        attacker.get(&url).await.form_with("password").is_some(),
        "the planted id is nobody's"
    );

    // The same with a real session: signing in as somebody else ends the old one.
    let mut shared = Browser::new(&catalogue.doorward);
    shared.cookies.insert(name.clone(), first.clone());
    let again = with(
        client.parameters(&Pkce::new(), &catalogue.ra()),
        "prompt",
        Some("login"),
    );
    let page = shared.get(&client.url_with(&again)).await;
    let mut form = page.login_form();
    form.fill("username", "bob");
    form.fill("password", PASSWORD);
    shared.submit(&page, &form, "").await;
    assert_ne!(shared.cookies[&name].value, first.value);
    let mut old = Browser::new(&catalogue.doorward);
    old.cookies.insert(name, first);
    assert!(
        old.get(&url).await.form_with("password").is_some(),
        "the old id is dead"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn cn_08_cookies_on_https_are_host_bound() {
    // TLS ends in front of us: an https public URL with a loopback listener.
    let up = doorward_testkit::upstream::Upstream::start();
    let doorward = Doorward::builder()
        .public_url("https://gw.test")
        .upstream(&up.url())
        .user("alice", PASSWORD)
        .start()
        .await;
    let site = doorward_testkit::Site::at(
        "https://gw.test",
        Destination {
            address: doorward.address,
            tls: None,
        },
    );
    let open = json!({ "client_name": "n", "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none" });
    let client = OAuthClient::register_with(&site, open).await;
    let mut browser = Browser::new(&site);
    let url = client.authorize_url(&Pkce::new(), "https://gw.test/mcp");
    let first = browser.get(&url).await;
    assert!(first.form_with("password").is_some(), "{}", first.text());
    browser.sign_in(&url, "alice", PASSWORD).await;
    assert!(
        browser.cookies.contains_key("__Host-doorward_session"),
        "{:?}",
        browser.cookies
    );
    for (name, cookie) in &browser.cookies {
        assert!(name.starts_with("__Host-"), "{name}");
        assert!(
            cookie.secure && cookie.http_only && cookie.same_site == "lax" && cookie.path == "/",
            "{name} {cookie:?}"
        );
        assert!(!cookie.domain);
    }
    let callback = browser.login_and_approve(&url, "alice", PASSWORD).await;
    assert_eq!(parameter(&callback, "iss").as_deref(), Some("https://gw.test"));
}

#[tokio::test]
async fn cn_10_no_parameter_sends_a_browser_away() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    for target in [
        "//evil.test",
        "/\\evil.test",
        "https:evil.test",
        "/%09/evil.test",
        "javascript:alert(1)",
        "https://evil.test/",
    ] {
        for name in ["return_to", "next", "rd", "redirect", "continue", "url"] {
            for path in ["/login", "/consent", "/setup", "/authorize", "/"] {
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair(name, target)
                    .finish();
                let reply = catalogue.doorward.get(&format!("{path}?{query}")).send().await;
                let away = reply
                    .location()
                    .is_some_and(|to| !to.starts_with('/') && !to.starts_with(catalogue.issuer()));
                assert!(
                    !away && !reply.location().is_some_and(|to| to.contains("evil")),
                    "{path}?{query}: {:?}",
                    reply.location()
                );
                assert!(!reply.text().contains("evil.test"), "{path}?{query}");
            }
        }
    }
    // As part of a right request they are ignored, before and after signing in.
    let mut parameters = client.parameters(&Pkce::new(), &catalogue.ra());
    for name in ["return_to", "next", "rd"] {
        parameters.push((name.into(), "https://evil.test/".into()));
    }
    let mut browser = Browser::new(&catalogue.doorward);
    let callback = browser
        .login_and_approve(&client.url_with(&parameters), "alice", PASSWORD)
        .await;
    assert!(callback.starts_with("http://127.0.0.1/cb?"), "{callback}");
    catalogue.still_good().await;
}

#[tokio::test]
async fn cn_12_the_consent_page_tells_what_is_asked() {
    let catalogue = catalogue().await;
    let client = OAuthClient::register_with(
        &catalogue.doorward,
        json!({ "client_name": "Trusted IDE", "redirect_uris": ["https://c1.test/cb"], "token_endpoint_auth_method": "none" }),
    )
    .await;
    let mut alice = catalogue.alice().await;
    let page = alice
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let text = page.text();
    for word in ["Trusted IDE", "c1.test", "alice", "/a/mcp"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let form = page.consent_form();
    let scopes: Vec<_> = form.inputs.iter().filter(|input| input.name == "scope").collect();
    assert_eq!(scopes.len(), 1, "one check box for each scope");
    assert_eq!(
        (scopes[0].kind.as_str(), scopes[0].value.as_str()),
        ("checkbox", "a")
    );
    let approve = form
        .buttons
        .iter()
        .find(|button| button.value == "approve")
        .expect("an approve button");
    let deny = form
        .buttons
        .iter()
        .find(|button| button.value == "deny")
        .expect("a deny button");
    assert!(!approve.autofocus && approve.label != deny.label);
    assert!(
        !page.reply.text().contains("autofocus"),
        "nothing is pressed by accident"
    );
    let native = consent_page(catalogue, &mut alice).await;
    let words = native.text().to_lowercase();
    assert!(words.contains("127.0.0.1"), "{words}");
    assert!(
        words.contains("this computer") || words.contains("this device"),
        "a warning for loopback redirects: {words}"
    );
    catalogue.still_good().await;
}
