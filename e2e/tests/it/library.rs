//! A Rust server with `doorward-resource-server` in it, and a real Doorward as its authorization server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward_policy::{ScopeEntry, ScopeTable};
use doorward_resource_server::ResourceServer;
use doorward_resource_server::remote::Introspection;
use doorward_testkit::browser::Browser;
use doorward_testkit::everything::serve as everything;
use doorward_testkit::http::{Reply, Site};
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter, with};
use doorward_testkit::{Doorward, PASSWORD, mcp};
use doorward_types::time::{Clock, SystemClock, UnixTime};
use serde_json::{Value, json};

use crate::machine::Machine;

const PATH: &str = "/tools/mcp";
const READ: &str = "test_simple_text";
const WRITE: &str = "greet";

/// What the authorization server has to know of a server that it does not stand before: where it is, and its scopes.
const CONFIG: &str = r#"
[[servers]]
name = "tools"
path = "/tools/mcp"
upstream = "http://127.0.0.1:9/mcp"
[servers.scopes."t:read"]
description = "Read"
tools = ["test_simple_*"]
[servers.scopes."t:write"]
description = "Write"
tools = ["greet"]
step_up = true

[[servers]]
name = "other"
path = "/other/mcp"
upstream = "http://127.0.0.1:9/mcp"
"#;

/// The machine's time, and what the test adds.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Ahead {
    fn by(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> UnixTime {
        SystemClock.now().plus(self.by())
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + self.by()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Keys,
    Introspection,
}

struct World {
    doorward: Doorward,
    server: Site,
    clock: Arc<Ahead>,
    client: OAuthClient,
}

fn table() -> ScopeTable {
    let entry = |scope: &str, tool: &str| {
        let mut entry = ScopeEntry::new(scope.parse().unwrap(), scope);
        entry.tools = vec![tool.parse().unwrap()];
        entry
    };
    let mut write = entry("t:write", WRITE);
    write.step_up = true;
    ScopeTable::new(vec![entry("t:read", "test_simple_*"), write]).unwrap()
}

impl World {
    async fn start(source: Source) -> Self {
        let doorward = Doorward::builder()
            .config(CONFIG)
            .user("alice", PASSWORD)
            .start()
            .await;
        let clock = Arc::new(Ahead::default());
        let builder = ResourceServer::builder(doorward.url(PATH))
            .issuer(&doorward.public_url)
            .scope_table(table())
            .clock(Arc::clone(&clock));
        let builder = match source {
            Source::Keys => builder,
            Source::Introspection => {
                let machine = Machine::basic(&doorward, &["--introspect", "tools"]);
                let endpoint = doorward.url("/introspect");
                builder.introspection(Introspection::new(endpoint, &machine.id, machine.secret()))
            }
        };
        let server = everything::start_behind(&builder.build().unwrap().layer()).site();
        let client = OAuthClient::native(&doorward).await;
        Self {
            doorward,
            server,
            clock,
            client,
        }
    }

    async fn login(&self, resource: &str, scope: &str) -> Tokens {
        let (mut browser, pkce) = (Browser::new(&self.doorward), Pkce::new());
        let parameters = with(self.client.parameters(&pkce, resource), "scope", Some(scope));
        let url = self.client.url_with(&parameters);
        let callback = browser.login_and_approve(&url, "alice", PASSWORD).await;
        let approved = Approved {
            code: parameter(&callback, "code").expect("a code"),
            pkce,
            redirect_uri: self.client.redirect_uri.clone(),
            resource: resource.into(),
            callback,
        };
        Tokens::from_reply(&self.client.redeem(&approved).await)
    }

    async fn call(&self, token: &str, tool: &str) -> Reply {
        mcp::call(&self.server, PATH, tool, &json!({ "name": "Ada" }))
            .bearer(token)
            .send()
            .await
    }
}

/// The challenge's parameter of this name.
#[track_caller]
fn challenged(reply: &Reply, name: &str) -> String {
    let challenge = reply.header("WWW-Authenticate").expect("a challenge");
    let (_, value) = challenge
        .split_once(&format!("{name}=\""))
        .unwrap_or_else(|| panic!("{name} in {challenge}"));
    value.split('"').next().unwrap_or_default().to_owned()
}

/// From nothing to a call, by nothing but what the server says.
async fn log_in_as_told(world: &World) -> Tokens {
    let nobody = mcp::call(&world.server, PATH, READ, &json!({})).send().await;
    assert_eq!(nobody.status, 401);
    let metadata = challenged(&nobody, "resource_metadata");
    let path = metadata
        .strip_prefix(&world.doorward.public_url)
        .expect("at the resource");
    let metadata = world.server.get(path).send().await.json();
    assert_eq!(
        metadata["authorization_servers"],
        json!([world.doorward.public_url])
    );
    let resource = metadata["resource"].as_str().unwrap();
    assert_eq!(resource, world.doorward.url(PATH));
    let scope = challenged(&nobody, "scope");
    assert_eq!(scope, "t:read");
    world.login(resource, &scope).await
}

async fn scopes_open_tools_and_a_challenge_opens_more(source: Source) {
    let world = World::start(source).await;
    let tokens = log_in_as_told(&world).await;
    let reply = world.call(&tokens.access, READ).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("simple text"), "{}", reply.text());
    let tools = mcp::modern(&world.server, PATH, "tools/list", json!({}));
    assert_eq!(tools.bearer(&tokens.access).send().await.status, 200);

    let reply = world.call(&tokens.access, WRITE).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(challenged(&reply, "error"), "insufficient_scope");
    assert_eq!(reply.json()["error"]["data"]["scopes"], json!(["t:write"]));
    let more = format!("t:read {}", challenged(&reply, "scope"));
    let stepped_up = world.login(&world.doorward.url(PATH), &more).await;
    for tool in [READ, WRITE] {
        let reply = world.call(&stepped_up.access, tool).await;
        assert_eq!(reply.status, 200, "{tool}: {}", reply.text());
    }
    let unnamed = world.call(&stepped_up.access, "test_error_handling").await;
    assert_eq!(
        (unnamed.status, unnamed.header("WWW-Authenticate")),
        (403, None),
        "no scope opens it"
    );
}

async fn foreign_tokens_are_refused(source: Source) {
    let world = World::start(source).await;
    let other = world.login(&world.doorward.url("/other/mcp"), "other").await;
    let good = log_in_as_told(&world).await;
    let mut altered = good.access.clone();
    let place = altered.len() - 6..altered.len() - 5;
    let other_than_it_was = if altered.get(place.clone()) == Some("_") {
        "-"
    } else {
        "_"
    };
    altered.replace_range(place, other_than_it_was);
    for (what, token) in [
        ("for another server of the issuer", other.access.as_str()),
        ("a refresh token", good.refresh()),
        ("altered", &altered),
        ("nothing", "x"),
    ] {
        let reply = world.call(token, READ).await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.text());
        assert_eq!(challenged(&reply, "error"), "invalid_token", "{what}");
    }
    assert_eq!(world.call(&good.access, READ).await.status, 200);
}

async fn revoke(world: &World, tokens: &Tokens) {
    let fields = [("token", tokens.refresh()), ("client_id", &world.client.id)];
    let reply = world.doorward.post("/revoke").form(&fields).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn seconds(claims: &Value, name: &str) -> i64 {
    claims[name].as_i64().expect("seconds")
}

#[tokio::test]
async fn r23_r26_a30_scopes_open_tools_by_the_issuers_keys() {
    scopes_open_tools_and_a_challenge_opens_more(Source::Keys).await;
}

#[tokio::test]
async fn r23_r26_a30_scopes_open_tools_by_introspection() {
    scopes_open_tools_and_a_challenge_opens_more(Source::Introspection).await;
}

#[tokio::test]
async fn r27_rs_05_foreign_tokens_are_refused_by_the_issuers_keys() {
    foreign_tokens_are_refused(Source::Keys).await;
}

#[tokio::test]
async fn r27_rs_05_foreign_tokens_are_refused_by_introspection() {
    foreign_tokens_are_refused(Source::Introspection).await;
}

#[tokio::test]
async fn ds_03_random_key_ids_keep_no_good_token_out_even_when_the_issuer_is_gone() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let world = World::start(Source::Keys).await;
    let good = log_in_as_told(&world).await;
    let (_, signed) = good.access.split_once('.').expect("three parts");
    for gone in [false, true] {
        if gone {
            world.doorward.kill();
        }
        for n in 0..300 {
            let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("unknown-{gone}-{n}") });
            let forged = format!("{}.{signed}", URL_SAFE_NO_PAD.encode(header.to_string()));
            let reply = world.call(&forged, READ).await;
            assert_eq!(reply.status, 401, "{}", reply.text());
            if n % 50 == 0 {
                // After each cool-down the keys are asked for again, and stay if nobody answers.
                world.clock.advance(Duration::from_secs(11));
                assert_eq!(world.call(&good.access, READ).await.status, 200);
            }
        }
    }
}

#[tokio::test]
async fn r27_a_revoked_token_ends_within_thirty_seconds_where_it_is_introspected() {
    let world = World::start(Source::Introspection).await;
    let (tokens, others) = (log_in_as_told(&world).await, log_in_as_told(&world).await);
    assert_eq!(world.call(&tokens.access, READ).await.status, 200);
    assert_eq!(world.call(&others.access, READ).await.status, 200);
    revoke(&world, &tokens).await;
    world.clock.advance(Duration::from_secs(30));
    let reply = world.call(&tokens.access, READ).await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert_eq!(
        world.call(&others.access, READ).await.status,
        200,
        "that one alone"
    );
}

#[tokio::test]
async fn r27_a_signed_token_lives_until_it_expires_and_its_keys_outlive_the_issuer() {
    let world = World::start(Source::Keys).await;
    let tokens = log_in_as_told(&world).await;
    assert_eq!(world.call(&tokens.access, READ).await.status, 200);
    revoke(&world, &tokens).await;
    world.doorward.kill();
    assert_eq!(
        world.call(&tokens.access, READ).await.status,
        200,
        "nobody is asked, as the guide says"
    );
    let claims = tokens.claims();
    let lives = seconds(&claims, "exp") - seconds(&claims, "iat");
    // A minute of leeway, and the time that the test took.
    world
        .clock
        .advance(Duration::from_secs(u64::try_from(lives).unwrap() + 61));
    let reply = world.call(&tokens.access, READ).await;
    assert_eq!(reply.status, 401, "{}", reply.text());
}

#[tokio::test]
async fn r27_without_an_issuer_to_ask_nothing_is_said_about_tokens() {
    let world = World::start(Source::Introspection).await;
    let tokens = log_in_as_told(&world).await;
    assert_eq!(world.call(&tokens.access, READ).await.status, 200);
    world.doorward.kill();
    world.clock.advance(Duration::from_secs(30));
    let reply = world.call(&tokens.access, READ).await;
    assert_eq!((reply.status, reply.header("WWW-Authenticate")), (503, None));
    assert!(reply.header("Retry-After").is_some());
}
