//! Lists show what their reader may use, in both eras, in JSON and in streams, behind HTTP and behind commands (MB-13, MB-16).

use doorward_testkit::browser::Browser;
use doorward_testkit::http::{Reply, Request};
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter, with};
use doorward_testkit::upstream::{Answer, Part, Recorded, Upstream, event, library, library_in_events};
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::{Value, json};

const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");
/// Shows what could be granted.
pub(crate) const GRANTABLE: &str = "/grantable/mcp";
/// Shows what is.
pub(crate) const GRANTED: &str = "/granted/mcp";

/// Only the group `ops` may have `t:ops`, and nothing names `t_none`, `p_none` and `file:///none/*`.
pub(crate) const TABLE: &str = r#"
[servers.scopes."t:read"]
description = "Read"
tools = ["t_read"]
prompts = ["p_read"]
resources = ["file:///read/*"]
[servers.scopes."t:write"]
description = "Write"
tools = ["t_write"]
prompts = ["p_write"]
resources = ["file:///write/*"]
step_up = true
[servers.scopes."t:ops"]
description = "Operate"
tools = ["t_ops"]
prompts = ["p_ops"]
resources = ["file:///ops/*"]
methods = ["x/report"]
step_up = true
allow = ["group:ops"]
"#;

const NARROW: &str = "[[clients]]\nid = \"narrow\"\nname = \"Narrow\"\nredirect_uris = [\"http://127.0.0.1/cb\"]\n\
                      scopes = [\"t:read\"]\n";

/// One library behind two servers with the same table.
pub(crate) struct World {
    pub(crate) doorward: Doorward,
    pub(crate) up: Upstream,
}

pub(crate) fn config(up: &Upstream, table: &str) -> String {
    let server = |name: &str, path: &str, lists: &str| {
        format!(
            "[[servers]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"{}\"\n{lists}\n{table}\n",
            up.url()
        )
    };
    let (one, other) = (
        server("grantable", GRANTABLE, ""),
        server("granted", GRANTED, "lists = \"granted\""),
    );
    format!("{one}{other}{NARROW}")
}

impl World {
    pub(crate) async fn start() -> Self {
        let up = Upstream::scripted(library);
        let doorward = Doorward::builder()
            .config(&config(&up, TABLE))
            .user("alice", PASSWORD)
            .user("bob", PASSWORD)
            .user_in("olga", PASSWORD, &["ops"])
            .start()
            .await;
        Self { doorward, up }
    }

    pub(crate) async fn client(&self) -> OAuthClient {
        OAuthClient::register(&self.doorward, "N1", "http://127.0.0.1/cb").await
    }

    /// Tokens with all of these scopes that the user may give.
    pub(crate) async fn tokens(&self, client: &OAuthClient, user: &str, path: &str, scope: &str) -> Tokens {
        tokens(&self.doorward, client, user, path, scope).await
    }

    pub(crate) async fn token(&self, user: &str, path: &str, scope: &str) -> String {
        self.tokens(&self.client().await, user, path, scope).await.access
    }
}

async fn tokens(doorward: &Doorward, client: &OAuthClient, user: &str, path: &str, scope: &str) -> Tokens {
    let (mut browser, pkce, resource) = (Browser::new(doorward), Pkce::new(), doorward.url(path));
    let parameters = with(client.parameters(&pkce, &resource), "scope", Some(scope));
    let page = browser
        .sign_in(&client.url_with(&parameters), user, PASSWORD)
        .await;
    let mut form = page.consent_form();
    form.tick_all();
    let done = browser.submit(&page, &form, "approve").await;
    let callback = done
        .redirect()
        .unwrap_or_else(|| panic!("a redirect: {}", done.text()));
    let approved = Approved {
        code: parameter(&callback, "code").unwrap_or_else(|| panic!("a code: {callback}")),
        pkce,
        redirect_uri: client.redirect_uri.clone(),
        resource,
        callback,
    };
    Tokens::from_reply(&client.redeem(&approved).await)
}

/// A request of either era.
pub(crate) fn request(doorward: &Doorward, path: &str, modern: bool, method: &str, params: Value) -> Request {
    if modern {
        return mcp::modern(doorward, path, method, params);
    }
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    mcp::legacy(doorward, path, None, &message)
}

const LISTS: [(&str, &str, &str, &str); 4] = [
    ("tools/list", "tools", "name", "t_NAME"),
    ("prompts/list", "prompts", "name", "p_NAME"),
    ("resources/list", "resources", "uri", "file:///NAME/1"),
    (
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
        "file:///NAME/{x}",
    ),
];

/// Every item of a list, page by page; each page is looked at.
async fn all(
    doorward: &Doorward,
    (path, token, modern): (&str, &str, bool),
    (method, member): (&str, &str),
) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let params = cursor
            .take()
            .map_or(json!({}), |cursor: Value| json!({ "cursor": cursor }));
        let reply = request(doorward, path, modern, method, params)
            .bearer(token)
            .send()
            .await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        assert_eq!(reply.header("Cache-Control"), Some("no-store"), "{method}");
        let answer = mcp::answer(&reply);
        let result = &answer["result"];
        if modern {
            assert_eq!(result["cacheScope"], "private", "{answer}");
            assert!(
                result["ttlMs"].as_u64().is_some_and(|ttl| ttl <= 60_000),
                "{answer}"
            );
        }
        items.extend(
            result[member]
                .as_array()
                .unwrap_or_else(|| panic!("a list: {answer}"))
                .clone(),
        );
        match &result["nextCursor"] {
            Value::Null => return items,
            next => cursor = Some(next.clone()),
        }
    }
}

/// Looks at all four lists of one caller.
async fn shows(doorward: &Doorward, caller: (&str, &str, bool), names: &[&str]) {
    for (method, member, key, form) in LISTS {
        let items = all(doorward, caller, (method, member)).await;
        let mut shown: Vec<&str> = items.iter().filter_map(|item| item[key].as_str()).collect();
        let mut expected: Vec<String> = names.iter().map(|name| form.replace("NAME", name)).collect();
        shown.sort_unstable();
        expected.sort_unstable();
        assert_eq!(shown, expected, "{method} {caller:?}");
        for item in &items {
            // The same for everybody, whatever they hold.
            let name = item[key].as_str().unwrap();
            let scope = ["read", "write", "ops"]
                .into_iter()
                .find(|scope| name.contains(scope))
                .unwrap();
            let mark = &item["_meta"]["io.doorward/authorization"];
            assert_eq!(
                *mark,
                json!({ "required": true, "scopes": [format!("t:{scope}")] }),
                "{item}"
            );
            if member == "tools" {
                assert_eq!(
                    item["_meta"]["com.example/own"], name,
                    "the server's own stays: {item}"
                );
            }
        }
    }
}

#[tokio::test]
async fn mb_13_each_caller_sees_what_they_could_use_side_by_side() {
    let world = World::start().await;
    let doorward = &world.doorward;
    let everything = "t:read t:write t:ops";
    let alice = world.token("alice", GRANTABLE, "t:read").await;
    let olga = world.token("olga", GRANTABLE, "t:read").await;
    let narrow = OAuthClient {
        id: "narrow".into(),
        ..world.client().await
    };
    let alice_narrow = world.tokens(&narrow, "alice", GRANTABLE, everything).await.access;
    let alice_granted = world.token("alice", GRANTED, "t:read").await;
    let alice_wide = world.token("alice", GRANTED, everything).await;
    let olga_granted = world.token("olga", GRANTED, "t:ops").await;
    let scripts: [fn(&Recorded) -> Answer; 2] = [library, library_in_events];
    for script in scripts {
        world.up.script(script);
        for modern in [true, false] {
            let show = |path, token, names: &'static [&str]| shows(doorward, (path, token, modern), names);
            tokio::join!(
                show(GRANTABLE, &*alice, &["read", "write"]),
                show(GRANTABLE, &*olga, &["read", "write", "ops"]),
                show(GRANTABLE, &*alice_narrow, &["read"]),
                show(GRANTED, &*alice_granted, &["read"]),
                show(GRANTED, &*alice_wide, &["read", "write"]),
                show(GRANTED, &*olga_granted, &["ops"]),
            );
        }
    }
}

#[tokio::test]
async fn mb_13_a_page_without_anything_to_show_leads_on_to_the_next() {
    let world = World::start().await;
    let token = world.token("alice", GRANTABLE, "t:read").await;
    for modern in [true, false] {
        let page = async |cursor: &str| {
            let params = json!({ "cursor": cursor });
            let list = request(&world.doorward, GRANTABLE, modern, "tools/list", params);
            mcp::answer(&list.bearer(&token).send().await)
        };
        let empty = page("two").await;
        assert_eq!(empty["result"]["tools"], json!([]), "{empty}");
        assert_eq!(empty["result"]["nextCursor"], "three");
        let last = page("three").await;
        assert_eq!(last["result"]["tools"][0]["name"], "t_write");
        assert_eq!(last["result"].get("nextCursor"), None);
        // One that the server did not give shows nothing either: its own error passes as it is.
        let forged = page("t_none").await;
        assert_eq!(forged["error"]["code"], -32602, "{forged}");
        assert!(forged.get("result").is_none());
    }
}

#[tokio::test]
async fn mb_13_what_no_list_shows_is_denied_all_the_same() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    let before = world.up.requests().len();
    for modern in [true, false] {
        for hidden in ["write", "ops", "none"] {
            let (prompt, uri) = (format!("p_{hidden}"), format!("file:///{hidden}/1"));
            let template = format!("file:///{hidden}/{{x}}");
            let argument = json!({ "name": "x", "value": "" });
            let mut calls = vec![
                (
                    "tools/call",
                    json!({ "name": format!("t_{hidden}"), "arguments": {} }),
                ),
                ("prompts/get", json!({ "name": prompt })),
                ("resources/read", json!({ "uri": uri })),
                (
                    "completion/complete",
                    json!({ "ref": { "type": "ref/prompt", "name": prompt }, "argument": argument }),
                ),
                (
                    "completion/complete",
                    json!({ "ref": { "type": "ref/resource", "uri": template }, "argument": argument }),
                ),
            ];
            if !modern {
                calls.push(("resources/subscribe", json!({ "uri": uri })));
                calls.push(("resources/unsubscribe", json!({ "uri": uri })));
            }
            for (method, params) in calls {
                let call = request(&world.doorward, GRANTED, modern, method, params.clone());
                let reply = call.bearer(&token).send().await;
                assert_eq!(reply.status, 403, "{method} {params}: {}", reply.text());
            }
        }
    }
    assert_eq!(
        world.up.requests().len(),
        before,
        "nothing of it reached the server"
    );
    for (method, params) in [
        ("tools/call", json!({ "name": "t_read", "arguments": {} })),
        ("prompts/get", json!({ "name": "p_read" })),
        ("resources/read", json!({ "uri": "file:///read/1" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p_read" }, "argument": { "name": "x", "value": "" } }),
        ),
    ] {
        let call = request(&world.doorward, GRANTED, true, method, params);
        assert_eq!(call.bearer(&token).send().await.status, 200, "{method}");
    }
}

/// Answers that no careful reader takes for a list of tools.
const UNREADABLE: [&str; 8] = [
    r#"{"tools":[{"name":"t_read"}],"tools":[{"name":"t_none"}]}"#,
    r#"{"tools":[{"name":"t_read","name":"t_none"}]}"#,
    r#"{"tools":[{"name":"t_read"}],"Tools":[{"name":"t_none"}]}"#,
    r#"{"Tools":[{"name":"t_none"}]}"#,
    r#"{"tools":{"t_none":{}}}"#,
    r#"[{"name":"t_none"}]"#,
    r#"{"tools":[{"name":"t_none"},]}"#,
    r#"{"tools":[{"name":"t_none"}"#,
];

#[tokio::test]
async fn mb_13_a_list_that_cannot_be_read_never_passes() {
    let world = World::start().await;
    let token = world.token("alice", GRANTABLE, "t:read").await;
    for result in UNREADABLE {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let utf_16: Vec<u8> = message.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for body in [message.clone().into_bytes(), utf_16] {
            world
                .up
                .script(move |_| Answer::new(200, "application/json", body.clone()));
            for modern in [true, false] {
                let list = request(&world.doorward, GRANTABLE, modern, "tools/list", json!({}));
                let reply = list.bearer(&token).send().await;
                assert_eq!(reply.status, 502, "{result}: {}", reply.text());
                assert_eq!(reply.json()["error"]["data"]["reason"], "upstream_unreadable");
                assert!(!reply.text().contains("t_none"));
            }
        }
        let said = format!("data: {message}\n\ndata: {{}}\n\n").into_bytes();
        world
            .up
            .script(move |_| Answer::events(vec![Part::Bytes(said.clone())]));
        for modern in [true, false] {
            let list = request(&world.doorward, GRANTABLE, modern, "tools/list", json!({}));
            let heard = list.bearer(&token).try_send().await;
            assert!(
                heard.is_err(),
                "cut, so that nobody takes it for whole: {result} {heard:?}"
            );
        }
    }
}

/// A client, and whatever stands before it, may keep a list for a minute and for itself alone; we keep nothing.
#[tokio::test]
async fn x3_mb_16_nothing_is_kept_for_others_or_beyond_a_scope() {
    let world = World::start().await;
    let client = world.client().await;
    let wide = world.tokens(&client, "alice", GRANTED, "t:read t:write").await;
    let bob = world.token("bob", GRANTED, "t:read").await;
    let tools = async |token: &str| {
        let before = world.up.requests().len();
        let items = all(&world.doorward, (GRANTED, token, true), ("tools/list", "tools")).await;
        assert_eq!(
            world.up.requests().len(),
            before + 3,
            "the server is asked every time"
        );
        items.len()
    };
    let read = async |token: &str, uri: &str| -> Reply {
        let call = request(
            &world.doorward,
            GRANTED,
            true,
            "resources/read",
            json!({ "uri": uri }),
        );
        call.bearer(token).send().await
    };
    for _ in 0..2 {
        assert_eq!(tools(&wide.access).await, 2);
        assert_eq!(tools(&bob).await, 1);
    }
    let before = world.up.requests().len();
    for token in [&wide.access, &bob, &wide.access] {
        assert_eq!(read(token, "file:///read/1").await.status, 200);
    }
    assert_eq!(world.up.requests().len(), before + 3);
    assert_eq!(read(&wide.access, "file:///write/1").await.status, 200);
    // The same user and client with fewer scopes: what was answered a moment ago is no answer any more.
    let form = client.refresh_form(wide.refresh(), &world.doorward.url(GRANTED));
    let less = Tokens::from_reply(&client.token(&with(form, "scope", Some("t:read"))).await);
    assert_eq!(tools(&less.access).await, 1);
    let before = world.up.requests().len();
    assert_eq!(read(&less.access, "file:///write/1").await.status, 403);
    assert_eq!(world.up.requests().len(), before);
}

#[tokio::test]
async fn mb_13_lists_of_commands_are_filtered_in_both_eras() {
    const PATH: &str = "/command/mcp";
    let table = "[servers.scopes.\"t:read\"]\ndescription = \"Read\"\ntools = [\"t_read\"]\n\
                 [servers.scopes.\"t:ops\"]\ndescription = \"Operate\"\ntools = [\"t_pid\"]\nallow = [\"group:ops\"]\nstep_up = true\n";
    for modern in [true, false] {
        let era = if modern { "modern" } else { "legacy" };
        let server = format!(
            "[[servers]]\nname = \"command\"\npath = \"{PATH}\"\ncommand = [{SCRIPT:?}, \"{era}\"]\n{table}"
        );
        let doorward = Doorward::builder()
            .config(&server)
            .user("alice", PASSWORD)
            .user_in("olga", PASSWORD, &["ops"])
            .start()
            .await;
        let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
        for (user, shown, call) in [
            ("alice", &["t_read"][..], 403),
            ("olga", &["t_read", "t_pid"], 200),
        ] {
            let token = tokens(&doorward, &client, user, PATH, "t:read t:ops")
                .await
                .access;
            let session = match modern {
                true => None,
                false => {
                    let begun = mcp::legacy(&doorward, PATH, None, &mcp::initialize());
                    let begun = begun.bearer(&token).send().await;
                    Some(begun.header("Mcp-Session-Id").expect("a session").to_owned())
                }
            };
            let say = async |method: &str, params: Value| {
                let mut said = request(&doorward, PATH, modern, method, params);
                if let Some(session) = &session {
                    said = said.header("Mcp-Session-Id", session);
                }
                said.bearer(&token).send().await
            };
            let list = say("tools/list", json!({})).await;
            assert_eq!(list.status, 200, "{}", list.text());
            let list = mcp::answer(&list);
            let tools = list["result"]["tools"].as_array().unwrap();
            let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
            assert_eq!(names, shown, "{user} {era}");
            let pid = say("tools/call", json!({ "name": "t_pid", "arguments": {} })).await;
            assert_eq!(pid.status, call, "{user} {era}: {}", pid.text());
        }
    }
}

/// What comes on other streams than the list's own is filtered by its shape.
#[tokio::test]
async fn mb_13_a_list_that_comes_unasked_is_filtered_too() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    world.up.script(|request| {
        if request.method() != "GET" {
            return library(request);
        }
        let list = json!({ "jsonrpc": "2.0", "id": 9, "result": { "tools": [{ "name": "t_read" }, { "name": "t_none" }] } });
        Answer::events(vec![event(Some("1"), &list)])
    });
    let stream = world.doorward.get(GRANTED).bearer(&token);
    let stream = stream.header("Accept", "text/event-stream");
    let stream = stream.header("MCP-Protocol-Version", mcp::LEGACY).stream().await;
    let heard = String::from_utf8(stream.rest().await.unwrap().to_vec()).unwrap();
    assert!(heard.contains("t_read") && !heard.contains("t_none"), "{heard}");
}
