//! What is said to the servers.

use doorward_testkit::mcp;
use serde_json::{Value, json};

/// Text that a careless reader or writer of JSON changes.
const AWKWARD: &str = "Zoë \u{2028}\u{2029}\u{85} \u{1F600} \" \\ / \n\r\t \u{7f} </script> %0a";

#[derive(Debug)]
pub(super) enum Step {
    /// A line without an answer, or one that is waited for later.
    Send(String),
    /// A line, and its answer is waited for.
    Ask(String),
    /// So many messages of the server with this method have come.
    Come(&'static str, usize),
}

impl Step {
    pub(super) fn is_done(&self, messages: &[Value]) -> bool {
        match self {
            Self::Send(_) => true,
            Self::Ask(line) => {
                let asked: Value = serde_json::from_str(line).expect("JSON");
                messages
                    .iter()
                    .any(|message| message["id"] == asked["id"] && message.get("method").is_none())
            }
            Self::Come(method, count) => {
                messages
                    .iter()
                    .filter(|message| message["method"] == *method)
                    .count()
                    >= *count
            }
        }
    }
}

/// What a host answers when a server asks it.
pub(super) fn answer(question: &Value) -> Value {
    let result = match question["method"].as_str().unwrap_or_default() {
        "sampling/createMessage" => {
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": AWKWARD } })
        }
        "elicitation/create" => {
            json!({ "action": "accept", "content": { "name": "n", "username": "u", "email": "e@example.com" } })
        }
        "roots/list" => json!({ "roots": [{ "uri": "file:///work", "name": "work" }] }),
        _ => json!({}),
    };
    json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
}

fn notification(method: &str, params: Option<Value>) -> Step {
    let mut message = json!({ "jsonrpc": "2.0", "method": method });
    if let Some(params) = params {
        message["params"] = params;
    }
    Step::Send(message.to_string())
}

/// Requests with ids that count, the third of them a text.
fn requests(all: Vec<(&str, Value)>) -> impl Iterator<Item = Step> {
    all.into_iter().enumerate().map(|(number, (method, params))| {
        let id = match number {
            2 => json!(AWKWARD),
            _ => json!(number + 100),
        };
        Step::Ask(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string())
    })
}

fn tool(name: &str, arguments: Value) -> (&'static str, Value) {
    ("tools/call", json!({ "name": name, "arguments": arguments }))
}

fn with_progress(name: &str, arguments: Value, token: Value) -> (&'static str, Value) {
    let mut params = json!({ "name": name, "arguments": arguments });
    params["_meta"] = json!({ "progressToken": token });
    ("tools/call", params)
}

fn greeting() -> [Step; 2] {
    let capabilities =
        json!({ "sampling": {}, "elicitation": { "form": {} }, "roots": { "listChanged": true } });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": { "name": "h", "version": "1" } });
    [
        Step::Ask(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string()),
        notification("notifications/initialized", None),
    ]
}

/// The server that the protocol's own repository has.
pub(super) fn official_server() -> Vec<Step> {
    let completion = json!({ "ref": { "type": "ref/prompt", "name": "completable-prompt" },
        "argument": { "name": "department", "value": "E" } });
    let asked = requests(vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("ping", json!({})),
        ("logging/setLevel", json!({ "level": "error" })),
        tool("echo", json!({ "message": AWKWARD })),
        tool("get-sum", json!({ "a": 1.50, "b": 2e3 })),
        tool("get-env", json!({})),
        tool("get-tiny-image", json!({})),
        tool("get-structured-content", json!({ "location": "Chicago" })),
        tool(
            "get-annotated-message",
            json!({ "messageType": "debug", "includeImage": true }),
        ),
        tool("get-resource-links", json!({ "count": 3 })),
        tool("get-roots-list", json!({})),
        tool("echo", json!({})),
        tool("no-such-tool", json!({})),
        with_progress(
            "trigger-long-running-operation",
            json!({ "duration": 0.2, "steps": 4 }),
            json!(AWKWARD),
        ),
        tool(
            "trigger-sampling-request",
            json!({ "prompt": "p", "maxTokens": 3 }),
        ),
        tool("trigger-elicitation-request", json!({})),
        ("prompts/get", json!({ "name": "simple-prompt" })),
        (
            "prompts/get",
            json!({ "name": "args-prompt", "arguments": { "city": AWKWARD } }),
        ),
        ("prompts/get", json!({ "name": "nothing" })),
        ("completion/complete", completion),
        (
            "resources/read",
            json!({ "uri": "demo://resource/static/document/architecture.md" }),
        ),
        ("resources/read", json!({ "uri": "demo://nothing" })),
        (
            "resources/subscribe",
            json!({ "uri": "demo://resource/dynamic/text/1" }),
        ),
        tool("toggle-subscriber-updates", json!({})),
        tool("toggle-subscriber-updates", json!({})),
        (
            "resources/unsubscribe",
            json!({ "uri": "demo://resource/dynamic/text/1" }),
        ),
        ("no/such/method", json!({})),
    ]);
    let mut steps = Vec::from(greeting());
    // It asks for roots some time after the greeting.
    steps.push(Step::Come("roots/list", 1));
    steps.extend(asked);
    steps.push(Step::Come("notifications/resources/updated", 1));
    steps
}

/// Ours on rmcp, at a revision with sessions.
pub(super) fn legacy() -> Vec<Step> {
    let completion = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
        "argument": { "name": "arg1", "value": "par" } });
    let asked = requests(vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("ping", json!({})),
        ("logging/setLevel", json!({ "level": "debug" })),
        tool("test_simple_text", json!({})),
        tool("test_image_content", json!({})),
        tool("test_multiple_content_types", json!({})),
        tool("test_error_handling", json!({})),
        tool("test_tool_with_logging", json!({})),
        with_progress("test_tool_with_progress", json!({}), json!(AWKWARD)),
        with_progress("test_tool_with_progress", json!({}), json!(7)),
        tool("test_sampling", json!({ "prompt": AWKWARD })),
        tool("test_elicitation", json!({ "message": "Who?" })),
        tool("no_such_tool", json!({})),
        (
            "prompts/get",
            json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": AWKWARD, "arg2": "" } }),
        ),
        ("prompts/get", json!({ "name": "no_such_prompt" })),
        ("completion/complete", completion),
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("resources/read", json!({ "uri": "test://static-binary" })),
        ("resources/read", json!({ "uri": "test://nothing" })),
        ("resources/subscribe", json!({ "uri": "test://static-text" })),
        ("resources/unsubscribe", json!({ "uri": "test://static-text" })),
        ("no/such/method", json!({})),
    ]);
    greeting().into_iter().chain(asked).collect()
}

/// Ours on rmcp, without a session.
pub(super) fn modern() -> Vec<Step> {
    let mut meta = mcp::meta();
    meta["io.modelcontextprotocol/clientCapabilities"] =
        json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} });
    let with_meta = |mut params: Value| {
        for (key, value) in meta.as_object().expect("an object") {
            params["_meta"][key] = value.clone();
        }
        params
    };
    let answered = json!({ "name": "test_input_required_result_elicitation", "arguments": {},
        "inputResponses": { "user_name": { "action": "accept", "content": { "name": AWKWARD } } } });
    let logging = json!({ "name": "test_logging_tool", "arguments": {},
        "_meta": { "io.modelcontextprotocol/logLevel": "debug" } });
    let asked = vec![
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        tool("test_simple_text", json!({})),
        tool("test_multiple_content_types", json!({})),
        tool("test_error_handling", json!({})),
        ("tools/call", logging),
        with_progress("test_tool_with_progress", json!({}), json!(AWKWARD)),
        tool("test_input_required_result_elicitation", json!({})),
        ("tools/call", answered),
        tool("test_input_required_result_sampling", json!({})),
        tool("no_such_tool", json!({})),
        (
            "prompts/get",
            json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": AWKWARD, "arg2": "" } }),
        ),
        (
            "prompts/get",
            json!({ "name": "test_input_required_result_prompt" }),
        ),
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("resources/read", json!({ "uri": "test://nothing" })),
        ("skills/list", json!({})),
        ("no/such/method", json!({})),
    ];
    let asked = asked
        .into_iter()
        .map(|(method, params)| (method, with_meta(params)))
        .collect();
    let listen = with_meta(json!({ "notifications": { "toolsListChanged": true } }));
    let listen = json!({ "jsonrpc": "2.0", "id": "sub", "method": "subscriptions/listen", "params": listen });
    let trigger = with_meta(json!({ "name": "test_trigger_tool_change", "arguments": {} }));
    let trigger = json!({ "jsonrpc": "2.0", "id": 999, "method": "tools/call", "params": trigger });
    requests(asked)
        .chain([
            Step::Send(listen.to_string()),
            Step::Come("notifications/subscriptions/acknowledged", 1),
            Step::Ask(trigger.to_string()),
            Step::Come("notifications/tools/list_changed", 1),
            notification("notifications/cancelled", Some(json!({ "requestId": "sub" }))),
        ])
        .collect()
}
