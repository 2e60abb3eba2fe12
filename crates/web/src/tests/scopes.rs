//! What pages say about scopes.

use doorward_policy::{AccessRule, ScopeEntry, ScopeTable};
use http::StatusCode;

use super::harness::{Log, PASSWORD, Reply, Setup, Site, authorize_url, redeem, server};

const CALLBACK: &str = "http://127.0.0.1/cb";

/// Alice is in the group `eng`.
fn table() -> ScopeTable {
    let scope = |name: &str, description: &str, tools: &[&str]| ScopeEntry {
        tools: tools.iter().map(|name| name.parse().unwrap()).collect(),
        ..ScopeEntry::new(name.parse().unwrap(), description)
    };
    let read = scope("notes:read", "Read your notes", &["read_*", "list_notes"]);
    let write = ScopeEntry {
        implies: vec!["notes:read".parse().unwrap()],
        step_up: true,
        ..scope("notes:write", "Change your notes", &["add_note", "delete_*"])
    };
    let admin = ScopeEntry {
        step_up: true,
        allow: Some(AccessRule::parse(&["group:ops"]).unwrap()),
        ..scope("notes:admin", "Read everybody's <notes>", &["*"])
    };
    ScopeTable::new(vec![read, write, admin]).unwrap()
}

async fn site() -> Site {
    let mut notes = server("notes", AccessRule::everyone());
    notes.scopes = table();
    Site::with(Setup {
        servers: vec![notes],
        ..Setup::default()
    })
    .await
}

async fn page(site: &Site, client: &str, scope: &str) -> Reply {
    site.browser().consent_page(client, &[("scope", scope)]).await
}

/// Approves `scope` and redeems the code.
async fn connect(site: &Site, client: &str, scope: &str) {
    let mut browser = site.browser();
    let page = browser.consent_page(client, &[("scope", scope)]).await;
    let (csrf, sealed) = (page.hidden("csrf"), page.hidden("request"));
    let mut fields = vec![
        ("csrf", csrf.as_str()),
        ("request", &sealed),
        ("decision", "approve"),
    ];
    fields.extend(scope.split(' ').map(|scope| ("scope", scope)));
    let answer = browser.post("/consent", &fields).await;
    let code = answer.location()["code"].clone();
    let reply = site.token(&redeem(client, &code)).await;
    assert_eq!(reply.json()["scope"], scope);
}

#[track_caller]
fn says(page: &Reply, texts: &[&str]) {
    for text in texts {
        assert!(page.body.contains(text), "{text} in {}", page.body);
    }
}

#[track_caller]
fn says_not(page: &Reply, texts: &[&str]) {
    for text in texts {
        assert!(!page.body.contains(text), "{text} in {}", page.body);
    }
}

#[tokio::test]
async fn cn_12_b2_each_scope_is_shown_with_what_it_opens() {
    let site = site().await;
    let client = site.register("Claude Code", &[CALLBACK]).await;
    let page = page(&site, &client, "notes:read notes:write").await;
    says(
        &page,
        &[
            "It will be able to",
            "Read your notes",
            "<code>read_…</code>, <code>list_notes</code>",
            "every name that begins with",
            "Change your notes</span> <span class=\"tag\">Extra</span>",
            "Includes:</span> Read your notes",
            "Also part of “Change your notes”: to take it away, untick that too.",
            "type=\"checkbox\" name=\"scope\" value=\"notes:read\" checked",
        ],
    );
    says_not(&page, &["Left out", "New: it will", "everybody"]);
}

#[tokio::test]
async fn r15_what_a_person_may_not_give_is_told_and_cannot_be_ticked() {
    let site = site().await;
    let client = site.register("Claude Code", &[CALLBACK]).await;
    let both = page(&site, &client, "notes:read notes:admin").await;
    says(
        &both,
        &["Left out: Read everybody&#39;s &#60;notes&#62; (<code>notes:admin</code>)"],
    );
    says_not(&both, &["value=\"notes:admin\""]);
    let mut browser = site.browser();
    let sign_in = browser
        .get(&authorize_url(&client, &[("scope", "notes:admin")]))
        .await;
    let only = browser.sign_in(&sign_in, "alice", PASSWORD).await;
    assert_eq!(only.status, StatusCode::FORBIDDEN);
    says(
        &only,
        &["cannot give this", "notes:admin", "Sign in as somebody else"],
    );
    says_not(&only, &["name=\"scope\"", "value=\"approve\""]);
}

#[tokio::test]
async fn cn_09_a33_b27_what_is_new_is_set_apart_and_an_elevation_is_logged() {
    let (logs, _guard) = Log::capture();
    let site = site().await;
    let client = site.register("Claude Code", &[CALLBACK]).await;
    connect(&site, &client, "notes:read").await;
    assert!(!logs.text().contains("widened"), "the first approval is none");
    let more = page(&site, &client, "notes:read notes:write").await;
    says(
        &more,
        &[
            "do more with",
            "New: it will also be able to",
            "You allowed it before to",
        ],
    );
    let (new, before) = more.body.split_once("You allowed it before to").unwrap();
    assert!(new.contains("value=\"notes:write\"") && before.contains("value=\"notes:read\""));
    connect(&site, &client, "notes:read notes:write").await;
    let logs = logs.text();
    let line = logs
        .lines()
        .find(|line| line.contains("consent: widened"))
        .unwrap();
    for fact in [
        "B27",
        &client,
        "grant",
        "before=\"notes:read\"",
        "after=\"notes:read notes:write\"",
    ] {
        assert!(line.contains(fact), "{fact} in {line}");
    }
    let again = page(&site, &client, "notes:read").await;
    says(
        &again,
        &[
            "as you allowed before",
            "Where it is signed in already it can also: Change your notes",
        ],
    );
    // Another client, or another place to return to, has nothing yet.
    let other = site.register("Other", &["https://claude.ai/cb"]).await;
    let other = site
        .browser()
        .consent_page(
            &other,
            &[("redirect_uri", "https://claude.ai/cb"), ("scope", "notes:read")],
        )
        .await;
    says_not(&other, &["before"]);
}

#[tokio::test]
async fn the_account_says_in_words_what_an_app_may_do() {
    let site = site().await;
    let client = site.register("Claude Code", &[CALLBACK]).await;
    connect(&site, &client, "notes:write").await;
    let mut browser = site.browser();
    browser.consent_page(&client, &[("scope", "notes:read")]).await;
    let page = browser.get("/account").await;
    says(&page, &["<li>Read your notes</li><li>Change your notes</li>"]);
}
