//! What is asked: harmless calls, awkward texts, mistakes.

use doorward_testkit::http::Request;
use doorward_testkit::mcp;
use serde_json::{Value, json};

use super::peer::Peer;

/// Text that a careless reader or writer of JSON changes.
const AWKWARD: &str = "Zoë \u{2028}\u{2029}\u{85} \u{1F600} \" \\ / \n\r\t \u{7f} </script> %0a";

/// Calls whose answers pass as they are.
pub(super) fn modern(peer: &Peer) -> Vec<(String, Request)> {
    let plain = methods().into_iter().map(|(method, params)| {
        let name = format!("{method} {params}");
        (name, peer.modern(method, params))
    });
    let calls = calls().into_iter().map(|(id, params)| {
        let name = format!("{id} {params}");
        let tool = params["name"].as_str().expect("a tool").to_owned();
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        (name, peer.call(&tool, json!({})).json(&message))
    });
    let mirrored = peer
        .call("test_custom_header", json!({ "value": "eu" }))
        .header("Mcp-Param-Value", "eu");
    let spread =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": mcp::meta() } });
    let spread = serde_json::to_string_pretty(&spread)
        .expect("JSON")
        .replace('\n', "\r\n\t");
    let spread = peer.modern("tools/list", json!({})).body(spread);
    plain
        .chain(calls)
        .chain([
            ("mirrored argument".into(), mirrored),
            ("over many lines".into(), spread),
        ])
        .collect()
}

/// Methods and parameters.
fn methods() -> Vec<(&'static str, Value)> {
    let prompt =
        json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": AWKWARD, "arg2": "" } });
    let completion = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
        "argument": { "name": "arg1", "value": "par" } });
    vec![
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("tools/call", json!({ "name": "test_simple_text" })),
        ("prompts/list", json!({})),
        ("prompts/get", prompt),
        ("prompts/get", json!({ "name": "test_prompt_with_image" })),
        (
            "prompts/get",
            json!({ "name": "test_input_required_result_prompt" }),
        ),
        ("prompts/get", json!({ "name": "no_such_prompt" })),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("resources/read", json!({ "uri": "test://static-binary" })),
        ("resources/read", json!({ "uri": "test://template/7/data" })),
        ("resources/read", json!({ "uri": "test://nothing" })),
        ("completion/complete", completion),
        ("skills/list", json!({})),
        (
            "skills/get",
            json!({ "uri": "skill://doorward/greeting/SKILL.md" }),
        ),
        (
            "resources/directory/read",
            json!({ "uri": "skill://doorward/greeting" }),
        ),
        (
            "resources/directory/read",
            json!({ "uri": "skill://doorward/nothing" }),
        ),
    ]
}

/// Ids and parameters of `tools/call`.
fn calls() -> Vec<(Value, Value)> {
    let call =
        |name: &str, arguments: Value| json!({ "name": name, "arguments": arguments, "_meta": mcp::meta() });
    let plain = |name: &str| call(name, json!({}));
    let with = |name: &str, key: &str, value: Value| {
        let mut params = plain(name);
        params["_meta"][key] = value;
        params
    };
    let mut answered = plain("test_input_required_result_elicitation");
    answered["inputResponses"] =
        json!({ "user_name": { "action": "accept", "content": { "name": AWKWARD } } });
    let capable = json!({ "roots": {}, "elicitation": {} });
    let capable = with(
        "test_input_required_result_capabilities",
        "io.modelcontextprotocol/clientCapabilities",
        capable,
    );
    let logging = with(
        "test_logging_tool",
        "io.modelcontextprotocol/logLevel",
        json!("debug"),
    );
    vec![
        (json!(AWKWARD), plain("test_simple_text")),
        (json!(9_007_199_254_740_991_u64), plain("test_image_content")),
        (json!("1"), plain("test_multiple_content_types")),
        (json!(1), plain("test_error_handling")),
        (
            json!(2),
            call("json_schema_2020_12_tool", json!({ "name": AWKWARD })),
        ),
        (
            json!(3),
            with("test_tool_with_progress", "progressToken", json!(AWKWARD)),
        ),
        (
            json!(4),
            with("test_tool_with_progress", "progressToken", json!(4)),
        ),
        (json!(5), logging),
        (json!(6), plain("test_missing_capability")),
        (json!(7), plain("test_input_required_result_elicitation")),
        (json!(8), answered),
        (json!(9), capable),
        (json!(10), plain("no_such_tool")),
        (json!(11), plain("failing_job")),
    ]
}

/// Requests that the gateway refuses by itself: status and code are the server's, the words are ours.
pub(super) fn refused_modern(peer: &Peer) -> Vec<(&'static str, Request)> {
    let text = || peer.call("test_simple_text", json!({}));
    let version = |version: &str| {
        let mut params = json!({ "_meta": mcp::meta() });
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(version);
        peer.modern("tools/list", json!({}))
            .set("MCP-Protocol-Version", version)
            .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params }))
    };
    vec![
        ("wrong Mcp-Name", text().set("Mcp-Name", "test_image_content")),
        ("no Mcp-Name", text().without("Mcp-Name")),
        ("wrong Mcp-Method", text().set("Mcp-Method", "tools/list")),
        ("no Mcp-Method", text().without("Mcp-Method")),
        (
            "versions that differ",
            text().set("MCP-Protocol-Version", mcp::LEGACY),
        ),
        ("unknown version", version("2099-01-01")),
        ("removed method", peer.modern("ping", json!({}))),
        ("unknown method", peer.modern("no/such", json!({}))),
        (
            "GET",
            peer.plain("GET")
                .header("Accept", "text/event-stream")
                .header("MCP-Protocol-Version", mcp::MODERN),
        ),
        (
            "DELETE",
            peer.plain("DELETE").header("MCP-Protocol-Version", mcp::MODERN),
        ),
    ]
}

pub(super) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(super) fn tool(id: u64, name: &str) -> Value {
    request(id, "tools/call", json!({ "name": name, "arguments": {} }))
}

/// Messages of a session, in order: the server numbers its streams.
pub(super) fn legacy() -> Vec<(&'static str, Value)> {
    let mut progress = tool(10, "test_tool_with_progress");
    progress["params"]["_meta"] = json!({ "progressToken": 77 });
    let mut awkward = tool(11, "json_schema_2020_12_tool");
    awkward["params"]["arguments"] = json!({ "name": AWKWARD });
    awkward["id"] = json!(AWKWARD);
    let argument = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
        "argument": { "name": "arg1", "value": "" } });
    vec![
        ("ping", json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })),
        ("tools", request(2, "tools/list", json!({}))),
        ("text", tool(3, "test_simple_text")),
        ("logging", tool(4, "test_tool_with_logging")),
        ("several contents", tool(5, "test_multiple_content_types")),
        ("tool's error", tool(6, "test_error_handling")),
        ("unknown tool", tool(7, "no_such_tool")),
        ("progress", progress),
        ("awkward text", awkward),
        (
            "log level",
            request(12, "logging/setLevel", json!({ "level": "warning" })),
        ),
        ("prompts", request(13, "prompts/list", json!({}))),
        (
            "prompt",
            request(14, "prompts/get", json!({ "name": "test_simple_prompt" })),
        ),
        ("resources", request(15, "resources/list", json!({}))),
        (
            "resource",
            request(16, "resources/read", json!({ "uri": "test://static-text" })),
        ),
        (
            "unknown resource",
            request(17, "resources/read", json!({ "uri": "test://nothing" })),
        ),
        (
            "subscribe",
            request(18, "resources/subscribe", json!({ "uri": "test://static-text" })),
        ),
        (
            "unsubscribe",
            request(
                19,
                "resources/unsubscribe",
                json!({ "uri": "test://static-text" }),
            ),
        ),
        ("completion", request(20, "completion/complete", argument)),
        (
            "notification",
            json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }),
        ),
        (
            "cancellation of nothing",
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": { "requestId": 999, "reason": AWKWARD } }),
        ),
        (
            "needs a newer revision",
            tool(21, "test_input_required_result_elicitation"),
        ),
    ]
}

pub(super) fn conversations() -> Vec<(Value, Value)> {
    let mut sampling = tool(30, "test_sampling");
    sampling["params"]["arguments"] = json!({ "prompt": AWKWARD });
    let mut elicitation = tool(31, "test_elicitation");
    elicitation["params"]["arguments"] = json!({ "message": AWKWARD });
    let completion = json!({ "role": "assistant", "model": "m", "stopReason": "endTurn",
        "content": { "type": "text", "text": AWKWARD } });
    let form = json!({ "action": "accept", "content": { "username": AWKWARD, "email": "a@b.test" } });
    vec![
        (sampling, completion),
        (elicitation, form),
        (
            tool(32, "test_elicitation_sep1330_enums"),
            json!({ "action": "decline" }),
        ),
    ]
}
