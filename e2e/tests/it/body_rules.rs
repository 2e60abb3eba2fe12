//! What a body says decides, whatever shape it has: no batch, notification, subscription, task, state, method or open stream
//! is a way around a scope table (MB-08, MB-12, MB-14, MB-18, MB-19).

use std::time::Duration;

use doorward_testkit::http::{Reply, Request, Streaming};
use doorward_testkit::upstream::{Answer, Part, Recorded, event, library};
use doorward_testkit::{eventually, marker, mcp};
use serde_json::{Value, json};

use crate::lists::{GRANTED, TABLE, World, config, request};

/// Far beyond the five seconds that the rule names: this machine may be busy.
const SOON: Duration = Duration::from_secs(60);
const REVISIONS: [&str; 4] = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"];

fn reason(reply: &Reply) -> Value {
    reply.json()["error"]["data"]["reason"].clone()
}

fn code(reply: &Reply) -> Value {
    reply.json()["error"]["code"].clone()
}

/// A POST of this body in this revision, with the headers of a call of `t_read`.
fn post(world: &World, token: &str, revision: &str, body: &str) -> Request {
    let request = world.doorward.post(GRANTED).bearer(token);
    let request = request
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("MCP-Protocol-Version", revision);
    let request = match revision == mcp::MODERN {
        true => request
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", "t_read"),
        false => request,
    };
    request.body(body.to_owned())
}

#[tokio::test]
async fn mb_08_no_batch_carries_a_call_in_whatever_revision() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    let mark = marker();
    let call = |name: &str| {
        let params = json!({ "name": name, "arguments": { "m": mark }, "_meta": mcp::meta() });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })
    };
    let batches = [
        json!([call("t_read"), call("t_ops")]),
        json!([call("t_read")]),
        json!([]),
        json!([[call("t_read")]]),
        json!([{ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": mark } }]),
        Value::Array(vec![
            json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": { "m": mark } });
            10_000
        ]),
    ];
    for batch in &batches {
        for revision in REVISIONS {
            let reply = post(&world, &token, revision, &batch.to_string()).send().await;
            assert_eq!(
                (reply.status, reason(&reply)),
                (400, json!("body_batch")),
                "{revision}"
            );
        }
    }
    world.up.assert_never_saw(&mark);
}

#[tokio::test]
async fn mb_14_what_has_no_id_is_no_way_in() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    let mark = marker();
    for modern in [true, false] {
        for (method, params) in [
            (
                "tools/call",
                json!({ "name": "t_ops", "arguments": { "m": mark } }),
            ),
            (
                "tools/call",
                json!({ "name": "t_read", "arguments": { "m": mark } }),
            ),
            ("x/report", json!({ "m": mark })),
            ("notifications/of-our-own", json!({ "m": mark })),
        ] {
            let call = request(&world.doorward, GRANTED, modern, method, params);
            let mut message: Value = serde_json::from_slice(call.body_bytes()).unwrap();
            message.as_object_mut().unwrap().remove("id");
            let reply = call.json(&message).bearer(&token).send().await;
            assert!((400..500).contains(&reply.status), "{method}: {}", reply.text());
        }
    }
    world.up.assert_never_saw(&mark);
    // Those that there are need no scope, and say nothing about any object.
    let cancelled =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
    let note = mcp::legacy(&world.doorward, GRANTED, None, &cancelled);
    assert_eq!(note.bearer(&token).send().await.status, 202);
}

#[tokio::test]
async fn mb_12_only_the_very_name_is_a_name() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    let mark = marker();
    for (name, statuses) in [
        ("T_READ", [403, 403]),
        ("t_Read", [403, 403]),
        ("t_read.", [403, 403]),
        ("t_read ", [400, 400]),
        (" t_read", [400, 400]),
        ("ｔ_read", [400, 400]),
        ("t_re\u{200d}ad", [400, 400]),
        ("t_r\u{435}ad", [400, 400]),
        ("t_read\u{0}", [400, 400]),
    ] {
        for (modern, status) in [true, false].into_iter().zip(statuses) {
            let params = json!({ "name": name, "arguments": { "m": mark } });
            let call = request(&world.doorward, GRANTED, false, "tools/call", params.clone());
            let call = match modern {
                false => call,
                true => {
                    let mut params = params;
                    params["_meta"] = mcp::meta();
                    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
                    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, name);
                    call.set("MCP-Protocol-Version", mcp::MODERN)
                        .header("Mcp-Method", "tools/call")
                        .header("Mcp-Name", &format!("=?base64?{encoded}?="))
                        .json(&body)
                }
            };
            let reply = call.bearer(&token).send().await;
            assert_eq!(reply.status, status, "{name:?} {modern}: {}", reply.text());
        }
    }
    world.up.assert_never_saw(&mark);
}

/// SDKs resolve a URI before they look for what it names, and file servers decode it (RFC 3986 §6).
#[tokio::test]
async fn mb_12_a_uri_opens_what_it_says_in_every_form() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    let before = world.up.requests().len();
    for (uri, status) in [
        ("file:///read/../ops/1", 400),
        ("file:///read/%2e%2E/ops/1", 400),
        ("file:///read/..%2fops/1", 400),
        (r"file:///read\..\ops/1", 400),
        ("file:///read/ /1", 400),
        ("FILE:///read/1", 403),
        ("file:///READ/1", 403),
        ("file:///%6fps/1", 403),
        ("file:////ops/1", 403),
    ] {
        for modern in [true, false] {
            let reference = json!({ "ref": { "type": "ref/resource", "uri": uri }, "argument": { "name": "x", "value": "" } });
            let mut calls = vec![
                ("resources/read", json!({ "uri": uri })),
                ("completion/complete", reference),
            ];
            if !modern {
                calls.push(("resources/subscribe", json!({ "uri": uri })));
            }
            for (method, params) in calls {
                let call = request(&world.doorward, GRANTED, modern, method, params);
                let reply = call.bearer(&token).send().await;
                assert_eq!(reply.status, status, "{method} {uri}: {}", reply.text());
            }
        }
    }
    assert_eq!(world.up.requests().len(), before);
    let call = request(
        &world.doorward,
        GRANTED,
        true,
        "resources/read",
        json!({ "uri": "file:///read/%41.x" }),
    );
    assert_eq!(call.bearer(&token).send().await.status, 200);
}

#[tokio::test]
async fn mb_14_methods_are_opened_by_name_alone() {
    let world = World::start().await;
    let alice = world.token("alice", GRANTED, "t:read").await;
    let olga = world.token("olga", GRANTED, "t:read").await;
    let olga_ops = world.token("olga", GRANTED, "t:ops").await;
    let mark = marker();
    let say = async |modern: bool, method: &str, token: &str| {
        let params = json!({ "name": "t_read", "m": mark });
        let call = request(&world.doorward, GRANTED, modern, method, params);
        call.without("Mcp-Name").bearer(token).send().await
    };
    for modern in [true, false] {
        let unknown = if modern { 404 } else { 400 };
        for method in [
            "x/admin",
            "X/report",
            "x/report/",
            "tools/Call",
            "tools/call2",
            "rpc.discover",
        ] {
            let reply = say(modern, method, &olga_ops).await;
            assert_eq!((reply.status, code(&reply)), (unknown, json!(-32601)), "{method}");
        }
        let refused = say(modern, "x/report", &alice).await;
        assert_eq!(
            (refused.status, reason(&refused)),
            (403, json!("scope_not_for_user"))
        );
        let challenged = say(modern, "x/report", &olga).await;
        assert_eq!(
            (challenged.status, reason(&challenged)),
            (403, json!("insufficient_scope"))
        );
        assert!(
            challenged
                .header("WWW-Authenticate")
                .is_some_and(|line| line.contains("t:ops"))
        );
        world.up.assert_never_saw(&mark);
        assert_eq!(say(modern, "x/report", &olga_ops).await.status, 200);
        let _ = world.up.take();
    }
}

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A request about a task, from a client that knows tasks.
fn about(world: &World, modern: bool, method: &str, task: &str) -> Request {
    let call = request(
        &world.doorward,
        GRANTED,
        modern,
        method,
        json!({ "taskId": task }),
    );
    if !modern {
        return call;
    }
    let mut message: Value = serde_json::from_slice(call.body_bytes()).unwrap();
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({ "extensions": { TASKS: {} } });
    call.json(&message).header("Mcp-Name", task)
}

/// A call that becomes this task.
async fn begin(world: &World, modern: bool, token: &str, tool: &str, task: &str) {
    let mut params = json!({ "name": tool, "arguments": { "task": task } });
    if !modern {
        params["task"] = json!({ "ttl": 60_000 });
    }
    let call = request(&world.doorward, GRANTED, modern, "tools/call", params);
    let reply = call.bearer(token).send().await;
    assert!(
        reply.status == 200 && reply.text().contains(task),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn mb_14_a_task_is_for_whom_it_was_made_and_as_free_as_its_tool() {
    let world = World::start().await;
    let client = world.client().await;
    let wide = world.tokens(&client, "alice", GRANTED, "t:read t:write").await;
    let (alice, bob) = (&wide.access, world.token("bob", GRANTED, "t:read t:write").await);
    for modern in [true, false] {
        let unknown = if modern { 404 } else { 400 };
        let methods: &[&str] = match modern {
            true => &["tasks/get", "tasks/update", "tasks/cancel"],
            false => &["tasks/get", "tasks/result", "tasks/cancel"],
        };
        begin(&world, modern, alice, "t_read", "of-alice").await;
        begin(&world, modern, &bob, "t_read", "of-bob").await;
        begin(&world, modern, alice, "t_write", "written").await;
        let before = world.up.requests().len();
        for method in methods {
            for (token, task) in [
                (&bob, "of-alice"),
                (alice, "of-bob"),
                (alice, "nobodys"),
                (&bob, "written"),
            ] {
                let reply = about(&world, modern, method, task).bearer(token).send().await;
                assert_eq!(
                    (reply.status, reason(&reply)),
                    (unknown, json!("unknown_task")),
                    "{method} {task}"
                );
            }
        }
        assert_eq!(world.up.requests().len(), before);
        for (token, task) in [(alice, "of-alice"), (alice, "written"), (&bob, "of-bob")] {
            let reply = about(&world, modern, "tasks/get", task)
                .bearer(token)
                .send()
                .await;
            assert_eq!(reply.status, 200, "{task}: {}", reply.text());
        }
    }
    // Without the scope of the tool there is no looking after what it does.
    let resource = world.doorward.url(GRANTED);
    let mut form = client.refresh_form(wide.refresh(), &resource);
    form.push(("scope".into(), "t:read".into()));
    let less = doorward_testkit::oauth::Tokens::from_reply(&client.token(&form).await).access;
    for modern in [true, false] {
        let reply = about(&world, modern, "tasks/get", "written")
            .bearer(&less)
            .send()
            .await;
        assert_eq!((reply.status, reason(&reply)), (403, json!("insufficient_scope")));
        let reply = about(&world, modern, "tasks/get", "of-alice")
            .bearer(&less)
            .send()
            .await;
        assert_eq!(reply.status, 200);
    }
    for (token, shown) in [(&less, "of-alice"), (&bob, "of-bob")] {
        let list = request(&world.doorward, GRANTED, false, "tasks/list", json!({}));
        let list = mcp::answer(&list.bearer(token).send().await);
        let tasks = list["result"]["tasks"].as_array().unwrap();
        let ids: Vec<_> = tasks.iter().map(|task| &task["taskId"]).collect();
        assert_eq!(ids, [shown], "{list}");
    }
}

#[tokio::test]
async fn mb_18_a_request_state_goes_back_with_its_own_call_alone() {
    let world = World::start().await;
    let alice = world.token("alice", GRANTED, "t:read t:write").await;
    let bob = world.token("bob", GRANTED, "t:read t:write").await;
    let call = async |token: &str, tool: &str, more: Value| {
        let mut params = json!({ "name": tool, "arguments": { "state": "secret-1" } });
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let call = request(&world.doorward, GRANTED, true, "tools/call", params);
        call.bearer(token).send().await
    };
    let unknown = call(&alice, "t_read", json!({ "requestState": "secret-1" })).await;
    assert_eq!(
        (unknown.status, reason(&unknown)),
        (400, json!("unknown_request_state"))
    );
    let asked = call(&alice, "t_read", json!({})).await;
    assert_eq!(asked.json()["result"]["requestState"], "secret-1");
    let before = world.up.requests().len();
    for (token, tool, state) in [
        (&bob, "t_read", "secret-1"),
        (&alice, "t_write", "secret-1"),
        (&alice, "t_read", "secret-0"),
        (&alice, "t_read", "Secret-1"),
        (&alice, "t_read", ""),
    ] {
        let reply = call(token, tool, json!({ "requestState": state })).await;
        assert_eq!(
            (reply.status, reason(&reply)),
            (400, json!("unknown_request_state")),
            "{tool} {state}"
        );
    }
    let reply = call(&alice, "t_read", json!({ "requestState": { "secret": 1 } })).await;
    assert_eq!((reply.status, code(&reply)), (400, json!(-32602)));
    assert_eq!(world.up.requests().len(), before);
    // A client that lost the answer sends it again: whether it counts twice, the server itself knows.
    for _ in 0..2 {
        let reply = call(&alice, "t_read", json!({ "requestState": "secret-1" })).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// Acknowledges what it was asked for, and tells of resources whether they were asked for or not, again and again.
fn talkative(request: &Recorded) -> Answer {
    let body = request.json();
    let listening = body["method"] == "subscriptions/listen";
    if !listening && request.method() != "GET" {
        return library(request);
    }
    let agreed = &body["params"]["notifications"];
    let acknowledged = json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": { "notifications": agreed } });
    let updated = |uri: &str| {
        let news = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } });
        format!("data: {news}\n\n")
    };
    let news = [
        "file:///ops/1",
        "file:///read/../ops/1",
        "file:///write/1",
        "file:///read/1",
    ]
    .map(updated)
    .concat();
    let mut parts = vec![Part::Repeat(news.into_bytes(), Duration::from_millis(200))];
    if listening {
        parts.insert(0, event(None, &acknowledged));
    }
    Answer::events(parts)
}

async fn listen(world: &World, token: &str) -> Streaming {
    let wanted = json!({ "toolsListChanged": true,
        "resourceSubscriptions": ["file:///ops/1", "file:///read/1", "file:///write/1"] });
    let params = json!({ "notifications": wanted });
    let listen = request(&world.doorward, GRANTED, true, "subscriptions/listen", params);
    let stream = listen.bearer(token).stream().await;
    assert_eq!(stream.status, 200);
    stream
}

async fn next(stream: &mut Streaming) -> Option<Value> {
    let event = tokio::time::timeout(SOON, stream.event())
        .await
        .expect("something happens");
    event.map(|event| serde_json::from_str(&event.data).unwrap())
}

/// Hears news of nothing but `file:///read/1`, a few times.
async fn hears_of_its_own(stream: &mut Streaming) {
    for _ in 0..5 {
        let news = next(stream).await.expect("news");
        assert_eq!(news["method"], "notifications/resources/updated", "{news}");
        assert_eq!(news["params"]["uri"], "file:///read/1");
    }
}

/// The rest of a stream that was ended on purpose: more news of its own that were on the way, the completion of a
/// subscription, and nothing after it.
async fn ends(mut stream: Streaming, completed: bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    let mut last = Value::Null;
    while let Some(message) = next(&mut stream).await {
        assert!(tokio::time::Instant::now() < deadline, "it goes on");
        assert!(
            last.get("result").is_none(),
            "nothing comes after the end: {message}"
        );
        last = message;
    }
    assert_eq!(last["result"]["resultType"] == "complete", completed, "{last}");
}

#[tokio::test]
async fn mb_19_a_subscription_is_cut_and_ends_with_its_grant_or_its_table() {
    let world = World::start().await;
    world.up.script(talkative);
    let client = world.client().await;
    let revoked = world.tokens(&client, "alice", GRANTED, "t:read").await;
    let bob = world.token("bob", GRANTED, "t:read").await;
    let mut streams = Vec::new();
    for token in [&revoked.access, &bob] {
        let mut stream = listen(&world, token).await;
        let first = next(&mut stream).await.expect("an acknowledgement");
        let agreed = &first["params"]["notifications"];
        assert_eq!(
            agreed["resourceSubscriptions"],
            json!(["file:///read/1"]),
            "{first}"
        );
        assert_eq!(agreed["toolsListChanged"], true);
        hears_of_its_own(&mut stream).await;
        streams.push(stream);
    }
    let [first, mut second] = <[_; 2]>::try_from(streams).ok().unwrap();
    // The grant ends: so does its stream, and no other.
    let form = [("token", revoked.refresh()), ("client_id", &*client.id)];
    assert_eq!(
        world.doorward.post("/revoke").form(&form).send().await.status,
        200
    );
    ends(first, true).await;
    hears_of_its_own(&mut second).await;
    // The table no longer opens what it listens to.
    reload(&world, &TABLE.replace("file:///read/*", "file:///other/*")).await;
    ends(second, true).await;
    eventually("the upstream's streams end", SOON, || async {
        (world.up.hanging() == 0).then_some(())
    })
    .await;
    // Whoever asks now hears of nothing.
    let mut stream = listen(&world, &bob).await;
    let first = next(&mut stream).await.expect("an acknowledgement");
    assert_eq!(
        first["params"]["notifications"]["resourceSubscriptions"],
        json!([])
    );
    let news = tokio::time::timeout(Duration::from_secs(2), stream.event()).await;
    assert!(news.is_err(), "{news:?}");
}

#[tokio::test]
async fn mb_19_streams_of_older_revisions_tell_of_nothing_else_either() {
    let world = World::start().await;
    world.up.script(talkative);
    let token = world.token("alice", GRANTED, "t:read").await;
    let get = world.doorward.get(GRANTED).bearer(&token);
    let get = get
        .header("Accept", "text/event-stream")
        .header("MCP-Protocol-Version", mcp::LEGACY);
    let mut stream = get.stream().await;
    assert_eq!(stream.status, 200);
    hears_of_its_own(&mut stream).await;
    // The same stream under another table: it is not ended, since it asks for nothing, and tells of what that opens.
    let other = TABLE
        .replace("file:///write/*", "file:///other/*")
        .replace("file:///read/*", "file:///write/*");
    reload(&world, &other).await;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let news = next(&mut stream).await.expect("news");
        let uri = news["params"]["uri"].as_str().unwrap().to_owned();
        assert!(["file:///read/1", "file:///write/1"].contains(&&*uri), "{uri}");
        if uri == "file:///write/1" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "still the old table");
    }
}

/// A call whose answer is still coming when its tool is taken away.
#[tokio::test]
async fn mb_19_an_answer_that_outlives_its_scope_is_cut() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    world.up.script(|request| {
        if request.json()["method"] != "tools/call" {
            return library(request);
        }
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": 1 } });
        Answer::events(vec![event(None, &note), Part::Hang])
    });
    let call = mcp::call(&world.doorward, GRANTED, "t_read", &json!({}));
    let mut stream = call.bearer(&token).stream().await;
    assert!(next(&mut stream).await.is_some());
    reload(&world, &TABLE.replace("\"t_read\"", "\"t_other\"")).await;
    ends(stream, false).await;
    let refused = mcp::call(&world.doorward, GRANTED, "t_read", &json!({}))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(
        (refused.status, reason(&refused)),
        (403, json!("no_scope_opens_it"))
    );
}

async fn reload(world: &World, table: &str) {
    let told = || world.doorward.stderr().matches("configuration reloaded").count();
    let before = told();
    std::fs::write(world.doorward.config_file(), config(&world.up, table)).unwrap();
    world.doorward.hang_up();
    eventually("the configuration is read again", SOON, || async {
        (told() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn mb_14_methods_of_http_that_mcp_does_not_use_reach_nobody() {
    let world = World::start().await;
    let token = world.token("alice", GRANTED, "t:read").await;
    let before = world.up.requests().len();
    for method in ["HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "QUERY"] {
        let request = world.doorward.request(method, GRANTED).bearer(&token);
        let request = request.header("Accept", "application/json, text/event-stream");
        let request = request.header("MCP-Protocol-Version", mcp::LEGACY);
        let reply = request.send().await;
        assert_eq!(reply.status, 405, "{method}: {}", reply.text());
        assert_eq!(reply.header("Allow"), Some("POST, GET, DELETE"), "{method}");
        assert_eq!(reply.body.is_empty(), method == "HEAD", "{method}");
    }
    let reply = world.doorward.request("HEAD", GRANTED).send().await;
    assert_eq!((reply.status, reply.body.len()), (401, 0));
    assert_eq!(world.up.requests().len(), before);
}
