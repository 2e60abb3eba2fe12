//! `doorward connect` between a host and a server of different eras (2026-07-28, "Backward Compatibility"): a scripted host on
//! its stdin and stdout, rmcp over Streamable HTTP behind it.

use std::time::Duration;

use doorward_testkit::client_home::{ClientHome, PATIENCE, Running};
use doorward_testkit::eventually;
use doorward_testkit::everything::serve::{Era, start_one_era};
use serde_json::{Value, json};

const META: &str = "io.modelcontextprotocol/";

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The bridge in front of a server of one era, and the home that it lives in.
fn connect(era: Era) -> (ClientHome, Running) {
    let home = ClientHome::new();
    let bridge = home.start_connect(&start_one_era(era).url(), &[]);
    (home, bridge)
}

/// What a client can be asked for.
fn asking() -> Value {
    json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} })
}

/// Waits for a message that the bridge writes of its own accord, the `nth` one that fits.
async fn written(bridge: &Running, what: &str, nth: usize, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, async || {
        bridge
            .messages()
            .into_iter()
            .filter(|message| fits(message))
            .nth(nth)
    })
    .await
}

/// What a host answers to a request of the server.
fn input(request: &Value) -> Value {
    match request["method"].as_str() {
        Some("elicitation/create") => {
            let content = json!({ "name": "Ann", "color": "red", "ok": true, "username": "ann", "email": "a@example.com" });
            json!({ "action": "accept", "content": content })
        }
        Some("sampling/createMessage") => {
            json!({ "role": "assistant", "content": { "type": "text", "text": "Paris" }, "model": "m" })
        }
        Some("roots/list") => json!({ "roots": [{ "uri": "file:///home/ann" }] }),
        other => panic!("no server asks a client for {other:?}"),
    }
}

fn text(answer: &Value) -> &str {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text in {answer}"))
}

/// A host of 2025-11-25 that has opened.
async fn legacy(capabilities: Value) -> (ClientHome, Running) {
    let (home, bridge) = connect(Era::Modern);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": { "name": "host", "version": "1" } });
    let answer = bridge.ask(&request(0, "initialize", params)).await;
    let result = &answer["result"];
    assert_eq!(
        result["protocolVersion"],
        "2025-11-25",
        "{answer}\n{}",
        bridge.stderr()
    );
    assert_eq!(result["serverInfo"]["name"], "doorward-everything");
    assert_eq!(result["capabilities"]["resources"]["subscribe"], true);
    assert!(
        result["capabilities"]["extensions"]
            .get("io.modelcontextprotocol/tasks")
            .is_none()
    );
    bridge.send(&notification("notifications/initialized", json!({})));
    (home, bridge)
}

/// Calls a tool as a legacy host, and answers whatever comes meanwhile. Also how often it was asked.
async fn legacy_call(bridge: &Running, id: i64, tool: &str) -> (Value, usize) {
    let before = bridge.messages().len();
    bridge.send(&request(
        id,
        "tools/call",
        json!({ "name": tool, "arguments": {} }),
    ));
    let mut asked = 0;
    loop {
        let message = eventually(tool, PATIENCE, async || {
            let news = bridge.messages().into_iter().skip(before);
            let mut mine = news.filter(|message| {
                message["id"] == id || (message.get("method").is_some() && message.get("id").is_some())
            });
            let answered = mine.clone().find(|message| message["id"] == id);
            answered.or_else(|| mine.nth(asked))
        })
        .await;
        if message["id"] == id {
            return (message, asked);
        }
        asked += 1;
        bridge.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": input(&message) }));
    }
}

#[tokio::test]
async fn a_legacy_host_uses_a_modern_server() {
    let (_home, bridge) = legacy(asking()).await;
    assert_eq!(
        bridge.ask(&request("p", "ping", json!({}))).await["result"],
        json!({})
    );
    let list = bridge.ask(&request(1, "tools/list", json!({}))).await;
    assert!(list["result"]["tools"].as_array().unwrap().len() > 10);
    for name in ["resultType", "ttlMs", "cacheScope"] {
        assert!(list["result"].get(name).is_none(), "{name}");
    }
    for (id, tool, expected, questions) in [
        (2, "test_input_required_result_elicitation", "Hello, Ann!", 1),
        (3, "test_input_required_result_sampling", "Paris", 1),
        (4, "test_input_required_result_list_roots", "file:///home/ann", 1),
        (5, "test_input_required_result_request_state", "state-ok", 1),
        (
            6,
            "test_input_required_result_multiple_inputs",
            "All inputs arrived.",
            3,
        ),
        (
            7,
            "test_input_required_result_multi_round",
            "Both rounds are over.",
            2,
        ),
        (
            8,
            "test_input_required_result_capabilities",
            "Nothing more to ask.",
            3,
        ),
    ] {
        let (answer, asked) = legacy_call(&bridge, id, tool).await;
        assert_eq!(text(&answer), expected, "{tool}");
        assert_eq!(asked, questions, "{tool}");
        assert!(answer["result"].get("resultType").is_none());
    }
    // The level goes with every request, and news come on its stream.
    let level = request(9, "logging/setLevel", json!({ "level": "info" }));
    assert_eq!(bridge.ask(&level).await["result"], json!({}));
    let (answer, _) = legacy_call(&bridge, 10, "test_tool_with_logging").await;
    assert_eq!(text(&answer), "Three lines were logged.");
    let logged = |message: &Value| message["method"] == "notifications/message";
    written(&bridge, "three lines", 2, logged).await;
    let params = json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": "P" } });
    bridge.ask(&request(11, "tools/call", params)).await;
    let progress = |message: &Value| message["method"] == "notifications/progress";
    assert_eq!(
        written(&bridge, "progress", 0, progress).await["params"]["progressToken"],
        "P"
    );
    let answer = bridge.ask(&request(12, "tasks/list", json!({}))).await;
    assert_eq!(answer["error"]["code"], -32601);
    bridge.close_stdin();
    assert_eq!(bridge.ended().await.code, 0);
}

#[tokio::test]
async fn a_legacy_host_hears_of_changes() {
    let (_home, bridge) = legacy(json!({})).await;
    let subscribe = request(
        1,
        "resources/subscribe",
        json!({ "uri": "test://watched-resource" }),
    );
    let answer = bridge.ask(&subscribe).await;
    assert!(
        answer.get("result").is_some() || answer["error"]["code"] == -32602,
        "{answer}"
    );
    let changed = |message: &Value| message["method"] == "notifications/tools/list_changed";
    // The stream of the session may just be taking another's place.
    for id in 2..20 {
        let call = request(
            id,
            "tools/call",
            json!({ "name": "test_trigger_tool_change", "arguments": {} }),
        );
        bridge.ask(&call).await;
        let heard = tokio::time::timeout(Duration::from_secs(2), written(&bridge, "news", 0, changed)).await;
        if let Ok(news) = heard {
            assert!(news["params"]["_meta"].is_null(), "{news}");
            return;
        }
    }
    panic!("nothing was heard of a change\n{}", bridge.stderr());
}

#[tokio::test]
async fn a_legacy_host_that_refuses_is_told_why_its_call_failed() {
    let (_home, bridge) = legacy(asking()).await;
    let call = request(
        1,
        "tools/call",
        json!({ "name": "test_input_required_result_elicitation", "arguments": {} }),
    );
    bridge.send(&call);
    let asked = written(&bridge, "a question", 0, |message| {
        message["method"] == "elicitation/create"
    })
    .await;
    let error = json!({ "code": -1, "message": "nobody is here" });
    bridge.send(&json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error }));
    let answer = bridge.answer(&json!(1)).await;
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(
        words.contains("elicitation/create") && words.contains("nobody is here"),
        "{words}"
    );
}

/// A request of 2026-07-28.
fn modern(id: impl Into<Value>, method: &str, mut params: Value, more: &Value) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "host", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": asking(),
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        meta[key] = value.clone();
    }
    params["_meta"] = meta;
    request(id, method, params)
}

#[tokio::test]
async fn a_modern_host_uses_a_legacy_server() {
    let (_home, bridge) = connect(Era::Legacy);
    let found = bridge
        .ask(&modern("d", "server/discover", json!({}), &json!({})))
        .await;
    let result = &found["result"];
    assert_eq!(
        result["supportedVersions"],
        json!(["2026-07-28"]),
        "{found}\n{}",
        bridge.stderr()
    );
    assert_eq!(
        result["_meta"][format!("{META}serverInfo")]["name"],
        "doorward-everything"
    );
    assert_eq!(result["resultType"], "complete");
    let list = bridge.ask(&modern(1, "tools/list", json!({}), &json!({}))).await;
    assert!(list["result"]["cacheScope"].is_string());
    assert!(list["result"]["ttlMs"].is_u64());
    for (id, tool, argument, expected) in [
        (10, "test_elicitation", "message", "\"username\":\"ann\""),
        (20, "test_sampling", "prompt", "Paris"),
    ] {
        let params = json!({ "name": tool, "arguments": { argument: "?" } });
        let asked = bridge
            .ask(&modern(id, "tools/call", params.clone(), &json!({})))
            .await;
        let result = &asked["result"];
        assert_eq!(
            result["resultType"],
            "input_required",
            "{asked}\n{}",
            bridge.stderr()
        );
        let questions = result["inputRequests"].as_object().unwrap();
        let (key, question) = questions.iter().next().unwrap();
        let mut again = params;
        again["requestState"] = result["requestState"].clone();
        again["inputResponses"] = json!({ key: input(question) });
        let done = bridge
            .ask(&modern(id + 1, "tools/call", again.clone(), &json!({})))
            .await;
        assert!(text(&done).contains(expected), "{done}");
        assert_eq!(done["result"]["resultType"], "complete");
        // What was answered is over.
        let over = bridge.ask(&modern(id + 2, "tools/call", again, &json!({}))).await;
        assert_eq!(over["error"]["code"], -32602, "{over}");
    }
    let level = json!({ "io.modelcontextprotocol/logLevel": "info" });
    let call = json!({ "name": "test_tool_with_logging", "arguments": {} });
    bridge.ask(&modern(30, "tools/call", call, &level)).await;
    written(&bridge, "three lines", 2, |message| {
        message["method"] == "notifications/message"
    })
    .await;
    let progress = json!({ "progressToken": "P" });
    let call = json!({ "name": "test_tool_with_progress", "arguments": {} });
    bridge.ask(&modern(31, "tools/call", call, &progress)).await;
    let is_progress = |message: &Value| message["method"] == "notifications/progress";
    assert_eq!(
        written(&bridge, "progress", 0, is_progress).await["params"]["progressToken"],
        "P"
    );
    for method in ["initialize", "ping", "logging/setLevel"] {
        let answer = bridge.ask(&modern(method, method, json!({}), &json!({}))).await;
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
    bridge.close_stdin();
    assert_eq!(bridge.ended().await.code, 0);
}

#[tokio::test]
async fn a_modern_host_listens_to_a_legacy_server() {
    let (_home, bridge) = connect(Era::Legacy);
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://watched-resource"] });
    bridge.send(&modern(
        "L",
        "subscriptions/listen",
        json!({ "notifications": filter }),
        &json!({}),
    ));
    let acknowledged = |message: &Value| message["method"] == "notifications/subscriptions/acknowledged";
    let told = written(&bridge, "the acknowledgement", 0, acknowledged).await;
    assert_eq!(told["params"]["_meta"][format!("{META}subscriptionId")], "L");
    assert_eq!(told["params"]["notifications"]["toolsListChanged"], true);
    bridge.send(&notification(
        "notifications/cancelled",
        json!({ "requestId": "L" }),
    ));
    let answer = bridge.ask(&modern(1, "tools/list", json!({}), &json!({}))).await;
    assert_eq!(answer["result"]["resultType"], "complete");
}
