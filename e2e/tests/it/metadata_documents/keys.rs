//! DS-04: clients whose keys are at a `jwks_uri`, over TLS, and sources that do harm.

use std::time::{Duration, Instant};

use doorward_testkit::browser::Browser;
use doorward_testkit::documents::Served;
use doorward_testkit::forge::Forge;
use doorward_testkit::http::Reply;
use doorward_testkit::measure::Memory;
use doorward_testkit::oauth::Tokens;
use doorward_testkit::{PASSWORD, mcp};
use serde_json::{Value, json};

use super::alone;
use super::world::{APP, World, document};
use crate::machine::{Machine, asserted, redeem};
use crate::support::assert_t;

const ITSELF: &[&str] = &["--client-credentials"];
/// What a source may take: five seconds for a fetch, and a machine that is busy.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// How much longer than the fetch's own bound nobody may have to wait for a source to be asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(120);
/// Twenty failures a minute slow a client down.
const BETWEEN: Duration = Duration::from_secs(3);
/// What the server may need more for sources without end: many times what it reads of one.
const MEMORY: u64 = 64 << 20;

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

/// A second key of the client, by its own name.
fn other_key(forge: &Forge) -> Value {
    let mut key = forge.public_jwk();
    key["kid"] = json!("next");
    key
}

async fn with_key(world: &World, machine: &Machine, forge: &Forge, kid: &Value) -> Reply {
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": kid });
    let assertion = forge.sign(&header, &machine.claims());
    let resource = world.resource();
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("resource", resource.as_str()),
    ];
    fields.extend(asserted(&assertion));
    let begun = Instant::now();
    let reply = world.doorward.post("/token").form(&fields).send().await;
    assert!(begun.elapsed() < TOLD_WITHIN, "told after {:?}", begun.elapsed());
    reply
}

/// Asks with a key that is not known yet until the source was asked once more, or until it works.
async fn until(world: &World, machine: &Machine, next: &Forge, path: &str, works: bool) {
    let asked = || {
        let seen = world.documents.seen();
        seen.iter().filter(|seen| seen.path() == path).count()
    };
    let (before, begun) = (asked(), Instant::now());
    loop {
        let reply = with_key(world, machine, next, &json!("next")).await;
        if works && reply.status == 200 {
            return;
        }
        assert_t(&reply, &["invalid_client"]);
        if !works && asked() > before {
            return;
        }
        assert!(begun.elapsed() < ASKED_AGAIN, "{path}: not asked again");
        tokio::time::sleep(BETWEEN).await;
    }
}

/// What a source does: nothing at first; good keys; harm; then good keys and a new one.
async fn life(world: &World, harm: &str) {
    let path = format!("/{harm}");
    let url = format!("https://keys.apps.test{path}");
    let machine = Machine::key_at(&world.doorward, ITSELF, &url);
    let next = Forge::attacker();
    let resource = world.resource();
    let good = Served::json(&set(&[machine.forge().public_jwk()]));
    world.source(&path, good);
    let reply = machine.own_token(&world.doorward, &resource).await;
    assert_eq!(reply.status, 200, "{harm}: {}", reply.text());

    world.source(&path, harmful(harm));
    until(world, &machine, &next, &path, false).await;
    for _ in 0..3 {
        let kid = &machine.forge().public_jwk()["kid"];
        let reply = with_key(world, &machine, machine.forge(), kid).await;
        assert_eq!(
            reply.status,
            200,
            "{harm}: the last good set is kept: {}",
            reply.text()
        );
    }

    world.source(
        &path,
        Served::json(&set(&[machine.forge().public_jwk(), other_key(&next)])),
    );
    until(world, &machine, &next, &path, true).await;
    assert_eq!(machine.own_token(&world.doorward, &resource).await.status, 200);
}

fn harmful(harm: &str) -> Served {
    let json_type = "content-type: application/json\r\n";
    match harm {
        "huge" => Served::reply("200 OK", json_type, &vec![b' '; 100 << 20]),
        "endless" => Served::Endless,
        "drip" => Served::Drip,
        "silence" => Served::Silence,
        "many" => {
            let key = Forge::attacker().public_jwk();
            let keys: Vec<Value> = (0..50_000)
                .map(|n| {
                    let mut key = key.clone();
                    key["kid"] = json!(n.to_string());
                    key
                })
                .collect();
            Served::json(&set(&keys))
        }
        "garbage" => Served::reply("200 OK", json_type, b"{\"keys\": [{\"kty\": \x00"),
        "empty" => Served::json(&set(&[])),
        "gone" => Served::reply("404 Not Found", json_type, b"{}"),
        other => panic!("no such harm: {other}"),
    }
}

#[test]
fn ds_04_a_source_of_keys_that_does_harm_costs_little_and_the_last_good_set_is_kept() {
    alone(
        "keys::ds_04_a_source_of_keys_that_does_harm_costs_little_and_the_last_good_set_is_kept",
        async || {
            let world = World::start("").await;
            let bystander = Machine::basic(&world.doorward, ITSELF);
            let memory = Memory::watch(world.doorward.pid());
            let harms = [
                "huge", "endless", "drip", "silence", "many", "garbage", "empty", "gone",
            ];
            let resource = world.resource();
            let begun = Instant::now();
            let others = async {
                loop {
                    let begun = Instant::now();
                    let reply = bystander.own_token(&world.doorward, &resource).await;
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    assert!(begun.elapsed() < TOLD_WITHIN, "{:?}", begun.elapsed());
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            let lives = futures_util::future::join_all(harms.map(|harm| life(&world, harm)));
            tokio::select! {
                _ = lives => {}
                () = others => {}
            }
            let most = memory.growth();
            assert!(most < MEMORY, "{most} bytes more");
            // Bounded, too, in how often it is asked: not by every assertion, but every ten seconds at most.
            let asked = world.documents.seen().len();
            let each = 12.max(usize::try_from(begun.elapsed().as_secs()).unwrap() / 10 + 2);
            assert!(asked <= harms.len() * each, "{asked} requests");
            world.assert_untouched();
        },
    );
}

#[test]
fn ds_04_harm_from_the_first_request_on_is_a_client_without_keys() {
    alone(
        "keys::ds_04_harm_from_the_first_request_on_is_a_client_without_keys",
        async || {
            let world = World::start("").await;
            let resource = world.resource();
            for harm in ["huge", "drip", "many", "garbage"] {
                let path = format!("/{harm}");
                let url = format!("https://keys.apps.test{path}");
                let machine = Machine::key_at(&world.doorward, ITSELF, &url);
                world.source(&path, harmful(harm));
                let begun = Instant::now();
                let reply = machine.own_token(&world.doorward, &resource).await;
                assert_t(&reply, &["invalid_client"]);
                assert!(begun.elapsed() < TOLD_WITHIN, "{harm}: {:?}", begun.elapsed());
                world.source(&path, Served::json(&set(&[machine.forge().public_jwk()])));
                let begun = Instant::now();
                loop {
                    let reply = machine.own_token(&world.doorward, &resource).await;
                    if reply.status == 200 {
                        break;
                    }
                    assert_t(&reply, &["invalid_client"]);
                    assert!(begun.elapsed() < ASKED_AGAIN, "{harm}: not asked again");
                    tokio::time::sleep(BETWEEN).await;
                }
            }
            world.assert_untouched();
        },
    );
}

#[test]
fn c2_tk_10_a_client_with_a_document_signs_with_the_keys_that_it_names() {
    alone(
        "keys::c2_tk_10_a_client_with_a_document_signs_with_the_keys_that_it_names",
        async || {
            let world = World::start("").await;
            let machine = Machine::of_document(&world.doorward, APP);
            let mut described = document(APP, "App", &["http://127.0.0.1/cb"]);
            described["token_endpoint_auth_method"] = json!("private_key_jwt");
            described["jwks_uri"] = json!("https://app.apps.test/keys.json");
            world.source("/client.json", Served::json(&described));
            world.source("/keys.json", Served::json(&set(&[machine.forge().public_jwk()])));
            let client = machine.as_client(&world.doorward, "http://127.0.0.1:4711/cb");
            let mut browser = Browser::new(&world.doorward);
            let approved = client
                .approve(&mut browser, "alice", PASSWORD, &world.resource())
                .await;
            assert_t(&client.redeem(&approved).await, &["invalid_client"]);
            let thief = Machine::of_document(&world.doorward, APP);
            let stolen = thief.send(&world.doorward, "/token", &redeem(&approved)).await;
            assert_t(&stolen, &["invalid_client"]);
            let redeemed = machine.send(&world.doorward, "/token", &redeem(&approved)).await;
            let tokens = Tokens::from_reply(&redeemed);
            assert_eq!(tokens.claims()["client_id"], APP);
            let call = mcp::call(&world.doorward, "/mcp", "whoami", &json!({}));
            assert_eq!(call.bearer(&tokens.access).send().await.status, 200);
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", tokens.refresh()),
            ];
            let refreshed = machine.send(&world.doorward, "/token", &fields).await;
            assert_eq!(refreshed.status, 200, "{}", refreshed.text());
            world.assert_untouched();
        },
    );
}
