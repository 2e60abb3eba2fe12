//! R34: how often somebody may call, through the real binary.

use std::time::Duration;

use doorward_testkit::http::{Reply, Request};
use doorward_testkit::measure::Memory;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::json;

use crate::support::RA;

const MIB: u64 = 1 << 20;

/// One server under these limits, behind a proxy that tells addresses.
fn config(up: &Upstream, limits: &str) -> String {
    format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[limits]\n{limits}\n[[servers]]\nname = \"a\"\npath = \"{RA}\"\n\
         upstream = \"{}\"\n",
        up.url()
    )
}

async fn start(up: &Upstream, limits: &str) -> Doorward {
    Doorward::builder()
        .config(&config(up, limits))
        .user("alice", PASSWORD)
        .user("bob", PASSWORD)
        .start()
        .await
}

async fn token(doorward: &Doorward, user: &str) -> String {
    let client = OAuthClient::register(doorward, "limited", "http://127.0.0.1/cb").await;
    client.login(user, PASSWORD, &doorward.url(RA)).await.access
}

fn call(doorward: &Doorward, token: &str, tool: &str, address: &str) -> Request {
    let call = mcp::call(doorward, RA, tool, &json!({})).bearer(token);
    call.header("X-Forwarded-For", address)
}

#[track_caller]
fn assert_limited(reply: &Reply, limit: &str) {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let seconds: u64 = reply.header("Retry-After").expect("when").parse().unwrap();
    assert!((1..=86_400).contains(&seconds));
    let error = &reply.json()["error"];
    assert_eq!(error["code"], 429);
    assert_eq!(error["data"]["reason"], "rate_limited");
    assert_eq!(error["data"]["limit"], limit);
    assert_eq!(error["data"]["retry_after"], seconds);
    assert!(error["data"]["decision_id"].is_string());
    assert_eq!(reply.header("WWW-Authenticate"), None);
}

#[tokio::test]
async fn r34_client_user_tool_and_discovery_and_a_reload_forgives_nothing() {
    let up = Upstream::start();
    let limits = "calls = \"6/h\"\ndiscovery = \"3/h\"\ntools = { \"send_*\" = \"2/h\" }";
    let doorward = start(&up, limits).await;
    let (alice, bob) = (token(&doorward, "alice").await, token(&doorward, "bob").await);
    let home = "203.0.113.7";
    for _ in 0..2 {
        assert_eq!(
            call(&doorward, &alice, "send_mail", home).send().await.status,
            200
        );
    }
    assert_limited(&call(&doorward, &alice, "send_mail", home).send().await, "tool");
    for _ in 0..4 {
        assert_eq!(call(&doorward, &alice, "t_read", home).send().await.status, 200);
    }
    assert_limited(
        &call(&doorward, &alice, "t_read", "203.0.113.8").send().await,
        "calls",
    );
    assert_eq!(call(&doorward, &bob, "t_read", home).send().await.status, 200);
    let list = || mcp::modern(&doorward, RA, "tools/list", json!({})).bearer(&alice);
    for _ in 0..3 {
        assert_ne!(list().send().await.status, 429);
    }
    assert_limited(&list().send().await, "discovery");

    let reload = async |limits: &str| {
        let before = doorward.stderr().matches("configuration reloaded").count();
        std::fs::write(doorward.config_file(), config(&up, limits)).unwrap();
        doorward.hang_up();
        eventually("it is reloaded", Duration::from_secs(30), || async {
            (doorward.stderr().matches("configuration reloaded").count() > before).then_some(())
        })
        .await;
    };
    reload(&limits.replace("3/h", "30/h")).await;
    assert_limited(&call(&doorward, &alice, "t_read", home).send().await, "calls");
    assert_ne!(list().send().await.status, 429, "what changed begins anew");
    reload("calls = \"off\"\ntools = { \"send_*\" = \"off\" }").await;
    assert_eq!(
        call(&doorward, &alice, "send_mail", home).send().await.status,
        200
    );
}

#[tokio::test]
async fn r34_addresses_and_a_good_client_beside_a_flood() {
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        100_000
    } else {
        3_000
    };
    let up = Upstream::start();
    let limits = "address = \"20/h\"\nrefused = \"30/h\"\ncalls = \"off\"\ntool = \"1000000/m\"";
    let doorward = start(&up, limits).await;
    let (alice, home) = (token(&doorward, "alice").await, "203.0.113.7");
    assert_eq!(call(&doorward, &alice, "t_read", home).send().await.status, 200);
    let (mut refused, mut limited) = (0, 0);
    for number in 0..100 {
        let reply = call(&doorward, &format!("invented-{number}"), "t_read", home)
            .send()
            .await;
        match reply.status {
            401 => refused += 1,
            _ => {
                assert_limited(&reply, "refused");
                limited += 1;
            }
        }
    }
    assert_eq!((refused, limited), (30, 70));
    let good = call(&doorward, &alice, "t_read", home).send().await;
    assert_eq!(good.status, 200, "a token that is known goes on beside the flood");
    for _ in 0..18 {
        assert_eq!(call(&doorward, &alice, "t_read", home).send().await.status, 200);
    }
    assert_limited(&call(&doorward, &alice, "t_read", home).send().await, "address");

    // Addresses and tools that somebody invents cost no memory that grows, and nobody else their calls.
    let memory = Memory::watch(doorward.pid());
    for number in 0..rounds {
        let address = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
        let tool = format!("tool_{number}");
        let status = call(&doorward, &alice, &tool, &address).send().await.status;
        assert_eq!(status, 200, "{address}");
    }
    assert!(memory.growth() <= 16 * MIB, "{} bytes more", memory.growth());
    assert_limited(&call(&doorward, &alice, "t_read", home).send().await, "address");
    assert!(doorward.is_alive());
}
