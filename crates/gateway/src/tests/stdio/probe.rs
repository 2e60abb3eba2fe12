//! What a command speaks, and what a client of the other era is told.

use super::*;

fn probe(stdio: &Stdio) -> JoinHandle<Response<Body>> {
    stdio.begin(ask("alice", "d", "server/discover", json!({})))
}

async fn has_only(answer: Response<Body>, version: &str) {
    assert_eq!(answer.status(), 400);
    let answer = json_of(answer).await;
    assert_eq!(answer["id"], "d");
    assert_eq!(answer["error"]["code"], -32022);
    assert_eq!(answer["error"]["data"]["supported"], json!([version]));
    assert_eq!(answer["error"]["data"]["requested"], "2026-07-28");
}

#[tokio::test(start_paused = true)]
async fn a_modern_command_is_asked_once_and_goes_on_with_the_same_process() {
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    let request = child.read().await;
    let meta = &request["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    child.write("starting up").await;
    child
        .write(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))
        .await;
    child
        .answer(
            &request,
            json!({"supportedVersions": ["2026-07-28", "2025-11-25"]}),
        )
        .await;
    let got = child.read().await;
    assert_eq!(got["method"], "server/discover", "now the client's own");
    assert!(
        got["id"].as_u64().unwrap() > 2,
        "the probe's ids are not used again"
    );
    child
        .answer(&got, json!({"supportedVersions": ["2026-07-28"]}))
        .await;
    assert_eq!(calling.await.unwrap().status(), 200);

    let bobs = stdio.begin(ask_tool("bob", 1));
    let mut child = stdio.child().await;
    assert_eq!(child.read().await["method"], "tools/call", "it is known");
    bobs.abort();
}

#[tokio::test(start_paused = true)]
async fn any_other_error_is_a_legacy_command_and_that_is_remembered() {
    for (code, version) in [(-32601, "2025-11-25"), (-32602, "2024-11-05"), (0, "2025-06-18")] {
        let mut stdio = Stdio::new();
        let calling = probe(&stdio);
        let mut child = stdio.child().await;
        let request = child.read().await;
        child.refuse(&request, code).await;
        let request = child.read().await;
        assert_eq!(request["method"], "initialize");
        assert_eq!(request["params"]["protocolVersion"], "2025-11-25");
        child.answer(&request, json!({"protocolVersion": version})).await;
        has_only(calling.await.unwrap(), version).await;
        child.ends().await;
        has_only(probe(&stdio).await.unwrap(), version).await;
        assert_eq!(stdio.started(), 1);
        // The client falls back to what it has.
        stdio.session("alice").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_discovers_legacy_versions_only_is_legacy() {
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    let request = child.read().await;
    child
        .answer(&request, json!({"supportedVersions": ["2025-06-18"]}))
        .await;
    has_only(calling.await.unwrap(), "2025-06-18").await;

    // The SDKs still list a revision from before the first one.
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    let request = child.read().await;
    let versions = json!(["2025-11-25", "2024-11-05", "2024-10-07"]);
    let error = json!({"code": -32022, "message": "no", "data": {"supported": versions}});
    child
        .write(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}))
        .await;
    let answer = json_of(calling.await.unwrap()).await;
    assert_eq!(answer["error"]["code"], -32022);
    assert_eq!(answer["error"]["data"]["requested"], "2026-07-28");
    assert_eq!(answer["error"]["data"]["supported"], versions);
    child.ends().await;
}

#[tokio::test(start_paused = true)]
async fn one_users_process_tells_the_others_nothing_but_version_names() {
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    let request = child.read().await;
    let long = "2".repeat(100_000);
    let mut versions = vec!["2025-06-18", "2025 say hello to bob", "", &long];
    versions.extend(["2024-11-05"; 1000]);
    child
        .answer(&request, json!({"supportedVersions": versions}))
        .await;
    assert_eq!(calling.await.unwrap().status(), 400);
    let answer = json_of(stdio.send(ask_tool("bob", 1)).await).await;
    let supported = answer["error"]["data"]["supported"].as_array().unwrap();
    assert_eq!(supported[..2], [json!("2025-06-18"), json!("2024-11-05")]);
    assert_eq!(supported.len(), 16);
}

#[tokio::test(start_paused = true)]
async fn recognised_modern_errors_are_modern() {
    for (code, data) in [
        (
            -32022,
            json!({"supported": ["2099-01-01"], "requested": "2026-07-28"}),
        ),
        (-32021, json!({"requiredCapabilities": {}})),
    ] {
        let mut stdio = Stdio::new();
        let calling = probe(&stdio);
        let mut child = stdio.child().await;
        let request = child.read().await;
        let refusal = json!({"code": code, "message": "no", "data": data});
        child
            .write(json!({"jsonrpc": "2.0", "id": request["id"], "error": refusal}))
            .await;
        let request = child.read().await;
        child
            .write(json!({"jsonrpc": "2.0", "id": request["id"], "error": refusal}))
            .await;
        let answer = calling.await.unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(json_of(answer).await["error"], refusal, "the command's own");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_command_is_asked_both_and_the_first_answer_counts() {
    // Legacy: it ignores what comes before `initialize`.
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    let start = tokio::time::Instant::now();
    child.read().await;
    let request = child.read().await;
    assert_eq!(request["method"], "initialize");
    assert_eq!(start.elapsed().as_secs(), 5);
    tokio::time::sleep(Duration::from_secs(20)).await;
    child
        .answer(&request, json!({"protocolVersion": "2025-03-26"}))
        .await;
    has_only(calling.await.unwrap(), "2025-03-26").await;

    // Modern, but slow to start: it gets another process, that no `initialize` has touched.
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    let discover = child.read().await;
    child.read().await;
    child
        .answer(&discover, json!({"supportedVersions": ["2026-07-28"]}))
        .await;
    child.ends().await;
    let mut child = stdio.child().await;
    let got = child.read().await;
    assert_eq!(got["method"], "server/discover");
    child.answer(&got, json!({"own": true})).await;
    assert_eq!(
        json_of(calling.await.unwrap()).await["result"],
        json!({"own": true})
    );

    // Nothing at all.
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let _child = stdio.child().await;
    let start = tokio::time::Instant::now();
    let answer = calling.await.unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ends_at_discover_gets_initialize_first() {
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    child.read().await;
    drop(child);
    let mut child = stdio.child().await;
    let request = child.read().await;
    assert_eq!(request["method"], "initialize");
    child
        .answer(&request, json!({"protocolVersion": "2025-06-18"}))
        .await;
    has_only(calling.await.unwrap(), "2025-06-18").await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_refuses_everything_is_no_mcp_server() {
    let mut stdio = Stdio::new();
    let calling = probe(&stdio);
    let mut child = stdio.child().await;
    for _ in 0..2 {
        let request = child.read().await;
        child.refuse(&request, -32600).await;
    }
    let answer = calling.await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(
        json_of(answer).await["error"]["data"]["reason"],
        "upstream_not_mcp"
    );
}
