//! Scopes per tool: what is asked for first, what a call needs, how a client gets it, and what people may give.

use std::time::Duration;

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::http::Reply;
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter, with};
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::{Value, json};

use crate::machine::Machine;

mod asking;

const PATH: &str = "/notes/mcp";
const SOON: Duration = Duration::from_secs(60);
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// `t:write` implies `t:read`; `t_both` needs two scopes; only the group `ops` may have `t:admin`; `t_none` is in no
/// scope.
const TABLE: &str = r#"
[servers.scopes."t:read"]
description = "Read your notes"
tools = ["t_read*"]
[servers.scopes."t:write"]
description = "Change your notes"
tools = ["t_write", "t_both"]
implies = ["t:read"]
step_up = true
[servers.scopes."t:mail"]
description = "Send mail for you"
tools = ["t_mail", "t_both"]
step_up = true
[servers.scopes."t:admin"]
description = "Read everybody's notes"
tools = ["t_admin"]
step_up = true
allow = ["group:ops", "client:robot"]
"#;

const CLIENTS: &str = r#"
[grants]
device = true
[[clients]]
id = "narrow"
name = "Narrow"
redirect_uris = ["http://127.0.0.1/cb"]
scopes = ["t:read"]
[[clients]]
id = "robot"
grant_types = ["client_credentials"]
secret = "a secret of more than thirty-two characters"
[[clients]]
id = "worker"
grant_types = ["client_credentials"]
secret = "a secret of more than thirty-two characters"
"#;

struct World {
    doorward: Doorward,
    up: Upstream,
}

fn config(up: &Upstream, table: &str) -> String {
    let server = format!(
        "[[servers]]\nname = \"notes\"\npath = \"{PATH}\"\nupstream = \"{}\"\n",
        up.url()
    );
    format!("{server}{table}{CLIENTS}")
}

impl World {
    async fn start() -> Self {
        let up = Upstream::start();
        let doorward = Doorward::builder()
            .config(&config(&up, TABLE))
            .user("alice", PASSWORD)
            .user_in("olga", PASSWORD, &["ops"])
            .start()
            .await;
        Self { doorward, up }
    }

    fn resource(&self) -> String {
        self.doorward.url(PATH)
    }

    async fn client(&self) -> OAuthClient {
        OAuthClient::register(&self.doorward, "N1", "http://127.0.0.1/cb").await
    }

    /// The consent page for these scopes; none: the parameter is left out.
    async fn page(&self, client: &OAuthClient, user: &str, scope: Option<&str>) -> (Browser, Page, Pkce) {
        let (mut browser, pkce) = (Browser::new(&self.doorward), Pkce::new());
        let parameters = with(client.parameters(&pkce, &self.resource()), "scope", scope);
        let page = browser
            .sign_in(&client.url_with(&parameters), user, PASSWORD)
            .await;
        (browser, page, pkce)
    }

    /// Allows all that is offered of these scopes.
    async fn login(&self, client: &OAuthClient, user: &str, scope: Option<&str>) -> Tokens {
        let (browser, page, pkce) = self.page(client, user, scope).await;
        self.allow(client, (browser, page, pkce), |_| true).await
    }

    async fn allow(
        &self,
        client: &OAuthClient,
        (mut browser, page, pkce): (Browser, Page, Pkce),
        keep: impl Fn(&str) -> bool,
    ) -> Tokens {
        let mut form = page.consent_form();
        form.tick_all();
        form.inputs
            .retain(|input| input.name != "scope" || keep(&input.value));
        let done = browser.submit(&page, &form, "approve").await;
        let callback = done
            .redirect()
            .unwrap_or_else(|| panic!("a redirect: {}", done.text()));
        let approved = Approved {
            code: parameter(&callback, "code").unwrap_or_else(|| panic!("a code: {callback}")),
            pkce,
            redirect_uri: client.redirect_uri.clone(),
            resource: self.resource(),
            callback,
        };
        Tokens::from_reply(&client.redeem(&approved).await)
    }

    async fn call(&self, token: &str, tool: &str) -> Reply {
        mcp::call(&self.doorward, PATH, tool, &json!({}))
            .bearer(token)
            .send()
            .await
    }

    /// The same from a client of a revision with sessions, without its handshake: the call is judged before that.
    async fn legacy_call(&self, token: &str, tool: &str) -> Reply {
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
        mcp::legacy(&self.doorward, PATH, None, &message)
            .bearer(token)
            .send()
            .await
    }

    async fn reload(&self, table: &str) {
        let told = || self.doorward.stderr().matches("configuration reloaded").count();
        let before = told();
        std::fs::write(self.doorward.config_file(), config(&self.up, table)).unwrap();
        self.doorward.hang_up();
        eventually("the configuration is read again", SOON, || async {
            (told() > before).then_some(())
        })
        .await;
    }

    /// A refresh right after a challenge is no answer to it: the client is told once to ask the person.
    async fn told_to_ask(&self, client: &OAuthClient, tokens: &Tokens) {
        let reply = self.refresh(client, tokens, None).await;
        let error = (reply.status, reply.oauth_error());
        assert_eq!(
            error,
            (400, Some("interaction_required".into())),
            "{}",
            reply.text()
        );
    }

    async fn refresh(&self, client: &OAuthClient, tokens: &Tokens, scope: Option<&str>) -> Reply {
        let form = client.refresh_form(tokens.refresh(), &self.resource());
        client.token(&with(form, "scope", scope)).await
    }
}

#[track_caller]
fn scope_of(tokens: &Tokens) -> String {
    tokens.claims()["scope"].as_str().expect("scope").into()
}

/// A refusal that asks for these scopes, all in one challenge, which is returned.
#[track_caller]
fn challenged(world: &World, reply: &Reply, scope: &str) -> String {
    assert_eq!(reply.status, 403, "{}", reply.text());
    let lines: Vec<_> = reply.headers.get_all("WWW-Authenticate").iter().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let challenge = reply.header("WWW-Authenticate").unwrap().to_owned();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    let metadata = world
        .doorward
        .url("/.well-known/oauth-protected-resource/notes/mcp");
    for part in [
        "error=\"insufficient_scope\"".to_owned(),
        format!("scope=\"{scope}\""),
        format!("resource_metadata=\"{metadata}\""),
        "error_description=\"".into(),
    ] {
        assert_eq!(challenge.matches(&part).count(), 1, "{part} in {challenge}");
    }
    let data = &reply.json()["error"]["data"];
    let told: Vec<&str> = data["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        (told.join(" ").as_str(), &data["reason"]),
        (scope, &json!("insufficient_scope"))
    );
    challenge
}

/// A refusal that no scope would help.
#[track_caller]
fn refused(reply: &Reply, reason: &str) {
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(reply.header("WWW-Authenticate"), None);
    assert_eq!(reply.json()["error"]["data"]["reason"], reason);
}

#[tokio::test]
async fn a7_a11_a33_b27_what_is_asked_for_first_is_small_and_the_same_everywhere() {
    let world = World::start().await;
    let doorward = &world.doorward;
    for token in [None, Some("not-a-token")] {
        let call = mcp::call(doorward, PATH, "t_admin", &json!({}));
        let reply = match token {
            Some(token) => call.bearer(token).send().await,
            None => call.send().await,
        };
        assert_eq!(reply.status, 401);
        let challenge = reply.header("WWW-Authenticate").unwrap();
        assert!(
            challenge.contains("scope=\"t:read\""),
            "whatever is called: {challenge}"
        );
    }
    for path in [
        "/.well-known/oauth-protected-resource/notes/mcp",
        "/.well-known/oauth-authorization-server",
    ] {
        let document = doorward.get(path).send().await.json();
        assert_eq!(document["scopes_supported"], json!(["t:read"]), "{path}");
    }
    let client = world.client().await;
    for asked in [
        None,
        Some(""),
        Some("openid offline_access"),
        Some("unknown"),
        Some("t:read unknown"),
    ] {
        let tokens = world.login(&client, "alice", asked).await;
        assert_eq!(scope_of(&tokens), "t:read", "{asked:?}");
    }
}

#[tokio::test]
async fn r15_rs_15_a31_a32_a_call_without_its_scopes_is_told_all_of_them() {
    let world = World::start().await;
    let client = world.client().await;
    let token = world.login(&client, "alice", None).await.access;
    for tool in ["t_read", "t_read_more"] {
        assert_eq!(
            mcp::text_of(&world.call(&token, tool).await),
            format!("{tool} ok")
        );
    }
    let before = world.up.requests().len();
    challenged(&world, &world.call(&token, "t_write").await, "t:write");
    challenged(&world, &world.call(&token, "t_mail").await, "t:mail");
    challenged(&world, &world.call(&token, "t_both").await, "t:mail t:write");
    // A client that replaces its scopes by the challenged ones keeps what it has.
    challenged(
        &world,
        &world.legacy_call(&token, "t_both").await,
        "t:mail t:read t:write",
    );
    for call in [
        world.call(&token, "t_none").await,
        world.legacy_call(&token, "t_none").await,
    ] {
        refused(&call, "no_scope_opens_it");
    }
    // Names compare byte for byte.
    refused(&world.call(&token, "T_READ").await, "no_scope_opens_it");
    assert_eq!(
        world.up.requests().len(),
        before,
        "nothing of it reached the server"
    );
}

#[tokio::test]
async fn a30_a33_r40_b27_one_round_of_step_up_and_the_elevation_is_logged() {
    for modern in [true, false] {
        let world = World::start().await;
        let client = world.client().await;
        let first = world.login(&client, "alice", None).await;
        let refusal = match modern {
            true => world.call(&first.access, "t_both").await,
            false => world.legacy_call(&first.access, "t_both").await,
        };
        let needed = if modern {
            "t:mail t:write"
        } else {
            "t:mail t:read t:write"
        };
        challenged(&world, &refusal, needed);
        // What a person is told who uses an app that cannot do what comes next.
        let words = refusal.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            words.contains(needed) && words.contains("connect it to this server again"),
            "{words}"
        );

        // As the specification says: the union of what was asked for and what is needed now.
        let page = world.page(&client, "alice", Some("t:read t:mail t:write")).await;
        let text = page.1.text();
        let (new, before) = text
            .split_once("You allowed it before to")
            .unwrap_or_else(|| panic!("{text}"));
        for words in [
            "do more with",
            "New: it will also be able to",
            "Send mail for you",
            "Change your notes",
            "Extra",
        ] {
            assert!(new.contains(words), "{words}: {text}");
        }
        assert!(before.contains("Read your notes"), "{text}");
        let second = world.allow(&client, page, |_| true).await;
        assert_eq!(scope_of(&second), "t:mail t:read t:write");
        for tool in ["t_both", "t_read", "t_write", "t_mail"] {
            let reply = world.call(&second.access, tool).await;
            assert_eq!(mcp::text_of(&reply), format!("{tool} ok"));
        }
        let log = world.doorward.stderr();
        let widened: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("consent: widened"))
            .collect();
        assert_eq!(widened.len(), 1, "{log}");
        let user = second.claims()["sub"].as_str().unwrap().to_owned();
        for fact in ["B27", client.id.as_str(), &user, "grant", "t:mail t:read t:write"] {
            assert!(widened[0].contains(fact), "{fact}: {}", widened[0]);
        }
    }
}

#[tokio::test]
async fn a37_a_broad_scope_is_enough_for_what_a_narrow_one_opens() {
    let world = World::start().await;
    let client = world.client().await;
    let page = world.page(&client, "alice", Some("t:write")).await;
    assert!(
        page.1.text().contains("Includes: Read your notes"),
        "{}",
        page.1.text()
    );
    let tokens = world.allow(&client, page, |_| true).await;
    assert_eq!(
        scope_of(&tokens),
        "t:write",
        "what was granted, and not what it implies"
    );
    for tool in ["t_write", "t_read"] {
        assert_eq!(
            mcp::text_of(&world.call(&tokens.access, tool).await),
            format!("{tool} ok")
        );
    }
    challenged(
        &world,
        &world.call(&tokens.access, "t_both").await,
        "t:mail t:write",
    );
    // Both are asked for and the narrow one is not ticked: the page says that it comes along.
    let page = world.page(&client, "alice", Some("t:read t:write")).await;
    assert!(
        page.1.text().contains("Also part of “Change your notes”"),
        "{}",
        page.1.text()
    );
    let tokens = world.allow(&client, page, |scope| scope != "t:read").await;
    assert_eq!(
        mcp::text_of(&world.call(&tokens.access, "t_read").await),
        "t_read ok"
    );
}

#[tokio::test]
async fn r15_what_a_person_may_not_have_is_neither_asked_for_nor_given() {
    let world = World::start().await;
    let client = world.client().await;
    let (_, page, _) = world.page(&client, "alice", Some("t:read t:admin")).await;
    let text = page.text();
    assert!(
        text.contains("Left out: Read everybody's notes ( t:admin )"),
        "{text}"
    );
    assert!(
        page.consent_form()
            .inputs
            .iter()
            .all(|input| input.value != "t:admin")
    );
    let tokens = world.login(&client, "alice", Some("t:read t:admin")).await;
    assert_eq!(scope_of(&tokens), "t:read");
    let reply = world.call(&tokens.access, "t_admin").await;
    refused(&reply, "scope_not_for_user");
    let words = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(words.contains("t:admin") && words.contains("operator"), "{words}");
    // Nothing else was asked for: a page that says so, and nothing to approve.
    let (mut browser, page, _) = world.page(&client, "alice", Some("t:admin")).await;
    assert_eq!(page.reply.status, 403);
    assert!(page.text().contains("alice cannot give this"), "{}", page.text());
    // Who approves all the same, by a form of their own making, gives nothing.
    let mut form = page.form_with("decision").unwrap();
    form.fill("scope", "t:admin");
    form.fill("decision", "approve");
    let done = browser.submit(&page, &form, "").await;
    let back = done.redirect().unwrap_or_else(|| panic!("{}", done.text()));
    assert_eq!(
        parameter(&back, "error").as_deref(),
        Some("access_denied"),
        "{back}"
    );

    // Olga may, until she leaves the group: the next refresh gives the rest, and it returns with the group.
    let tokens = world.login(&client, "olga", Some("t:read t:admin")).await;
    assert_eq!(
        mcp::text_of(&world.call(&tokens.access, "t_admin").await),
        "t_admin ok"
    );
    let change = |way: &str| {
        world
            .doorward
            .command(&["user", "groups", "olga", way, "ops"])
            .ok()
    };
    change("--remove");
    let tokens = Tokens::from_reply(&world.refresh(&client, &tokens, None).await);
    assert_eq!(scope_of(&tokens), "t:read");
    refused(&world.call(&tokens.access, "t_admin").await, "scope_not_for_user");
    change("--add");
    let tokens = Tokens::from_reply(&world.refresh(&client, &tokens, None).await);
    assert_eq!(scope_of(&tokens), "t:admin t:read");
}

#[tokio::test]
async fn r15_a_client_gets_no_more_than_its_operator_wrote() {
    let world = World::start().await;
    let narrow = OAuthClient {
        id: "narrow".into(),
        ..world.client().await
    };
    let tokens = world.login(&narrow, "alice", Some("t:read t:write")).await;
    assert_eq!(
        (scope_of(&tokens).as_str(), &tokens.claims()["client_scope"]),
        ("t:read", &json!("t:read"))
    );
    let reply = world.call(&tokens.access, "t_write").await;
    refused(&reply, "scope_not_for_client");
    let words = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(words.contains("t:write") && words.contains("operator"), "{words}");
    // What a library registers by itself for its first login is no such limit.
    let metadata = json!({
        "client_name": "SDK", "redirect_uris": ["http://127.0.0.1/cb"], "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "token_endpoint_auth_method": "none", "scope": "t:read",
    });
    let sdk = OAuthClient::register_with(&world.doorward, metadata).await;
    let tokens = world.login(&sdk, "alice", None).await;
    challenged(&world, &world.call(&tokens.access, "t_write").await, "t:write");
    let tokens = world.login(&sdk, "alice", Some("t:read t:write")).await;
    assert_eq!(
        mcp::text_of(&world.call(&tokens.access, "t_write").await),
        "t_write ok"
    );
}

#[tokio::test]
async fn r15_a_client_for_itself_gets_scopes_that_name_it() {
    let world = World::start().await;
    let token = async |id: &str, scope: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", &*world.resource()),
            ("scope", scope),
        ];
        let machine = Machine::known(&world.doorward, id, "a secret of more than thirty-two characters");
        machine.send(&world.doorward, "/token", &form).await
    };
    let reply = token("robot", "t:read t:admin").await;
    assert_eq!(reply.json()["scope"], "t:admin t:read", "{}", reply.text());
    let access = reply.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(mcp::text_of(&world.call(&access, "t_admin").await), "t_admin ok");
    let reply = token("worker", "t:read t:admin").await;
    assert_eq!(reply.json()["scope"], "t:read");
    let access = reply.json()["access_token"].as_str().unwrap().to_owned();
    refused(&world.call(&access, "t_admin").await, "scope_not_for_user");
    challenged(&world, &world.call(&access, "t_write").await, "t:write");
    assert_eq!(
        token("worker", "t:admin").await.oauth_error().as_deref(),
        Some("invalid_scope")
    );
}

#[tokio::test]
async fn b27_rt_04_a_token_with_less_is_tolerated_and_nothing_grows() {
    let world = World::start().await;
    let client = world.client().await;
    let tokens = world.login(&client, "alice", Some("t:mail t:write")).await;
    let narrow = Tokens::from_reply(&world.refresh(&client, &tokens, Some("t:read")).await);
    assert_eq!(scope_of(&narrow), "t:read", "t:write implies it");
    assert_eq!(
        mcp::text_of(&world.call(&narrow.access, "t_read").await),
        "t_read ok"
    );
    challenged(&world, &world.call(&narrow.access, "t_mail").await, "t:mail");
    let grown = world.refresh(&client, &narrow, Some("t:mail t:admin")).await;
    assert_eq!(grown.oauth_error().as_deref(), Some("invalid_scope"));
    world.told_to_ask(&client, &narrow).await;
    let wide = Tokens::from_reply(&world.refresh(&client, &narrow, None).await);
    assert_eq!(scope_of(&wide), "t:mail t:write", "it returns");
    // The time of the sign-in stays what it was.
    assert_eq!(wide.claims()["auth_time"], tokens.claims()["auth_time"]);
    assert!(wide.claims()["auth_time"].is_i64());
}

#[tokio::test]
async fn r15_a_table_that_changes_meets_what_was_granted_before() {
    let world = World::start().await;
    let client = world.client().await;
    let tokens = world.login(&client, "alice", Some("t:read t:mail")).await;
    assert_eq!(
        mcp::text_of(&world.call(&tokens.access, "t_mail").await),
        "t_mail ok"
    );
    // A scope goes and another one comes: the token at hand opens what it names under the new table.
    let changed = TABLE
        .replace("t:mail", "t:post")
        .replace("\"t_read*\"", "\"t_read\"");
    world.reload(&changed).await;
    challenged(&world, &world.call(&tokens.access, "t_mail").await, "t:post");
    refused(
        &world.call(&tokens.access, "t_read_more").await,
        "no_scope_opens_it",
    );
    world.told_to_ask(&client, &tokens).await;
    let tokens = Tokens::from_reply(&world.refresh(&client, &tokens, None).await);
    assert_eq!(scope_of(&tokens), "t:read");
    // Nothing is left of what was granted: log in again.
    world
        .reload(&TABLE.replace("t:read", "t:look").replace("t:mail", "t:post"))
        .await;
    let refresh = world.refresh(&client, &tokens, None).await;
    assert_eq!(refresh.oauth_error().as_deref(), Some("invalid_grant"));
    // And without a table the server's name opens everything.
    world.reload("").await;
    challenged(&world, &world.call(&tokens.access, "t_read").await, "notes");
    let all = world.login(&client, "alice", None).await;
    assert_eq!(
        mcp::text_of(&world.call(&all.access, "t_none").await),
        "t_none ok"
    );
}

#[tokio::test]
async fn r15_a_device_is_asked_about_in_the_same_words() {
    let world = World::start().await;
    let client = OAuthClient::register_with(
        &world.doorward,
        json!({ "client_name": "TV", "redirect_uris": ["http://127.0.0.1/cb"], "grant_types": [DEVICE, "refresh_token", "authorization_code"],
            "response_types": ["code"], "token_endpoint_auth_method": "none" }),
    )
    .await;
    let ask = async |scope: &str| {
        let form = [
            ("client_id", client.id.as_str()),
            ("scope", scope),
            ("resource", &world.resource()),
        ];
        world
            .doorward
            .post("/device_authorization")
            .form(&form)
            .send()
            .await
            .json()
    };
    let mut browser = Browser::new(&world.doorward);
    let login = browser.get("/device").await;
    let mut form = login.login_form();
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    browser.submit(&login, &form, "").await;
    let typed = async |browser: &mut Browser, codes: &Value| {
        let page = browser.get("/device").await;
        let mut form = page.form_with("user_code").unwrap();
        form.fill("user_code", codes["user_code"].as_str().unwrap());
        browser.submit(&page, &form, "").await
    };
    let codes = ask("t:read t:write t:admin").await;
    let page = typed(&mut browser, &codes).await;
    for words in [
        "Change your notes",
        "Includes: Read your notes",
        "Left out: Read everybody's notes ( t:admin )",
    ] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    let mut form = page.form_with("decision").unwrap();
    form.tick_all();
    browser.submit(&page, &form, "approve").await;
    let poll = [
        ("grant_type", DEVICE),
        ("client_id", client.id.as_str()),
        ("device_code", codes["device_code"].as_str().unwrap()),
    ];
    let tokens = Tokens::from_reply(&world.doorward.post("/token").form(&poll).send().await);
    assert_eq!(scope_of(&tokens), "t:read t:write");
    assert!(tokens.claims()["auth_time"].is_i64());
    let page = typed(&mut browser, &ask("t:admin").await).await;
    assert!(
        page.text().contains("cannot give what the device asks for"),
        "{}",
        page.text()
    );
    let page = browser.get("/account").await;
    for words in ["Read your notes", "Change your notes"] {
        assert!(page.text().contains(words), "{}", page.text());
    }
}

#[tokio::test]
async fn r40_every_refusal_for_a_scope_can_be_explained() {
    let world = World::start().await;
    let client = world.client().await;
    let token = world.login(&client, "alice", None).await.access;
    for (tool, reason, scope) in [
        ("t_both", "insufficient_scope", "t:mail t:write"),
        ("t_admin", "scope_not_for_user", "t:admin"),
        ("t_none", "no_scope_opens_it", ""),
    ] {
        let reply = world.call(&token, tool).await;
        let id = reply.json()["error"]["data"]["decision_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let report = eventually("the refusal is explained", SOON, || async {
            let finished = world.doorward.command(&["explain", &id]);
            finished.stdout.contains(reason).then_some(finished.stdout)
        })
        .await;
        for words in [tool, scope, "A31"] {
            assert!(report.contains(words), "{words} in {report}");
        }
    }
}

/// The document `docs/scopes.md` shows a table and says what `config check` notes about it.
#[tokio::test]
async fn the_example_of_the_documentation_works() {
    let page = include_str!("../../../docs/scopes.md");
    let example = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    let up = Upstream::start();
    let text = example.replace("http://127.0.0.1:3001/mcp", &up.url());
    assert!(text.contains(&up.url()), "{text}");
    let doorward = Doorward::builder()
        .config(&text)
        .user("alice", PASSWORD)
        .start()
        .await;
    let file = doorward.config_file();
    let check = doorward
        .command(&["config", "check", "--config", file.to_str().unwrap()])
        .ok();
    assert!(!check.stdout.contains("note:"), "{}", check.stdout);
    let metadata = doorward
        .get("/.well-known/oauth-protected-resource/files/mcp")
        .send()
        .await
        .json();
    assert_eq!(metadata["scopes_supported"], json!(["files:read"]));
    let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
    let token = client
        .login("alice", PASSWORD, &doorward.url("/files/mcp"))
        .await
        .access;
    let call = async |tool: &str| {
        let call = mcp::call(&doorward, "/files/mcp", tool, &json!({}));
        call.bearer(&token).send().await
    };
    assert_eq!(mcp::text_of(&call("read_file").await), "read_file ok");
    for (tool, scope) in [("write_file", "files:write"), ("delete_file", "files:delete")] {
        let reply = call(tool).await;
        let challenge = reply
            .header("WWW-Authenticate")
            .unwrap_or_else(|| panic!("{}", reply.text()))
            .to_owned();
        assert!(challenge.contains(&format!("scope=\"{scope}\"")), "{challenge}");
    }
}
