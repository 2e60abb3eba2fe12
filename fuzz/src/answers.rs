//! What a server answers: a filtered list says, to a plain reader of JSON, what the list said, without what was dropped
//! and with the marks; and what is told about an answer is what such a reader finds in it.

use doorward_mcp::answer::{facts, may_matter};
use doorward_mcp::list::{Keep, Kind, LONGEST_TTL, MARK, filter};
use serde_json::{Value, json};

const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Tools, "tools", "name"),
    (Kind::Prompts, "prompts", "name"),
    (Kind::Resources, "resources", "uri"),
    (Kind::ResourceTemplates, "resourceTemplates", "uriTemplate"),
    (Kind::Tasks, "tasks", "taskId"),
];

fn verdict(name: &str) -> Keep {
    match name.len() % 3 {
        0 => Keep::Drop,
        1 => Keep::Keep,
        _ => Keep::Mark(vec![name.to_owned(), "b".into()]),
    }
}

/// `input` is a message.
pub fn check(input: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(input);
    lists(input, theirs.as_ref().ok());
    told(input, theirs.as_ref().ok());
}

fn lists(input: &[u8], theirs: Option<&Value>) {
    let Ok(filtered) = filter(input, None, &mut |_, name| verdict(name)) else {
        return;
    };
    // A plain reader cannot hold some numbers and texts that the grammar allows.
    let Some(theirs) = theirs else { return };
    let output = filtered.as_deref().unwrap_or(input);
    let ours: Value = serde_json::from_slice(output).unwrap();
    let mut expected = theirs.clone();
    let mut cached = false;
    for (kind, member, key) in KINDS {
        if let Some(Value::Array(items)) = theirs["result"].get(member) {
            cached |= kind != Kind::Tasks;
            let kept = items.iter().filter_map(|item| kept(item, key));
            expected["result"][member] = Value::Array(kept.collect());
        }
    }
    if cached {
        let result = &mut expected["result"];
        let modern = ["ttlMs", "cacheScope", "resultType"]
            .into_iter()
            .any(|member| result.get(member).is_some());
        if modern {
            result["cacheScope"] = json!("private");
        }
        if let Some(ttl) = theirs["result"].get("ttlMs") {
            let ours = &ours["result"]["ttlMs"];
            assert!(ours.as_f64().unwrap() <= LONGEST_TTL as f64);
            assert!(!ttl.is_number() || ours.as_f64() <= ttl.as_f64());
            result["ttlMs"] = ours.clone();
        }
    }
    assert_eq!(ours, expected);
    let again = filter(output, None, &mut |_, _| Keep::Keep);
    assert_eq!(again, Ok(None), "once is enough");
}

fn kept(item: &Value, key: &str) -> Option<Value> {
    let name = item.get(key)?.as_str()?;
    let mut item = item.clone();
    match verdict(name) {
        Keep::Drop => return None,
        Keep::Keep => {}
        Keep::Mark(scopes) => item["_meta"][MARK] = json!({ "required": true, "scopes": scopes }),
    }
    Some(item)
}

fn told(input: &[u8], theirs: Option<&Value>) {
    let (Ok(facts), Some(theirs)) = (facts(input), theirs) else {
        return;
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (result, params) = (&theirs["result"], &theirs["params"]);
    assert_eq!(facts.request_state, text(&result["requestState"]));
    assert_eq!(facts.result_type, text(&result["resultType"]));
    let modern = (result["resultType"] == "task").then(|| text(&result["taskId"]));
    let task = modern.unwrap_or_else(|| text(&result["task"]["taskId"]));
    assert_eq!(facts.task.as_ref().map(|task| task.id.clone()), task);
    let method = theirs["method"].as_str().unwrap_or_default();
    let updated = method == "notifications/resources/updated";
    assert_eq!(facts.updated, updated.then(|| text(&params["uri"]).unwrap()));
    let status = matches!(method, "notifications/tasks" | "notifications/tasks/status");
    assert_eq!(
        facts.task_status,
        status.then(|| text(&params["taskId"]).unwrap())
    );
    let matters = facts.task.is_some() || facts.request_state.is_some() || updated || status;
    assert!(!matters || may_matter(input));
}
