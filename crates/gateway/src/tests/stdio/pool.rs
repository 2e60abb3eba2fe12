//! How many processes there are, and for how long.

use std::task::Poll;

use super::*;

#[tokio::test(start_paused = true)]
async fn first_calls_at_the_same_time_start_one_process() {
    let mut stdio = Stdio::slow(StdioSettings::default(), Duration::from_secs(3));
    let calls: Vec<_> = (0..20).map(|n| stdio.begin(ask_tool("alice", n))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The first one, which began the start, leaves: the others do not suffer.
    calls[0].abort();
    let mut child = stdio.child().await;
    child.is_modern().await;
    for _ in 1..20 {
        let got = child.read().await;
        child.answer(&got, json!({})).await;
    }
    for call in calls.into_iter().skip(1) {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    assert_eq!(stdio.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_without_work_is_stopped_after_a_while() {
    let settings = StdioSettings {
        idle: Duration::from_secs(100),
        answer_timeout: Duration::from_secs(900),
        ..StdioSettings::default()
    };
    let mut stdio = Stdio::with(settings);
    let (session, mut child) = stdio.session("alice").await;
    // A call, and a stream that is open, are reasons to stay.
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    tokio::time::sleep(Duration::from_secs(500)).await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
    let listening = stdio.send(session.listen()).await;
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_eq!(stdio.commands.alive.load(Ordering::SeqCst), 1);
    drop(listening);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(stdio.commands.alive.load(Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    child.ends().await;
    stdio.alive(0).await;
    assert_eq!(stdio.send(session.post(call(1))).await.status(), 404);

    let calling = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
    tokio::time::sleep(Duration::from_secs(110)).await;
    child.ends().await;
    // The next call starts another one, without a rest.
    let _calling = stdio.begin(ask_tool("alice", 1));
    assert_eq!(stdio.child().await.read().await["method"], "tools/call");
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_processes_and_the_longest_idle_one_makes_room() {
    let mut stdio = Stdio::with(StdioSettings {
        per_user: 3,
        ..StdioSettings::default()
    });
    let (one, mut child_one) = stdio.session("alice").await;
    let (two, child_two) = stdio.session("alice").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (three, child_three) = stdio.session("alice").await;
    // The first is at work, and the second has somebody who listens.
    let _calling = stdio.begin(one.post(call(1)));
    child_one.read().await;
    let listening = stdio.send(two.listen()).await;
    let (four, mut child_four) = stdio.session("alice").await;
    child_three.ends().await;
    assert_eq!(stdio.send(three.post(call(1))).await.status(), 404);
    let _working = stdio.begin(four.post(call(1)));
    child_four.read().await;
    let (five, mut child_five) = stdio.session("alice").await;
    assert_eq!(Events::of(listening).next().await, None);
    child_two.ends().await;
    let _working = stdio.begin(five.post(call(1)));
    child_five.read().await;
    // All are at work.
    let refused = stdio.send(post("alice", INITIALIZE, &[VERSION])).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(
        json_of(refused).await["error"]["data"]["reason"],
        "too_many_processes"
    );
    // That is nobody else's trouble.
    stdio.session("bob").await;
    stdio.alive(4).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_made_room_gets_it_or_makes_room_again() {
    for steps in 0..40 {
        let mut stdio = Stdio::with(StdioSettings {
            per_user: 2,
            ..StdioSettings::default()
        });
        let (_one, child_one) = stdio.session("alice").await;
        let (_two, child_two) = stdio.session("alice").await;
        let first = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
        let gateway = Arc::clone(&stdio.fixture.gateway);
        let request = post("alice", INITIALIZE, &[VERSION]);
        let mut left = steps;
        let second = tokio::spawn(async move {
            // Unlike `yield_now`, not only when there is nothing else to do.
            std::future::poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            let route = gateway.route("/a/mcp").unwrap();
            gateway.handle(route, request).await
        });
        let mut children = Vec::new();
        for _ in 0..2 {
            let mut child = stdio.child().await;
            let request = child.read().await;
            child.answer(&request, json!({})).await;
            children.push(child);
        }
        for opening in [first, second] {
            assert_eq!(opening.await.unwrap().status(), 200, "{steps}");
        }
        child_one.ends().await;
        child_two.ends().await;
        stdio.alive(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_users_together_have_so_many_processes() {
    let mut stdio = Stdio::with(StdioSettings {
        per_user: 8,
        total: 2,
        ..StdioSettings::default()
    });
    let (first, child_first) = stdio.session("alice").await;
    let (second, _child_second) = stdio.session("alice").await;
    let listening = stdio.send(second.listen()).await;
    let (bobs, mut bobs_child) = stdio.session("bob").await;
    child_first.ends().await;
    assert_eq!(stdio.send(first.post(call(1))).await.status(), 404);
    let _calling = stdio.begin(bobs.post(call(1)));
    bobs_child.read().await;
    // Nobody is thrown out whose client is still there, for somebody else.
    let refused = stdio.send(post("bob", INITIALIZE, &[VERSION])).await;
    assert_eq!(refused.status(), 503);
    drop(listening);
    stdio.session("bob").await;
    stdio.alive(2).await;
}

/// A legacy client that tries a modern command, for one.
#[tokio::test(start_paused = true)]
async fn a_running_process_does_not_rest_because_another_one_died() {
    let mut stdio = Stdio::new();
    let calling = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);

    let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
    drop(stdio.child().await);
    assert_eq!(opening.await.unwrap().status(), 502);
    let opening = stdio.send(post("alice", INITIALIZE, &[VERSION])).await;
    assert_eq!(opening.status(), 503, "another start has to wait");

    let calling = stdio.begin(ask_tool("alice", 2));
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
    assert_eq!(stdio.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_taken_away_finishes_what_it_has() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let (_idle, idle_child) = stdio.session("alice").await;
    let listening = stdio.send(session.listen()).await;
    let calling = stdio.begin(session.post(json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "t_read", "_meta": {"progressToken": 5}}
    })));
    let got = child.read().await;
    let progress = json!({"progressToken": got["id"], "progress": 1});
    child
        .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}))
        .await;
    let mut events = Events::of(calling.await.unwrap());
    events.next().await.unwrap();
    let subscribing = stdio.begin(ask(
        "alice",
        3,
        "subscriptions/listen",
        json!({"notifications": {}}),
    ));
    let mut modern = stdio.child().await;
    modern.is_modern().await;
    let subscription = modern.read().await;
    let meta = json!({"io.modelcontextprotocol/subscriptionId": subscription["id"]});
    modern.write(json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}})).await;
    let mut subscribed = Events::of(subscribing.await.unwrap());
    subscribed.next().await.unwrap();

    let Stdio { fixture, .. } = stdio;
    drop(fixture);
    idle_child.ends().await;
    assert_eq!(Events::of(listening).next().await, None);
    assert_eq!(
        subscribed.next().await.unwrap()["result"]["resultType"],
        "complete"
    );
    assert_eq!(subscribed.next().await, None);
    modern.ends().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    child.answer(&got, json!({"done": true})).await;
    assert_eq!(events.next().await.unwrap()["result"], json!({"done": true}));
    child.ends().await;
}
