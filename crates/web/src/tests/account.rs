//! The account page: what it shows, and that it says nothing is done before it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::contended::Contended;
use super::harness::{CALLBACK, Reply, Setup, Site, redeem, refresh_fields};

/// alice with one app that is signed in; its refresh token.
async fn connected(site: &Site) -> (String, String) {
    let client = site.register("Claude Code", &[CALLBACK]).await;
    let code = site.code(&client).await;
    let tokens = site.token(&redeem(&client, &code)).await.json();
    (client, tokens["refresh_token"].as_str().unwrap().to_owned())
}

fn link(page: &Reply, what: &str) -> String {
    let start = format!("/account/end?what={what}");
    let from = page
        .body
        .find(&start)
        .unwrap_or_else(|| panic!("{what} in {}", page.body));
    let rest = &page.body[from..];
    rest[..rest.find('"').unwrap()]
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

fn confirmation(question: &Reply, what: &str) -> Vec<(&'static str, String)> {
    let mut fields = vec![("csrf", question.hidden("csrf")), ("what", what.to_owned())];
    if what != "everything" {
        fields.push(("id", question.hidden("id")));
    }
    fields
}

fn pairs<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[tokio::test]
async fn who_is_not_signed_in_is_asked_to_and_comes_back() {
    let site = Site::new().await;
    let mut browser = site.browser();
    for path in ["/account", "/account/end?what=everything"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
        assert_eq!(reply.header("location"), "/login?next=account");
    }
}

#[tokio::test]
async fn rt_06_what_could_not_be_made_durable_is_not_said_to_be_done() {
    static CONFLICTS: AtomicU32 = AtomicU32::new(0);
    let site = Site::with(Setup {
        wrap: |store| {
            Arc::new(Contended {
                store,
                conflicts: &CONFLICTS,
            })
        },
        ..Setup::default()
    })
    .await;
    let (client, refresh) = connected(&site).await;
    let mut browser = site.browser();
    browser.consent_page(&client, &[]).await;
    let page = browser.get("/account").await;
    for what in ["client", "chain", "everything"] {
        let question = browser.get(&link(&page, what)).await;
        let fields = confirmation(&question, what);
        CONFLICTS.store(100, Ordering::SeqCst);
        let reply = browser.post("/account/end", &pairs(&fields)).await;
        CONFLICTS.store(0, Ordering::SeqCst);
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
        assert!(reply.body.contains("Nothing was changed"), "{}", reply.body);
        assert_eq!(reply.header("retry-after"), "2");
    }
    site.clock.advance(Duration::from_secs(60));
    let fields = refresh_fields(&client, &refresh);
    let refreshed = site.token(&fields).await;
    assert_eq!(
        refreshed.status,
        StatusCode::OK,
        "nothing was changed: {}",
        refreshed.body
    );

    // A few conflicts are nobody's business.
    let page = browser.get("/account").await;
    let question = browser.get(&link(&page, "client")).await;
    CONFLICTS.store(2, Ordering::SeqCst);
    let fields = confirmation(&question, "client");
    let reply = browser.post("/account/end", &pairs(&fields)).await;
    assert_eq!(reply.header("location"), "/account?done=client");
    let token = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
    let refreshed = site.token(&refresh_fields(&client, &token)).await;
    assert_eq!(refreshed.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn cn_07_what_strangers_wrote_is_shown_safely() {
    let site = Site::new().await;
    let name = "\"><svg onload=alert(1)>\u{202e}";
    let client = site.register(name, &[CALLBACK]).await;
    let code = site.code(&client).await;
    site.token(&redeem(&client, &code)).await;
    let mut browser = site.browser();
    browser.consent_page(&client, &[]).await;
    let page = browser.get("/account").await;
    let question = browser.get(&link(&page, "client")).await;
    for page in [&page, &question] {
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            !page.body.contains("<svg") && !page.body.contains('\u{202e}'),
            "{}",
            page.body
        );
        assert!(
            page.body.contains("&#60;svg") || page.body.contains("&lt;svg"),
            "{}",
            page.body
        );
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    // No words of a URL on our page.
    let page = browser.get("/account?done=You+won,+call+0900").await;
    assert!(!page.body.contains("0900") && !page.body.contains("role=\"status\""));
}

#[tokio::test]
async fn the_page_says_what_this_is_about() {
    let site = Site::new().await;
    let (client, _) = connected(&site).await;
    site.clock.advance(Duration::from_hours(3));
    let mut browser = site.browser();
    browser.consent_page(&client, &[]).await;
    let page = browser.get("/account").await;
    for words in [
        "Claude Code",
        "127.0.0.1",
        "Use notes",
        "https://mcp.example.com/notes/mcp",
        "3 hours ago",
        "This browser",
        "href=\"/security\"",
    ] {
        assert!(page.body.contains(words), "{words}: {}", page.body);
    }
    assert!(!page.body.contains("href=\"/device\""), "the device grant is off");
    // Chains that time has ended are no sign-ins any more.
    site.clock.advance(Duration::from_hours(31 * 24));
    let mut browser = site.browser();
    browser.consent_page(&client, &[]).await;
    let page = browser.get("/account").await;
    assert!(page.body.contains("not signed in at the moment"), "{}", page.body);
}
