//! The GitHub server over stdio, when its tokens end, and when GitHub's token endpoint does what none should.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use doorward_testkit::client_home::{Running, files_under};
use doorward_testkit::eventually;
use doorward_testkit::github::{App, CLIENT_SECRET, TokenFailure};
use doorward_testkit::leak::Secrets;
use doorward_testkit::upstream::Upstream;
use serde_json::{Value, json};

use crate::stdio_authorization::{OnGitHub, authorization, call, initialize, login_url};

const USER: &str = "get_github_user_info";

fn user(id: u64) -> Value {
    call(id, USER, json!({}), None)
}

/// Starts it, and gives the link of its first refusal.
async fn refused_at_first(on: &OnGitHub) -> (Running, String) {
    let server = on.run(&[]);
    server.ask(&initialize(&json!({}))).await;
    let link = login_url(&server.ask(&user(2)).await);
    (server, link)
}

/// Asks until somebody is logged in.
async fn works(server: &Running, first: u64) -> Value {
    let mut id = first;
    eventually("the user", Duration::from_secs(60), || {
        id += 1;
        let request = user(id);
        async move {
            let answer = server.ask(&request).await;
            answer.get("result").is_some().then_some(answer)
        }
    })
    .await
}

/// Waits until two tokens were renewed because they had ended by their own word.
async fn ended(on: &OnGitHub, server: &Running) {
    let before = on.github.refreshes();
    let mut id = 50_000;
    eventually("two renewals", Duration::from_secs(60), || {
        id += 1;
        let request = user(id);
        async move {
            server.ask(&request).await;
            (on.github.refreshes() > before + 1).then_some(())
        }
    })
    .await;
}

/// A hundred calls at once, and their answers.
async fn hundred(server: &Running, first: u64) -> Vec<Value> {
    for id in first..first + 100 {
        server.send(&user(id));
    }
    let mut answers = Vec::new();
    for id in first..first + 100 {
        answers.push(server.answer(&json!(id)).await);
    }
    answers
}

#[tokio::test]
async fn vt_05_a_hundred_calls_at_the_end_of_a_token_refresh_once() {
    let on = OnGitHub::start(App::GitHub);
    // By its own word it ends at once.
    on.github.lifetime(Some(1));
    let (server, link) = refused_at_first(&on).await;
    on.person_logs_in(&link).await;
    works(&server, 100).await;
    on.github.lifetime(None);
    let over = Instant::now() + Duration::from_millis(1100);
    eventually(
        "the token has ended by its own word",
        Duration::from_secs(30),
        async || (Instant::now() > over).then_some(()),
    )
    .await;
    let before = on.github.refreshes();
    on.github.expire_all();
    for answer in hundred(&server, 1000).await {
        assert_eq!(
            answer["result"]["structuredContent"]["login"], "octo-test",
            "{answer}"
        );
    }
    assert_eq!(on.github.refreshes(), before + 1);
    server.close_stdin();
    server.ended().await;

    // It ended before its time, while nobody was there: the first to ask finds out, and the others wait for it.
    on.github.expire_all();
    let server = on.run(&[]);
    server.ask(&initialize(&json!({}))).await;
    for answer in hundred(&server, 2000).await {
        assert_eq!(
            answer["result"]["structuredContent"]["login"], "octo-test",
            "{answer}"
        );
    }
    assert_eq!(on.github.refreshes(), before + 2);
    server.close_stdin();
    on.home
        .assert_clean(&server.ended().await, &on.github.secrets())
        .await;
}

#[tokio::test]
async fn vt_06_a_refresh_that_is_lost_on_the_way_is_a_login_and_no_loop() {
    let on = OnGitHub::start(App::GitHub);
    on.github.lifetime(Some(1));
    let (server, link) = refused_at_first(&on).await;
    on.person_logs_in(&link).await;
    works(&server, 100).await;
    on.github.expire_all();
    on.github.fail_tokens(Some(TokenFailure::Cut));
    let before = on.github.refreshes();
    let refused = server.ask(&user(1000)).await;
    login_url(&refused);
    let tried = on.github.refreshes() - before;
    assert!((1..=3).contains(&tried), "{tried} tries");

    // The refresh token was rotated away: it is of no use any more, and calls do not go on trying.
    on.github.fail_tokens(None);
    let before = on.github.refreshes();
    let mut link = String::new();
    for id in 1002..1012 {
        let refused = server.ask(&user(id)).await;
        link = login_url(&refused);
    }
    let tried = on.github.refreshes() - before;
    assert!(tried <= 3, "{tried} tries with a refresh token that is gone");
    on.github.lifetime(None);
    let end = on.person_logs_in(&link).await;
    assert_eq!(end.status, 200, "{}", end.text());
    works(&server, 2000).await;
    server.close_stdin();
    on.home
        .assert_clean(&server.ended().await, &on.github.secrets())
        .await;
}

#[tokio::test]
async fn vt_09_a_token_endpoint_that_misbehaves_ends_the_login_and_gets_nothing_twice() {
    let evil = Upstream::start();
    let failures = [
        TokenFailure::Redirect(format!("http://{}/steal", evil.address())),
        TokenFailure::Html,
        TokenFailure::Endless,
        TokenFailure::Drip,
    ];
    for failure in failures {
        let on = OnGitHub::start(App::OAuth);
        let (server, link) = refused_at_first(&on).await;
        on.github.fail_tokens(Some(failure.clone()));
        let pressed = tokio::time::timeout(Duration::from_secs(90), on.person_logs_in(&link));
        let (_page, ()) = tokio::join!(pressed, server.says("the login failed"));
        assert_eq!(
            on.github.server().with("&code=").len(),
            1,
            "{failure:?}: the code went out once"
        );
        assert_eq!(
            on.github.server().with(CLIENT_SECRET).len(),
            1,
            "{failure:?}: and so did the secret"
        );
        assert!(evil.requests().is_empty(), "{failure:?}: not followed");
        eventually("nothing is read any more", Duration::from_secs(60), async || {
            (on.github.server().hanging() == 0).then_some(())
        })
        .await;
        // It goes on, and the next login works.
        on.github.fail_tokens(None);
        let link = login_url(&server.ask(&user(50)).await);
        on.person_logs_in(&link).await;
        works(&server, 100).await;
        server.close_stdin();
        on.home
            .assert_clean(&server.ended().await, &on.github.secrets())
            .await;
    }
}

#[tokio::test]
async fn vt_02_nothing_that_github_gave_is_in_a_file_in_plain() {
    let on = OnGitHub::start(App::GitHub);
    on.github.lifetime(Some(1));
    let (server, link) = refused_at_first(&on).await;
    on.person_logs_in(&link).await;
    works(&server, 100).await;
    ended(&on, &server).await;
    let mut secrets = on.github.secrets();
    secrets.add("the app's secret", CLIENT_SECRET);
    let scan = |secrets: &Secrets| {
        let files: BTreeSet<_> = files_under(&on.home.store()).into_iter().collect();
        assert!(files.len() >= 2, "a key and tokens are kept: {files:?}");
        for file in files {
            if let Ok(bytes) = std::fs::read(&file) {
                secrets.assert_absent(&file.display().to_string(), &bytes);
            }
        }
    };
    scan(&secrets);
    // Also not what a crash leaves behind.
    server.kill();
    scan(&secrets);
    // What was kept is what works: the next process needs nobody.
    let server = on.run(&[]);
    server.ask(&initialize(&json!({}))).await;
    let answer = server.ask(&user(2)).await;
    assert_eq!(
        answer["result"]["structuredContent"]["login"], "octo-test",
        "{answer}"
    );
    server.close_stdin();
    on.home
        .assert_clean(&server.ended().await, &on.github.secrets())
        .await;
}

#[tokio::test]
async fn vt_10_who_grants_less_than_was_asked_can_log_in_again() {
    let on = OnGitHub::start(App::OAuth);
    on.github.grant_only("");
    let (server, link) = refused_at_first(&on).await;
    on.person_logs_in(&link).await;
    server.says("logged in").await;
    let refused = server.ask(&user(10)).await;
    assert_eq!(
        authorization(&refused)["error"],
        "insufficient_scope",
        "{refused}"
    );
    on.github.grant_only("read:user");
    // The page still has its button.
    on.person_logs_in(&login_url(&refused)).await;
    works(&server, 100).await;
    server.close_stdin();
    on.home
        .assert_clean(&server.ended().await, &on.github.secrets())
        .await;
}
