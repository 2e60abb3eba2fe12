//! Authorization over stdio that a client can discover: `doorward stdio` around servers that know nothing of it, and the GitHub
//! server that runs its own login.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::client_home::{ClientHome, Running, visit};
use doorward_testkit::command::doorward_binary;
use doorward_testkit::github::{App, CLIENT_ID, CLIENT_SECRET, GitHub, REPOSITORIES};
use doorward_testkit::http::{self, Site};
use doorward_testkit::leak::Secrets;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually};
use serde_json::{Value, json};

pub(crate) const EXTENSION: &str = "io.doorward/authorization";
pub(crate) const TOKEN: &str = "io.doorward/token";

/// A server that tells what stands in its environment, and nothing else.
const TELLS_ENVIRONMENT: &str = r#"
while read -r line; do
  id=$(printf %s "$line" | sed -n 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/p')
  [ -n "$id" ] || continue
  ours=$(env | grep -c '^DOORWARD_')
  printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"},"token":"%s","ours":%s,"kept":"%s","tools":[]}}\n' "$id" "$API_TOKEN" "$ours" "$KEPT"
done
exit 7
"#;

/// One that ends when it has no token, as many servers do.
fn needs_token() -> String {
    format!("[ -n \"$API_TOKEN\" ] || {{ echo 'set API_TOKEN' >&2; exit 1; }}\n{TELLS_ENVIRONMENT}")
}

pub(crate) fn initialize(capabilities: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": { "name": "h", "version": "1" } } })
}

pub(crate) fn call(id: u64, tool: &str, arguments: Value, token: Option<&str>) -> Value {
    let mut params = json!({ "name": tool, "arguments": arguments });
    if let Some(token) = token {
        params["_meta"] = json!({ TOKEN: token });
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

/// An authorization server of ours, and what `doorward stdio` is told about it.
struct World {
    doorward: Doorward,
    _up: Upstream,
    home: ClientHome,
}

impl World {
    async fn start() -> Self {
        let up = Upstream::start();
        let config = format!(
            "[[servers]]\nname = \"notes\"\npath = \"/notes/mcp\"\nupstream = \"{0}\"\n\n\
             [[servers]]\nname = \"other\"\npath = \"/other/mcp\"\nupstream = \"{0}\"\n",
            up.url()
        );
        let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
        Self {
            doorward: builder.start().await,
            _up: up,
            home: ClientHome::new(),
        }
    }

    fn resource(&self) -> String {
        self.doorward.url("/notes/mcp")
    }

    fn issuer(&self) -> String {
        self.doorward.site().public_url.clone()
    }

    fn stdio(&self, options: &[&str], command: &[&str]) -> Running {
        let (issuer, resource, store) = (self.issuer(), self.resource(), self.home.store());
        let mut arguments = vec![
            "stdio",
            "--issuer",
            &issuer,
            "--resource",
            &resource,
            "--scope",
            "notes",
            "--store",
        ];
        let store = store.display().to_string();
        arguments.push(&store);
        arguments.extend(options);
        arguments.push("--");
        arguments.extend(command);
        let mut program = self
            .home
            .program(&doorward_binary().display().to_string(), &arguments);
        program.env("KEPT", "by the host").env("API_TOKEN", "of-the-host");
        Running::start(program)
    }

    /// Alice opens the link of a refusal, presses the button, logs in and allows it.
    async fn alice_logs_in(&self, login_url: &str) -> Page {
        let (mut browser, page) = open(login_url).await;
        let form = page.forms().remove(0);
        let sent = browser.submit_without_following(&page, &form, "").await;
        let authorize = sent
            .redirect()
            .unwrap_or_else(|| panic!("a redirect: {}", sent.text()));
        assert!(authorize.starts_with(&self.issuer()), "{authorize}");
        let mut alice = Browser::new(&self.doorward);
        let callback = alice.login_and_approve(&authorize, "alice", PASSWORD).await;
        Page {
            url: callback.clone(),
            reply: http::get(&callback).lenient().send().await,
        }
    }
}

pub(crate) async fn open(login_url: &str) -> (Browser, Page) {
    let mut browser = Browser::new(&Site::new(login_url.trim_end_matches("/login")));
    let page = browser.get("/login").await;
    (browser, page)
}

pub(crate) fn authorization(answer: &Value) -> &Value {
    let authorization = &answer["error"]["data"]["authorization"];
    assert_eq!(authorization["type"], "oauth2", "{answer}");
    authorization
}

pub(crate) fn login_url(answer: &Value) -> String {
    authorization(answer)["login_url"]
        .as_str()
        .expect("a link")
        .to_owned()
}

/// Asks again and again, until the answer is right.
async fn until(running: &Running, request: impl Fn(u64) -> Value, right: impl Fn(&Value) -> bool) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    eventually("the right answer", Duration::from_secs(60), async || {
        let request = request(NEXT.fetch_add(1, Ordering::Relaxed));
        let answer = running.ask(&request).await;
        right(&answer).then_some(answer)
    })
    .await
}

fn is_result(answer: &Value) -> bool {
    answer.get("result").is_some()
}

fn shell(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

#[tokio::test]
async fn r02_r03_r04_r08_a_wrapped_server_says_what_it_takes() {
    let world = World::start().await;
    let stdio = world.stdio(
        &["--tool-scope", "delete_*=notes,write", "--public-tool", "about"],
        &shell(TELLS_ENVIRONMENT),
    );
    let greeting = stdio.ask(&initialize(&json!({}))).await;
    let entry = &greeting["result"]["capabilities"]["experimental"][EXTENSION];
    assert_eq!(entry["resource"], world.resource(), "{greeting}");
    assert_eq!(entry["authorization_servers"][0]["issuer"], world.issuer());
    assert_eq!(entry["scopes_supported"], json!(["notes", "write"]));
    // What the issuer says of itself is found out in the background.
    let found = until(
        &stdio,
        |id| call(id, "delete_all", json!({}), None),
        |answer| authorization(answer).get("token_url").is_some(),
    )
    .await;
    let data = authorization(&found);
    assert_eq!(found["error"]["code"], -32001);
    assert_eq!(data["scopes"], json!(["notes", "write"]));
    assert_eq!(data["authorization_url"], format!("{}/authorize", world.issuer()));
    assert_eq!(
        data["authorization_servers"][0]["registration_endpoint"],
        format!("{}/register", world.issuer())
    );
    assert_eq!(
        data["authorization_servers"][0]["code_challenge_methods_supported"],
        json!(["S256"])
    );
    let public = stdio.ask(&call(2, "about", json!({}), None)).await;
    assert_eq!(
        public["result"]["ours"], 0,
        "nothing of ours is handed on: {public}"
    );
    assert_eq!(public["result"]["kept"], "by the host");
    assert_eq!(
        public["result"]["token"], "of-the-host",
        "without --token-env the environment is the host's business"
    );
    stdio.close_stdin();
    assert_eq!(stdio.ended().await.code, 7, "it ends as the command ends");
}

#[tokio::test]
async fn r06_r07_a_token_comes_from_the_request_the_environment_or_a_login() {
    let world = World::start().await;
    let client = OAuthClient::native(world.doorward.site()).await;
    let good = client.login("alice", PASSWORD, &world.resource()).await;
    let elsewhere = client
        .login("alice", PASSWORD, &world.doorward.url("/other/mcp"))
        .await;
    let mut secrets = Secrets::default();
    secrets.add("a token", &good.access);

    let stdio = world.stdio(&[], &shell(TELLS_ENVIRONMENT));
    stdio.ask(&initialize(&json!({}))).await;
    let answer = stdio.ask(&call(2, "x", json!({}), Some(&good.access))).await;
    assert_eq!(answer["result"]["kept"], "by the host", "{answer}");
    for (id, bad) in [
        (3, elsewhere.access.as_str()),
        (4, "no.jwt.atall"),
        (5, &good.access[..good.access.len() - 4]),
    ] {
        let answer = stdio.ask(&call(id, "x", json!({}), Some(bad))).await;
        assert_eq!(authorization(&answer)["error"], "invalid_token", "{answer}");
    }
    // A good token of before does not vouch for the next request.
    let answer = stdio.ask(&call(6, "x", json!({}), None)).await;
    assert_eq!(authorization(&answer).get("error"), None, "{answer}");
    stdio.close_stdin();
    world.home.assert_clean(&stdio.ended().await, &secrets).await;

    let mut program = world.home.program(
        &doorward_binary().display().to_string(),
        &["stdio", "--no-login", "--", "/bin/sh", "-c", TELLS_ENVIRONMENT],
    );
    program
        .env("DOORWARD_ISSUER", world.issuer())
        .env("DOORWARD_RESOURCE", world.resource())
        .env("DOORWARD_SCOPES", "notes")
        .env("DOORWARD_TOKEN", &good.access);
    let stdio = Running::start(program);
    stdio.ask(&initialize(&json!({}))).await;
    let answer = stdio.ask(&call(2, "x", json!({}), None)).await;
    assert_eq!(answer["result"]["ours"], 0, "{answer}");
    let answer = stdio.ask(&call(3, "x", json!({}), Some("bad"))).await;
    assert_eq!(
        authorization(&answer)["error"],
        "invalid_token",
        "no other token is tried in its place: {answer}"
    );
    assert_eq!(authorization(&answer).get("login_url"), None, "--no-login");
    stdio.close_stdin();
    stdio.ended().await;
}

#[tokio::test]
async fn r06_x6_the_login_of_the_process_is_kept_for_the_next() {
    let world = World::start().await;
    let stdio = world.stdio(&[], &shell(TELLS_ENVIRONMENT));
    stdio.ask(&initialize(&json!({}))).await;
    let refused = stdio.ask(&call(2, "x", json!({}), None)).await;
    let link = login_url(&refused);
    assert!(
        stdio.stderr().contains(&link),
        "one line for the person at the terminal:\n{}",
        stdio.stderr()
    );
    let answered = world.alice_logs_in(&link).await;
    assert_eq!(answered.reply.status, 200, "{}", answered.text());
    let answer = until(&stdio, |id| call(id, "x", json!({}), None), is_result).await;
    assert_eq!(answer["result"]["kept"], "by the host");
    // Whoever opens the link again is told so, and nothing starts.
    let (_, page) = open(&link).await;
    assert!(page.forms().is_empty(), "{}", page.text());
    stdio.close_stdin();
    stdio.ended().await;

    // `doorward login --list` shows it, and the next process needs no login.
    let listed = world
        .home
        .run(&["login", "--list", "--format", "json"])
        .await
        .ok()
        .json();
    assert!(listed.to_string().contains(&world.issuer()), "{listed}");
    let stdio = world.stdio(&[], &shell(TELLS_ENVIRONMENT));
    stdio.ask(&initialize(&json!({}))).await;
    let answer = stdio.ask(&call(2, "x", json!({}), None)).await;
    assert_eq!(answer["result"]["kept"], "by the host", "{answer}");
    stdio.close_stdin();
    stdio.ended().await;
}

#[tokio::test]
async fn r11_a_server_gets_its_token_in_the_environment_and_is_waited_for() {
    let world = World::start().await;
    let client = OAuthClient::native(world.doorward.site()).await;
    let good = client.login("alice", PASSWORD, &world.resource()).await.access;

    let stdio = world.stdio(&["--token-env", "API_TOKEN"], &shell(TELLS_ENVIRONMENT));
    stdio.ask(&initialize(&json!({}))).await;
    let before = stdio
        .ask(&json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }))
        .await;
    assert_eq!(
        before["result"]["token"], "",
        "a token that nobody verified is not handed on: {before}"
    );
    let answer = stdio.ask(&call(3, "x", json!({}), Some(&good))).await;
    assert_eq!(answer["result"]["token"], good, "{answer}");
    stdio.close_stdin();
    stdio.ended().await;

    let script = needs_token();
    let stdio = world.stdio(&["--token-env", "API_TOKEN"], &shell(&script));
    let greeting = stdio.ask(&initialize(&json!({}))).await;
    assert_eq!(
        greeting["result"]["capabilities"]["experimental"][EXTENSION]["type"], "oauth2",
        "{greeting}"
    );
    stdio.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let refused = stdio
        .ask(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }))
        .await;
    world.alice_logs_in(&login_url(&refused)).await;
    eventually("the host is told", Duration::from_secs(60), async || {
        let told = stdio
            .messages()
            .into_iter()
            .any(|message| message["method"] == "notifications/tools/list_changed");
        told.then_some(())
    })
    .await;
    let answer = stdio.ask(&call(3, "x", json!({}), None)).await;
    assert!(
        answer["result"]["token"]
            .as_str()
            .is_some_and(|token| !token.is_empty()),
        "{answer}"
    );
    stdio.close_stdin();
    stdio.ended().await;
}

/// The JSON of the first block of a section of docs/stdio-authorization.md.
fn documented(section: &str) -> Value {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/stdio-authorization.md"
    ))
    .unwrap();
    let (_, rest) = page.split_once(section).expect("the section");
    let (_, rest) = rest.split_once("```json\n").expect("a block of JSON");
    let (block, _) = rest.split_once("```").expect("its end");
    let block = block.replace("{ … }", "{}").replace("[ … ]", "[]");
    let object = if block.starts_with('{') {
        block
    } else {
        format!("{{{block}}}")
    };
    serde_json::from_str(&object).unwrap_or_else(|error| panic!("{section}: {error}\n{object}"))
}

fn keys(value: &Value) -> Vec<&String> {
    let mut keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn r10_the_page_shows_what_is_sent() {
    let world = World::start().await;
    let stdio = world.stdio(&["--tool-scope", "delete_*=write"], &shell(TELLS_ENVIRONMENT));
    let greeting = stdio.ask(&initialize(&json!({}))).await;
    let sent = &greeting["result"]["capabilities"]["experimental"][EXTENSION];
    let page = documented("### The entry");
    assert_eq!(keys(&page[EXTENSION]), keys(sent));
    let refused = until(
        &stdio,
        |id| call(id, "delete_all", json!({}), None),
        |answer| authorization(answer).get("token_url").is_some(),
    )
    .await;
    let page = documented("### The error");
    let (shown, sent) = (&page["data"]["authorization"], authorization(&refused));
    let mut sent_keys = keys(sent);
    // A call without a token has no `error`.
    let error = "error".to_owned();
    sent_keys.push(&error);
    sent_keys.sort();
    assert_eq!(keys(shown), sent_keys);
    assert_eq!(page["code"], refused["error"]["code"]);
    assert_eq!(page["message"], "Authorization required to call delete_note");
    let known = keys(&sent["authorization_servers"][0]);
    for key in keys(&documented("### The entry")[EXTENSION]["authorization_servers"][0]) {
        assert!(known.contains(&key), "{key}");
    }
    stdio.close_stdin();
    stdio.ended().await;
}

#[tokio::test]
async fn r11_nothing_lives_on_when_the_host_or_the_wrapper_ends() {
    let world = World::start().await;
    // Something that the command started holds its output, and cares for no end of its input.
    let script = "sleep 1000 & exec cat";
    for by_signal in [false, true] {
        let stdio = world.stdio(&[], &shell(script));
        stdio.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        eventually("the command runs", Duration::from_secs(60), async || {
            stdio.stdout().contains("notifications/initialized").then_some(())
        })
        .await;
        if by_signal {
            stdio.signal("TERM");
        } else {
            stdio.close_stdin();
        }
        let ended = stdio.ended().await;
        world.home.assert_clean(&ended, &Secrets::default()).await;
    }
}

#[tokio::test]
async fn cl_11_the_login_page_starts_nothing_by_itself() {
    let world = World::start().await;
    let stdio = world.stdio(&[], &shell(TELLS_ENVIRONMENT));
    stdio.ask(&initialize(&json!({}))).await;
    let link = login_url(&stdio.ask(&call(2, "x", json!({}), None)).await);
    let (_, page) = open(&link).await;
    let csp = page
        .reply
        .header("content-security-policy")
        .expect("a policy")
        .to_owned();
    assert!(
        csp.starts_with("default-src 'none'") && !csp.contains("unsafe"),
        "{csp}"
    );
    let form = page.forms().remove(0);
    let csrf = form
        .inputs
        .iter()
        .find(|input| input.name == "csrf")
        .expect("a csrf field")
        .value
        .clone();
    let origin = link.trim_end_matches("/login");
    for (what, host, from, csrf, expected) in [
        ("another host", "evil.test", origin, csrf.as_str(), 403),
        ("another origin", "", "http://evil.test", &csrf, 403),
        ("no csrf", "", origin, "x", 403),
    ] {
        let mut request = http::Request::new("POST", &link)
            .header("Origin", from)
            .form(&[("csrf", csrf)]);
        if !host.is_empty() {
            request = request.set("Host", host);
        }
        let reply = request.lenient().send().await;
        assert_eq!(reply.status, expected, "{what}: {}", reply.text());
        assert_eq!(reply.location(), None, "{what}");
    }
    assert_eq!(
        http::get(&format!("{origin}/other"))
            .lenient()
            .send()
            .await
            .status,
        404
    );
    stdio.close_stdin();
    stdio.ended().await;
}

// ---- GitHub

fn github_binary() -> PathBuf {
    doorward_binary().with_file_name("doorward-github")
}

pub(crate) struct OnGitHub {
    pub(crate) github: GitHub,
    pub(crate) home: ClientHome,
}

impl OnGitHub {
    pub(crate) fn start(app: App) -> Self {
        let home = ClientHome::new();
        std::fs::write(home.root().join("work/secret"), CLIENT_SECRET).expect("a file");
        Self {
            github: GitHub::start(app),
            home,
        }
    }

    /// The command that a host is configured with.
    pub(crate) fn command(&self) -> Vec<String> {
        let secret = self.home.root().join("work/secret").display().to_string();
        [
            github_binary().display().to_string(),
            "--provider-url".into(),
            self.github.base(),
            "--client-id".into(),
            CLIENT_ID.into(),
            "--client-secret-file".into(),
            secret,
        ]
        .into()
    }

    pub(crate) fn run(&self, more: &[&str]) -> Running {
        let command = self.command();
        let arguments: Vec<&str> = command
            .iter()
            .skip(1)
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        Running::start(self.home.program(&command[0], &arguments))
    }

    /// The person presses the button and GitHub's user approves.
    pub(crate) async fn person_logs_in(&self, link: &str) -> http::Reply {
        let (mut browser, page) = open(link).await;
        let form = page.forms().remove(0);
        let sent = browser.submit_without_following(&page, &form, "").await;
        let authorize = sent
            .redirect()
            .unwrap_or_else(|| panic!("a redirect: {}", sent.text()));
        assert!(authorize.starts_with(&self.github.base()), "{authorize}");
        visit(&authorize).await.expect("an answer")
    }
}

#[tokio::test]
async fn r01_r06_a_person_logs_in_to_github_and_calls() {
    for app in [App::OAuth, App::GitHub] {
        let on = OnGitHub::start(app);
        let server = on.run(&[]);
        server.ask(&initialize(&json!({}))).await;
        let refused = server
            .ask(&call(2, "get_github_user_info", json!({}), None))
            .await;
        let asked = authorization(&refused);
        assert_eq!(
            asked["authorization_url"],
            format!("{}/login/oauth/authorize", on.github.base())
        );
        assert_eq!(asked["scopes"], json!(["read:user"]));
        let end = on.person_logs_in(&login_url(&refused)).await;
        assert_eq!(end.status, 200, "{}", end.text());
        let user_info = |id| call(id, "get_github_user_info", json!({}), None);
        let user = until(&server, user_info, is_result).await;
        assert_eq!(
            user["result"]["structuredContent"]["login"], "octo-test",
            "{user}"
        );

        // Private repositories take more: the refusal says what, and the next login asks for both.
        let arguments = json!({ "visibility": "private", "per_page": 100 });
        // A GitHub App has permissions in place of scopes: nothing more is to be asked for.
        if app == App::OAuth {
            let refused = server
                .ask(&call(100, "get_github_user_repos", arguments.clone(), None))
                .await;
            assert_eq!(
                authorization(&refused)["error"],
                "insufficient_scope",
                "{refused}"
            );
            assert_eq!(authorization(&refused)["scopes"], json!(["repo"]));
            on.person_logs_in(&login_url(&refused)).await;
        }
        let private = |id| call(id, "get_github_user_repos", arguments.clone(), None);
        let repositories = until(&server, private, is_result).await;
        let listed = repositories["result"]["structuredContent"]["repositories"]
            .as_array()
            .unwrap_or_else(|| panic!("a list: {repositories}"))
            .len();
        assert!(listed > 0 && listed < REPOSITORIES, "{listed}");

        match app {
            App::GitHub => {
                // The access token ends; the refresh token gets the next one without anybody.
                on.github.expire_all();
                let answer = server
                    .ask(&call(200, "get_github_user_info", json!({}), None))
                    .await;
                assert!(answer.get("result").is_some(), "{answer}");
            }
            App::OAuth => {
                on.github.revoke_all();
                let refused = server
                    .ask(&call(200, "get_github_user_info", json!({}), None))
                    .await;
                assert_eq!(authorization(&refused)["error"], "invalid_token", "{refused}");
                on.person_logs_in(&login_url(&refused)).await;
                until(&server, user_info, is_result).await;
            }
        }
        server.close_stdin();
        on.home
            .assert_clean(&server.ended().await, &on.github.secrets())
            .await;
    }
}

#[tokio::test]
async fn r04_a_person_who_says_no_is_told_so() {
    let on = OnGitHub::start(App::OAuth);
    on.github.deny();
    let server = on.run(&[]);
    server.ask(&initialize(&json!({}))).await;
    let refused = server
        .ask(&call(2, "get_github_user_info", json!({}), None))
        .await;
    let end = on.person_logs_in(&login_url(&refused)).await;
    assert!(
        end.text().contains("denied your application access"),
        "{}",
        end.text()
    );
    let refused = server
        .ask(&call(3, "get_github_user_info", json!({}), None))
        .await;
    assert_eq!(authorization(&refused)["type"], "oauth2");
    on.github.server().assert_never_saw("/login/oauth/access_token");
    server.close_stdin();
    server.ended().await;
}
