//! Whoever logs in for all is killed at each point of it: the one that waits takes over.

use std::time::Duration;

use doorward_testkit::client_home::{ClientHome, PATIENCE, Running, visit};
use doorward_testkit::eventually;
use doorward_testkit::evil::{Evil, REGISTER, RESOURCE_METADATA, SERVER_METADATA, TOKEN};

/// Two copies of `login`; the first is killed when `until` says so, the second has to end well.
async fn the_second_takes_over(evil: &Evil, home: &ClientHome, case: &str, at: &str, browse_first: bool) {
    let gate = (!at.is_empty()).then(|| evil.hold(at));
    let first = home.start_login(&evil.url(), &[]);
    let url = if browse_first {
        let url = home.opened_url(0, &first).await;
        let visited = url.clone();
        tokio::spawn(async move { visit(&visited).await });
        Some(url)
    } else {
        None
    };
    if at.is_empty() {
        home.opened_url(0, &first).await;
    } else {
        eventually(case, PATIENCE, async || (!evil.seen(at).is_empty()).then_some(())).await;
    }
    let second = home.start_login(&evil.url(), &[]);
    // It has come as far as the lock, or will find it free.
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        while second.stderr().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    first.kill();
    evil.behave();
    if let Some(gate) = gate {
        gate.notify_waiters();
        // Whoever asked before it behaved again and begins to wait only now.
        gate.notify_one();
    }
    ends_well(
        evil,
        home,
        &second,
        case,
        usize::from(url.is_some() || at.is_empty()),
    )
    .await;
}

async fn ends_well(evil: &Evil, home: &ClientHome, second: &Running, case: &str, done: usize) {
    // The person closes the first tab and uses the new one.
    let opened = eventually(case, PATIENCE, async || {
        let opened = home.opened_urls().get(done).cloned();
        (opened.is_some() || !second.is_alive()).then_some(opened)
    })
    .await;
    if let Some(url) = opened {
        visit(&url).await.expect("a page");
    }
    let finished = second.ended().await;
    assert_eq!(finished.code, 0, "{case}: {}", finished.stderr);
    home.assert_clean(&finished, &evil.secrets()).await;
    let listed = home.run(&["login", "--list", "--format", "json"]).await.ok();
    assert!(listed.stdout.contains(&evil.url()), "{case}: {}", listed.stdout);
}

#[tokio::test]
async fn cl_12_r22_killed_before_the_browser() {
    for at in [RESOURCE_METADATA, SERVER_METADATA, REGISTER] {
        let (evil, home) = (Evil::start(), ClientHome::new());
        the_second_takes_over(&evil, &home, at, at, false).await;
        assert_eq!(evil.grants("authorization_code").len(), 1, "{at}");
    }
}

#[tokio::test]
async fn cl_12_r22_killed_while_the_browser_is_open() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    the_second_takes_over(&evil, &home, "the browser is open", "", false).await;
    assert_eq!(evil.grants("authorization_code").len(), 1);
    assert_eq!(
        evil.seen(REGISTER).len(),
        1,
        "the registration of the first was kept"
    );
}

#[tokio::test]
async fn cl_12_r22_killed_during_the_exchange() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    the_second_takes_over(&evil, &home, "the exchange", TOKEN, true).await;
}

#[tokio::test]
async fn cl_12_r22_killed_around_the_write() {
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        40
    } else {
        5
    };
    for round in 0..rounds {
        let (evil, home) = (Evil::start(), ClientHome::new());
        let first = home.start_login(&evil.url(), &[]);
        let url = home.opened_url(0, &first).await;
        let second = home.start_login(&evil.url(), &[]);
        let visiting = tokio::spawn(async move { visit(&url).await });
        eventually("the exchange", PATIENCE, async || {
            (!evil.seen(TOKEN).is_empty()).then_some(())
        })
        .await;
        let moment = std::time::Instant::now() + Duration::from_micros(500 * round);
        while std::time::Instant::now() < moment {
            std::hint::spin_loop();
        }
        first.kill();
        let _ = visiting.await;
        ends_well(&evil, &home, &second, "the write", 1).await;
    }
}
