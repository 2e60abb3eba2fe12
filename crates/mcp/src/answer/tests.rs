use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(message: &serde_json::Value) -> Result<Facts, FactsError> {
    let text = message.to_string();
    let facts = facts(text.as_bytes());
    // The cheap look is never wrong when it says no.
    if let Ok(facts) = &facts {
        let nothing = Facts {
            id: facts.id.clone(),
            result_type: facts.result_type.clone(),
            ..Facts::default()
        };
        assert!(*facts == nothing || may_matter(text.as_bytes()), "{text}");
    }
    facts
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "tests write results where they are asked about"
)]
fn answer(result: serde_json::Value) -> Result<Facts, FactsError> {
    of(&json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
}

#[test]
fn mb_14_a_task_is_found_where_either_revision_puts_it() {
    let task = |id: &str, ttl_ms| {
        Some(HandedTask {
            id: id.into(),
            ttl_ms,
        })
    };
    // SEP-2663.
    let modern =
        answer(json!({ "resultType": "task", "taskId": "t1", "status": "working", "ttlMs": 60_000 }));
    assert_eq!(modern.unwrap().task, task("t1", Some(60_000)));
    let unlimited = answer(json!({ "resultType": "task", "taskId": "t1", "ttlMs": null }));
    assert_eq!(unlimited.unwrap().task, task("t1", None));
    // 2025-11-25, CreateTaskResult.
    let legacy =
        answer(json!({ "task": { "taskId": "t2", "status": "working", "ttl": 5, "createdAt": "" } }));
    assert_eq!(legacy.unwrap().task, task("t2", Some(5)));
    // What tasks/get answers hands out nothing, in either.
    for result in [
        json!({ "taskId": "t1", "status": "completed", "ttl": 1, "result": {} }),
        json!({ "resultType": "complete", "taskId": "t1", "status": "completed", "ttlMs": 1, "result": {} }),
        json!({ "content": [], "structuredContent": { "task": { "taskId": "t9" } } }),
        json!({ "task": "water the plants" }),
        json!({ "task": { "title": "water the plants" } }),
    ] {
        assert_eq!(answer(result).unwrap().task, None);
    }
    for result in [
        json!({ "resultType": "task" }),
        json!({ "resultType": "task", "taskId": 3 }),
        json!({ "task": { "taskId": ["t"] } }),
    ] {
        assert_eq!(answer(result), Err(FactsError::Nameless));
    }
    let both = answer(json!({ "resultType": "task", "taskId": "a", "task": { "taskId": "b" } }));
    assert_eq!(both, Err(FactsError::TwoTasks));
}

#[test]
fn mb_18_request_state_is_found() {
    let facts =
        answer(json!({ "resultType": "input_required", "inputRequests": {}, "requestState": "a\u{e9}\"" }));
    let facts = facts.unwrap();
    assert_eq!(facts.request_state.as_deref(), Some("a\u{e9}\""));
    assert_eq!(facts.result_type.as_deref(), Some("input_required"));
    assert_eq!(answer(json!({ "requestState": 1 })), Err(FactsError::Nameless));
    let nested = answer(json!({ "content": [{ "requestState": "x" }] })).unwrap();
    assert_eq!((nested.request_state, nested.task), (None, None));
}

#[test]
fn mb_19_news_say_what_they_are_about() {
    let told = |method: &str, params: serde_json::Value| {
        of(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    };
    let updated = told("notifications/resources/updated", json!({ "uri": "file:///a" })).unwrap();
    assert_eq!(updated.updated.as_deref(), Some("file:///a"));
    for method in ["notifications/tasks", "notifications/tasks/status"] {
        let status = told(
            method,
            json!({ "taskId": "t", "status": "completed", "result": {} }),
        )
        .unwrap();
        assert_eq!(status.task_status.as_deref(), Some("t"));
        assert_eq!(told(method, json!({})), Err(FactsError::Nameless));
    }
    let nameless = told("notifications/resources/updated", json!({ "uri": null }));
    assert_eq!(nameless, Err(FactsError::Nameless));
    assert_eq!(
        told("notifications/message", json!({ "uri": 1 })).unwrap(),
        Facts::default()
    );
    assert_eq!(
        told("notifications/message", json!([])).unwrap(),
        Facts::default()
    );
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for message in [
        r#"{"result":{"requestState":"a","requestState":"b"}}"#,
        r#"{"result":{"requestState":"a","RequestState":"b"}}"#,
        r#"{"result":{"resultType":"task","taskId":"a","TASKID":"b"}}"#,
        r#"{"result":{"task":{"taskId":"a","task\u0049d":"b"}}}"#,
        r#"{"result":{},"Result":{"requestState":"a"}}"#,
        r#"{"method":"notifications/resources/updated","params":{"uri":"a","Uri":"b"}}"#,
        r#"{"result":{"requestState":"\ud800"}}"#,
        r#"{"result":{}} 1"#,
        r#"[{"result":{}}]"#,
        "",
    ] {
        assert!(
            matches!(facts(message.as_bytes()), Err(FactsError::Unreadable(_))),
            "{message}"
        );
    }
    let escaped = br#"{"result":{"\u0072equestState":"a"}}"#;
    assert_eq!(facts(escaped).unwrap().request_state.as_deref(), Some("a"));
    assert!(may_matter(escaped));
    assert!(!may_matter(br#"{"result":{"content":[]}}"#));
}

proptest! {
    #[test]
    fn arbitrary_bytes_break_nothing(bytes: Vec<u8>) {
        let _ = facts(&bytes);
    }
}

#[test]
fn an_id_is_told_as_it_is_written() {
    for (id, told) in [
        ("7", Some("7")),
        (r#""\u0061""#, Some(r#""\u0061""#)),
        ("-1.0", Some("-1.0")),
        ("null", None),
        ("{}", None),
    ] {
        let message = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"result":{{}}}}"#);
        assert_eq!(facts(message.as_bytes()).unwrap().id.as_deref(), told, "{id}");
    }
    assert!(facts(br#"{"ID":1,"result":{}}"#).is_err());
}
