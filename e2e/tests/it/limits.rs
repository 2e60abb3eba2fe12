//! R34: how often somebody may call, through the real binary.

use std::time::Duration;

use doorward_testkit::http::{Reply, Request};
use doorward_testkit::measure::Memory;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::{Answer, Part, Upstream, friendly};
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
    token_of(doorward, user, "limited").await
}

/// A token of this user for a client of this name.
async fn token_of(doorward: &Doorward, user: &str, client: &str) -> String {
    let client = OAuthClient::register(doorward, client, "http://127.0.0.1/cb").await;
    client.login(user, PASSWORD, &doorward.url(RA)).await.access
}

/// The same token with another signature, each time another one.
fn forged(token: &str, number: u32) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut changed = signature.to_owned();
    changed.replace_range(4..12, &format!("{number:08}"));
    assert_ne!(changed, signature);
    format!("{signed}.{changed}")
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
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("Try again in {seconds} s")),
        "{message}"
    );
    assert_eq!(reply.json()["jsonrpc"], "2.0");
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
        eventually("it is reloaded", Duration::from_secs(60), || async {
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
        5_000
    };
    let up = Upstream::start();
    let limits = "address = \"20/d\"\nrefused = \"3/h\"\ncalls = \"off\"\ntool = \"1000000/m\"";
    let doorward = start(&up, limits).await;
    let (alice, home) = (token(&doorward, "alice").await, "203.0.113.7");
    assert_eq!(call(&doorward, &alice, "t_read", home).send().await.status, 200);
    // What is no token of ours at all costs nothing, and takes nothing from anybody.
    for number in 0..100 {
        let invented = call(&doorward, &format!("invented-{number}"), "t_read", home);
        assert_eq!(invented.send().await.status, 401);
    }
    let (mut refused, mut limited) = (0, 0);
    for number in 0..100 {
        let reply = call(&doorward, &forged(&alice, number), "t_read", home)
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
    assert_eq!(
        (refused, limited),
        (30, 70),
        "ten times as many as other refusals"
    );
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

#[tokio::test]
async fn r34_two_clients_of_a_user_have_their_own_calls_and_share_tools() {
    let up = Upstream::start();
    let doorward = start(&up, "calls = \"4/h\"\ntools = { \"send_*\" = \"2/h\" }").await;
    let one = token_of(&doorward, "alice", "one").await;
    let two = token_of(&doorward, "alice", "two").await;
    let bob = token_of(&doorward, "bob", "two").await;
    let home = "203.0.113.7";
    let status = async |token: &str, tool: &str| call(&doorward, token, tool, home).send().await.status;
    for token in [&one, &two] {
        assert_eq!(status(token, "send_mail").await, 200);
    }
    assert_limited(&call(&doorward, &two, "send_mail", home).send().await, "tool");
    assert_eq!(status(&bob, "send_mail").await, 200, "of another user");
    assert_eq!(status(&two, "send_post").await, 200, "another tool");
    for _ in 0..3 {
        assert_eq!(status(&one, "t_read").await, 200);
    }
    let refused = call(&doorward, &one, "t_read", home).send().await;
    assert_limited(&refused, "calls");
    assert_eq!(status(&two, "t_read").await, 200, "the other client has its own");
    // In the revisions with sessions, too, and with the id that was sent.
    let message = json!({ "jsonrpc": "2.0", "id": "seven", "method": "tools/call",
        "params": { "name": "t_read", "arguments": {} } });
    let legacy = mcp::legacy(&doorward, RA, None, &message)
        .bearer(&one)
        .send()
        .await;
    assert_limited(&legacy, "calls");
    assert_eq!(legacy.json()["id"], "seven");
}

#[tokio::test]
async fn r34_streams_of_a_user_are_counted_over_all_clients() {
    let up = Upstream::scripted(|request| {
        if request.method() == "GET" {
            Answer::events(vec![Part::Repeat(b": *\n\n".to_vec(), Duration::from_secs(1))])
        } else {
            friendly(request)
        }
    });
    let doorward = start(&up, "streams = 2").await;
    let one = token_of(&doorward, "alice", "one").await;
    let two = token_of(&doorward, "alice", "two").await;
    let bob = token_of(&doorward, "bob", "two").await;
    let listen = |token: &str| {
        let get = doorward
            .get(RA)
            .bearer(token)
            .header("Accept", "text/event-stream");
        get.header("MCP-Protocol-Version", "2025-11-25")
    };
    let mut held = Vec::new();
    for token in [&one, &two] {
        let stream = listen(token).stream().await;
        assert_eq!(stream.status, 200);
        held.push(stream);
    }
    assert_limited(&listen(&one).send().await, "streams");
    assert_eq!(listen(&bob).stream().await.status, 200, "of another user");
    let reply = call(&doorward, &one, "t_read", "203.0.113.7").send().await;
    assert_eq!(reply.status, 200, "calls go on");
    held.pop();
    let again = eventually("a place is free again", Duration::from_secs(60), || async {
        let stream = listen(&two).stream().await;
        (stream.status == 200).then_some(stream)
    });
    held.push(again.await);
    assert_limited(&listen(&one).send().await, "streams");
}

#[tokio::test]
async fn r34_retry_after_suffices() {
    let up = Upstream::start();
    let doorward = start(&up, "calls = \"20/m burst 1\"").await;
    let (alice, home) = (token(&doorward, "alice").await, "203.0.113.7");
    let send = || call(&doorward, &alice, "t_read", home).send();
    // On a machine that is so slow that three seconds pass between two calls, the second one is none too many.
    let refused = eventually(
        "two calls within three seconds",
        Duration::from_secs(60),
        || async {
            let reply = send().await;
            (reply.status == 429).then_some(reply)
        },
    )
    .await;
    assert_limited(&refused, "calls");
    let seconds = refused.json()["error"]["data"]["retry_after"].as_u64().unwrap();
    // The very time is what is to be shown.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert_eq!(send().await.status, 200);
}

/// Clients that look for the newer revision take an error there for an older server, and begin anew with `initialize`.
#[tokio::test]
async fn r34_a_client_that_is_over_the_limit_of_discovery_does_not_get_through_with_an_older_revision() {
    let up = Upstream::start();
    let doorward = start(&up, "discovery = \"60/m burst 2\"").await;
    let alice = token(&doorward, "alice").await;
    let discover = || mcp::modern(&doorward, RA, "server/discover", json!({})).bearer(&alice);
    let refused = eventually("too many in a second", Duration::from_secs(60), || async {
        let replies = [
            discover().send().await,
            discover().send().await,
            discover().send().await,
        ];
        replies.into_iter().find(|reply| reply.status == 429)
    })
    .await;
    assert_limited(&refused, "discovery");
    let initialize = || mcp::legacy(&doorward, RA, None, &mcp::initialize()).bearer(&alice);
    let fallback = initialize().send().await;
    assert_limited(&fallback, "discovery");
    let up_saw = up.requests().len();
    assert_limited(&initialize().send().await, "discovery");
    assert_eq!(up.requests().len(), up_saw);
    // The newer revision is there again when its time has come.
    eventually("it is let in again", Duration::from_secs(60), || async {
        (discover().send().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn r34_a_loop_that_is_refused_again_and_again_ends_at_the_limit_of_calls() {
    let up = Upstream::start();
    let table = "[servers.scopes.\"t:read\"]\ndescription = \"Read\"\ntools = [\"t_read\"]\n";
    let limits = "calls = \"30/h\"\nrefused = \"3/h\"";
    let doorward = Doorward::builder()
        .config(&format!("{}{table}", config(&up, limits)))
        .user("alice", PASSWORD)
        .start()
        .await;
    let alice = token(&doorward, "alice").await;
    let send = |tool: &'static str| call(&doorward, &alice, tool, "203.0.113.7").send();
    for _ in 0..31 {
        assert_eq!(
            send("t_none").await.status,
            403,
            "the first is a refusal, the others are calls"
        );
    }
    assert_limited(&send("t_none").await, "calls");
}
