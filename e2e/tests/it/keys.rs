//! Keys come and go without a gap, and no kill leaves tokens or the vault unreadable.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_testkit::command::Finished;
use doorward_testkit::http::{Destination, Site};
use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::port::Port;
use doorward_testkit::server::Background;
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::{Value, json};

use crate::support::killed_after;

const PATH: &str = "/mcp";
/// Far beyond the second within which a running server looks: this machine may be busy.
const SOON: Duration = Duration::from_secs(60);

fn rounds(full: u64, reduced: u64) -> u64 {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        full
    } else {
        reduced
    }
}

/// Keys that rotate as often as the configuration lets them.
const OFTEN: &str = "[keys]\nrotate_every = \"6s\"\npublish_before = \"3s\"\n";

/// For loops that change what they look at.
struct Patience(tokio::time::Instant);

impl Patience {
    fn of(time: Duration) -> Self {
        Self(tokio::time::Instant::now() + time)
    }

    async fn wait(&mut self, what: &str) {
        assert!(tokio::time::Instant::now() < self.0, "in time: {what}");
        let soon = tokio::time::Instant::now() + Duration::from_millis(20);
        let _ = tokio::time::timeout_at(soon, std::future::pending::<()>()).await;
    }
}

struct Signed {
    client: OAuthClient,
    tokens: Tokens,
    resource: String,
}

impl Signed {
    async fn in_at(doorward: &Doorward) -> Self {
        let client = OAuthClient::native(doorward).await;
        let resource = doorward.url(PATH);
        let tokens = client.login("alice", PASSWORD, &resource).await;
        Self {
            client,
            tokens,
            resource,
        }
    }

    /// New tokens for the refresh token.
    async fn refresh(&mut self) -> String {
        let reply = self.client.refresh(self.tokens.refresh(), &self.resource).await;
        self.tokens = Tokens::from_reply(&reply);
        self.tokens.access.clone()
    }
}

fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().into()
}

async fn published(site: &Site) -> BTreeSet<String> {
    let reply = site.get("/.well-known/jwks.json").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let keys = reply.json()["keys"].as_array().unwrap().clone();
    assert!(keys.iter().all(|key| key.get("d").is_none()), "no secret half");
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().into())
        .collect()
}

async fn status(site: &Site, token: &str) -> u16 {
    let reply = mcp::call(site, PATH, "echo", &json!({ "message": "k" }));
    reply.bearer(token).send().await.status
}

fn listed(doorward: &Doorward, purpose: &str, state: &str) -> Vec<String> {
    let all = doorward.command(&["key", "list", "--format", "json"]).ok().json();
    let fits = |key: &&Value| key["purpose"] == purpose && key["state"] == state;
    let keys = all.as_array().unwrap().iter().filter(fits);
    keys.map(|key| key["kid"].as_str().unwrap().into()).collect()
}

async fn demo() -> Doorward {
    Doorward::builder().demo().user("alice", PASSWORD).start().await
}

#[tokio::test]
async fn ft_05_what_was_issued_before_a_rotation_is_good_after_it() {
    let doorward = demo().await;
    let mut alice = Signed::in_at(&doorward).await;
    let before = alice.tokens.access.clone();
    let old = kid(&before);
    let rotated = doorward
        .command(&["key", "rotate", "--now", "--format", "json"])
        .ok()
        .json();
    assert_eq!(
        rotated.as_array().unwrap().len(),
        4,
        "two published, two activated: {rotated}"
    );
    let new = listed(&doorward, "access_token", "active").remove(0);
    assert_ne!(new, old);
    assert_eq!(
        listed(&doorward, "access_token", "retired"),
        std::slice::from_ref(&old)
    );
    let mut patience = Patience::of(SOON);
    let mut after = alice.refresh().await;
    while kid(&after) != new {
        patience.wait("the running server signs with the new key").await;
        after = alice.refresh().await;
    }
    assert_eq!(published(&doorward).await, BTreeSet::from([old, new]));
    for token in [&before, &after] {
        assert_eq!(status(&doorward, token).await, 200);
    }
    // Without --now the next key is only published; again changes nothing.
    let waiting = doorward.command(&["key", "rotate"]).ok();
    assert!(waiting.stdout.contains("published"), "{}", waiting.stdout);
    let again = doorward.command(&["key", "rotate"]).ok();
    assert!(again.stdout.contains("published already"), "{}", again.stdout);
    let next = listed(&doorward, "access_token", "next").remove(0);
    eventually("the next key is published", SOON, || async {
        published(&doorward).await.contains(&next).then_some(())
    })
    .await;
    assert_ne!(kid(&alice.refresh().await), next, "it does not sign yet");
    doorward.kill();
    doorward.start_again().await;
    for token in [&before, &after] {
        assert_eq!(status(&doorward, token).await, 200, "after a restart");
    }
    alice.refresh().await;
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_signed() {
    let doorward = demo().await;
    let mut alice = Signed::in_at(&doorward).await;
    let stolen = alice.tokens.access.clone();
    assert_eq!(status(&doorward, &stolen).await, 200);
    let missing = doorward.command(&["key", "revoke", "nobody"]);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("no key with this id"),
        "{}",
        missing.stderr
    );
    doorward.command(&["key", "revoke", &kid(&stolen)]).ok();
    eventually("its tokens are refused", SOON, || async {
        (status(&doorward, &stolen).await == 401).then_some(())
    })
    .await;
    assert!(!published(&doorward).await.contains(&kid(&stolen)));
    let fresh = alice.refresh().await;
    assert_ne!(kid(&fresh), kid(&stolen));
    assert_eq!(status(&doorward, &fresh).await, 200);
    // The key of the refresh tokens: a chain that it began ends, a new one begins.
    let deriving = listed(&doorward, "refresh_token", "active").remove(0);
    doorward.command(&["key", "revoke", &deriving]).ok();
    let mut patience = Patience::of(SOON);
    loop {
        let reply = alice
            .client
            .refresh(alice.tokens.refresh(), &alice.resource)
            .await;
        if reply.status == 400 {
            assert_eq!(reply.oauth_error().as_deref(), Some("invalid_grant"));
            break;
        }
        alice.tokens = Tokens::from_reply(&reply);
        patience.wait("chains of the key have ended").await;
    }
    let mut again = Signed::in_at(&doorward).await;
    again.refresh().await;
}

/// Two servers on one data folder, keys that rotate all the time: a token that one issues is good at the other one at
/// once, and its key is in the key set of both.
#[tokio::test]
async fn ft_05_no_key_in_use_is_missing_from_any_key_set() {
    let doorward = Doorward::builder()
        .demo()
        .config(OFTEN)
        .user("alice", PASSWORD)
        .start()
        .await;
    let port = Port::reserve();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number()));
    let (config, data) = (doorward.config_file(), doorward.data.clone());
    let listen = address.to_string();
    let args = [
        "serve",
        "--demo",
        "--config",
        config.to_str().unwrap(),
        "--listen",
        &listen,
        "--public-url",
        &doorward.public_url,
        "--data",
        data.to_str().unwrap(),
    ];
    let _second = Background::start(&doorward.work, &args);
    let other = Site::at(&doorward.public_url, Destination { address, tls: None });
    eventually("the second server is ready", SOON, || async {
        let ready = other.get("/readyz").try_send().await;
        ready.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
    let mut alice = Signed::in_at(&doorward).await;
    let first = alice.tokens.access.clone();
    let mut seen = BTreeSet::new();
    let wanted = usize::try_from(rounds(10, 3)).unwrap();
    let mut patience = Patience::of(Duration::from_secs(300));
    while seen.len() < wanted {
        let token = alice.refresh().await;
        for site in [doorward.site(), &other] {
            assert_eq!(status(site, &token).await, 200);
            assert_eq!(status(site, &first).await, 200);
            let keys = published(site).await;
            assert!(keys.contains(&kid(&token)) && keys.contains(&kid(&first)));
        }
        seen.insert(kid(&token));
        patience.wait("keys have rotated").await;
    }
}

#[tokio::test]
async fn a_master_key_is_replaced_while_nobody_works_on_the_data() {
    let doorward = demo().await;
    let mut alice = Signed::in_at(&doorward).await;
    let before = std::fs::read_to_string(doorward.data.join("master.key")).unwrap();
    let refused: Finished = doorward.command(&["key", "rotate", "--master"]);
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("is in use: stop `doorward serve`"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        std::fs::read_to_string(doorward.data.join("master.key")).unwrap(),
        before
    );
    doorward.kill();
    let done = doorward.command(&["key", "rotate", "--master"]).ok();
    assert!(
        done.stdout.contains("the master key was replaced"),
        "{}",
        done.stdout
    );
    let after = std::fs::read_to_string(doorward.data.join("master.key")).unwrap();
    assert_ne!(after, before);
    assert!(!doorward.data.join("master.key.new").exists());
    doorward.start_again().await;
    assert_eq!(status(&doorward, &alice.tokens.access).await, 200);
    alice.refresh().await;
    let logs = doorward.logs();
    assert!(!logs.contains(before.trim()) && !logs.contains(after.trim()));
}

#[tokio::test]
async fn ft_05_a_kill_during_any_rotation_leaves_tokens_and_the_vault_readable() {
    let doorward = Doorward::builder()
        .demo()
        .config(OFTEN)
        .user("alice", PASSWORD)
        .start()
        .await;
    let mut alice = Signed::in_at(&doorward).await;
    let mut finished = 0;
    let rounds = rounds(100, 6);
    for round in 0..rounds {
        let old = alice.tokens.access.clone();
        // Steps of the signing keys fall into every third second; this one kills the server around them.
        let (seen, pause) = (
            doorward.stderr().matches("key rotation").count(),
            round * 37 % 400,
        );
        if round % 2 == 0 {
            eventually("a step of the rotation", SOON, || async {
                (doorward.stderr().matches("key rotation").count() > seen).then_some(())
            })
            .await;
        } else {
            let _ = tokio::time::timeout(Duration::from_millis(pause), std::future::pending::<()>()).await;
        }
        doorward.kill();
        // And the vault: killed at a moment that moves from the first write of the command to its end and beyond.
        let delay = Duration::from_micros(round * 733 % 12_000);
        let args = ["key", "rotate", "--master"];
        finished += u64::from(killed_after(&doorward, &args, "master.key.new", delay));
        doorward.start_again().await;
        assert_eq!(status(&doorward, &old).await, 200, "round {round}");
        let new = alice.refresh().await;
        assert_eq!(status(&doorward, &new).await, 200, "round {round}");
        let keys = published(&doorward).await;
        assert!(
            keys.contains(&kid(&old)) && keys.contains(&kid(&new)),
            "round {round}"
        );
        assert!(!doorward.data.join("master.key.new").exists(), "round {round}");
    }
    assert!(finished < rounds, "some were killed before they had finished");
}
