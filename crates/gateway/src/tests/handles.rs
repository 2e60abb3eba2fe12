//! Tasks and request states: whose they are is learnt from the answers that hand them out.

use super::lists::{legacy, with_table};
use super::*;

fn headers<'a>(method: &'a str, name: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
        ("mcp-name", name),
    ]
}

async fn call(fixture: &Fixture, token: &str, method: &str, name: &str, params: &str) -> Response<Body> {
    let capable = modern(method, params).replace(
        r#""_meta":{"#,
        r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}},"#,
    );
    fixture.post(token, &capable, &headers(method, name)).await
}

const TASK: &str = r#"{"jsonrpc":"2.0","id":"m","result":{"resultType":"task","taskId":"t-1","status":"working","ttlMs":60000}}"#;

#[tokio::test]
async fn mb_14_a_task_is_for_whom_it_was_made() {
    for fixture in [Fixture::new().await, with_table(ListMode::Grantable).await] {
        let about = r#""taskId":"t-1""#;
        let refused = call(&fixture, "alice", "tasks/get", "t-1", about).await;
        assert_eq!(refused.status(), 404, "not known to be anybody's");
        let body = error(refused).await;
        assert_eq!(body["error"]["code"], -32602);
        assert_eq!(body["error"]["data"]["reason"], "unknown_task");

        fixture.upstream.answer(json(200, TASK));
        let made = call(&fixture, "alice", "tools/call", "t_read", r#""name":"t_read""#).await;
        assert_eq!(text(made).await, TASK, "byte for byte");
        let reached = fixture.upstream.seen().len();
        for token in ["bob", "alice-other-client"] {
            for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
                let refused = call(&fixture, token, method, "t-1", about).await;
                assert_eq!(refused.status(), 404, "{token} {method}");
            }
        }
        assert_eq!(fixture.upstream.seen().len(), reached);
        // Another token of the same user and client.
        for token in ["alice", "alice-again"] {
            let response = call(&fixture, token, "tasks/get", "t-1", about).await;
            assert_eq!(response.status(), 200, "{token}");
        }
        fixture.clock.advance(Duration::from_secs(25 * 3600));
        fixture.revocations.heard(fixture.clock.monotonic());
        let old = call(&fixture, "alice", "tasks/get", "t-1", about).await;
        assert_ne!(old.status(), 200, "forgotten after a day");
    }
}

#[tokio::test]
async fn mb_14_who_does_not_declare_tasks_is_told_so_before_any_task_is_looked_for() {
    for fixture in [Fixture::new().await, with_table(ListMode::Grantable).await] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let asking = modern(method, r#""taskId":"t-1""#);
            let refused = fixture.post("alice", &asking, &headers(method, "t-1")).await;
            assert_eq!(refused.status(), 400);
            let error = error(refused).await["error"].clone();
            assert_eq!(error["code"], -32021, "{error}");
            assert_eq!(
                error["data"]["requiredCapabilities"],
                serde_json::json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
            );
        }
        assert!(fixture.upstream.seen().is_empty());
    }
}

#[tokio::test]
async fn mb_14_a_task_takes_the_scope_of_its_tool() {
    let fixture = with_table(ListMode::Grantable).await;
    fixture.upstream.answer(json(200, TASK));
    let made = call(
        &fixture,
        "alice-again",
        "tools/call",
        "t_write",
        r#""name":"t_write""#,
    )
    .await;
    let _ = text(made).await;
    let refused = call(&fixture, "alice", "tasks/get", "t-1", r#""taskId":"t-1""#).await;
    assert_eq!(refused.status(), 403);
    let allowed = call(&fixture, "alice-again", "tasks/get", "t-1", r#""taskId":"t-1""#).await;
    assert_eq!(allowed.status(), 200);
}

#[tokio::test]
async fn mb_14_lists_and_subscriptions_hold_one_s_own_tasks() {
    let fixture = Fixture::new().await;
    let made =
        r#"{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"mine","status":"working","ttl":1000}}}"#;
    fixture.upstream.answer(json(200, made));
    let asking = legacy("tools/call", r#""name":"t_read","task":{"ttl":1000}"#);
    let version = [("mcp-protocol-version", "2025-11-25")];
    assert_eq!(text(fixture.post("alice", &asking, &version).await).await, made);
    let list = r#"{"jsonrpc":"2.0","id":7,"result":{"tasks":[{"taskId":"mine"},{"taskId":"theirs"}],"nextCursor":"n"}}"#;
    for (token, shown) in [("alice", vec!["mine"]), ("bob", vec![])] {
        fixture.upstream.answer(json(200, list));
        let answer = error(fixture.post(token, &legacy("tasks/list", ""), &version).await).await;
        let tasks = answer["result"]["tasks"].as_array().unwrap();
        let ids: Vec<&str> = tasks
            .iter()
            .map(|task| task["taskId"].as_str().unwrap())
            .collect();
        assert_eq!(ids, shown, "{token}");
        assert_eq!(answer["result"]["nextCursor"], "n");
    }
    let refused = fixture
        .post("bob", &legacy("tasks/result", r#""taskId":"mine""#), &version)
        .await;
    assert_eq!(refused.status(), 400, "404 would mean that the session is over");

    let (_sender, response) = events();
    fixture.upstream.answer(response);
    let listening = modern(
        "subscriptions/listen",
        r#""notifications":{"taskIds":["theirs","mine"]}"#,
    );
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ];
    assert_eq!(fixture.post("alice", &listening, &headers).await.status(), 200);
    let seen = fixture.upstream.seen();
    let expected = listening.replace(r#"["theirs","mine"]"#, r#"["mine"]"#);
    assert_eq!(seen.last().unwrap().body, expected);
}

#[tokio::test]
async fn mb_14_a_task_is_learnt_from_a_stream_too() {
    let fixture = Fixture::new().await;
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let mut body = call(&fixture, "alice", "tools/call", "t_read", r#""name":"t_read""#)
        .await
        .into_body();
    let event: &'static str = format!("data: {TASK}\n\n").leak();
    for part in [&event[..30], &event[30..]] {
        sender.send(Ok(part)).await.unwrap();
    }
    drop(sender);
    while super::streams::next(&mut body).await.is_some() {}
    let response = call(&fixture, "alice", "tasks/get", "t-1", r#""taskId":"t-1""#).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn mb_18_a_request_state_goes_back_with_its_own_call_alone() {
    let asked = r#"{"jsonrpc":"2.0","id":"m","result":{"resultType":"input_required","inputRequests":{},"requestState":"s\u0041\/ 1"}}"#;
    for fixture in [Fixture::new().await, with_table(ListMode::Grantable).await] {
        let with = |state: &str| format!(r#""name":"t_read","requestState":{state}"#);
        let own = with(r#""s\u0041\/ 1""#);
        assert_eq!(
            call(&fixture, "alice", "tools/call", "t_read", &own)
                .await
                .status(),
            400
        );
        fixture.upstream.answer(json(200, asked));
        let response = call(&fixture, "alice", "tools/call", "t_read", r#""name":"t_read""#).await;
        assert_eq!(text(response).await, asked, "byte for byte");
        let reached = fixture.upstream.seen().len();
        for (token, method, name, params) in [
            ("bob", "tools/call", "t_read", own.clone()),
            ("alice-other-client", "tools/call", "t_read", own.clone()),
            (
                "alice-again",
                "tools/call",
                "t_write",
                own.replace("t_read", "t_write"),
            ),
            ("alice", "prompts/get", "p_read", own.replace("t_read", "p_read")),
            ("alice", "tools/call", "t_read", with(r#""sB/ 1""#)),
            ("alice", "tools/call", "t_read", with(r#""""#)),
        ] {
            let refused = call(&fixture, token, method, name, &params).await;
            assert_eq!(refused.status(), 400, "{token} {method} {name} {params}");
            let body = error(refused).await;
            assert_eq!(body["error"]["data"]["reason"], "unknown_request_state");
        }
        assert_eq!(fixture.upstream.seen().len(), reached);
        // A client that lost the answer sends it again.
        for state in [own.clone(), with(r#""sA/ 1""#)] {
            assert_eq!(
                call(&fixture, "alice", "tools/call", "t_read", &state)
                    .await
                    .status(),
                200
            );
        }
        fixture.clock.advance(Duration::from_secs(3600));
        fixture.revocations.heard(fixture.clock.monotonic());
        let late = call(&fixture, "alice", "tools/call", "t_read", &own).await;
        assert_eq!(late.status(), 400, "after an hour");
    }
}

const RESUMED: [(&str, &str); 3] = [
    ("accept", "text/event-stream"),
    ("mcp-protocol-version", "2025-11-25"),
    ("last-event-id", "1"),
];

/// What a stream tells that is opened after a break.
async fn resume(fixture: &Fixture, token: &str, said: &str) -> String {
    let (sender, response) = events();
    fixture.upstream.answer(response);
    sender.send(Ok(format!("data: {said}\n\n").leak())).await.unwrap();
    drop(sender);
    let request = request("GET", "/a/mcp", token, "", &RESUMED);
    text(fixture.send(request).await).await
}

#[tokio::test]
async fn mb_14_a_task_is_learnt_from_a_stream_that_is_resumed() {
    for fixture in [Fixture::new().await, with_table(ListMode::Grantable).await] {
        let version = [("mcp-protocol-version", "2025-11-25")];
        let asking = legacy("tools/call", r#""name":"t_read","task":{"ttl":1000}"#);
        let (sender, response) = events();
        fixture.upstream.answer(response);
        drop(sender);
        let broken = text(fixture.post("alice", &asking, &version).await).await;
        assert_eq!(broken, "", "the answer did not come");
        let about = |task: &str| legacy("tasks/get", &format!(r#""taskId":"{task}""#));
        let made = |id: &str, task: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"task":{{"taskId":"{task}","status":"working"}}}}}}"#
            )
        };
        // Neither for somebody else, nor of a call that was not made.
        for (token, id, task) in [
            ("bob", "7", "t-1"),
            ("alice", "8", "t-2"),
            ("alice", "\"7\"", "t-3"),
        ] {
            let said = made(id, task);
            assert!(resume(&fixture, token, &said).await.contains(task));
            let refused = fixture.post(token, &about(task), &version).await;
            assert_eq!(refused.status(), 400, "{token} {id}");
        }
        let said = made("7", "t-4");
        assert!(resume(&fixture, "alice", &said).await.contains("t-4"));
        for (token, status) in [("alice", 200), ("bob", 400)] {
            let response = fixture.post(token, &about("t-4"), &version).await;
            assert_eq!(response.status(), status, "{token}");
        }
    }
}

#[tokio::test]
async fn mb_14_a_call_that_has_the_word_in_a_name_asks_for_no_task() {
    let fixture = Fixture::new().await;
    let version = [("mcp-protocol-version", "2025-11-25")];
    let made = r#"{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"t-1","status":"working"}}}"#;
    let status = async |params: &str| {
        fixture.upstream.answer(json(200, made));
        let asking = legacy("tools/call", params);
        assert_eq!(text(fixture.post("alice", &asking, &version).await).await, made);
        let about = legacy("tasks/get", r#""taskId":"t-1""#);
        fixture.post("alice", &about, &version).await.status()
    };
    assert_eq!(status(r#""name":"make_task","arguments":{"tasks":1}"#).await, 400);
    assert_eq!(status(r#""name":"make_task","t\u0061sk":{}"#).await, 200);
    assert_eq!(status(r#""name":"make_task","task":{}"#).await, 200);
}
