//! A server of both eras that has something of every kind, on pages, and hands out tasks and request states.

use serde_json::{Value, json};

use super::answer::{Answer, Part, event, friendly};
use super::recorded::Recorded;

/// Names of what the library has, besides what `t_none` and the like stand for: nothing names them.
const NAMES: [&str; 4] = ["read", "write", "ops", "none"];

/// Answers in JSON. Lists have a page for everything but the tools: these have three, and the second holds only
/// `t_none`. A cursor that the library did not give is an error. `tools/call` with `arguments.task` becomes a task of that
/// id, with `arguments.state` it asks back and gives out that state.
#[must_use]
pub fn library(request: &Recorded) -> Answer {
    let body = request.json();
    let modern = body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
    let cursor = body["params"]["cursor"].as_str();
    let arguments = &body["params"]["arguments"];
    let result = match body["method"].as_str().unwrap_or_default() {
        "tools/list" => match cursor {
            None => page("tools", json!([tool("t_ops"), tool("t_read")]), Some("two")),
            Some("two") => page("tools", json!([tool("t_none")]), Some("three")),
            Some("three") => page("tools", json!([tool("t_write")]), None),
            Some(_) => return refuse(request, "no such cursor"),
        },
        "prompts/list" => page(
            "prompts",
            each(|name| json!({ "name": format!("p_{name}") })),
            None,
        ),
        "resources/list" => page(
            "resources",
            each(|name| json!({ "uri": format!("file:///{name}/1"), "name": name })),
            None,
        ),
        "resources/templates/list" => page(
            "resourceTemplates",
            each(|name| json!({ "uriTemplate": format!("file:///{name}/{{x}}"), "name": name })),
            None,
        ),
        "tools/call" if arguments["task"].is_string() => made(&arguments["task"], modern),
        "tools/call" if arguments["state"].is_string() && body["params"].get("requestState").is_none() => {
            json!({ "resultType": "input_required", "inputRequests": {}, "requestState": arguments["state"] })
        }
        "tasks/list" => json!({ "tasks": [status(&json!("of-alice")), status(&json!("of-bob"))] }),
        "tasks/get" | "tasks/cancel" => status(&body["params"]["taskId"]),
        "prompts/get" => json!({ "resultType": "complete", "messages": [] }),
        "resources/read" => json!({ "resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "private",
            "contents": [{ "uri": body["params"]["uri"], "text": "text" }] }),
        "completion/complete" => json!({ "resultType": "complete", "completion": { "values": ["value"] } }),
        "tasks/update" | "resources/subscribe" | "resources/unsubscribe" | "x/report" => {
            json!({ "resultType": "complete" })
        }
        _ => return friendly(request),
    };
    let mut result = result;
    if modern
        && body["method"]
            .as_str()
            .is_some_and(|method| method.ends_with("/list"))
    {
        // Untrue: what one caller may see is not for everybody.
        result["ttlMs"] = json!(3_600_000);
        result["cacheScope"] = json!("public");
    }
    Answer::result(request, &result).header("Cache-Control", "public, max-age=3600")
}

/// The same as a stream: a comment, a note, and then the answer, cut where it hurts.
#[must_use]
pub fn library_in_events(request: &Recorded) -> Answer {
    let whole = library(request);
    let [Part::Bytes(body)] = &*whole.parts else {
        return whole;
    };
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "tools" } });
    let answer = [b"id: 7\ndata: ", body.as_slice(), b"\n\n"].concat();
    let (one, other) = answer.split_at(answer.len() / 2);
    Answer::events(vec![
        Part::Bytes(b": ping\n\n".to_vec()),
        event(None, &note),
        Part::Bytes(one.to_vec()),
        Part::Bytes(other.to_vec()),
    ])
}

fn each(item: impl Fn(&str) -> Value) -> Value {
    NAMES.map(item).to_vec().into()
}

fn page(member: &str, items: Value, next: Option<&str>) -> Value {
    let mut page = json!({ "resultType": "complete", member: items });
    if let Some(next) = next {
        page["nextCursor"] = json!(next);
    }
    page
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" }, "_meta": { "com.example/own": name } })
}

fn status(id: &Value) -> Value {
    json!({ "resultType": "complete", "taskId": id, "status": "working", "ttl": 60_000, "ttlMs": 60_000,
        "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z" })
}

fn made(id: &Value, modern: bool) -> Value {
    let mut task = status(id);
    if modern {
        task["resultType"] = json!("task");
        return task;
    }
    json!({ "task": task })
}

fn refuse(request: &Recorded, message: &str) -> Answer {
    Answer::json(&json!({ "jsonrpc": "2.0", "id": request.json()["id"],
        "error": { "code": -32602, "message": message } }))
}
