//! A host that opens with `initialize`, in front of a server of 2026-07-28.

mod subscriptions;

use serde_json::{Value, json};

use super::{Did, Rig, cancelled, form, notification, request};

const META: &str = "io.modelcontextprotocol/";

fn initialize(capabilities: &Value) -> Value {
    request(
        "hello",
        "initialize",
        json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "host", "version": "7" } }),
    )
}

fn discovered() -> Value {
    json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 5000, "cacheScope": "public",
        "capabilities": {
            "tools": { "listChanged": true }, "resources": { "subscribe": true, "listChanged": true },
            "prompts": {}, "logging": {}, "completions": {},
            "extensions": { "io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": { "a": 1 } },
        },
        "instructions": "be kind",
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "server", "version": "3" }, "x": 1 },
    })
}

fn everything() -> Value {
    json!({
        "roots": { "listChanged": true }, "sampling": { "tools": {} }, "elicitation": { "form": {}, "url": {} },
        "tasks": { "list": {} }, "experimental": { "e": {} },
    })
}

fn open(capabilities: &Value) -> Rig {
    let mut rig = Rig::legacy_host();
    let discover = rig.host(initialize(capabilities)).sent();
    rig.answer(&discover, discovered()).told();
    rig
}

/// A call that is under way: the server's request.
fn call(rig: &mut Rig, id: i64) -> Value {
    let params = json!({ "name": "t", "arguments": { "n": 1 }, "_meta": { "progressToken": id } });
    rig.host(request(id, "tools/call", params)).sent()
}

fn complete(text: &str) -> Value {
    json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] })
}

fn asks(inputs: Value, state: Option<&str>) -> Value {
    let mut result = json!({ "resultType": "input_required", "inputRequests": inputs });
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    result
}

#[track_caller]
fn refused(did: Did, code: i64, words: &str) {
    let answer = did.told();
    assert_eq!(answer["error"]["code"], code, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[test]
fn initialize_is_answered_from_discover() {
    let mut rig = Rig::legacy_host();
    let discover = rig.host(initialize(&everything())).sent();
    assert_eq!(discover["method"], "server/discover");
    let meta = &discover["params"]["_meta"];
    assert_eq!(meta[format!("{META}protocolVersion")], "2026-07-28");
    assert_eq!(
        meta[format!("{META}clientInfo")],
        json!({ "name": "host", "version": "7" })
    );
    assert_eq!(
        meta[format!("{META}clientCapabilities")],
        json!({ "roots": {}, "sampling": { "tools": {} }, "elicitation": { "form": {}, "url": {} },
            "experimental": { "e": {} } })
    );
    let answer = rig.answer(&discover, discovered()).told();
    assert_eq!(
        answer,
        json!({ "jsonrpc": "2.0", "id": "hello", "result": {
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "tools": { "listChanged": true }, "resources": { "subscribe": true, "listChanged": true },
                "prompts": {}, "logging": {}, "completions": {},
                "extensions": { "io.modelcontextprotocol/ui": { "a": 1 } },
            },
            "serverInfo": { "name": "server", "version": "3" },
            "instructions": "be kind",
            "_meta": { "x": 1 },
        }})
    );
}

#[test]
fn every_legacy_revision_is_agreed_to_and_others_get_the_latest() {
    for (asked, expected) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut rig = Rig::legacy_host();
        let mut hello = initialize(&json!({}));
        hello["params"]["protocolVersion"] = asked.into();
        let discover = rig.host(hello).sent();
        let answer = rig.answer(&discover, discovered()).told();
        assert_eq!(answer["result"]["protocolVersion"], expected, "{asked}");
    }
}

#[test]
fn a_server_without_a_name_is_called_by_its_host() {
    let mut rig = Rig::legacy_host();
    let discover = rig.host(initialize(&json!({}))).sent();
    let mut result = discovered();
    result.as_object_mut().unwrap().remove("_meta");
    let answer = rig.answer(&discover, result).told();
    assert_eq!(answer["result"]["serverInfo"]["name"], "mcp.example.com");
}

#[test]
fn a_server_of_other_revisions_is_refused_with_their_names() {
    let mut rig = Rig::legacy_host();
    let discover = rig.host(initialize(&json!({}))).sent();
    let data = json!({ "supported": ["2031-01-01"], "requested": "2026-07-28" });
    refused(rig.fail(&discover, -32022, "no", data), -32603, "2031-01-01");
    // The host may try once more.
    let discover = rig.host(initialize(&json!({}))).sent();
    let mut result = discovered();
    result["supportedVersions"] = json!(["2032-02-02"]);
    refused(rig.answer(&discover, result), -32603, "2032-02-02");
}

#[test]
fn what_comes_before_initialize_is_answered_or_refused() {
    let mut rig = Rig::legacy_host();
    assert_eq!(
        rig.host(request(1, "ping", json!({}))).told()["result"],
        json!({})
    );
    refused(
        rig.host(request(2, "tools/list", json!({}))),
        -32600,
        "initialize",
    );
    // Scripts write everything at once: what comes after `initialize` waits for its answer.
    let discover = rig.host(initialize(&json!({}))).sent();
    assert_eq!(rig.host(request(3, "ping", json!({}))).told()["id"], 3);
    rig.host(notification("notifications/initialized", json!({})))
        .nothing();
    rig.host(request(4, "tools/list", json!({}))).nothing();
    let did = rig.answer(&discover, discovered());
    assert_eq!(did.host.len(), 1);
    let methods: Vec<_> = did
        .server
        .iter()
        .map(|message| message["method"].clone())
        .collect();
    assert_eq!(methods, ["subscriptions/listen", "tools/list"]);
    refused(rig.host(initialize(&json!({}))), -32600, "initialize");
}

#[test]
fn requests_get_the_metadata_and_results_lose_it() {
    let mut rig = open(&json!({}));
    let sent = call(&mut rig, 5);
    let meta = sent["params"]["_meta"].as_object().unwrap();
    assert_eq!(meta["progressToken"], 5);
    assert_eq!(meta[&format!("{META}protocolVersion")], "2026-07-28");
    assert_eq!(meta[&format!("{META}clientCapabilities")], json!({}));
    assert!(!meta.contains_key(&format!("{META}logLevel")));
    assert_eq!(sent["params"]["arguments"], json!({ "n": 1 }));
    let mut result = complete("done");
    result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": { "name": "s", "version": "1" } });
    let answer = rig.answer(&sent, result).told();
    let content = json!([{ "type": "text", "text": "done" }]);
    assert_eq!(
        answer,
        json!({ "jsonrpc": "2.0", "id": 5, "result": { "content": content } })
    );

    let sent = rig
        .host(request("l", "tools/list", json!({ "cursor": "c" })))
        .sent();
    assert_eq!(sent["params"]["cursor"], "c");
    let tool =
        |schema: Value| json!({ "name": "t", "inputSchema": { "type": "object" }, "outputSchema": schema });
    let tools = json!([
        tool(json!({ "type": "array" })),
        tool(json!({ "type": "object" }))
    ]);
    let list = json!({ "resultType": "complete", "ttlMs": 1, "cacheScope": "public", "tools": tools, "nextCursor": "d" });
    let answer = rig.answer(&sent, list).told();
    assert_eq!(
        answer["result"],
        json!({ "tools": [{ "name": "t", "inputSchema": { "type": "object" } }, tool(json!({ "type": "object" }))],
            "nextCursor": "d" })
    );
}

#[test]
fn numbers_and_texts_keep_their_bytes() {
    let mut rig = open(&json!({}));
    let line = r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"t","arguments":{"n":123456789012345678901234567890,"f":1.10,"s":"\u0041"}}}"#;
    let steps = rig.adapter.host(&super::Message::read(line.into()).unwrap());
    let [super::Step::ToServer(sent)] = &steps[..] else {
        panic!("{steps:?}")
    };
    let sent = std::str::from_utf8(sent).unwrap();
    assert!(
        sent.contains(r#""arguments":{"n":123456789012345678901234567890,"f":1.10,"s":"\u0041"}"#),
        "{sent}"
    );
    let answer = br#"{"jsonrpc":"2.0","id":"doorward/2","result":{"resultType":"complete","content":[],"structuredContent":{"n":1e400}}}"#;
    let steps = rig
        .adapter
        .server(&super::Message::read(answer[..].into()).unwrap(), None);
    let [super::Step::ToHost(told)] = &steps[..] else {
        panic!("{steps:?}")
    };
    let told = std::str::from_utf8(told).unwrap();
    assert!(
        told.contains(r#""id":9007199254740993"#) && told.contains(r#"{"n":1e400}"#),
        "{told}"
    );
}

#[test]
fn content_that_the_hosts_revision_does_not_know_becomes_text() {
    let mut rig = open(&json!({}));
    let sent = call(&mut rig, 1);
    let mut result = complete("x");
    result["structuredContent"] = json!([1, 2]);
    let answer = rig.answer(&sent, result.clone()).told();
    assert_eq!(
        answer["result"]["content"][1],
        json!({ "type": "text", "text": "[1,2]" })
    );
    assert!(answer["result"].get("structuredContent").is_none());
    // Not twice, if the server wrote it as text already.
    let sent = call(&mut rig, 2);
    result["content"] = json!([{ "type": "text", "text": "[1, 2]" }]);
    let answer = rig.answer(&sent, result).told();
    assert_eq!(answer["result"]["content"].as_array().unwrap().len(), 1);

    let mut rig = Rig::legacy_host();
    let mut hello = initialize(&json!({}));
    hello["params"]["protocolVersion"] = "2025-03-26".into();
    let discover = rig.host(hello).sent();
    rig.answer(&discover, discovered()).told();
    let sent = call(&mut rig, 3);
    let link = json!({ "type": "resource_link", "name": "log", "uri": "file:///log" });
    let answer = rig
        .answer(&sent, json!({ "resultType": "complete", "content": [link] }))
        .told();
    assert_eq!(
        answer["result"]["content"],
        json!([{ "type": "text", "text": "log: file:///log" }])
    );
}

#[test]
fn inputs_are_asked_of_the_host_and_go_with_the_call_made_anew() {
    let mut rig = open(&everything());
    let first = call(&mut rig, 1);
    let inputs = json!({
        "who": { "method": "elicitation/create", "params": form("Who?") },
        "page": { "method": "elicitation/create",
            "params": { "mode": "url", "message": "Open", "url": "https://a.example/" } },
        "what": { "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 5 } },
        "where": { "method": "roots/list" },
    });
    let did = rig.answer(&first, asks(inputs, Some("st\u{e4}te")));
    assert!(did.server.is_empty());
    assert_eq!(did.host.len(), 4);
    let mut answers = json!({});
    let mut last = Did::default();
    for asked in &did.host {
        let (key, result) = match asked["params"]["message"].as_str() {
            Some("Who?") => ("who", json!({ "action": "accept", "content": { "name": "Ann" } })),
            Some("Open") => {
                assert!(asked["params"]["elicitationId"].is_string());
                ("page", json!({ "action": "accept" }))
            }
            _ if asked["method"] == "roots/list" => ("where", json!({ "roots": [] })),
            _ => {
                let content = json!({ "type": "text", "text": "x" });
                (
                    "what",
                    json!({ "role": "assistant", "content": content, "model": "m" }),
                )
            }
        };
        answers[key] = result.clone();
        assert!(last.server.is_empty());
        last = rig.host(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }));
    }
    let second = last.sent();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["params"]["inputResponses"], answers);
    assert_eq!(second["params"]["requestState"], "st\u{e4}te");
    assert_eq!(second["params"]["arguments"], json!({ "n": 1 }));
    // Another round, with a state and no question: made anew at once. Then one without a state.
    let third = rig
        .answer(
            &second,
            json!({ "resultType": "input_required", "requestState": "two" }),
        )
        .sent();
    assert_eq!(third["params"]["requestState"], "two");
    assert!(third["params"].get("inputResponses").is_none());
    let inputs = json!({ "again": { "method": "elicitation/create", "params": form("Sure?") } });
    let asked = rig.answer(&third, asks(inputs, None)).told();
    let fourth = rig
        .host(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "decline" } }))
        .sent();
    assert!(fourth["params"].get("requestState").is_none());
    assert_eq!(fourth["params"]["inputResponses"]["again"]["action"], "decline");
    assert_eq!(rig.answer(&fourth, complete("bye")).told()["id"], 1);
}

#[test]
fn inputs_that_cannot_be_had_end_the_call_in_words() {
    let mut rig = open(&json!({ "elicitation": {} }));
    let ask =
        |method: &str, params: Value| asks(json!({ "k": { "method": method, "params": params } }), None);
    let url = json!({ "mode": "url", "message": "m", "url": "https://a.example/" });
    for (result, words) in [
        (
            ask("roots/list", json!({})),
            "roots, which the host did not declare",
        ),
        (ask("elicitation/create", url), "elicitation.url"),
        (ask("ping", json!({})), "\"ping\""),
        (json!({ "resultType": "input_required" }), "names none"),
        (json!({ "resultType": "task", "task": {} }), "\"task\""),
        (json!({ "resultType": 1 }), "resultType"),
    ] {
        let sent = call(&mut rig, 1);
        refused(rig.answer(&sent, result), -32603, words);
    }
    // Not on a list.
    let sent = rig.host(request(2, "tools/list", json!({}))).sent();
    refused(
        rig.answer(&sent, ask("elicitation/create", form("m"))),
        -32603,
        "no answer to tools/list",
    );
    // The host refuses: the other question is taken back.
    let sent = call(&mut rig, 3);
    let question = json!({ "method": "elicitation/create", "params": form("m") });
    let did = rig.answer(&sent, asks(json!({ "a": question, "b": question }), None));
    let error = json!({ "code": -1, "message": "User said no" });
    let did = rig.host(json!({ "jsonrpc": "2.0", "id": did.host[0]["id"], "error": error }));
    assert_eq!(did.host[0]["method"], "notifications/cancelled");
    assert_eq!(
        (&did.host[1]["id"], &did.host[1]["error"]["code"]),
        (&json!(3), &json!(-32603))
    );
    assert!(
        did.host[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("User said no")
    );
}

#[test]
fn a_server_that_never_stops_asking_is_stopped() {
    let mut rig = open(&json!({}));
    let mut sent = call(&mut rig, 1);
    for _ in 0..32 {
        sent = rig
            .answer(
                &sent,
                json!({ "resultType": "input_required", "requestState": "x" }),
            )
            .sent();
    }
    let did = rig.answer(
        &sent,
        json!({ "resultType": "input_required", "requestState": "x" }),
    );
    refused(did, -32603, "more than 32 times");
}

#[test]
fn cancelling_ends_the_call_wherever_it_is() {
    let mut rig = open(&json!({ "elicitation": {} }));
    let sent = call(&mut rig, 1);
    let notice = rig.host(cancelled(1)).sent();
    assert_eq!(notice["params"]["requestId"], sent["id"]);
    rig.answer(&sent, complete("late")).nothing();
    let sent = call(&mut rig, 2);
    let inputs = json!({ "k": { "method": "elicitation/create", "params": form("m") } });
    let asked = rig.answer(&sent, asks(inputs, None)).told();
    let notice = rig.host(cancelled(2)).told();
    assert_eq!(notice["params"]["requestId"], asked["id"]);
    rig.host(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept" } }))
        .nothing();
    rig.host(cancelled(77)).nothing();
}

#[test]
fn logging_and_ping_have_their_counterparts() {
    let mut rig = open(&json!({}));
    assert_eq!(
        rig.host(request(1, "ping", json!({}))).told()["result"],
        json!({})
    );
    refused(
        rig.host(request(2, "logging/setLevel", json!({ "level": "loud" }))),
        -32602,
        "level",
    );
    assert_eq!(
        rig.host(request(3, "logging/setLevel", json!({ "level": "error" })))
            .told()["result"],
        json!({})
    );
    let sent = call(&mut rig, 4);
    assert_eq!(sent["params"]["_meta"][format!("{META}logLevel")], "error");
    let message = json!({ "level": "error", "data": 1 });
    let told = rig
        .server(notification("notifications/message", message.clone()))
        .told();
    assert_eq!(told["params"], message);
    let progress = |token: i64| {
        notification(
            "notifications/progress",
            json!({ "progressToken": token, "progress": 1 }),
        )
    };
    assert_eq!(rig.server(progress(4)).told()["params"]["progressToken"], 4);
    rig.server(progress(5)).nothing();
    rig.answer(&sent, complete("x")).told();
    rig.server(progress(4)).nothing();
}

#[test]
fn methods_without_a_counterpart_are_refused_in_words() {
    let mut rig = open(&json!({}));
    refused(rig.host(request(1, "tasks/list", json!({}))), -32601, "tasks");
    refused(
        rig.host(request(2, "server/discover", json!({}))),
        -32601,
        "revision",
    );
    refused(
        rig.host(json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": [] })),
        -32602,
        "params",
    );
    // A task that nobody offered is an ordinary call.
    let params = json!({ "name": "t", "task": { "ttl": 1 } });
    assert!(
        rig.host(request(4, "tools/call", params)).sent()["params"]
            .get("task")
            .is_none()
    );
    rig.host(notification("notifications/roots/list_changed", json!({})))
        .nothing();
    // Others are the server's to refuse.
    let sent = rig.host(request(5, "x/y", json!({}))).sent();
    refused(
        rig.fail(&sent, -32601, "no such method", Value::Null),
        -32601,
        "no such method",
    );
    let sent = call(&mut rig, 6);
    let data = json!({ "supported": ["2031-01-01"], "requested": "2026-07-28" });
    refused(
        rig.fail(&sent, -32022, "no", data),
        -32603,
        "start the bridge anew",
    );
}
