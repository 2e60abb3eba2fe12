//! RS-19: a client calls every 100 ms while what it was granted is ended, in every way there is. From the promised
//! moment on it is refused, and it is never let in again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::{Doorward, PASSWORD, eventually, html, marker};

use crate::support::{Catalogue, RA, assert_t};

/// What a running server does with what another process changed is promised within this.
const FROM_ELSEWHERE: Duration = Duration::from_secs(5);
/// How long is watched afterwards.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// One call.
#[derive(Clone, Copy, Debug)]
struct Called {
    sent: Instant,
    answered: Instant,
    status: u16,
}

/// Calls every 100 ms until told to stop.
async fn keep_calling(
    catalogue: Arc<Catalogue>,
    access: String,
    made: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Called> {
    let mut all = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let sent = Instant::now();
        let reply = catalogue.call_at(RA, "rs19").bearer(&access).send().await;
        if reply.status == 401 {
            catalogue.assert_u401(&reply, RA, true);
        }
        all.push(Called {
            sent,
            answered: Instant::now(),
            status: reply.status,
        });
        made.fetch_add(1, Ordering::SeqCst);
    }
    all
}

/// Ends the grant by `end`, and judges the calls around it. Without `promise`, from the answer on nothing is let in.
async fn ended(way: &str, promise: Duration, end: impl AsyncFnOnce(&Catalogue, &OAuthClient, &Tokens)) {
    let catalogue = Arc::new(Catalogue::start_with(Doorward::builder()).await);
    let client = OAuthClient::register(&catalogue.doorward, &marker(), "http://127.0.0.1/cb").await;
    let tokens = client.login("bob", PASSWORD, &catalogue.ra()).await;
    let others = catalogue.t().await;
    let (made, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let more = async |count: usize| {
        let until = made.load(Ordering::SeqCst) + count;
        eventually("it calls", Duration::from_secs(60), async || {
            (made.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
    };
    let calling = tokio::spawn(keep_calling(
        Arc::clone(&catalogue),
        tokens.access.clone(),
        Arc::clone(&made),
        Arc::clone(&stop),
    ));
    more(5).await;
    let asked = Instant::now();
    end(&catalogue, &client, &tokens).await;
    let acknowledged = Instant::now();
    tokio::time::sleep(promise + AFTERWARDS).await;
    // At least so many of them were sent after the promised moment, also on a slow machine.
    more(12).await;
    stop.store(true, Ordering::SeqCst);
    let all = calling.await.unwrap();

    let before: Vec<_> = all.iter().filter(|call| call.answered < asked).collect();
    assert!(!before.is_empty(), "{way}: it called before");
    assert!(before.iter().all(|call| call.status == 200), "{way}: {before:?}");
    let late = |call: &&Called| call.sent > acknowledged + promise;
    let after: Vec<_> = all.iter().filter(late).collect();
    assert!(after.len() > 10, "{way}: it called afterwards");
    assert!(
        after.iter().all(|call| call.status == 401),
        "{way}: from the promised moment on: {after:?}"
    );
    let first = all.iter().position(|call| call.status == 401).unwrap();
    let again = all.iter().skip(first).find(|call| call.status != 401);
    assert!(again.is_none(), "{way}: never again, but {again:?}");
    let lag = all[first].sent.saturating_duration_since(acknowledged);
    println!("{way}: the first refusal {lag:?} after it was acknowledged");
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    assert_eq!(
        catalogue.call("rs19").bearer(&others).send().await.status,
        200,
        "{way}: nobody else was harmed"
    );
    catalogue.still_good().await;
}

async fn revoke(client: &OAuthClient, token: &str) {
    let form = [("token", token), ("client_id", &client.id)];
    let reply = client.site.post("/revoke").form(&form).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn rs_19_by_revoking_the_refresh_token() {
    let end =
        async |_: &Catalogue, client: &OAuthClient, tokens: &Tokens| revoke(client, tokens.refresh()).await;
    ended("RFC 7009, refresh token", Duration::ZERO, end).await;
}

#[tokio::test]
async fn rs_19_by_revoking_the_access_token() {
    let end =
        async |_: &Catalogue, client: &OAuthClient, tokens: &Tokens| revoke(client, &tokens.access).await;
    ended("RFC 7009, access token", Duration::ZERO, end).await;
}

#[tokio::test]
async fn rs_19_by_disconnecting_the_app() {
    let end = async |catalogue: &Catalogue, _: &OAuthClient, _: &Tokens| {
        let mut browser = Browser::new(&catalogue.doorward);
        let login = browser.get("/login?next=account").await;
        let mut form = login.login_form();
        form.fill("username", "bob");
        form.fill("password", PASSWORD);
        let page = browser.submit(&login, &form, "").await;
        let link = html::tags(&page.reply.text())
            .iter()
            .filter_map(|tag| tag.get("href").map(str::to_owned))
            .find(|href| href.starts_with("/account/end") && href.contains("what=client"))
            .unwrap_or_else(|| panic!("a link that ends an app: {}", page.reply.text()));
        let question = browser.get(&link).await;
        let form = question.form_with("what").expect("a question");
        let done = browser.submit(&question, &form, "").await;
        assert_eq!(done.reply.status, 200, "{}", done.text());
    };
    ended("the account page", Duration::ZERO, end).await;
}

/// By a command, which is another process.
async fn by_command(words: &[&str]) {
    let way = words.join(" ");
    let end = async |catalogue: &Catalogue, client: &OAuthClient, _: &Tokens| {
        let words: Vec<&str> = words
            .iter()
            .map(|&word| {
                if word == "CLIENT" {
                    client.id.as_str()
                } else {
                    word
                }
            })
            .collect();
        catalogue.doorward.command(&words).ok();
    };
    ended(&way, FROM_ELSEWHERE, end).await;
}

#[tokio::test]
async fn rs_19_by_command_grant_revoke() {
    by_command(&["grant", "revoke", "--user", "bob"]).await;
}

#[tokio::test]
async fn rs_19_by_command_user_revoke() {
    by_command(&["user", "revoke", "bob"]).await;
}

#[tokio::test]
async fn rs_19_by_command_user_disable() {
    by_command(&["user", "disable", "bob"]).await;
}

#[tokio::test]
async fn rs_19_by_command_client_revoke() {
    by_command(&["client", "revoke", "CLIENT"]).await;
}

#[tokio::test]
async fn rs_19_by_command_client_disable() {
    by_command(&["client", "disable", "CLIENT"]).await;
}

#[tokio::test]
async fn rs_19_by_command_client_remove() {
    by_command(&["client", "remove", "CLIENT"]).await;
}
