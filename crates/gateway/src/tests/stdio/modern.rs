//! Cancellation and subscriptions of 2026-07-28.

use doorward_records::revocation::Revoked;

use super::*;

const ID: &str = "io.modelcontextprotocol/subscriptionId";

#[tokio::test(start_paused = true)]
async fn ft_14_leaving_cancels_within_a_second() {
    let mut stdio = Stdio::new();
    let mut child: Option<Child> = None;
    for streaming in [false, true, false, true] {
        let params = json!({"name": "t_read", "arguments": {}, "_meta": {"progressToken": 1}});
        let calling = stdio.begin(ask("alice", 1, "tools/call", params));
        if child.is_none() {
            let mut started = stdio.child().await;
            started.is_modern().await;
            child = Some(started);
        }
        let child = child.as_mut().unwrap();
        let got = child.read().await;
        let start = tokio::time::Instant::now();
        if streaming {
            let progress = json!({"progressToken": got["id"], "progress": 1});
            child
                .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}))
                .await;
            drop(calling.await.unwrap());
        } else {
            calling.abort();
        }
        let told = child.read().await;
        assert_eq!(told["method"], "notifications/cancelled");
        assert_eq!(told["params"]["requestId"], got["id"]);
        assert!(start.elapsed() < Duration::from_secs(1));
        // It may answer all the same: that goes nowhere.
        child.answer(&got, json!({})).await;
    }
    assert_eq!(stdio.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn mb_19_a_revocation_ends_the_stream_and_cancels_the_call() {
    let mut stdio = Stdio::new();
    let params = json!({"name": "t_read", "arguments": {}, "_meta": {"progressToken": 1}});
    let calling = stdio.begin(ask("alice", 1, "tools/call", params));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let progress = json!({"progressToken": got["id"], "progress": 1});
    child
        .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}))
        .await;
    let mut events = Events::of(calling.await.unwrap());
    events.next().await.unwrap();
    let alice = principal("alice").unwrap().subject();
    stdio
        .fixture
        .revocations
        .apply(&super::super::streams::revoke(Revoked::User(alice)));
    assert_eq!(events.next().await, None);
    let told = child.read().await;
    assert_eq!(told["params"]["requestId"], got["id"]);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_told_apart() {
    let mut stdio = Stdio::new();
    let listen = |id: &str| {
        ask(
            "alice",
            id,
            "subscriptions/listen",
            json!({"notifications": {"toolsListChanged": true}}),
        )
    };
    let one = stdio.begin(listen("sub"));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got_one = child.read().await;
    let two = stdio.begin(listen("sub"));
    let got_two = child.read().await;
    let note = |got: &Value, method: &str| json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": {ID: got["id"]}}});
    let acknowledged = "notifications/subscriptions/acknowledged";
    child.write(note(&got_two, acknowledged)).await;
    child.write(note(&got_one, acknowledged)).await;
    let (mut one, mut two) = (Events::of(one.await.unwrap()), Events::of(two.await.unwrap()));
    for events in [&mut one, &mut two] {
        let first = events.next().await.unwrap();
        assert_eq!(first["method"], acknowledged);
        assert_eq!(first["params"]["_meta"][ID], "sub");
    }
    let changed = "notifications/tools/list_changed";
    child.write(note(&got_two, changed)).await;
    child.write(json!({"jsonrpc": "2.0", "method": changed})).await;
    assert_eq!(two.next().await.unwrap()["params"]["_meta"][ID], "sub");
    one.says_nothing(Duration::from_secs(20)).await;
    two.says_nothing(Duration::from_secs(20)).await;

    // The server ends one gracefully and tears down the other: to the clients it is the same.
    let result = json!({"resultType": "complete", "_meta": {ID: got_one["id"]}});
    child.answer(&got_one, result).await;
    child.write(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": got_two["id"]}})).await;
    for mut events in [one, two] {
        let last = json!({"jsonrpc": "2.0", "id": "sub", "result": {"resultType": "complete", "_meta": {ID: "sub"}}});
        assert_eq!(events.next().await.unwrap(), last);
        assert_eq!(events.next().await, None);
    }
    child.hears_nothing(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn log_messages_go_to_the_call_that_asked_for_them() {
    let mut stdio = Stdio::new();
    let params =
        json!({"name": "t_read", "arguments": {}, "_meta": {"io.modelcontextprotocol/logLevel": "info"}});
    let loud = stdio.begin(ask("alice", 1, "tools/call", params.clone()));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got_loud = child.read().await;
    let quiet = stdio.begin(ask_tool("alice", 2));
    let got_quiet = child.read().await;
    let log =
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
    child.write(&log).await;
    let mut loud = Events::of(loud.await.unwrap());
    assert_eq!(loud.next().await.unwrap(), log);
    let other = stdio.begin(ask("alice", 3, "tools/call", params));
    let got_other = child.read().await;
    // Whose is it? It may go to nobody else, so it goes to nobody.
    child.write(&log).await;
    for got in [&got_loud, &got_quiet, &got_other] {
        child.answer(got, json!({})).await;
    }
    assert_eq!(loud.next().await.unwrap()["id"], 1);
    assert_eq!(json_of(quiet.await.unwrap()).await["id"], 2);
    assert_eq!(json_of(other.await.unwrap()).await["id"], 3);
}

#[tokio::test(start_paused = true)]
async fn requests_of_the_server_and_notifications_of_the_client_have_no_way() {
    let mut stdio = Stdio::new();
    let calling = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    child
        .write(json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage"}))
        .await;
    // Whose call would that be? Leaving is how one cancels.
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let cancel = post(
        "alice",
        &cancel.to_string(),
        &[("mcp-protocol-version", "2026-07-28")],
    );
    assert_eq!(stdio.send(cancel).await.status(), 202);
    child.hears_nothing(Duration::from_secs(5)).await;
    child.answer(&got, json!({})).await;
    assert_eq!(json_of(calling.await.unwrap()).await["id"], 1);
}
