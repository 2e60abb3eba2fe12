//! `doorward login`, `logout` and `login --list` against a server of ours: what they say, keep, share and give back.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::client_home::{Browsing, ClientHome};
use doorward_testkit::command::Finished;
use doorward_testkit::leak::Secrets;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, http};

use crate::device::{answer, signed_in};

const PATH: &str = "/notes/mcp";

struct World {
    doorward: Doorward,
    _up: Upstream,
    home: ClientHome,
}

impl World {
    async fn start() -> Self {
        Self::start_with("").await
    }

    async fn start_with(more: &str) -> Self {
        let up = Upstream::start();
        let config = format!(
            "{more}\n[[servers]]\nname = \"notes\"\npath = \"{PATH}\"\nupstream = \"{}\"\n",
            up.url()
        );
        let doorward = Doorward::builder()
            .config(&config)
            .user("alice", PASSWORD)
            .start()
            .await;
        Self {
            doorward,
            _up: up,
            home: ClientHome::new(),
        }
    }

    fn url(&self) -> String {
        self.doorward.url(PATH)
    }

    /// Alice at her browser.
    fn alice(&self, decision: &'static str) -> Browsing {
        let browser = Arc::new(tokio::sync::Mutex::new(Browser::new(&self.doorward)));
        self.home.browse_with(move |url| {
            let browser = Arc::clone(&browser);
            async move {
                let mut browser = browser.lock().await;
                let callback = browser.login_and_decide(&url, "alice", PASSWORD, decision).await;
                // The program may be gone.
                let _ = http::get(&callback).try_send().await;
            }
        })
    }

    async fn login(&self, more: &[&str]) -> Finished {
        let alice = self.alice("approve");
        let running = self.home.start_login(&self.url(), more);
        let finished = running.ended().await;
        drop(alice);
        finished
    }

    async fn list(&self) -> serde_json::Value {
        let listed = self.home.run(&["login", "--list", "--format", "json"]).await;
        listed.ok().json()
    }

    /// The grants that the server knows of.
    fn grants(&self) -> usize {
        let listed = self.doorward.command(&["grant", "list", "--format", "json"]).ok();
        listed.json().as_array().unwrap().len()
    }
}

fn store_file(home: &ClientHome, kind: &str) -> std::path::PathBuf {
    std::fs::read_dir(home.store())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(kind) && name.ends_with(".sealed")
        })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_of_the_server_is_told_as_that() {
    let world = World::start().await;
    let other = world.url().replace("127.0.0.1", "localhost");
    assert_ne!(other, world.url());
    let finished = world.home.run(&["login", &other, "--no-browser"]).await;
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert!(
        finished.stderr.contains("421 Misdirected Request"),
        "{}",
        finished.stderr
    );
    assert!(
        !finished.stderr.contains("open in a browser"),
        "{}",
        finished.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a27_login_list_and_logout_see_the_same_store() {
    let world = World::start().await;
    assert_eq!(world.list().await, serde_json::json!([]));
    let done = world.login(&[]).await.ok();
    for words in ["logged in to", &world.url(), "as       dcr_", "scopes   notes"] {
        assert!(done.stdout.contains(words), "{words} in {}", done.stdout);
    }
    assert!(done.stderr.contains("open in a browser: http"), "{}", done.stderr);
    assert_eq!(world.home.opened_urls().len(), 1);

    let listed = world.list().await;
    let entry = &listed[0];
    assert_eq!(entry["server"], world.url());
    assert_eq!(entry["user"], "default");
    assert_eq!(entry["issuer"], world.url().trim_end_matches(PATH));
    assert_eq!(entry["resource"], world.url());
    assert_eq!(entry["renewable"], true);
    assert_eq!(entry["expired"], false);
    let text = listed.to_string();
    assert!(!text.contains("token") || !text.contains("dwr_"), "{text}");
    let human = world.home.run(&["login", "--list"]).await.ok();
    assert!(human.stdout.contains(&world.url()), "{}", human.stdout);

    // Nobody is asked twice.
    let again = world.home.run(&["login", &world.url()]).await.ok();
    assert!(again.stdout.contains("already logged in"), "{}", again.stdout);
    assert_eq!(world.home.opened_urls().len(), 1);
    assert_eq!(world.grants(), 1);

    let out = world.home.run(&["logout", &world.url()]).await.ok();
    assert!(
        out.stdout.contains("revoked there, and forgotten here"),
        "{}",
        out.stdout
    );
    assert_eq!(world.list().await, serde_json::json!([]));
    let grants = world
        .doorward
        .command(&["grant", "list", "--format", "json"])
        .ok()
        .json();
    let chains = grants[0]["sign_ins"].as_array().map_or(0, Vec::len);
    assert_eq!(chains, 0, "{grants}");
    let nobody = world.home.run(&["logout", &world.url()]).await.ok();
    assert!(
        nobody.stdout.contains("nobody was logged in"),
        "{}",
        nobody.stdout
    );
    world.home.assert_clean(&done, &Secrets::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn force_logs_in_anew_and_reuses_the_registration() {
    let world = World::start().await;
    world.login(&[]).await.ok();
    let first = world.list().await;
    let done = world.login(&["--force", "--format", "json"]).await.ok();
    assert_eq!(done.json()["new"], true);
    let second = world.list().await;
    assert_eq!(world.home.opened_urls().len(), 2);
    assert_eq!(first[0]["client_id"], second[0]["client_id"]);
    assert_ne!(first[0]["obtained_at"], second[0]["obtained_at"]);
    // The same redirect URI: servers may compare ports exactly.
    let redirect = |url: &str| {
        let url = url::Url::parse(url).unwrap();
        let found = url.query_pairs().find(|(name, _)| name == "redirect_uri");
        found.unwrap().1.into_owned()
    };
    let opened = world.home.opened_urls();
    assert_eq!(redirect(&opened[0]), redirect(&opened[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_several_users_are_kept_apart() {
    let world = World::start().await;
    world.login(&[]).await.ok();
    world.login(&["--user", "work"]).await.ok();
    let listed = world.list().await;
    let users: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["user"])
        .collect();
    assert_eq!(users, ["default", "work"]);
    world
        .home
        .run(&["logout", &world.url(), "--user", "work"])
        .await
        .ok();
    assert_eq!(world.list().await.as_array().unwrap().len(), 1);
    let all = world
        .home
        .run(&["logout", "--all", "--format", "json"])
        .await
        .ok();
    assert_eq!(all.json()[0]["revoked"], true);
    assert_eq!(world.list().await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_no_is_told_and_exit_is_1() {
    let world = World::start().await;
    let alice = world.alice("deny");
    let running = world.home.start_login(&world.url(), &[]);
    let done = running.ended().await;
    drop(alice);
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.contains("access_denied"), "{}", done.stderr);
    assert_eq!(world.list().await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_address_does_where_there_is_no_browser() {
    let world = World::start().await;
    let running = world.home.start_login(&world.url(), &["--no-browser"]);
    running.says("open in a browser: ").await;
    let stderr = running.stderr();
    let url = stderr
        .lines()
        .find_map(|line| line.strip_prefix("open in a browser: "))
        .unwrap()
        .to_owned();
    let callback = Browser::new(&world.doorward)
        .login_and_approve(&url, "alice", PASSWORD)
        .await;
    // Something else first: told, and waited on.
    running.write_line("https://mail.example.com/inbox?code=1");
    running.says("that is not it").await;
    let mut other = url::Url::parse(&callback).unwrap();
    other.set_query(Some("code=x&state=forged"));
    running.write_line(other.as_str());
    running.says("another login").await;
    running.write_line(&callback);
    let done = running.ended().await.ok();
    assert!(done.stdout.contains("logged in to"), "{}", done.stdout);
    assert!(world.home.opened().is_empty(), "no browser was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_typed_on_another_device() {
    let world = World::start_with("[grants]\ndevice = true\n").await;
    let running = world.home.start_login(&world.url(), &["--device"]);
    running.says("type this code: ").await;
    let stderr = running.stderr();
    let (before, code) = stderr.split_once("type this code: ").unwrap();
    let code = code.split_whitespace().next().unwrap();
    assert!(before.contains(&world.doorward.url("/device")), "{stderr}");
    let mut browser = signed_in(&world.doorward, "alice").await;
    let page = browser.get("/device").await;
    let mut form = page.form_with("user_code").unwrap();
    form.fill("user_code", code);
    let page = browser.submit(&page, &form, "").await;
    answer(&mut browser, &page, "approve").await;
    let done = running.ended().await.ok();
    assert!(done.stdout.contains("logged in to"), "{}", done.stdout);
    assert!(world.home.opened().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_10_a_store_that_others_may_read_is_refused_in_words() {
    let world = World::start().await;
    world.login(&[]).await.ok();
    let store = world.home.store();
    let open_to_all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&store, open_to_all).unwrap();
    let refused = world.home.run(&["login", "--list"]).await;
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("chmod go-rwx"), "{}", refused.stderr);
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o700)).unwrap();

    let tokens = store_file(&world.home, "tokens");
    let moved = world.home.root().join("work/moved");
    std::fs::rename(&tokens, &moved).unwrap();
    symlink(&moved, &tokens).unwrap();
    let refused = world.home.run(&["login", &world.url()]).await;
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("symbolic link"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_12_a_killed_login_leaves_no_lock_and_waiters_take_over() {
    let world = World::start().await;
    let first = world.home.start_login(&world.url(), &[]);
    world.home.opened_url(0, &first).await;
    let second = world.home.start_login(&world.url(), &[]);
    second.says("another doorward (pid ").await;
    assert!(
        second.stderr().contains("is logging in: http"),
        "{}",
        second.stderr()
    );
    assert_eq!(world.home.opened_urls().len(), 1, "one tab");
    first.kill();
    let taken_over = world.home.opened_url(1, &second).await;
    let callback = Browser::new(&world.doorward)
        .login_and_approve(&taken_over, "alice", PASSWORD)
        .await;
    let _ = http::get(&callback).try_send().await;
    second.ended().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_12_who_waits_shares_the_login() {
    let world = World::start().await;
    let alice = world.alice("approve");
    let running: Vec<_> = (0..3)
        .map(|_| world.home.start_login(&world.url(), &[]))
        .collect();
    for one in &running {
        let done = one.ended().await.ok();
        assert!(done.stdout.contains("logged in to"), "{}", done.stdout);
    }
    drop(alice);
    assert_eq!(world.home.opened_urls().len(), 1, "one tab");
    assert_eq!(world.grants(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_the_server_cannot_hear_of_is_told() {
    let world = World::start().await;
    world.login(&[]).await.ok();
    world.doorward.kill();
    let kept = world
        .home
        .run(&["logout", &world.url(), "--keep-unrevoked"])
        .await;
    assert_eq!(kept.code, 3, "{}", kept.stderr);
    assert!(kept.stdout.contains("still logged in"), "{}", kept.stdout);
    assert_eq!(world.list().await.as_array().unwrap().len(), 1);
    let gone = world.home.run(&["logout", &world.url()]).await.ok();
    assert!(gone.stdout.contains("not revoked"), "{}", gone.stdout);
    assert_eq!(world.list().await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_or_is_not_a_url_is_told() {
    let home = ClientHome::new();
    for (url, code) in [
        ("mcp.example.com", 2),
        ("http://mcp.example.com/mcp", 2),
        ("file:///etc/passwd", 2),
        ("https://user:pass@mcp.example.com/", 2),
    ] {
        let refused = home.run(&["login", url]).await;
        assert_eq!(refused.code, code, "{url}: {}", refused.stderr);
        assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
    }
    // Port 1 is nobody's.
    let dead = home.run(&["login", "http://127.0.0.1:1/mcp"]).await;
    assert_eq!(dead.code, 3, "{}", dead.stderr);
    assert!(dead.stderr.contains("the MCP server"), "{}", dead.stderr);
    let neither = home.run(&["login"]).await;
    assert_eq!(neither.code, 2, "{}", neither.stderr);
    let neither = home.run(&["logout"]).await;
    assert_eq!(neither.code, 2, "{}", neither.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_browser_ends_after_the_time_that_was_given() {
    let world = World::start().await;
    let running = world.home.start_login(&world.url(), &["--auth-timeout", "5"]);
    let done = running.ended_within(Duration::from_secs(60)).await;
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.contains("within 5 seconds"), "{}", done.stderr);
}
