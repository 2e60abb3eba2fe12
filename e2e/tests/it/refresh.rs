//! RT: refresh tokens.

use std::time::Duration;

use doorward_testkit::oauth::{Tokens, with};
use doorward_testkit::{Doorward, raw};

use crate::support::{Catalogue, RA, RB, all_at_once, assert_t};

crate::shared_catalogue!();

async fn with_a_clock() -> Catalogue {
    Catalogue::start_with(Doorward::builder().faketime()).await
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn refreshed(reply: &doorward_testkit::Reply) -> Tokens {
    Tokens::from_reply(reply)
}

#[tokio::test]
async fn rt_01_a_superseded_token_after_its_grace_ends_the_family() {
    let catalogue = with_a_clock().await;
    let client = catalogue.n1().await;
    let first = catalogue.tokens(&client).await;
    let second = refreshed(&client.refresh(first.refresh(), &catalogue.ra()).await);
    assert_ne!(first.refresh, second.refresh);
    let third = refreshed(&client.refresh(second.refresh(), &catalogue.ra()).await);
    assert_eq!(
        catalogue.call("rt01").bearer(&third.access).send().await.status,
        200
    );
    catalogue.doorward.advance(Duration::from_secs(31));
    assert_t(
        &client.refresh(first.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    for dead in [&second, &third] {
        assert_t(
            &client.refresh(dead.refresh(), &catalogue.ra()).await,
            &["invalid_grant"],
        );
        let reply = catalogue.call("rt01").bearer(&dead.access).send().await;
        catalogue.assert_u401(&reply, RA, true);
    }
}

#[tokio::test]
async fn rt_02_many_at_once_leave_one_chain() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        200
    } else {
        20
    };
    let mut tokens = catalogue.tokens(&client).await;
    for round in 0..rounds {
        let form = client.refresh_form(tokens.refresh(), &catalogue.ra());
        let pairs: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let requests = (0..32)
            .map(|_| catalogue.doorward.post("/token").form(&pairs))
            .collect();
        let replies = all_at_once(requests).await;
        let mut successors: Vec<String> = replies
            .iter()
            .filter(|reply| reply.status == 200)
            .map(|reply| refreshed(reply).refresh().to_owned())
            .collect();
        assert!(!successors.is_empty(), "round {round}: {}", replies[0].text());
        successors.dedup();
        assert_eq!(
            successors.len(),
            1,
            "round {round}: every 200 names the same successor"
        );
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            assert_eq!(reply.status, 503, "nobody is locked out: {}", reply.text());
        }
        tokens = refreshed(&client.refresh(&successors[0], &catalogue.ra()).await);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_03_a_token_belongs_to_its_client() {
    let catalogue = catalogue().await;
    let (client, other) = (catalogue.n1().await, catalogue.c2().await);
    let tokens = catalogue.tokens(&client).await;
    let stolen = with(
        client.refresh_form(tokens.refresh(), &catalogue.ra()),
        "client_id",
        Some(&other.id),
    );
    assert_t(&client.token(&stolen).await, &["invalid_grant"]);
    let unknown = with(
        client.refresh_form(tokens.refresh(), &catalogue.ra()),
        "client_id",
        Some("dcr_nobody"),
    );
    assert_t(&client.token(&unknown).await, &["invalid_grant"]);
    let next = refreshed(&client.refresh(tokens.refresh(), &catalogue.ra()).await);
    assert_eq!(
        catalogue.call("rt03").bearer(&next.access).send().await.status,
        200,
        "the thief did no harm"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_04_scope_never_grows() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    for wider in ["a b", "b", "a admin"] {
        let mut form = client.refresh_form(tokens.refresh(), &catalogue.ra());
        form.push(("scope".into(), wider.into()));
        assert_t(&client.token(&form).await, &["invalid_scope"]);
    }
    let mut same = client.refresh_form(tokens.refresh(), &catalogue.ra());
    same.push(("scope".into(), "a".into()));
    let next = refreshed(&client.token(&same).await);
    assert_eq!(next.body["scope"], "a");
    assert_eq!(
        refreshed(&client.refresh(next.refresh(), &catalogue.ra()).await).body["scope"],
        "a"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_05_another_resource_neither_works_nor_rotates() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    for resource in [
        catalogue.rb(),
        "https://unknown.test/mcp".into(),
        "/a/mcp".into(),
        format!("{}#x", catalogue.ra()),
    ] {
        assert_t(
            &client.refresh(tokens.refresh(), &resource).await,
            &["invalid_target"],
        );
    }
    let next = refreshed(&client.refresh(tokens.refresh(), &catalogue.ra()).await);
    assert_eq!(next.claims()["aud"], catalogue.ra());
    let without = with(
        client.refresh_form(next.refresh(), &catalogue.ra()),
        "resource",
        None,
    );
    let last = refreshed(&client.token(&without).await);
    assert_eq!(
        last.claims()["aud"],
        catalogue.ra(),
        "no resource means the family's own"
    );
    let elsewhere = catalogue.call_at(RB, "rt05").bearer(&last.access).send().await;
    catalogue.assert_u401(&elsewhere, RB, true);
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_06_a_disabled_user_cannot_refresh() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let tokens = client
        .login("bob", doorward_testkit::PASSWORD, &catalogue.ra())
        .await;
    catalogue.doorward.command(&["user", "disable", "bob"]).ok();
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    // The change came from another process: the documented bound is one second, and some patience.
    doorward_testkit::eventually(
        "bob's access token is refused",
        Duration::from_secs(60),
        || async {
            let reply = catalogue.call("rt06").bearer(&tokens.access).send().await;
            (reply.status == 401).then_some(())
        },
    )
    .await;
    catalogue.doorward.command(&["user", "enable", "bob"]).ok();
    let again = client
        .login("bob", doorward_testkit::PASSWORD, &catalogue.ra())
        .await;
    assert_eq!(
        catalogue.call("rt06").bearer(&again.access).send().await.status,
        200
    );
    let old = catalogue.call("rt06").bearer(&tokens.access).send().await;
    assert_eq!(old.status, 401, "what was revoked stays revoked");
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_06_a_removed_client_cannot_refresh() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    catalogue.doorward.command(&["client", "remove", &client.id]).ok();
    let reply = client.refresh(tokens.refresh(), &catalogue.ra()).await;
    assert_t(&reply, &["invalid_grant"]);
    doorward_testkit::eventually("its access token is refused", Duration::from_secs(60), || async {
        let reply = catalogue.call("rt06").bearer(&tokens.access).send().await;
        (reply.status == 401).then_some(())
    })
    .await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_06_a_tightened_allow_rule_ends_refreshing() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    catalogue.doorward.terminate();
    assert_eq!(catalogue.doorward.wait(Duration::from_secs(60)).await, 0);
    let config = crate::support::two_servers(&catalogue.up_a.url(), &catalogue.up_b.url());
    let tighter = config.replacen("name = \"a\"", "name = \"a\"\nallow = [\"group:eng\"]", 1);
    std::fs::write(catalogue.doorward.home().join("doorward.toml"), tighter).unwrap();
    catalogue.doorward.start_again().await;
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    let call = catalogue.call("rt06").bearer(&tokens.access).send().await;
    assert_eq!(call.status, 403, "{}", call.text());
    assert_eq!(
        call.header("WWW-Authenticate"),
        None,
        "policy says no: no scope would help"
    );
    let bob = client
        .login("bob", doorward_testkit::PASSWORD, &catalogue.ra())
        .await;
    assert_eq!(
        catalogue.call("rt06").bearer(&bob.access).send().await.status,
        200
    );
}

#[tokio::test]
async fn rt_07_a_revoked_family_stays_revoked_over_a_crash() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    for graceful in [false, true] {
        let approved = catalogue.code(&client).await;
        let tokens = refreshed(&client.redeem(&approved).await);
        assert_t(&client.redeem(&approved).await, &["invalid_grant"]);
        if graceful {
            catalogue.doorward.terminate();
            assert_eq!(catalogue.doorward.wait(Duration::from_secs(60)).await, 0);
        } else {
            catalogue.doorward.kill();
        }
        catalogue.doorward.start_again().await;
        assert_t(
            &client.refresh(tokens.refresh(), &catalogue.ra()).await,
            &["invalid_grant"],
        );
        let call = catalogue.call("rt07").bearer(&tokens.access).send().await;
        catalogue.assert_u401(&call, RA, true);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_08_odd_tokens_are_invalid_grants() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let token = tokens.refresh();
    let flipped: String = token
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    for odd in [
        token[..token.len() - 1].to_owned(),
        format!("{token}A"),
        flipped,
        format!("{token}%"),
        format!("{token}%00"),
        format!("{token}\0"),
        format!("{token} "),
        format!(" {token}"),
        tokens.access.clone(),
        String::from("x"),
    ] {
        assert_t(&client.refresh(&odd, &catalogue.ra()).await, &["invalid_grant"]);
    }
    let empty = client.refresh("", &catalogue.ra()).await;
    assert_t(&empty, &["invalid_grant", "invalid_request"]);
    let huge = format!(
        "POST /token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\nrefresh_token={}",
        catalogue.doorward.host(),
        14 + (1 << 20),
        "A".repeat(1 << 20)
    );
    let reply = raw::send(catalogue.doorward.address(), huge.as_bytes()).await;
    assert!(matches!(reply.status, 400 | 413), "a megabyte: {}", reply.text());
    assert_eq!(
        client.refresh(token, &catalogue.ra()).await.status,
        200,
        "none of them did harm"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_09_a_lost_reply_can_be_asked_for_again() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let mut tokens = catalogue.tokens(&client).await;
    for linger in [0, 1, 20, 100] {
        let form = client.refresh_form(tokens.refresh(), &catalogue.ra());
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form)
            .finish();
        let request = format!(
            "POST /token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            catalogue.doorward.host(),
            body.len()
        );
        let linger = Duration::from_millis(linger);
        raw::send_and_vanish(catalogue.doorward.address(), request.as_bytes(), linger).await;
        let again = refreshed(&client.refresh(tokens.refresh(), &catalogue.ra()).await);
        let repeated = refreshed(&client.refresh(tokens.refresh(), &catalogue.ra()).await);
        assert_eq!(again.refresh, repeated.refresh, "one chain");
        assert_eq!(
            catalogue.call("rt09").bearer(&again.access).send().await.status,
            200
        );
        tokens = again;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_reply_lost_for_minutes_is_repeated_once_a_day() {
    let catalogue = with_a_clock().await;
    let client = catalogue.n1().await;
    let first = catalogue.tokens(&client).await;
    let second = refreshed(&client.refresh(first.refresh(), &catalogue.ra()).await);
    catalogue.doorward.advance(minutes(9));
    let late = refreshed(&client.refresh(first.refresh(), &catalogue.ra()).await);
    assert_eq!(late.refresh, second.refresh);
    assert_t(
        &client.refresh(first.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    assert_t(
        &client.refresh(second.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
}

#[tokio::test]
async fn a_token_whose_successor_was_used_a_moment_ago_gets_the_head() {
    let catalogue = with_a_clock().await;
    let client = catalogue.n1().await;
    let first = catalogue.tokens(&client).await;
    let second = refreshed(&client.refresh(first.refresh(), &catalogue.ra()).await);
    let third = refreshed(&client.refresh(second.refresh(), &catalogue.ra()).await);
    let head = refreshed(&client.refresh(first.refresh(), &catalogue.ra()).await);
    assert_eq!(head.refresh, third.refresh);
    assert_eq!(client.refresh(third.refresh(), &catalogue.ra()).await.status, 200);
}

#[tokio::test]
async fn an_unused_family_ends_after_thirty_days_and_any_after_ninety() {
    let catalogue = with_a_clock().await;
    let client = catalogue.n1().await;
    let day = Duration::from_secs(24 * 3600);
    let idle = catalogue.tokens(&client).await;
    let mut used = catalogue.tokens(&client).await;
    for _ in 0..4 {
        catalogue.doorward.advance(day * 22);
        used = refreshed(&client.refresh(used.refresh(), &catalogue.ra()).await);
    }
    assert_t(
        &client.refresh(idle.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    catalogue.doorward.advance(day * 3);
    assert_t(
        &client.refresh(used.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
}

#[tokio::test]
async fn an_expired_access_token_is_refreshed() {
    let catalogue = with_a_clock().await;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    assert_eq!(
        catalogue
            .call("expiry")
            .bearer(&tokens.access)
            .send()
            .await
            .status,
        200
    );
    catalogue.doorward.advance(minutes(12));
    let expired = catalogue.call("expiry").bearer(&tokens.access).send().await;
    catalogue.assert_u401(&expired, RA, true);
    let next = refreshed(&client.refresh(tokens.refresh(), &catalogue.ra()).await);
    // The clock jumped by more than a minute: until the next look at the revocations nobody enters.
    let reply =
        doorward_testkit::eventually("revocations are read again", Duration::from_secs(60), || async {
            let reply = catalogue.call("expiry").bearer(&next.access).send().await;
            (reply.status != 503).then_some(reply)
        })
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
