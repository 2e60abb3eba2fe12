//! What people do with `login`, `connect` and `logout` against a server of ours: log in, call, let tokens expire, need more
//! scopes, lose the grant, lose the server, move to another authorization server, log out.

mod crashes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorward_testkit::browser::Browser;
use doorward_testkit::client_home::{Browsing, ClientHome, Running};
use doorward_testkit::http;
use doorward_testkit::leak::Secrets;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::{Value, json};

const PATH: &str = "/notes/mcp";

/// `t:write` comes only by step-up.
const TABLE: &str = r#"
[servers.scopes."t:read"]
description = "Read your notes"
tools = ["t_read"]
[servers.scopes."t:write"]
description = "Change your notes"
tools = ["t_write"]
step_up = true
"#;

struct World {
    doorward: Doorward,
    up: Upstream,
    home: ClientHome,
}

impl World {
    async fn start(more: &str) -> Self {
        let up = Upstream::start();
        let config = format!(
            "{more}\n[[servers]]\nname = \"notes\"\npath = \"{PATH}\"\nupstream = \"{}\"\n{TABLE}",
            up.url()
        );
        let doorward = Doorward::builder()
            .config(&config)
            .user("alice", PASSWORD)
            .start()
            .await;
        Self {
            doorward,
            up,
            home: ClientHome::new(),
        }
    }

    fn url(&self) -> String {
        self.doorward.url(PATH)
    }

    /// Alice at her browser, who allows everything.
    fn alice(&self) -> Browsing {
        self.alice_who("approve")
    }

    fn alice_who(&self, decision: &'static str) -> Browsing {
        let browser = Arc::new(tokio::sync::Mutex::new(Browser::new(&self.doorward)));
        self.home.browse_with(move |url| {
            let browser = Arc::clone(&browser);
            async move {
                let callback = browser
                    .lock()
                    .await
                    .login_and_decide(&url, "alice", PASSWORD, decision)
                    .await;
                // The program may be gone.
                let _ = http::get(&callback).try_send().await;
            }
        })
    }

    async fn log_in(&self) {
        let _alice = self.alice();
        self.home.run(&["login", &self.url()]).await.ok();
    }

    async fn bridge(&self) -> Running {
        self.bridge_with(&[]).await
    }

    async fn bridge_with(&self, more: &[&str]) -> Running {
        let running = self.home.start_connect(&self.url(), more);
        let answer = running.ask(&mcp::initialize()).await;
        assert!(answer.get("result").is_some(), "{answer}\n{}", running.stderr());
        running.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        running
    }

    /// What alice allowed, as the operator sees it.
    fn grants(&self) -> Value {
        self.doorward
            .command(&["grant", "list", "--format", "json"])
            .ok()
            .json()
    }
}

fn call(id: u32, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

#[track_caller]
fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("a text: {answer}"))
}

/// Calls until one goes through; those before may be told that it does not work at the moment.
async fn works_again(running: &Running, first: u32) {
    let deadline = Instant::now() + Duration::from_secs(120);
    for id in first.. {
        let answer = running.ask(&call(id, "t_read")).await;
        if answer["result"]["content"][0]["text"] == "t_read ok" {
            return;
        }
        assert!(Instant::now() < deadline, "{answer}\n{}", running.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn r21_r22_log_in_call_and_log_out() {
    let world = World::start("").await;
    let _alice = world.alice();
    let finished = world.home.run(&["login", &world.url()]).await.ok();
    assert_eq!(world.home.opened_urls().len(), 1);
    world.home.assert_clean(&finished, &Secrets::default()).await;
    let again = world.home.run(&["login", &world.url()]).await.ok();
    assert!(again.stdout.contains("already"), "{}", again.stdout);
    assert_eq!(world.home.opened_urls().len(), 1, "nobody logs in twice");
    let listed = world
        .home
        .run(&["login", "--list", "--format", "json"])
        .await
        .ok();
    assert!(listed.stdout.contains(&world.url()), "{}", listed.stdout);

    // A host of each era.
    let legacy = world.bridge().await;
    assert_eq!(text(&legacy.ask(&call(1, "t_read")).await), "t_read ok");
    let modern = world.home.start_connect(&world.url(), &[]);
    let mut request = call(2, "t_read");
    request["params"]["_meta"] = mcp::meta();
    assert_eq!(
        text(&modern.ask(&request).await),
        "t_read ok",
        "{}",
        modern.stderr()
    );
    assert_eq!(
        world.home.opened_urls().len(),
        1,
        "the tokens of the login are theirs"
    );
    let mut ends = Vec::new();
    for bridge in [legacy, modern] {
        bridge.close_stdin();
        ends.push(bridge.ended().await.ok());
    }
    for finished in ends {
        world.home.assert_clean(&finished, &Secrets::default()).await;
    }

    assert!(world.grants().to_string().contains("alice"), "{}", world.grants());
    world.home.run(&["logout", &world.url()]).await.ok();
    let listed = world
        .home
        .run(&["login", "--list", "--format", "json"])
        .await
        .ok();
    assert!(!listed.stdout.contains(&world.url()), "{}", listed.stdout);
    // The next one has to log in.
    let opened = world.home.opened_urls().len();
    world.home.run(&["login", &world.url()]).await.ok();
    assert_eq!(world.home.opened_urls().len(), opened + 1);
}

#[tokio::test]
async fn r22_a_person_who_denies_is_not_asked_again_and_nothing_is_kept() {
    let world = World::start("").await;
    let _alice = world.alice_who("deny");
    let finished = world.home.run(&["login", &world.url()]).await;
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert!(finished.stderr.contains("access_denied"), "{}", finished.stderr);
    assert_eq!(world.home.opened_urls().len(), 1);
    let listed = world
        .home
        .run(&["login", "--list", "--format", "json"])
        .await
        .ok();
    assert!(!listed.stdout.contains(&world.url()), "{}", listed.stdout);
}

/// Access tokens of three seconds: whoever calls for longer has refreshed, and nobody sees anything of it.
#[tokio::test]
async fn r22_a_bridge_refreshes_before_and_after_expiry() {
    let world = World::start("[lifetimes]\naccess_token = \"3s\"\n").await;
    world.log_in().await;
    let running = world.bridge().await;
    let begun = Instant::now();
    let mut id = 0;
    while begun.elapsed() < Duration::from_secs(10) {
        id += 1;
        assert_eq!(
            text(&running.ask(&call(id, "t_read")).await),
            "t_read ok",
            "{}",
            running.stderr()
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Another one finds in the store what was left there.
    running.close_stdin();
    running.ended().await;
    let next = world.bridge().await;
    assert_eq!(text(&next.ask(&call(1, "t_read")).await), "t_read ok");
    assert_eq!(world.home.opened_urls().len(), 1, "one login for all of it");
}

#[tokio::test]
async fn r22_a10_a34_a_call_that_needs_more_asks_for_it_once() {
    let world = World::start("").await;
    world.log_in().await;
    let _alice = world.alice();
    let running = world.bridge().await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    assert_eq!(text(&running.ask(&call(2, "t_write")).await), "t_write ok");
    assert_eq!(text(&running.ask(&call(3, "t_write")).await), "t_write ok");
    assert_eq!(text(&running.ask(&call(4, "t_read")).await), "t_read ok");
    let opened = world.home.opened_urls();
    assert_eq!(opened.len(), 2, "one step-up: {opened:?}");
    let scope = doorward_testkit::oauth::parameter(&opened[1], "scope").unwrap();
    for word in ["t:read", "t:write"] {
        assert!(scope.split(' ').any(|have| have == word), "{word} in {scope}");
    }
    // The upstream never saw a token, and each call once.
    for request in world.up.requests() {
        assert!(request.values("authorization").is_empty());
    }
}

#[tokio::test]
async fn r22_a_grant_that_is_revoked_is_asked_for_again_once() {
    let world = World::start("").await;
    world.log_in().await;
    let _alice = world.alice();
    let running = world.bridge().await;
    assert_eq!(text(&running.ask(&call(1, "t_write")).await), "t_write ok");
    let before = world.home.opened_urls().len();
    world
        .doorward
        .command(&["grant", "revoke", "--user", "alice"])
        .ok();
    // A running server knows within five seconds.
    let mut id = 10;
    let deadline = Instant::now() + Duration::from_secs(120);
    while world.home.opened_urls().len() == before {
        assert!(Instant::now() < deadline, "the revocation is noticed");
        id += 1;
        assert_eq!(text(&running.ask(&call(id, "t_read")).await), "t_read ok");
    }
    assert_eq!(world.home.opened_urls().len(), before + 1, "{}", running.stderr());
    assert_eq!(text(&running.ask(&call(2, "t_read")).await), "t_read ok");
    // What was granted by a step-up before can be had by one again.
    assert_eq!(
        text(&running.ask(&call(3, "t_write")).await),
        "t_write ok",
        "{}",
        running.stderr()
    );
}

#[tokio::test]
async fn r22_a_bridge_outlives_its_server() {
    let world = World::start("").await;
    world.log_in().await;
    let running = world.bridge().await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    for round in 0..3 {
        world.doorward.kill();
        // Answered with an error, or kept until the server is back; never lost.
        running.send(&call(100 + round, "t_read"));
        world.doorward.start_again().await;
        let answer = running.answer(&json!(100 + round)).await;
        assert!(
            answer.get("error").is_some() || answer.get("result").is_some(),
            "{answer}"
        );
        works_again(&running, 1000 * (round + 1)).await;
    }
    assert_eq!(world.home.opened_urls().len(), 1, "tokens outlive a restart");
}

/// The server's data are gone: nobody knows the client, the tokens or the keys any more. The person sees a page that says
/// so and closes it; the next login registers anew.
#[tokio::test]
async fn r22_g12_a_server_that_forgot_everything_gets_a_new_registration() {
    let world = World::start("").await;
    world.log_in().await;
    let browser = Arc::new(tokio::sync::Mutex::new(Browser::new(&world.doorward)));
    let _alice = world.home.browse_with(move |url| {
        let browser = Arc::clone(&browser);
        async move {
            let mut browser = browser.lock().await;
            let page = browser.get(&url).await;
            if page.reply.status == 200 {
                let callback = browser.login_and_approve(&url, "alice", PASSWORD).await;
                let _ = http::get(&callback).try_send().await;
            }
        }
    });
    let running = world.bridge_with(&["--auth-timeout", "10"]).await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    world.doorward.kill();
    for entry in std::fs::read_dir(&world.doorward.data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    world.doorward.add_user("alice", PASSWORD, &[]);
    world.doorward.start_again().await;
    works_again(&running, 10).await;
    assert!(
        world.home.opened_urls().len() <= 4,
        "{:?}",
        world.home.opened_urls()
    );
}

/// The same resource, another issuer: what was kept for the old one is not shown to the new one, and a new login works.
#[tokio::test]
async fn r22_g14_a25_a_server_that_moves_to_another_authorization_server() {
    let world = World::start("").await;
    world.log_in().await;
    let _alice = world.alice();
    let running = world.bridge().await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    world.doorward.kill();
    let file = world.doorward.config_file();
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("issuer_path = \"/company\"\n{config}")).unwrap();
    world.doorward.start_again().await;
    works_again(&running, 10).await;
    let opened = world.home.opened_urls();
    assert_eq!(opened.len(), 2, "{opened:?}");
    assert!(opened[1].contains("/company/"), "{}", opened[1]);
    let listed = world
        .home
        .run(&["login", "--list", "--format", "json"])
        .await
        .ok();
    assert!(listed.stdout.contains("/company"), "{}", listed.stdout);
}

/// Hosts start several at once, and nobody has logged in.
#[tokio::test]
async fn r22_cl_12_three_bridges_share_one_consent() {
    let world = World::start("").await;
    let _alice = world.alice();
    let bridges: Vec<_> = (0..3)
        .map(|_| world.home.start_connect(&world.url(), &[]))
        .collect();
    for bridge in &bridges {
        bridge.send(&mcp::initialize());
    }
    for bridge in &bridges {
        let answer = bridge.answer(&json!(0)).await;
        assert!(answer.get("result").is_some(), "{answer}\n{}", bridge.stderr());
        assert_eq!(text(&bridge.ask(&call(1, "t_read")).await), "t_read ok");
    }
    assert_eq!(world.home.opened_urls().len(), 1, "one tab");
}
