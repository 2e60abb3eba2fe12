//! Commands that do not start, end, hang, or write nonsense.

use super::*;

async fn refused(answer: Response<Body>, status: u16, reason: &str) -> Value {
    assert_eq!(answer.status(), status);
    let answer = json_of(answer).await;
    assert_eq!(answer["error"]["data"]["reason"], reason);
    answer
}

#[tokio::test(start_paused = true)]
async fn ft_13_a_call_that_is_lost_with_the_process_is_an_error_and_not_sent_again() {
    let mut stdio = Stdio::new();
    let whole = stdio.begin(ask_tool("alice", "w"));
    let mut child = stdio.child().await;
    child.is_modern().await;
    child.read().await;
    let params = json!({"name": "t_read", "arguments": {}, "_meta": {"progressToken": 1}});
    let streamed = stdio.begin(ask("alice", "s", "tools/call", params));
    let got = child.read().await;
    let listening = stdio.begin(ask(
        "alice",
        "l",
        "subscriptions/listen",
        json!({"notifications": {}}),
    ));
    let got_listen = child.read().await;
    child.write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": got["id"], "progress": 1}})).await;
    let meta = json!({"io.modelcontextprotocol/subscriptionId": got_listen["id"]});
    child.write(json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}})).await;
    let mut streamed = Events::of(streamed.await.unwrap());
    let mut listening = Events::of(listening.await.unwrap());
    streamed.next().await.unwrap();
    listening.next().await.unwrap();
    drop(child);

    let answer = refused(whole.await.unwrap(), 502, "upstream_failed").await;
    assert_eq!(answer["id"], "w");
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(
        words.contains("whether the call took effect is unknown"),
        "{words}"
    );
    for (mut events, id) in [(streamed, "s"), (listening, "l")] {
        let last = events.next().await.unwrap();
        assert_eq!(last["id"], id);
        assert_eq!(last["error"]["code"], 502);
        assert_eq!(last["error"]["data"]["reason"], "upstream_failed");
        assert_eq!(events.next().await, None);
    }

    // It died young: a rest, and then another one, which gets the new call alone.
    let resting = stdio.send(ask_tool("alice", 2)).await;
    assert_eq!(resting.headers()["retry-after"], "1");
    refused(resting, 503, "upstream_resting").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calling = stdio.begin(ask_tool("alice", 2));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(json_of(calling.await.unwrap()).await["id"], 2);
    child.hears_nothing(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn ft_13_a_legacy_session_is_over_with_its_process() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let listening = stdio.send(session.listen()).await;
    let calling = stdio.begin(session.post(call(1)));
    child.read().await;
    drop(child);
    refused(calling.await.unwrap(), 502, "upstream_failed").await;
    assert_eq!(Events::of(listening).next().await, None);
    stdio.alive(0).await;
    refused(stdio.send(session.post(call(1))).await, 404, "unknown_session").await;
    // The client starts anew at once.
    stdio.session("alice").await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_grows_with_each_young_death_and_ends_with_a_long_life() {
    let mut stdio = Stdio::new();
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let calling = stdio.begin(ask_tool("alice", 1));
        let mut child = stdio.child().await;
        child.is_modern().await;
        child.read().await;
        drop(child);
        assert_eq!(calling.await.unwrap().status(), 502);
        let resting = stdio.send(ask_tool("alice", 1)).await;
        assert_eq!(resting.headers()["retry-after"], expected.to_string().as_str());
        assert_eq!(resting.status(), 503);
        tokio::time::sleep(Duration::from_secs(expected)).await;
    }
    let calling = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    child.read().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    drop(child);
    assert_eq!(calling.await.unwrap().status(), 502);
    stdio.alive(0).await;
    let calling = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    let got = child.read().await;
    assert_eq!(got["method"], "tools/call", "it is known to be modern");
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_started() {
    let stdio = Stdio::new();
    *stdio.commands.broken.lock().unwrap() = Some("`nix` was not found");
    for request in [ask_tool("alice", 1), post("alice", INITIALIZE, &[VERSION])] {
        let answer = refused(stdio.send(request).await, 502, "upstream_not_started").await;
        let words = answer["error"]["message"].as_str().unwrap();
        assert!(words.contains("operator") && !words.contains("nix"), "{words}");
    }
    *stdio.commands.broken.lock().unwrap() = None;
    let mut stdio = stdio;
    stdio.session("alice").await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_writes_something_else_and_ends() {
    let mut stdio = Stdio::new();
    for (line, reason) in [
        ("Usage: command [OPTION]", "upstream_not_mcp"),
        ("", "upstream_ended_unanswered"),
    ] {
        let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
        let child = stdio.child().await;
        if !line.is_empty() {
            child.write(line).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(child);
        refused(opening.await.unwrap(), 502, reason).await;
        tokio::time::sleep(Duration::from_secs(4)).await;

        let calling = stdio.begin(ask_tool("alice", 1));
        // Once more with `initialize` alone.
        for _ in 0..2 {
            let mut child = stdio.child().await;
            child.read().await;
            if !line.is_empty() {
                child.write(line).await;
            }
        }
        refused(calling.await.unwrap(), 502, reason).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_are_no_messages_are_passed_over() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    for line in [
        "Listening on \u{1b}[31mstdio",
        "{\"jsonrpc\":\"2.0\"",
        "[1]",
        "{}",
        "{\"jsonrpc\":\"1.0\",\"id\":3,\"result\":1}",
    ] {
        child.write(line).await;
    }
    // Somebody else's number, and one that was never given.
    child
        .write(json!({"jsonrpc": "2.0", "id": "3", "result": "wrong"}))
        .await;
    child
        .write(json!({"jsonrpc": "2.0", "id": 99, "result": "wrong"}))
        .await;
    child
        .write(json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "?"}}))
        .await;
    child.answer(&got, json!("right")).await;
    child.answer(&got, json!("twice")).await;
    assert_eq!(json_of(calling.await.unwrap()).await["result"], "right");
}

#[tokio::test(start_paused = true)]
async fn ft_12_a_command_that_does_not_answer() {
    let mut stdio = Stdio::new();
    let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
    let mut child = stdio.child().await;
    child.read().await;
    let start = tokio::time::Instant::now();
    refused(opening.await.unwrap(), 504, "upstream_not_ready").await;
    assert_eq!(start.elapsed().as_secs(), 60);
    child.ends().await;

    let calling = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let start = tokio::time::Instant::now();
    refused(calling.await.unwrap(), 504, "upstream_timed_out").await;
    assert_eq!(start.elapsed().as_secs(), 300);
    let told = child.read().await;
    assert_eq!(
        told["params"]["requestId"], got["id"],
        "whoever stops waiting cancels"
    );
}

#[tokio::test(start_paused = true)]
async fn ft_12_a_command_that_does_not_read() {
    let mut stdio = Stdio::new();
    let (session, child) = stdio.session("alice").await;
    // More than the pipe holds.
    let calls: Vec<_> = (0..40).map(|n| stdio.begin(session.post(call(n)))).collect();
    for call in calls {
        refused(call.await.unwrap(), 504, "upstream_timed_out").await;
    }
    drop(child);
}
