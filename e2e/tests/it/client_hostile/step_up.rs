//! CL-13: servers that are never content.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorward_testkit::evil::{Evil, MCP, RESOURCE_METADATA};
use doorward_testkit::upstream::Answer;

use super::{bridge, call, logged_in, text};

fn words(scope: &str) -> BTreeSet<String> {
    scope.split_ascii_whitespace().map(str::to_owned).collect()
}

/// From now on every call of `t_write` is refused with what `scope` says for the n-th refusal, however good the token.
fn insatiable(evil: &Evil, scope: impl Fn(usize) -> String + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let refused = Arc::new(AtomicUsize::new(0));
    let (count, right) = (Arc::clone(&refused), evil.clone());
    let metadata = evil.at(RESOURCE_METADATA);
    evil.instead(MCP, move |request| {
        let answer = right.right_answer(request);
        if answer.status == 401 || request.json()["params"]["name"] != "t_write" {
            return answer;
        }
        let scope = scope(count.fetch_add(1, Ordering::SeqCst));
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{metadata}\""
        );
        Answer::empty(403).header("WWW-Authenticate", &challenge)
    });
    refused
}

#[tokio::test]
async fn cl_13_a10_a34_a35_a_step_up_asks_for_the_union_and_the_call_succeeds() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let _browsing = home.browse();
    let running = bridge(&home, &evil.url(), &[]).await;
    assert_eq!(text(&running.ask(&call(1, "t_write")).await), "t_write ok");
    let asked = evil.authorizations();
    assert_eq!(asked.len(), 2, "one more login");
    assert_eq!(words(&asked[1]["scope"]), words("t:read t:write"), "the union");
    assert_eq!(text(&running.ask(&call(2, "t_read")).await), "t_read ok");
    assert_eq!(evil.authorizations().len(), 2, "the new token does both");
}

#[tokio::test]
async fn cl_13_a36_always_insufficient_ends_after_three_tries() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let refused = insatiable(&evil, |_| "t:write".into());
    let _browsing = home.browse();
    let running = bridge(&home, &evil.url(), &[]).await;
    let answer = running.ask(&call(1, "t_write")).await;
    assert!(answer.get("error").is_some(), "{answer}");
    assert!(
        refused.load(Ordering::SeqCst) <= 4,
        "a first call and at most three more"
    );
    let asked = evil.authorizations();
    assert!(asked.len() <= 1 + 3, "{asked:?}");
    for query in &asked[1..] {
        assert_eq!(words(&query["scope"]), words("t:read t:write"));
    }
    // It is remembered: the same call asks nobody again.
    let (logins, calls) = (asked.len(), refused.load(Ordering::SeqCst));
    let answer = running.ask(&call(2, "t_write")).await;
    assert!(answer.get("error").is_some(), "{answer}");
    assert_eq!(
        evil.authorizations().len(),
        logins,
        "no further login for the same call"
    );
    assert!(refused.load(Ordering::SeqCst) <= calls + 1);
    assert_eq!(
        text(&running.ask(&call(3, "t_read")).await),
        "t_read ok",
        "the rest works"
    );
}

#[tokio::test]
async fn cl_13_a35_a36_growing_scopes_end_after_three_tries_with_the_union_of_all() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let refused = insatiable(&evil, |n| format!("grow:{n}"));
    let _browsing = home.browse();
    let running = bridge(&home, &evil.url(), &[]).await;
    let answer = running.ask(&call(1, "t_write")).await;
    assert!(answer.get("error").is_some(), "{answer}");
    assert!(refused.load(Ordering::SeqCst) <= 4);
    let asked = evil.authorizations();
    assert!((2..=4).contains(&asked.len()), "{asked:?}");
    let mut union = words("t:read");
    for (n, query) in asked[1..].iter().enumerate() {
        union.insert(format!("grow:{n}"));
        assert_eq!(words(&query["scope"]), union, "request {n}");
    }
    assert_eq!(text(&running.ask(&call(3, "t_read")).await), "t_read ok");
}

#[tokio::test]
async fn cl_13_scopes_are_bounded_and_must_be_scopes() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let many: Vec<_> = (0..5000).map(|n| format!("s{n}")).collect();
    let bad = ["t:write\\\"&prompt=none&x=\\\"".to_owned(), many.join(" ")];
    for (id, scope) in (10..).zip(bad) {
        let refused = insatiable(&evil, move |_| scope.clone());
        let browsing = home.browse();
        let running = bridge(&home, &evil.url(), &[]).await;
        let answer = running.ask(&call(id, "t_write")).await;
        assert!(answer.get("error").is_some(), "{answer}");
        assert!(refused.load(Ordering::SeqCst) <= 4);
        drop(browsing);
        evil.behave();
    }
    for opened in home.opened_urls() {
        assert!(
            opened.len() < 16 * 1024,
            "a URL that no browser takes: {}",
            opened.len()
        );
        assert!(!opened.contains("&prompt=none&x="), "{opened}");
    }
}

#[tokio::test]
async fn cl_13_always_401_ends_after_three_tries_and_one_tab() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let _browsing = home.browse();
    let running = bridge(&home, &evil.url(), &[]).await;
    let metadata = evil.at(RESOURCE_METADATA);
    evil.instead(MCP, move |_| {
        let challenge = format!("Bearer error=\"invalid_token\", resource_metadata=\"{metadata}\"");
        Answer::empty(401).header("WWW-Authenticate", &challenge)
    });
    let answer = running.ask(&call(1, "t_read")).await;
    assert!(answer.get("error").is_some(), "{answer}");
    let tried = evil.seen(MCP);
    let tried = tried
        .iter()
        .filter(|request| request.json()["method"] == "tools/call")
        .count();
    assert!(tried <= 4, "a first call and at most three more, not {tried}");
    assert!(
        home.opened().len() <= 1 + 1,
        "no storm of tabs, whatever else the bridge sends: {}",
        home.opened().len()
    );
    assert!(running.is_alive(), "the host decides when it ends");
    for id in 2..5 {
        let answer = running.ask(&call(id, "t_read")).await;
        assert!(answer.get("error").is_some(), "{answer}");
    }
    assert!(
        home.opened().len() <= 1 + 1,
        "and none for later calls: {}",
        home.opened().len()
    );
    evil.behave();
    assert_eq!(
        text(&running.ask(&call(5, "t_read")).await),
        "t_read ok",
        "it recovers"
    );
}

/// A `login` against the same server says so instead of opening tabs.
#[tokio::test]
async fn cl_13_a_login_ends_too() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let metadata = evil.at(RESOURCE_METADATA);
    evil.instead(MCP, move |_| {
        let challenge = format!("Bearer error=\"invalid_token\", resource_metadata=\"{metadata}\"");
        Answer::empty(401).header("WWW-Authenticate", &challenge)
    });
    let finished = home.login(&evil.url(), &[]).await;
    assert!(matches!(finished.code, 0 | 1), "{}", finished.stderr);
    assert!(home.opened().len() <= 4);
}
