//! What is asked: harmless calls, awkward texts, mistakes.

use doorward_testkit::http::Request;
use doorward_testkit::mcp;
use serde_json::{Value, json};

use super::peer::Peer;

/// Text that a careless reader or writer of JSON changes.
const AWKWARD: &str = "Zoë \u{2028}\u{2029}\u{85} \u{1F600} \" \\ / \n\r\t \u{7f} </script> %0a";

/// Calls whose answers pass as they are.
pub(super) fn modern(peer: &Peer) -> Vec<(&'static str, Request)> {
    let mut progress = json!({ "name": "test_tool_with_progress", "arguments": {} });
    progress["_meta"] = mcp::meta();
    progress["_meta"]["progressToken"] = json!("token é");
    let progress = peer
        .call("test_tool_with_progress", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": "a string", "method": "tools/call", "params": progress }));
    let mut logging = json!({ "name": "test_logging_tool", "arguments": {} });
    logging["_meta"] = mcp::meta();
    logging["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
    let logging = peer
        .call("test_logging_tool", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": 9_007_199_254_740_991_u64, "method": "tools/call", "params": logging }));
    let awkward_id = peer
        .call("test_simple_text", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": AWKWARD, "method": "tools/call",
            "params": { "name": "test_simple_text", "arguments": {}, "_meta": mcp::meta() } }));
    let mut capable = json!({ "name": "test_input_required_result_capabilities" });
    capable["_meta"] = mcp::meta();
    capable["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({ "roots": {}, "elicitation": {} });
    let capable = peer
        .call("test_input_required_result_capabilities", json!({}))
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": capable }));
    let answered = json!({ "name": "test_input_required_result_elicitation", "arguments": {},
        "inputResponses": { "user_name": { "action": "accept", "content": { "name": AWKWARD } } } });
    let argument = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
        "argument": { "name": "arg1", "value": "par" } });
    vec![
        ("discover", peer.modern("server/discover", json!({}))),
        ("tools", peer.modern("tools/list", json!({}))),
        ("text", peer.call("test_simple_text", json!({}))),
        (
            "no arguments",
            peer.modern("tools/call", json!({ "name": "test_simple_text" })),
        ),
        ("image", peer.call("test_image_content", json!({}))),
        (
            "several contents",
            peer.call("test_multiple_content_types", json!({})),
        ),
        ("tool's error", peer.call("test_error_handling", json!({}))),
        (
            "awkward text",
            peer.call("json_schema_2020_12_tool", json!({ "name": AWKWARD })),
        ),
        ("progress", progress),
        ("log level", logging),
        ("awkward id", awkward_id),
        (
            "mirrored argument",
            peer.call("test_custom_header", json!({ "value": "eu" }))
                .header("Mcp-Param-Value", "eu"),
        ),
        (
            "missing capability",
            peer.call("test_missing_capability", json!({})),
        ),
        (
            "input required",
            peer.call("test_input_required_result_elicitation", json!({})),
        ),
        ("input given", peer.modern("tools/call", answered)),
        ("inputs by capability", capable),
        ("unknown tool", peer.call("no_such_tool", json!({}))),
        ("prompts", peer.modern("prompts/list", json!({}))),
        (
            "prompt",
            peer.modern(
                "prompts/get",
                json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": AWKWARD, "arg2": "" } }),
            ),
        ),
        (
            "prompt with image",
            peer.modern("prompts/get", json!({ "name": "test_prompt_with_image" })),
        ),
        (
            "prompt needs input",
            peer.modern(
                "prompts/get",
                json!({ "name": "test_input_required_result_prompt" }),
            ),
        ),
        (
            "unknown prompt",
            peer.modern("prompts/get", json!({ "name": "no_such_prompt" })),
        ),
        ("resources", peer.modern("resources/list", json!({}))),
        ("templates", peer.modern("resources/templates/list", json!({}))),
        (
            "resource",
            peer.modern("resources/read", json!({ "uri": "test://static-text" })),
        ),
        (
            "binary resource",
            peer.modern("resources/read", json!({ "uri": "test://static-binary" })),
        ),
        (
            "template's resource",
            peer.modern("resources/read", json!({ "uri": "test://template/7/data" })),
        ),
        (
            "unknown resource",
            peer.modern("resources/read", json!({ "uri": "test://nothing" })),
        ),
        ("completion", peer.modern("completion/complete", argument)),
        ("skills", peer.modern("skills/list", json!({}))),
        (
            "a skill",
            peer.modern(
                "skills/get",
                json!({ "uri": "skill://doorward/greeting/SKILL.md" }),
            ),
        ),
        (
            "a folder",
            peer.modern(
                "resources/directory/read",
                json!({ "uri": "skill://doorward/greeting" }),
            ),
        ),
        (
            "no folder",
            peer.modern(
                "resources/directory/read",
                json!({ "uri": "skill://doorward/nothing" }),
            ),
        ),
        ("task without the capability", peer.call("failing_job", json!({}))),
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
