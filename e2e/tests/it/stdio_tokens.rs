//! R07 over stdio: whose tokens `doorward stdio` takes, by what they are verified, and what it says of the others.

use std::time::Duration;

use doorward_testkit::client_home::{ClientHome, Running};
use doorward_testkit::command::doorward_binary;
use doorward_testkit::forge::Forge;
use doorward_testkit::oauth::{OAuthClient, Tokens, claims};
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::stdio_authorization::{authorization, call, initialize};

/// A server that answers everything.
const ANSWERS: &str = r#"
while read -r line; do
  id=$(printf %s "$line" | sed -n 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/p')
  [ -n "$id" ] || continue
  printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"},"answered":true}}\n' "$id"
done
"#;

async fn start() -> (Doorward, Upstream) {
    let up = Upstream::start();
    let config = format!(
        "[[servers]]\nname = \"notes\"\npath = \"/notes/mcp\"\nupstream = \"{0}\"\n\n\
         [[servers]]\nname = \"other\"\npath = \"/other/mcp\"\nupstream = \"{0}\"\n",
        up.url()
    );
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    (builder.start().await, up)
}

async fn login(doorward: &Doorward, path: &str) -> Tokens {
    let client = OAuthClient::native(doorward.site()).await;
    client.login("alice", PASSWORD, &doorward.url(path)).await
}

/// `doorward stdio` that is told everything by its environment.
async fn stdio(home: &ClientHome, environment: &[(&str, &str)]) -> Running {
    let binary = doorward_binary().display().to_string();
    let mut program = home.program(&binary, &["stdio", "--no-login", "--", "/bin/sh", "-c", ANSWERS]);
    program
        .env("DOORWARD_SCOPES", "notes")
        .envs(environment.iter().copied());
    let running = Running::start(program);
    running.ask(&initialize(&json!({}))).await;
    running
}

/// What becomes of a call with `token`: nothing, or the `error` of the refusal.
async fn verdict(running: &Running, id: u64, token: &str) -> Result<(), String> {
    let answer = running.ask(&call(id, "x", json!({}), Some(token))).await;
    if answer["result"]["answered"] == true {
        return Ok(());
    }
    Err(authorization(&answer)["error"]
        .as_str()
        .expect("an error")
        .to_owned())
}

async fn end(running: Running) {
    running.close_stdin();
    running.ended().await;
}

fn invalid() -> Result<(), String> {
    Err("invalid_token".to_owned())
}

fn with(good: &Value, name: &str, value: Value) -> Value {
    let mut claims = good.clone();
    claims[name] = value;
    claims
}

#[tokio::test]
async fn r02_r07_tokens_are_asked_about_where_endpoints_are_all_that_is_known() {
    let (doorward, _up) = start().await;
    let home = ClientHome::new();
    let asks = Machine::basic(&doorward, &["--introspect", "notes"]);
    let secret = home.root().join("work/secret");
    std::fs::write(&secret, asks.secret()).expect("a file");
    let issuer = doorward.public_url.clone();
    let [authorize, token, introspect] =
        ["authorize", "token", "introspect"].map(|path| format!("{issuer}/{path}"));
    let (resource, secret) = (doorward.url("/notes/mcp"), secret.display().to_string());
    let running = stdio(
        &home,
        &[
            ("DOORWARD_AUTHORIZATION_ENDPOINT", &authorize),
            ("DOORWARD_TOKEN_ENDPOINT", &token),
            ("DOORWARD_INTROSPECTION_ENDPOINT", &introspect),
            ("DOORWARD_CLIENT_ID", &asks.id),
            ("DOORWARD_CLIENT_SECRET_FILE", &secret),
            ("DOORWARD_RESOURCE", &resource),
        ],
    )
    .await;
    let refused = running.ask(&call(2, "x", json!({}), None)).await;
    let told = authorization(&refused);
    assert_eq!(told["authorization_url"], authorize, "{refused}");
    assert_eq!(told["token_url"], token);
    assert_eq!(
        told["authorization_servers"][0].get("client_id"),
        None,
        "it has a secret"
    );
    let client = OAuthClient::native(doorward.site()).await;
    let good = client.login("alice", PASSWORD, &resource).await;
    assert_eq!(verdict(&running, 3, &good.access).await, Ok(()));
    let other = login(&doorward, "/other/mcp").await;
    for (id, bad) in [
        (4, "an-opaque-token-that-nobody-issued"),
        (5, &other.access),
        (6, good.refresh()),
    ] {
        assert_eq!(verdict(&running, id, bad).await, invalid(), "{id}");
    }
    // An answer is believed for half a minute.
    let form = [("token", good.refresh()), ("client_id", client.id.as_str())];
    assert_eq!(doorward.post("/revoke").form(&form).send().await.status, 200);
    let mut id = 100;
    let (asked, token) = (&running, &good.access);
    eventually("the revoked token is refused", Duration::from_secs(60), || {
        id += 1;
        let number = id;
        async move { (verdict(asked, number, token).await == invalid()).then_some(()) }
    })
    .await;
    end(running).await;
}

#[tokio::test]
async fn r07_a_jwt_is_judged_by_more_than_its_signature() {
    let (doorward, _up) = start().await;
    let home = ClientHome::new();
    let resource = doorward.url("/notes/mcp");
    let running = stdio(
        &home,
        &[
            ("DOORWARD_ISSUER", &doorward.public_url),
            ("DOORWARD_RESOURCE", &resource),
        ],
    )
    .await;
    let good = claims(&login(&doorward, "/notes/mcp").await.access);
    let forge = Forge::of(&doorward).await;
    let sign = |claims: &Value| forge.sign(&forge.header(), claims);
    assert_eq!(
        verdict(&running, 2, &sign(&good)).await,
        Ok(()),
        "our signatures are good"
    );
    let issued = good["iat"].as_i64().expect("a time");
    let mut expired = with(&good, "exp", json!(issued - 3600));
    expired["iat"] = json!(issued - 7200);
    let thief = Forge::attacker();
    let mut other_type = forge.header();
    other_type["typ"] = json!("JWT");
    for (id, what, bad) in [
        (3, "expired", sign(&expired)),
        (
            4,
            "another issuer",
            sign(&with(&good, "iss", json!("https://elsewhere.test"))),
        ),
        (
            5,
            "another audience",
            sign(&with(&good, "aud", json!("https://elsewhere.test/mcp"))),
        ),
        (6, "an id token", forge.sign(&other_type, &good)),
        (7, "another key", thief.sign(&thief.header(), &good)),
        (8, "their key under our name", thief.sign(&forge.header(), &good)),
    ] {
        assert_eq!(verdict(&running, id, &bad).await, invalid(), "{what}");
    }
    // Another token would be as early: that is no reason to log in again, and the person is told once.
    let mut early = with(&good, "iat", json!(issued + 3600));
    early["exp"] = json!(issued + 7200);
    for id in [9, 10] {
        assert_eq!(
            verdict(&running, id, &sign(&early)).await,
            Err("temporarily_unavailable".to_owned())
        );
    }
    let narrow = verdict(&running, 11, &sign(&with(&good, "scope", json!("else")))).await;
    assert_eq!(narrow, Err("insufficient_scope".to_owned()));
    let said = running.stderr();
    let lines = said.lines().filter(|line| line.contains("cannot be verified"));
    assert_eq!(lines.count(), 1, "{said}");
    assert!(said.contains("is the clock of this machine right?"), "{said}");
    end(running).await;
}

#[tokio::test]
async fn r07_r08_the_second_authorization_server_is_believed_for_its_own_tokens() {
    let ((first, _up_a), (second, _up_b)) = (start().await, start().await);
    let home = ClientHome::new();
    let resource = second.url("/notes/mcp");
    let issuers = format!("{} {}", first.public_url, second.public_url);
    let running = stdio(
        &home,
        &[
            ("DOORWARD_ISSUER", issuers.as_str()),
            ("DOORWARD_RESOURCE", &resource),
        ],
    )
    .await;
    let good = login(&second, "/notes/mcp").await.access;
    assert_eq!(verdict(&running, 2, &good).await, Ok(()));
    let elsewhere = login(&first, "/notes/mcp").await.access;
    assert_eq!(
        verdict(&running, 3, &elsewhere).await,
        invalid(),
        "for another resource"
    );

    // Mix-up: each is believed for what it issues itself, and for nothing of the other.
    let (of_first, of_second) = (Forge::of(&first).await, Forge::of(&second).await);
    let good = claims(&good);
    let as_first = with(&good, "iss", json!(first.public_url));
    for (id, what, token, expected) in [
        (
            4,
            "first, as itself",
            of_first.sign(&of_first.header(), &as_first),
            Ok(()),
        ),
        (
            5,
            "first, as the second",
            of_first.sign(&of_first.header(), &good),
            invalid(),
        ),
        (
            6,
            "second, as the first",
            of_second.sign(&of_second.header(), &as_first),
            invalid(),
        ),
        (
            7,
            "first, with the second's key id",
            of_first.sign(&of_second.header(), &good),
            invalid(),
        ),
    ] {
        assert_eq!(verdict(&running, id, &token).await, expected, "{what}");
    }
    end(running).await;
}

#[tokio::test]
async fn r07_a_server_that_is_gone_does_not_speak_for_the_other() {
    let (doorward, _up) = start().await;
    let home = ClientHome::new();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let resource = doorward.url("/notes/mcp");
    let issuers = format!("{gone} {}", doorward.public_url);
    let running = stdio(
        &home,
        &[
            ("DOORWARD_ISSUER", issuers.as_str()),
            ("DOORWARD_RESOURCE", &resource),
        ],
    )
    .await;
    let good = login(&doorward, "/notes/mcp").await.access;
    assert_eq!(verdict(&running, 2, &good).await, Ok(()));
    let forge = Forge::of(&doorward).await;
    let mut expired = with(&claims(&good), "exp", json!(1_000_000_000));
    expired["iat"] = json!(999_999_000);
    let expired = forge.sign(&forge.header(), &expired);
    assert_eq!(verdict(&running, 3, &expired).await, invalid());
    end(running).await;
}

#[tokio::test]
async fn r02_vt_07_a_launcher_needs_a_resource() {
    let home = ClientHome::new();
    let binary = doorward_binary().display().to_string();
    let arguments = [
        "stdio",
        "--issuer",
        "https://as.example",
        "--",
        "node",
        "server.js",
    ];
    let finished = Running::start(home.program(&binary, &arguments)).ended().await;
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    assert!(
        finished.stderr.contains("--resource: `node` starts many servers"),
        "{}",
        finished.stderr
    );
}
