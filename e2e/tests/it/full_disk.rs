//! FT-07, EX-05: the disk is full. What cannot be made durable is refused with 503 and did not happen; what only
//! reads goes on; and when there is room again, so does everything.

use std::time::Duration;

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens};
use doorward_testkit::{Doorward, PASSWORD, Reply};
use serde_json::json;

use crate::support::{Catalogue, RA, all_at_once, assert_t};

/// Room for the database and some logins.
const DISK: u32 = 16 * 1024;

#[track_caller]
fn assert_503(what: &str, reply: &Reply) {
    assert_eq!(reply.status, 503, "{what}: {}", reply.text());
    let seconds = reply.header("Retry-After").map(str::parse::<u32>);
    assert!(
        matches!(seconds, Some(Ok(1..))),
        "{what}: when to come back: {reply:?}"
    );
    assert!(
        reply.headers.get("Set-Cookie").is_none(),
        "{what}: nobody is signed in"
    );
    assert_eq!(reply.location(), None, "{what}: no code");
}

fn revocation(client: &OAuthClient, token: &str) -> doorward_testkit::http::Request {
    client
        .site
        .post("/revoke")
        .form(&[("token", token), ("client_id", &client.id)])
}

/// A browser in which a password was typed, and what came of it.
async fn sign_in(catalogue: &Catalogue, client: &OAuthClient) -> (Browser, Page) {
    let mut browser = Browser::new(&catalogue.doorward);
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let mut form = page.login_form();
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    let button = form
        .buttons
        .first()
        .map_or(String::new(), |button| button.value.clone());
    let done = browser.submit_without_following(&page, &form, &button).await;
    (browser, done)
}

/// What a signed-in browser gets for pressing "approve".
async fn approve(catalogue: &Catalogue, client: &OAuthClient) -> Reply {
    let mut browser = catalogue.alice().await;
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let mut form = page.consent_form();
    form.tick_all();
    browser
        .submit_without_following(&page, &form, "approve")
        .await
        .reply
}

async fn calls(catalogue: &Catalogue, tokens: &Tokens) -> u16 {
    catalogue
        .call_at(RA, "ft07")
        .bearer(&tokens.access)
        .send()
        .await
        .status
}

#[tokio::test]
async fn ft_07_ex_05_on_a_full_disk_nothing_is_half_done() {
    let catalogue = Catalogue::start_with(Doorward::builder().disk(DISK)).await;
    let client = catalogue.n1().await;
    let (kept, replayed, revoked) = (
        catalogue.tokens(&client).await,
        catalogue.code(&client).await,
        catalogue.tokens(&client).await,
    );
    let of_replayed = Tokens::from_reply(&client.redeem(&replayed).await);
    let open = catalogue.code(&client).await;
    // The second presentation and the clock's seconds run from here: a code lives for a minute.
    catalogue.doorward.fill_disk();

    for round in 0..3 {
        assert_503(
            "a refresh",
            &client.refresh(kept.refresh(), &catalogue.ra()).await,
        );
        assert_503("a code", &client.redeem(&open).await);
        assert_503("a code that is presented again", &client.redeem(&replayed).await);
        assert_503(
            "a revocation",
            &revocation(&client, revoked.refresh()).send().await,
        );
        assert_503("a revocation", &revocation(&client, &revoked.access).send().await);
        let (browser, page) = sign_in(&catalogue, &client).await;
        assert_503("a sign-in", &page.reply);
        assert!(
            !browser.cookies.keys().any(|name| name.contains("session")),
            "{round}"
        );
        // RFC 6749 §4.1.2.1: a browser that shows 503 would not tell the client.
        let approval = approve(&catalogue, &client).await;
        let why = ["temporarily_unavailable"];
        catalogue.assert_redirected(&approval, &client.redirect_uri, Some("S1"), &why);
        let registration =
            json!({ "client_name": format!("new {round}"), "redirect_uris": ["http://127.0.0.1/new"] });
        let registered = catalogue
            .doorward
            .post("/register")
            .json(&registration)
            .send()
            .await;
        assert_503("a registration", &registered);
    }
    // More often than somebody may mistype (DS-10): what storage failed to do is held against nobody.
    for _ in 0..16 {
        assert_503("a sign-in", &sign_in(&catalogue, &client).await.1.reply);
    }
    let disabled = catalogue.doorward.command(&["user", "disable", "bob"]);
    assert_ne!(
        disabled.code, 0,
        "a command that did nothing says so: {}",
        disabled.stdout
    );
    for tokens in [&kept, &of_replayed, &revoked] {
        assert_eq!(
            calls(&catalogue, tokens).await,
            200,
            "not revoked, and not said to be"
        );
    }
    let form = client.refresh_form(kept.refresh(), &catalogue.ra());
    let pairs: Vec<(&str, &str)> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let requests = (0..32)
        .map(|_| catalogue.doorward.post("/token").form(&pairs))
        .collect();
    for reply in all_at_once(requests).await {
        assert_503("one of many", &reply);
    }

    catalogue.doorward.free_disk();
    recovered(
        &catalogue,
        &client,
        &kept,
        [&of_replayed, &revoked],
        (&open, &replayed),
    )
    .await;
}

/// Without a restart, and with nothing lost that was not promised.
async fn recovered(
    catalogue: &Catalogue,
    client: &OAuthClient,
    kept: &Tokens,
    [of_replayed, revoked]: [&Tokens; 2],
    (open, replayed): (
        &doorward_testkit::oauth::Approved,
        &doorward_testkit::oauth::Approved,
    ),
) {
    let next = Tokens::from_reply(&client.refresh(kept.refresh(), &catalogue.ra()).await);
    let repeated = Tokens::from_reply(&client.refresh(kept.refresh(), &catalogue.ra()).await);
    assert_eq!(
        next.refresh, repeated.refresh,
        "R1 was not rotated before: one chain"
    );
    assert_eq!(calls(catalogue, &next).await, 200);
    let redeemed = Tokens::from_reply(&client.redeem(open).await);
    assert_eq!(calls(catalogue, &redeemed).await, 200, "the code was not used up");
    assert_eq!(calls(catalogue, of_replayed).await, 200);
    assert_t(&client.redeem(replayed).await, &["invalid_grant"]);
    assert_eq!(calls(catalogue, of_replayed).await, 401, "now it is revoked");
    assert_eq!(revocation(client, revoked.refresh()).send().await.status, 200);
    assert_eq!(calls(catalogue, revoked).await, 401, "now it is revoked");
    let approval = approve(catalogue, client).await;
    assert!(approval.location().unwrap().contains("code="), "{approval:?}");
    let (browser, page) = sign_in(catalogue, client).await;
    assert!(matches!(page.reply.status, 200 | 303), "{}", page.text());
    let session = |name: &String| name.contains("session");
    assert!(browser.cookies.keys().any(session), "{:?}", browser.cookies);
    catalogue.doorward.command(&["user", "disable", "bob"]).ok();
    catalogue.still_good().await;

    catalogue.doorward.kill();
    catalogue.doorward.start_again().await;
    assert_t(
        &client.refresh(revoked.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    let head = Tokens::from_reply(&client.refresh(next.refresh(), &catalogue.ra()).await);
    assert_eq!(calls(catalogue, &head).await, 200);
    catalogue.still_good().await;
}

#[tokio::test]
async fn ft_07_a_server_that_starts_on_a_full_disk_says_so_or_works() {
    let catalogue = Catalogue::start_with(Doorward::builder().disk(DISK)).await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    catalogue.doorward.fill_disk();
    catalogue.doorward.kill();
    catalogue.doorward.spawn();
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(code) = catalogue.doorward.exited() {
            let said = catalogue.doorward.stderr();
            assert!(code != 0 && said.contains("error:"), "{code}: {said}");
            assert!(!said.contains("panicked"), "{said}");
            break;
        }
        if let Ok(reply) = catalogue.doorward.get("/readyz").try_send().await
            && reply.status == 200
        {
            assert_503(
                "a refresh",
                &client.refresh(tokens.refresh(), &catalogue.ra()).await,
            );
            catalogue.doorward.kill();
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            catalogue.doorward.logs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    catalogue.doorward.free_disk();
    catalogue.doorward.start_again().await;
    let next = Tokens::from_reply(&client.refresh(tokens.refresh(), &catalogue.ra()).await);
    assert_eq!(calls(&catalogue, &next).await, 200);
    catalogue.still_good().await;
}
