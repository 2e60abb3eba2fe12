//! A host of 2026-07-28 in front of a server that wants an `initialize`.

mod questions;

use serde_json::{Value, json};

use super::{Did, Rig, cancelled, form, notification, request};

const META: &str = "io.modelcontextprotocol/";

fn meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "host", "version": "7" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

fn with_meta(id: impl Into<Value>, method: &str, mut params: Value, capabilities: &Value) -> Value {
    let mut meta = meta(capabilities);
    if let Some(more) = params.get("_meta").and_then(Value::as_object) {
        for (key, value) in more {
            meta[key] = value.clone();
        }
    }
    params["_meta"] = meta;
    request(id, method, params)
}

fn asking() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} })
}

fn initialized(version: &str) -> Value {
    json!({
        "protocolVersion": version,
        "capabilities": {
            "tools": { "listChanged": true }, "resources": { "subscribe": true }, "logging": {},
            "tasks": { "requests": { "tools": { "call": {} } } },
        },
        "serverInfo": { "name": "server", "version": "3" },
        "instructions": "be kind",
    })
}

/// An open session.
fn open(capabilities: &Value) -> Rig {
    let mut rig = Rig::modern_host();
    let opening = rig
        .host(with_meta("d", "server/discover", json!({}), capabilities))
        .sent();
    let did = rig.answer(&opening, initialized("2025-11-25"));
    assert_eq!(did.server.len(), 1);
    rig
}

fn call_of(id: impl Into<Value>, capabilities: &Value) -> Value {
    with_meta(
        id,
        "tools/call",
        json!({ "name": "t", "arguments": { "n": 1 } }),
        capabilities,
    )
}

/// A call that is under way: the server's request.
#[track_caller]
fn call(rig: &mut Rig, id: i64) -> Value {
    rig.host(call_of(id, &asking())).sent()
}

fn elicit(id: impl Into<Value>, message: &str) -> Value {
    request(id, "elicitation/create", form(message))
}

/// The host's second request for the same call.
fn again(id: i64, state: &Value, responses: Value) -> Value {
    let params =
        json!({ "name": "t", "arguments": { "n": 1 }, "requestState": state, "inputResponses": responses });
    with_meta(id, "tools/call", params, &asking())
}

fn key_of(result: &Value) -> String {
    result["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone()
}

fn content() -> Value {
    json!({ "content": [{ "type": "text", "text": "x" }] })
}

#[track_caller]
fn refused(did: Did, code: i64, words: &str) -> Value {
    let answer = did.told();
    assert_eq!(answer["error"]["code"], code, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
    answer["error"].clone()
}

#[test]
fn discover_is_answered_from_an_initialize() {
    let mut rig = Rig::modern_host();
    let capabilities = json!({ "roots": {}, "elicitation": {}, "extensions":
        { "io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": {} } });
    let opening = rig
        .host(with_meta("d", "server/discover", json!({}), &capabilities))
        .sent();
    assert_eq!(opening["method"], "initialize");
    assert_eq!(
        opening["params"],
        json!({ "protocolVersion": "2025-11-25", "clientInfo": { "name": "host", "version": "7" }, "capabilities":
            { "roots": {}, "elicitation": {}, "extensions": { "io.modelcontextprotocol/ui": {} } } })
    );
    // What comes meanwhile waits.
    rig.host(with_meta(2, "tools/list", json!({}), &capabilities))
        .nothing();
    let did = rig.answer(&opening, initialized("2025-06-18"));
    assert_eq!(
        did.server[0],
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
    );
    assert_eq!(did.server[1]["method"], "tools/list");
    assert_eq!(
        did.host[0]["result"],
        json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
            "capabilities": { "tools": { "listChanged": true }, "resources": { "subscribe": true }, "logging": {} },
            "instructions": "be kind",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "server", "version": "3" } } })
    );
    assert_eq!(
        rig.host(with_meta("e", "server/discover", json!({}), &capabilities))
            .told()["id"],
        "e"
    );
}

#[test]
fn a_server_that_cannot_be_opened_is_told_of() {
    let mut rig = Rig::modern_host();
    let opening = rig
        .host(with_meta(1, "server/discover", json!({}), &json!({})))
        .sent();
    rig.host(call_of(2, &json!({}))).nothing();
    let did = rig.fail(&opening, -32000, "closed on Sundays", Value::Null);
    assert_eq!(did.host.len(), 2);
    for answer in &did.host {
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("closed on Sundays"),
            "{answer}"
        );
    }
    let opening = rig.host(call_of(3, &json!({}))).sent();
    refused(
        rig.answer(&opening, initialized("2031-01-01")),
        -32603,
        "2031-01-01",
    );
    let opening = rig.host(call_of(4, &json!({}))).sent();
    refused(
        rig.answer(&opening, json!({ "protocolVersion": "2025-11-25" })),
        -32603,
        "capabilities",
    );
}

#[test]
fn metadata_is_required_as_the_specification_says() {
    let mut rig = open(&json!({}));
    refused(
        rig.host(request(1, "tools/list", json!({}))),
        -32602,
        "protocol version",
    );
    let mut other = call_of(2, &json!({}));
    other["params"]["_meta"][format!("{META}protocolVersion")] = "2027-01-01".into();
    let error = refused(rig.host(other), -32022, "2027-01-01");
    assert_eq!(
        error["data"],
        json!({ "supported": ["2026-07-28"], "requested": "2027-01-01" })
    );
    let mut other = call_of(3, &json!({}));
    other["params"]["_meta"]
        .as_object_mut()
        .unwrap()
        .remove(&format!("{META}clientCapabilities"));
    refused(rig.host(other), -32602, "client can do");
    let mut other = call_of(4, &json!({}));
    other["params"]["_meta"][format!("{META}logLevel")] = "loud".into();
    refused(rig.host(other), -32602, "log level");
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/get",
    ] {
        refused(
            rig.host(with_meta(method, method, json!({}), &json!({}))),
            -32601,
            method,
        );
    }
}

#[test]
fn requests_lose_the_metadata_and_results_get_it() {
    let mut rig = open(&json!({}));
    let params = json!({ "uri": "a:1", "_meta": { "progressToken": "p", "x": 1 } });
    let sent = rig
        .host(with_meta(1, "resources/read", params, &json!({})))
        .sent();
    assert_eq!(
        sent["params"],
        json!({ "uri": "a:1", "_meta": { "progressToken": "p", "x": 1 } })
    );
    let read = json!({ "contents": [{ "uri": "a:1", "text": "t" }] });
    let answer = rig.answer(&sent, read).told();
    assert_eq!(
        answer["result"],
        json!({ "contents": [{ "uri": "a:1", "text": "t" }], "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "server", "version": "3" } } })
    );
    let sent = rig.host(call_of(2, &json!({}))).sent();
    assert_eq!(sent["params"], json!({ "name": "t", "arguments": { "n": 1 } }));
    let answer = rig.answer(&sent, content()).told();
    assert_eq!(answer["result"]["resultType"], "complete");
    assert!(answer["result"].get("ttlMs").is_none());
}

#[test]
fn codes_that_mean_something_else_are_replaced() {
    let mut rig = open(&json!({}));
    for (theirs, ours, data) in [
        (-32002, -32602, json!({ "uri": "x" })),
        (-32022, -32603, json!({ "code": -32022, "data": { "uri": "x" } })),
        (-32042, -32603, json!({ "code": -32042, "data": { "uri": "x" } })),
        (-32001, -32001, json!({ "uri": "x" })),
        (7, 7, json!({ "uri": "x" })),
    ] {
        let sent = rig.host(with_meta(1, "tools/list", json!({}), &json!({}))).sent();
        let error = refused(
            rig.fail(&sent, theirs, "words", json!({ "uri": "x" })),
            ours,
            "words",
        );
        assert_eq!(error["data"], data);
    }
}

#[test]
fn other_capabilities_open_another_session_or_are_refused() {
    let mut rig = open(&json!({ "elicitation": {} }));
    let sent = rig.host(call_of(1, &json!({}))).sent();
    refused(
        rig.host(call_of(2, &json!({ "sampling": {} }))),
        -32600,
        "capabilities",
    );
    rig.answer(&sent, content()).told();
    let opening = rig.host(call_of(3, &json!({ "sampling": {} }))).sent();
    assert_eq!(opening["method"], "initialize");
    assert_eq!(opening["params"]["capabilities"], json!({ "sampling": {} }));
    let did = rig.answer(&opening, initialized("2025-11-25"));
    assert_eq!(did.server[1]["method"], "tools/call");
}

#[test]
fn levels_are_set_and_messages_reach_those_who_asked() {
    let mut rig = open(&json!({}));
    let message = |level: &str| notification("notifications/message", json!({ "level": level, "data": 1 }));
    let level = |id: i64, level: &str| {
        let meta = json!({ "io.modelcontextprotocol/logLevel": level });
        with_meta(
            id,
            "tools/call",
            json!({ "name": "t", "_meta": meta }),
            &json!({}),
        )
    };
    let plain = rig.host(call_of(1, &json!({}))).sent();
    rig.server_during(message("emergency"), Some(&plain)).nothing();
    let did = rig.host(level(2, "warning"));
    assert_eq!(did.server[0]["method"], "logging/setLevel");
    assert_eq!(did.server[0]["params"], json!({ "level": "warning" }));
    rig.answer(&did.server[0], json!({})).nothing();
    let asked = did.server[1].clone();
    rig.server_during(message("warning"), Some(&asked)).told();
    rig.server_during(message("info"), Some(&asked)).nothing();
    rig.server_during(message("error"), Some(&plain)).nothing();
    rig.server(message("error")).told();
    // Less is wanted: the server goes on as it is. More is wanted: it is told.
    assert_eq!(rig.host(level(3, "error")).sent()["method"], "tools/call");
    assert_eq!(
        rig.host(level(4, "debug")).server[0]["params"],
        json!({ "level": "debug" })
    );
    let steps = rig.adapter.renewed();
    assert_eq!(rig.take(steps).sent()["params"], json!({ "level": "debug" }));
}

#[test]
fn progress_goes_to_the_request_that_waits() {
    let mut rig = open(&asking());
    let with_token = |mut message: Value, token: &str| {
        message["params"]["_meta"]["progressToken"] = token.into();
        message
    };
    let progress = |n: i64| {
        notification(
            "notifications/progress",
            json!({ "progressToken": "a", "progress": n }),
        )
    };
    let sent = rig.host(with_token(call_of(1, &asking()), "a")).sent();
    assert_eq!(
        rig.server(progress(1)).told()["params"],
        json!({ "progressToken": "a", "progress": 1 })
    );
    let asked = rig.server_during(elicit(70, "?"), Some(&sent)).told();
    rig.server(progress(2)).nothing();
    let accept = json!({ key_of(&asked["result"]): { "action": "accept" } });
    rig.host(with_token(
        again(2, &asked["result"]["requestState"], accept),
        "b",
    ))
    .sent();
    assert_eq!(rig.server(progress(3)).told()["params"]["progressToken"], "b");
    let notice = rig.host(cancelled(2)).sent();
    assert_eq!(notice["params"]["requestId"], sent["id"]);
    rig.server(progress(4)).nothing();
    rig.answer(&sent, content()).nothing();
}

#[test]
fn a_listening_host_hears_what_it_asked_for() {
    let mut rig = open(&json!({}));
    let listen = |id: &str, filter: Value| {
        with_meta(
            id,
            "subscriptions/listen",
            json!({ "notifications": filter }),
            &json!({}),
        )
    };
    let all = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["a:1", "a:2"] });
    let did = rig.host(listen("L1", all));
    assert!(did.host.is_empty());
    let uris: Vec<_> = did
        .server
        .iter()
        .map(|message| message["params"]["uri"].clone())
        .collect();
    assert_eq!(uris, ["a:1", "a:2"]);
    // Nothing is told before the acknowledgement.
    rig.server(notification("notifications/tools/list_changed", json!({})))
        .nothing();
    rig.answer(&did.server[0], json!({})).nothing();
    let told = rig.fail(&did.server[1], -32602, "no", Value::Null).told();
    assert_eq!(
        told,
        notification(
            "notifications/subscriptions/acknowledged",
            json!({
            "notifications": { "toolsListChanged": true, "resourceSubscriptions": ["a:1"] },
            "_meta": { "io.modelcontextprotocol/subscriptionId": "L1" } })
        )
    );
    let second = rig
        .host(listen("L2", json!({ "resourceSubscriptions": ["a:1"] })))
        .told();
    assert_eq!(
        second["params"]["notifications"],
        json!({ "resourceSubscriptions": ["a:1"] })
    );
    let did = rig.server(notification(
        "notifications/resources/updated",
        json!({ "uri": "a:1/b" }),
    ));
    let ids: Vec<_> = did
        .host
        .iter()
        .map(|message| message["params"]["_meta"].to_string())
        .collect();
    assert!(ids[0].contains("L1") && ids[1].contains("L2"), "{ids:?}");
    let told = rig
        .server(notification("notifications/tools/list_changed", json!({})))
        .told();
    assert_eq!(told["params"]["_meta"][format!("{META}subscriptionId")], "L1");
    rig.server(notification("notifications/prompts/list_changed", json!({})))
        .nothing();
    rig.server(notification(
        "notifications/resources/updated",
        json!({ "uri": "b:1" }),
    ))
    .nothing();
    // In a new session everything is asked for again.
    let steps = rig.adapter.renewed();
    let again = rig.take(steps).sent();
    assert_eq!(again["params"], json!({ "uri": "a:1" }));
    rig.answer(&again, json!({})).nothing();
    rig.host(cancelled("L1")).nothing();
    let left = rig.host(cancelled("L2")).sent();
    assert_eq!(
        (&left["method"], &left["params"]["uri"]),
        (&json!("resources/unsubscribe"), &json!("a:1"))
    );
    refused(
        rig.host(listen("L3", json!({ "resourceSubscriptions": "a:1" }))),
        -32602,
        "resourceSubscriptions",
    );
}

#[test]
fn tools_that_run_only_as_tasks_are_waited_for() {
    let mut rig = open(&json!({}));
    let list = rig.host(with_meta(1, "tools/list", json!({}), &json!({}))).sent();
    let tool = json!({ "name": "t", "inputSchema": { "type": "object" }, "execution": { "taskSupport": "required" } });
    let told = rig.answer(&list, json!({ "tools": [tool] })).told();
    assert_eq!(
        told["result"]["tools"],
        json!([{ "name": "t", "inputSchema": { "type": "object" } }])
    );
    let sent = rig.host(call_of(2, &json!({}))).sent();
    assert_eq!(sent["params"]["task"], json!({}));
    let task =
        json!({ "taskId": "T", "status": "working", "createdAt": "x", "lastUpdatedAt": "x", "ttl": null });
    let wait = rig
        .server(json!({ "jsonrpc": "2.0", "id": sent["id"], "result": { "task": task } }))
        .sent();
    assert_eq!(
        (&wait["method"], &wait["params"]),
        (&json!("tasks/result"), &json!({ "taskId": "T" }))
    );
    let told = rig.answer(&wait, content()).told();
    assert_eq!(
        (&told["id"], &told["result"]["resultType"]),
        (&json!(2), &json!("complete"))
    );
    // Given up.
    let sent = rig.host(call_of(3, &json!({}))).sent();
    let task =
        json!({ "taskId": "U", "status": "working", "createdAt": "x", "lastUpdatedAt": "x", "ttl": null });
    rig.server(json!({ "jsonrpc": "2.0", "id": sent["id"], "result": { "task": task } }))
        .sent();
    let did = rig.host(cancelled(3));
    assert_eq!(did.server[0]["method"], "tasks/cancel");
    assert_eq!(did.server[0]["params"], json!({ "taskId": "U" }));
}
