//! Forms and cookies: what another site, another browser or a stranger's text can do. Nothing.

use http::{Method, StatusCode};

use super::harness::*;

#[tokio::test]
async fn cn_05_hd_05_hd_06_an_answer_needs_our_origin_and_our_csrf_value() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    let (csrf, sealed) = (consent.hidden("csrf"), consent.hidden("request"));
    let mut other = site.browser();
    let others = other.consent_page(&client, &[]).await.hidden("csrf");
    let before = format!("{:?}", site.store.tables());
    let fields = |csrf: &str| {
        form(&[
            ("csrf", csrf),
            ("request", &sealed),
            ("scope", "notes"),
            ("decision", "approve"),
        ])
    };

    for wrong in ["", "x", &others] {
        let reply = browser
            .post(
                "/consent",
                &[
                    ("csrf", wrong),
                    ("request", &sealed),
                    ("scope", "notes"),
                    ("decision", "approve"),
                ],
            )
            .await;
        reply.assert_page(wrong);
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
    }
    let cookie: Vec<String> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let cookie = cookie.join("; ");
    const FORM: &str = "application/x-www-form-urlencoded";
    for headers in [
        vec![("content-type", FORM), ("origin", "https://evil.test")],
        vec![("content-type", FORM), ("origin", "null")],
        vec![
            ("content-type", FORM),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ],
        vec![("content-type", FORM), ("sec-fetch-site", "same-site")],
        vec![("content-type", FORM)],
        vec![
            ("content-type", "text/plain"),
            ("origin", "https://mcp.example.com"),
        ],
        vec![("origin", "https://mcp.example.com")],
    ] {
        let mut headers = headers;
        headers.push(("cookie", &cookie));
        let reply = site
            .send(request(Method::POST, "/consent", &headers, fields(&csrf)))
            .await;
        reply.assert_page(&format!("{headers:?}"));
    }
    let get = browser.get(&format!("/consent?{}", fields(&csrf))).await;
    assert_eq!(
        (get.status, get.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "POST")
    );
    assert_eq!(format!("{:?}", site.store.tables()), before, "nothing was done");

    let headers = [
        ("content-type", FORM),
        ("sec-fetch-site", "same-origin"),
        ("cookie", cookie.as_str()),
    ];
    let good = site
        .send(request(Method::POST, "/consent", &headers, fields(&csrf)))
        .await;
    assert_eq!(
        good.status,
        StatusCode::SEE_OTHER,
        "no Origin, but the browser says same-origin"
    );
}

#[tokio::test]
async fn a_form_without_an_answer_or_with_a_changed_request_is_a_page() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let consent = browser.consent_page(&client, &[]).await;
    let (csrf, sealed) = (consent.hidden("csrf"), consent.hidden("request"));
    let changed = format!("{}A", &sealed[..sealed.len() - 1]);
    for (request, decision) in [
        (sealed.as_str(), "maybe"),
        (&sealed, ""),
        (&changed, "approve"),
        ("", "approve"),
    ] {
        let fields = [
            ("csrf", csrf.as_str()),
            ("request", request),
            ("scope", "notes"),
            ("decision", decision),
        ];
        browser.post("/consent", &fields).await.assert_page(decision);
    }
    let none = [
        ("csrf", csrf.as_str()),
        ("request", &sealed),
        ("decision", "approve"),
    ];
    browser
        .post("/consent", &none)
        .await
        .assert_redirect("access_denied", "nothing ticked");
}

#[tokio::test]
async fn cn_08_the_session_id_changes_at_sign_in_and_a_planted_one_is_never_used() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let planted = "p".repeat(43);
    browser
        .cookies
        .insert("__Host-doorward_session".into(), planted.clone());
    let login = browser.get(&authorize_url(&client, &[])).await;
    assert!(
        login.body.contains("<h1>Sign in</h1>"),
        "a planted id is no session"
    );
    let consent = browser.sign_in(&login, "alice", PASSWORD).await;
    let line = consent.header("set-cookie").to_owned();
    assert!(
        line.starts_with("__Host-doorward_session=")
            && line.contains("; Path=/; HttpOnly; SameSite=Lax; Secure")
    );
    let first = browser.session().unwrap().to_owned();
    assert_ne!(first, planted);

    let login = browser.get(&authorize_url(&client, &[("prompt", "login")])).await;
    browser.sign_in(&login, "alice", PASSWORD).await;
    assert_ne!(browser.session().unwrap(), first);
    let mut old = site.browser();
    old.cookies.insert("__Host-doorward_session".into(), first);
    assert!(
        old.get(&authorize_url(&client, &[]))
            .await
            .body
            .contains("<h1>Sign in</h1>"),
        "the old id is dead"
    );
}

#[tokio::test]
async fn sign_in_failures_look_the_same_and_set_no_session() {
    let site = Site::new().await;
    site.disable("bob").await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut pages = Vec::new();
    for (username, password) in [
        ("alice", "wrong password"),
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
    ] {
        let mut browser = site.browser();
        let login = browser.get(&authorize_url(&client, &[])).await;
        let reply = browser.sign_in(&login, username, password).await;
        assert_eq!((reply.status, browser.session()), (StatusCode::OK, None));
        assert!(reply.body.contains("do not fit"), "{}", reply.body);
        let mut page = reply.body.replace(username, "");
        for name in ["csrf", "request", "ceremony"] {
            page = page.replace(&reply.hidden(name), "");
        }
        let (before, rest) = page.split_once("data-challenge=\"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        pages.push(format!("{before}{after}"));
    }
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]), "{pages:?}");
}

/// The page without the one script that it may load.
fn without_our_script(page: &str) -> String {
    let Some((before, rest)) = page.split_once("<script src=\"/static/passkey-") else {
        return page.to_owned();
    };
    let (name, after) = rest.split_once("\" defer></script>").unwrap();
    assert!(name.len() == 15 && name.ends_with(".js"), "{name}");
    format!("{before}{after}")
}

#[tokio::test]
async fn cn_06_az_12_every_page_is_protected() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let link = site.setup_link("bob").await;
    let consent = browser.consent_page(&client, &[]).await;
    let mut pages = vec![("consent", consent, "same-origin")];
    for (path, referrer) in [
        ("/", "no-referrer"),
        ("/nothing/here", "no-referrer"),
        ("/consent", "no-referrer"),
        ("/authorize", "no-referrer"),
        ("/setup?token=x", "no-referrer"),
        ("/login", "same-origin"),
    ] {
        pages.push((path, browser.get(path).await, referrer));
    }
    pages.push((
        "login page",
        site.browser().get(&authorize_url(&client, &[])).await,
        "same-origin",
    ));
    pages.push((
        "setup page",
        site.browser().get(&format!("/setup?token={link}")).await,
        "same-origin",
    ));
    for (path, page, referrer) in pages {
        assert!(
            page.header("content-type")
                .starts_with("text/html; charset=utf-8"),
            "{path}"
        );
        let policy = page.header("content-security-policy");
        // Only where a passkey can be asked for there is a script: one file of ours.
        let scripted =
            ["/login", "login page", "setup page"].contains(&path) && page.status == StatusCode::OK;
        let scripted = scripted && page.body.contains("data-passkey");
        let script = if scripted { " script-src 'self';" } else { "" };
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src 'self'; img-src 'self';{script} frame-ancestors 'none'; base-uri 'none'"
            ),
            "{path}"
        );
        let body = without_our_script(&page.body);
        assert_eq!(scripted, body != page.body, "{path}");
        assert!(
            !policy.contains("form-action"),
            "it would break the redirect after consent"
        );
        assert_eq!(page.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
        assert_eq!(page.header("referrer-policy"), referrer, "{path}");
        assert_eq!(
            page.header("strict-transport-security"),
            "max-age=31536000",
            "{path}"
        );
        assert!(
            !page.headers.contains_key("access-control-allow-origin"),
            "{path}"
        );
        for word in [
            "<script",
            "javascript:",
            " style=",
            "onload",
            "http://www",
            "https://www",
        ] {
            assert!(!body.contains(word), "{path}: {word}");
        }
    }
}

#[tokio::test]
async fn cn_07_strangers_text_is_escaped_capped_and_neutralised() {
    let site = Site::new().await;
    let name = format!("\"><svg onload=alert(1)></script>\u{202e}evil{}", "x".repeat(500));
    let client = site.register(&name, &["http://127.0.0.1/cb"]).await;
    let mut browser = site.browser();
    let login = browser
        .get(&authorize_url(&client, &[("state", "\"><script>x</script>")]))
        .await;
    let consent = browser.sign_in(&login, "<script>alert(1)</script>", "x").await;
    assert!(
        consent.body.contains("&#60;script&#62;alert(1)"),
        "what was typed comes back escaped"
    );
    let page = browser.consent_page(&client, &[]).await;
    for body in [&login.body, &consent.body, &page.body] {
        for bad in [
            "<script",
            "<svg onload",
            "</script>",
            "\u{202e}",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ] {
            assert!(!without_our_script(body).contains(bad), "{bad}");
        }
    }
    assert!(page.body.contains("&#60;svg onload"), "{}", page.body);
    let error = site
        .browser()
        .get("/authorize?client_id=%3Cscript%3E&error=%3Cscript%3E&error_description=x")
        .await;
    assert!(!error.body.contains("<script"), "{}", error.body);
}

#[tokio::test]
async fn cn_10_there_is_nothing_to_return_to() {
    let site = Site::new().await;
    for name in ["return_to", "next", "rd"] {
        for target in ["//evil", "/\\evil", "https:evil", "/%09/evil", "javascript:"] {
            let mut browser = site.browser();
            let page = browser.get(&format!("/login?{}", form(&[(name, target)]))).await;
            let csrf = page.hidden("csrf");
            let fields = [
                ("csrf", csrf.as_str()),
                ("username", "alice"),
                ("password", PASSWORD),
                (name, target),
            ];
            let reply = browser.post("/login", &fields).await;
            assert_eq!(
                (reply.status, reply.header("location")),
                (StatusCode::OK, ""),
                "{name}={target}"
            );
            assert!(!reply.body.contains("evil"), "{name}={target}");
        }
    }
}

#[tokio::test]
async fn cn_12_s12_the_consent_page_says_what_matters() {
    let site = Site::new().await;
    let client = site.register("Claude Code", &["http://127.0.0.1/cb"]).await;
    let page = site
        .browser()
        .consent_page(&client, &[("scope", "notes notes:more")])
        .await
        .body;
    for text in [
        "Claude Code",
        "Unverified",
        "127.0.0.1:43123",
        "http://127.0.0.1:43123/cb",
        "An app on this computer",
        "https://mcp.example.com/notes/mcp",
        "Use notes",
        "Use notes:more",
        "alice",
        "Not you?",
        "<a href=\"/account\">your account</a>",
        "type=\"checkbox\" name=\"scope\" value=\"notes\" checked>",
        "type=\"checkbox\" name=\"scope\" value=\"notes:more\" checked>",
        "name=\"decision\" value=\"deny\">Deny",
        "name=\"decision\" value=\"approve\">Allow",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("autofocus"));
    let web = site.register("Web", &["https://claude.ai/cb"]).await;
    let page = site
        .browser()
        .consent_page(&web, &[("redirect_uri", "https://claude.ai/cb")])
        .await
        .body;
    assert!(page.contains("claude.ai") && !page.contains("An app on this computer"));
}
