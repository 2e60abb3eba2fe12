//! Logins over stdio one after the other: pressed again, for more, after a restart, and after one that failed.

use doorward_testkit::client_home::{Running, visit};
use doorward_testkit::github::{App, TokenFailure};
use serde_json::{Value, json};

use crate::stdio_authorization::{OnGitHub, authorization, call, initialize, login_url, open};

fn user(id: u64) -> Value {
    call(id, "get_github_user_info", json!({}), None)
}

fn repositories(id: u64) -> Value {
    call(id, "get_github_user_repos", json!({}), None)
}

async fn started(on: &OnGitHub, more: &[&str]) -> Running {
    let server = on.run(more);
    server.ask(&initialize(&json!({}))).await;
    server
}

/// Where the button leads.
async fn pressed(link: &str) -> String {
    let (mut browser, page) = open(link).await;
    let form = page.forms().remove(0);
    let sent = browser.submit_without_following(&page, &form, "").await;
    sent.redirect()
        .unwrap_or_else(|| panic!("a redirect: {}", sent.text()))
}

fn scopes(authorize: &str) -> Vec<String> {
    let url = url::Url::parse(authorize).expect("a URL");
    let found = url.query_pairs().find(|(name, _)| name == "scope");
    let (_, scope) = found.expect("a scope");
    let mut scopes: Vec<String> = scope.split(' ').map(str::to_owned).collect();
    scopes.sort();
    scopes
}

async fn ended(on: &OnGitHub, server: &Running) {
    server.close_stdin();
    on.home
        .assert_clean(&server.ended().await, &on.github.secrets())
        .await;
}

#[tokio::test]
async fn r06_the_button_leads_to_what_is_needed_now() {
    let on = OnGitHub::start(App::OAuth);
    let server = started(&on, &["--tool-scope", "get_github_user_repos=repo"]).await;
    let link = login_url(&server.ask(&user(2)).await);
    let first = pressed(&link).await;
    assert_eq!(scopes(&first), ["read:user"]);
    // Who presses again is led to the login that is under way.
    assert_eq!(pressed(&link).await, first);
    // A call that needs more ends it: nobody is asked twice.
    server.ask(&repositories(3)).await;
    let second = pressed(&link).await;
    assert_eq!(scopes(&second), ["read:user", "repo"]);
    assert_eq!(visit(&second).await.expect("an answer").status, 200);
    let listed = server.ask(&repositories(4)).await;
    assert!(listed.get("result").is_some(), "{listed}");
    ended(&on, &server).await;
}

#[tokio::test]
async fn r06_what_was_granted_before_a_restart_is_asked_for_as_well() {
    let on = OnGitHub::start(App::OAuth);
    let server = started(&on, &["--scope", "gist", "--scope", "read:user"]).await;
    let refused = server.ask(&user(2)).await;
    on.person_logs_in(&login_url(&refused)).await;
    ended(&on, &server).await;

    let server = started(&on, &["--tool-scope", "get_github_user_repos=repo"]).await;
    let refused = server.ask(&repositories(2)).await;
    assert_eq!(
        authorization(&refused)["error"],
        "insufficient_scope",
        "{refused}"
    );
    let authorize = pressed(&login_url(&refused)).await;
    assert_eq!(scopes(&authorize), ["gist", "read:user", "repo"]);
    ended(&on, &server).await;
}

/// The page waits for the exchange, and whoever reads that he is logged in is.
#[tokio::test]
async fn r06_the_page_says_how_the_login_ended() {
    let on = OnGitHub::start(App::OAuth);
    let server = started(&on, &[]).await;
    let link = login_url(&server.ask(&user(2)).await);
    on.github.fail_tokens(Some(TokenFailure::Html));
    let page = on.person_logs_in(&link).await;
    assert_eq!(page.status, 400, "{}", page.text());
    assert!(page.text().contains("The login failed"), "{}", page.text());
    on.github.fail_tokens(None);
    let page = on.person_logs_in(&link).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("You are logged in"), "{}", page.text());
    // At once, and not some time later.
    let answer = server.ask(&user(3)).await;
    assert!(answer.get("result").is_some(), "{answer}");
    ended(&on, &server).await;
}
