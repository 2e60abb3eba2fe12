//! CL-09: redirects lead nowhere, and never with a credential.

use doorward_testkit::client_home::ClientHome;
use doorward_testkit::evil::{Evil, MCP, REGISTER, RESOURCE_METADATA, REVOKE, SERVER_METADATA, TOKEN};

use super::{bridge, call, initialize, logged_in, logs_in_now, text};

const STATUSES: [u16; 6] = [300, 301, 302, 303, 307, 308];

#[tokio::test]
async fn cl_09_a_redirecting_mcp_server_gets_no_token_sent_elsewhere() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    for status in STATUSES {
        let other = Evil::start();
        evil.redirect(MCP, status, &other.url());
        let running = home.start_connect(&evil.url(), &[]);
        let answer = running.ask(&initialize()).await;
        assert!(
            answer.get("error").is_some(),
            "{status}: told to the host: {answer}"
        );
        running.close_stdin();
        let finished = running.ended().await;
        other.assert_untouched();
        home.assert_clean(&finished, &evil.secrets()).await;
    }
    // Half-way through a session.
    evil.behave();
    let other = Evil::start();
    let running = bridge(&home, &evil.url(), &[]).await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    for (id, status) in (10..).zip(STATUSES) {
        evil.redirect(MCP, status, &other.url());
        let answer = running.ask(&call(id, "t_read")).await;
        assert!(
            answer.get("error").is_some(),
            "{status}: told to the host: {answer}"
        );
        evil.behave();
        assert_eq!(text(&running.ask(&call(id + 100, "t_read")).await), "t_read ok");
    }
    other.assert_untouched();
    assert_eq!(home.opened().len(), 1, "no redirect makes anybody log in again");
}

#[tokio::test]
async fn cl_09_b13_redirecting_documents_and_endpoints_are_refused() {
    for path in [RESOURCE_METADATA, SERVER_METADATA, REGISTER, TOKEN] {
        let (evil, other, home) = (Evil::start(), Evil::start(), ClientHome::new());
        for status in STATUSES {
            evil.redirect(path, status, &other.at(path));
            let finished = home.login(&evil.url(), &[]).await;
            assert_eq!(finished.code, 1, "{path} {status}: {}", finished.stderr);
            home.assert_clean(&finished, &evil.secrets()).await;
        }
        other.assert_untouched();
        if path != TOKEN {
            logs_in_now(&evil, &home).await;
        }
    }
}

#[tokio::test]
async fn cl_09_a_redirect_to_the_same_server_is_not_followed_either() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    evil.redirect(TOKEN, 307, &evil.at("/elsewhere"));
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert_eq!(evil.seen("/elsewhere").len(), 0);
    home.assert_clean(&finished, &evil.secrets()).await;
}

#[tokio::test]
async fn cl_09_a_refresh_and_a_revocation_are_not_redirected() {
    let (evil, other) = (Evil::start(), Evil::start());
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &["--no-browser"]).await;
    evil.expire_access_tokens();
    evil.redirect(TOKEN, 308, &other.at(TOKEN));
    running.send(&call(1, "t_read"));
    doorward_testkit::eventually(
        "a refresh is tried",
        doorward_testkit::http::PATIENCE,
        async || (!evil.grants("refresh_token").is_empty()).then_some(()),
    )
    .await;
    running.kill();
    evil.redirect(REVOKE, 307, &other.at(REVOKE));
    let finished = home.run(&["logout", &evil.url()]).await;
    home.assert_clean(&finished, &evil.secrets()).await;
    assert!(
        !evil.seen(REVOKE).is_empty(),
        "logout revokes: {}",
        finished.stderr
    );
    other.assert_untouched();
}
