//! CL-12: hosts start several bridges for one server at once.

use doorward_testkit::client_home::{ClientHome, Running};
use doorward_testkit::evil::{Evil, REGISTER};

use super::{call, full, initialize, text};

fn rounds() -> usize {
    if full() { 100 } else { 10 }
}

async fn together(home: &ClientHome, evil: &Evil, copies: usize) -> Vec<Running> {
    let bridges: Vec<_> = (0..copies)
        .map(|_| home.start_connect(&evil.url(), &[]))
        .collect();
    for bridge in &bridges {
        bridge.send(&initialize());
    }
    for bridge in &bridges {
        let answer = bridge.answer(&serde_json::json!(0)).await;
        assert!(answer.get("result").is_some(), "{answer}\n{}", bridge.stderr());
    }
    for bridge in &bridges {
        assert_eq!(text(&bridge.ask(&call(1, "t_read")).await), "t_read ok");
    }
    bridges
}

#[tokio::test]
async fn cl_12_two_bridges_that_start_together_share_one_login() {
    for round in 0..rounds() {
        let (evil, home) = (Evil::start(), ClientHome::new());
        let browsing = home.browse();
        let copies = if round % 5 == 4 { 5 } else { 2 };
        let bridges = together(&home, &evil, copies).await;
        drop(browsing);
        assert_eq!(home.opened_urls().len(), 1, "round {round}: one tab");
        assert_eq!(evil.seen(REGISTER).len(), 1, "round {round}: one registration");
        assert_eq!(
            evil.grants("authorization_code").len(),
            1,
            "round {round}: one exchange"
        );
        assert_eq!(
            evil.complaints(),
            Vec::<String>::new(),
            "round {round}: no verifier was mixed up"
        );
        let mut ends = Vec::new();
        for bridge in &bridges {
            bridge.close_stdin();
            ends.push(bridge.ended().await);
        }
        for finished in ends {
            home.assert_clean(&finished, &evil.secrets()).await;
        }
    }
}

#[tokio::test]
async fn cl_12_a27_bridges_that_find_their_token_expired_together_refresh_once() {
    for round in 0..rounds().min(30) {
        let (evil, home) = (Evil::start(), ClientHome::new());
        assert_eq!(home.login(&evil.url(), &[]).await.code, 0);
        let bridges = together(&home, &evil, 3).await;
        evil.expire_access_tokens();
        for bridge in &bridges {
            bridge.send(&call(7, "t_read"));
        }
        for bridge in &bridges {
            let answer = bridge.answer(&serde_json::json!(7)).await;
            assert_eq!(text(&answer), "t_read ok", "round {round}: {}", bridge.stderr());
        }
        assert_eq!(evil.reused(), 0, "round {round}: no refresh token twice");
        assert_eq!(
            evil.grants("refresh_token").len(),
            1,
            "round {round}: one refresh"
        );
        assert_eq!(home.opened_urls().len(), 1, "round {round}: nobody logs in again");
    }
}

/// The copy that logs in for all is killed while its browser is open: another takes over, with a tab of its own.
#[tokio::test]
async fn cl_12_when_the_one_that_logs_in_is_killed_another_takes_over() {
    for _ in 0..rounds().min(10) {
        let (evil, home) = (Evil::start(), ClientHome::new());
        let first = home.start_connect(&evil.url(), &[]);
        first.send(&initialize());
        home.opened_url(0, &first).await;
        let second = home.start_connect(&evil.url(), &[]);
        second.send(&initialize());
        let third = home.start_connect(&evil.url(), &[]);
        third.send(&initialize());
        first.kill();
        // The person closes the first tab.
        let taken_over = doorward_testkit::eventually(
            "a second tab",
            doorward_testkit::client_home::PATIENCE,
            async || home.opened_urls().get(1).cloned(),
        )
        .await;
        doorward_testkit::client_home::visit(&taken_over)
            .await
            .expect("a page");
        for bridge in [&second, &third] {
            let answer = bridge.answer(&serde_json::json!(0)).await;
            assert!(answer.get("result").is_some(), "{answer}\n{}", bridge.stderr());
        }
        assert_eq!(home.opened_urls().len(), 2, "one tab for each that logged in");
        assert_eq!(evil.grants("authorization_code").len(), 1);
        assert_eq!(evil.complaints(), Vec::<String>::new());
    }
}
