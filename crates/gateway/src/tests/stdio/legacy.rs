//! Sessions of the legacy revisions.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_is_one_process_from_initialize_to_delete() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    assert_eq!(child.owner.user, principal("alice").unwrap().subject());

    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = stdio.send(session.post(&note)).await;
    assert_eq!(answer.status(), 202);
    assert!(answer.into_body().is_end_stream_now());
    assert_eq!(child.read().await, note);

    let calling = stdio.begin(session.post(call("client's own")));
    let got = child.read().await;
    assert!(got["id"].is_u64(), "{got}");
    assert_eq!(got["params"], call(1)["params"]);
    child.answer(&got, json!({"content": []})).await;
    let answer = calling.await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer = json_of(answer).await;
    assert_eq!(
        answer,
        json!({"jsonrpc": "2.0", "id": "client's own", "result": {"content": []}})
    );

    let ended = stdio.send(session.bare("DELETE")).await;
    assert_eq!(ended.status(), 204);
    child.ends().await;
    stdio.alive(0).await;
    for request in [session.post(call(1)), session.listen(), session.bare("DELETE")] {
        assert_eq!(stdio.send(request).await.status(), 404);
    }
    assert_eq!(stdio.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_session_there_is_only_initialize() {
    let stdio = Stdio::new();
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    for request in [
        post("alice", CALL, &[VERSION]),
        post("alice", &note.to_string(), &[VERSION]),
        post("alice", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, &[VERSION]),
        request("GET", "/a/mcp", "alice", "", &[VERSION]),
        request("DELETE", "/a/mcp", "alice", "", &[VERSION]),
    ] {
        let answer = stdio.send(request).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(json_of(answer).await["error"]["data"]["reason"], "no_session");
    }
    assert_eq!(stdio.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn mb_17_a_session_is_its_users_and_clients_alone() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    for token in ["bob", "alice-other-client"] {
        let other = Session {
            token,
            id: session.id.clone(),
        };
        for request in [other.post(call(1)), other.listen(), other.bare("DELETE")] {
            assert_eq!(stdio.send(request).await.status(), 404, "{token}");
        }
    }
    child.hears_nothing(Duration::from_secs(5)).await;
    let again = Session {
        token: "alice-again",
        id: session.id,
    };
    let calling = stdio.begin(again.post(call(1)));
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(
        calling.await.unwrap().status(),
        200,
        "a refreshed token changes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn the_server_asks_the_client_on_the_stream_of_the_only_call() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let calling = stdio.begin(session.post(call(7)));
    let got = child.read().await;
    child
        .write(
            r#"{"jsonrpc":"2.0","id":"s\u002f1","method":"sampling/createMessage","params":{"maxTokens":1}}"#,
        )
        .await;
    let mut events = Events::of(calling.await.unwrap());
    assert_eq!(events.next().await.unwrap()["method"], "sampling/createMessage");

    // Nobody asked that.
    let stray = json!({"jsonrpc": "2.0", "id": "other", "result": {"stray": 1}});
    assert_eq!(stdio.send(session.post(stray)).await.status(), 202);
    let reply = json!({"jsonrpc": "2.0", "id": "s/1", "result": {"model": "m"}});
    assert_eq!(stdio.send(session.post(&reply)).await.status(), 202);
    assert_eq!(child.read().await, reply, "and not the stray one before");
    assert_eq!(stdio.send(session.post(&reply)).await.status(), 202);
    child.hears_nothing(Duration::from_secs(1)).await;

    child.answer(&got, json!({"done": true})).await;
    assert_eq!(
        events.next().await.unwrap(),
        json!({"jsonrpc": "2.0", "id": 7, "result": {"done": true}})
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_no_call_goes_to_the_one_stream_of_the_session() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let changed =
        |n: i32| json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"n": n}});
    // Before anybody listens.
    child.write(changed(1)).await;
    child
        .write(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut first = Events::of(stdio.send(session.listen()).await);
    assert_eq!(first.next().await.unwrap(), changed(1));
    assert_eq!(first.next().await.unwrap()["method"], "ping");
    let reply = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    stdio.send(session.post(&reply)).await;
    assert_eq!(child.read().await, reply);

    // During a call, too.
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    child.write(changed(2)).await;
    assert_eq!(first.next().await.unwrap(), changed(2));

    let mut second = Events::of(stdio.send(session.listen()).await);
    assert_eq!(first.next().await, None, "the older one ends");
    drop(first);
    child.write(changed(3)).await;
    assert_eq!(second.next().await.unwrap(), changed(3));
    second.says_nothing(Duration::from_secs(1)).await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn with_several_calls_the_sessions_stream_is_preferred_and_then_the_newest_call() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let log = |n: i32| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": n}});
    let one = stdio.begin(session.post(call(1)));
    let got_one = child.read().await;
    let two = stdio.begin(session.post(call(2)));
    let got_two = child.read().await;
    child.write(log(1)).await;
    let mut two = Events::of(two.await.unwrap());
    assert_eq!(two.next().await.unwrap(), log(1));
    let mut listening = Events::of(stdio.send(session.listen()).await);
    child.write(log(2)).await;
    assert_eq!(listening.next().await.unwrap(), log(2));
    child.answer(&got_two, json!({})).await;
    assert_eq!(two.next().await.unwrap()["id"], 2);
    child.write(log(3)).await;
    let mut one = Events::of(one.await.unwrap());
    assert_eq!(one.next().await.unwrap(), log(3));
    child.answer(&got_one, json!({})).await;
    assert_eq!(one.next().await.unwrap()["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_hears_is_answered_and_bounded() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    child
        .write(json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"}))
        .await;
    let start = tokio::time::Instant::now();
    let answer = child.read().await;
    assert_eq!(answer["id"], "q");
    assert_eq!(answer["error"]["code"], 504);
    assert!(start.elapsed() < Duration::from_secs(40));

    for n in 0..100 {
        let changed =
            json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"n": n}});
        child.write(changed).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut events = Events::of(stdio.send(session.listen()).await);
    assert_eq!(events.next().await.unwrap()["params"]["n"], 36, "the newest 64");
    for n in 37..100 {
        assert_eq!(events.next().await.unwrap()["params"]["n"], n);
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_does_not_cancel_but_the_call_is_given_up_in_the_end() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    let start = tokio::time::Instant::now();
    calling.abort();
    let told = child.input.recv();
    let told: Value = serde_json::from_slice(&told.await.unwrap()).unwrap();
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], got["id"]);
    let waited = start.elapsed().as_secs();
    assert!((300..=302).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_names_the_call_as_the_server_knows_it() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let calling = stdio.begin(session.post(call("c\"1")));
    let got = child.read().await;
    let cancel = |id: &str| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "enough"}});
    assert_eq!(stdio.send(session.post(cancel("unknown"))).await.status(), 202);
    assert_eq!(stdio.send(session.post(cancel("c\"1"))).await.status(), 202);
    let told = child.read().await;
    assert_eq!(
        told["params"],
        json!({"requestId": got["id"], "reason": "enough"})
    );
    // The server owes no answer now: the client's stream ends without one.
    let mut events = Events::of(calling.await.unwrap());
    assert_eq!(events.next().await, None);
    child.hears_nothing(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_takes_back_what_it_asked() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    child
        .write(json!({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}}))
        .await;
    let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    child.write(&back).await;
    let mut events = Events::of(calling.await.unwrap());
    assert_eq!(events.next().await.unwrap()["id"], 5);
    assert_eq!(events.next().await.unwrap(), back);
    let late = json!({"jsonrpc": "2.0", "id": 5, "result": {}});
    assert_eq!(stdio.send(session.post(late)).await.status(), 202);
    child.hears_nothing(Duration::from_secs(1)).await;
    child.answer(&got, json!({})).await;
    assert_eq!(events.next().await.unwrap()["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_initialize_opens_no_session() {
    for (code, status) in [(-32022, 400), (-32602, 200)] {
        let mut stdio = Stdio::new();
        let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
        let mut child = stdio.child().await;
        let request = child.read().await;
        let refusal = json!({"code": code, "message": "no", "data": {"supported": ["2026-07-28"]}});
        child
            .write(json!({"jsonrpc": "2.0", "id": request["id"], "error": refusal}))
            .await;
        let answer = opening.await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(!answer.headers().contains_key("mcp-session-id"));
        assert_eq!(
            json_of(answer).await,
            json!({"jsonrpc": "2.0", "id": "i", "error": refusal})
        );
        child.ends().await;
        stdio.alive(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_may_talk_before_it_answers_initialize() {
    let mut stdio = Stdio::new();
    let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
    let mut child = stdio.child().await;
    let request = child.read().await;
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1}});
    child.write(&log).await;
    let answer = opening.await.unwrap();
    let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let mut events = Events::of(answer);
    assert_eq!(events.next().await.unwrap(), log);
    child
        .answer(&request, json!({"protocolVersion": "2025-11-25"}))
        .await;
    assert_eq!(events.next().await.unwrap()["id"], "i");
    let session = Session { token: "alice", id };
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_initialize_leaves_nothing_behind() {
    let mut stdio = Stdio::new();
    let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
    let mut child = stdio.child().await;
    child.read().await;
    opening.abort();
    child.ends().await;
    stdio.alive(0).await;
}

#[tokio::test(start_paused = true)]
async fn json_rpc_errors_are_answers_like_others() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    for code in [-32601, -32602, -32020, -32002, 404] {
        let calling = stdio.begin(session.post(call(1)));
        let got = child.read().await;
        child.refuse(&got, code).await;
        let answer = calling.await.unwrap();
        assert_eq!(answer.status(), 200, "404 would mean that the session is over");
        assert_eq!(json_of(answer).await["error"]["code"], code);
    }
}

#[tokio::test(start_paused = true)]
async fn mb_15_legacy_sessions_do_not_meet() {
    let mut stdio = Stdio::new();
    let (alice, mut alices) = stdio.session("alice").await;
    let (bob, mut bobs) = stdio.session("bob").await;
    let to_alice = stdio.begin(alice.post(call(1)));
    let to_bob = stdio.begin(bob.post(call(1)));
    let (got_bob, got_alice) = (bobs.read().await, alices.read().await);
    bobs.answer(&got_bob, json!("bob's")).await;
    alices.answer(&got_alice, json!("alice's")).await;
    assert_eq!(json_of(to_alice.await.unwrap()).await["result"], "alice's");
    assert_eq!(json_of(to_bob.await.unwrap()).await["result"], "bob's");
}

#[tokio::test(start_paused = true)]
async fn a_task_reports_on_after_the_answer() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let mut message = call(1);
    message["params"]["_meta"] = json!({"progressToken": "own"});
    let calling = stdio.begin(session.post(message));
    let got = child.read().await;
    child.answer(&got, json!({"task": {"taskId": "t"}})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
    let mut listening = Events::of(stdio.send(session.listen()).await);
    let params = json!({"progressToken": got["params"]["_meta"]["progressToken"], "progress": 1});
    child
        .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
        .await;
    let progress = listening.next().await.unwrap();
    assert_eq!(progress["params"]["progressToken"], "own");
}

#[tokio::test(start_paused = true)]
async fn of_many_unanswered_questions_the_newest_can_be_answered() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let mut listening = Events::of(stdio.send(session.listen()).await);
    for n in 0..300 {
        child
            .write(json!({"jsonrpc": "2.0", "id": n, "method": "roots/list"}))
            .await;
        assert_eq!(listening.next().await.unwrap()["id"], n);
    }
    for n in [0, 43, 44, 299] {
        let reply = json!({"jsonrpc": "2.0", "id": n, "result": {"roots": []}});
        assert_eq!(stdio.send(session.post(reply)).await.status(), 202);
    }
    assert_eq!(child.read().await["id"], 44, "the 256 newest");
    assert_eq!(child.read().await["id"], 299);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_left_unread_is_offered_elsewhere() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let listening = stdio.send(session.listen()).await;
    drop(listening);
    child
        .write(json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calling = stdio.begin(session.post(call(1)));
    let got = child.read().await;
    child
        .write(json!({"jsonrpc": "2.0", "id": 2, "method": "roots/list"}))
        .await;
    let mut events = Events::of(calling.await.unwrap());
    assert_eq!(events.next().await.unwrap()["id"], 2);
    drop(events);
    // Its client has gone without cancelling: there is nobody else to ask.
    child
        .write(json!({"jsonrpc": "2.0", "id": 3, "method": "roots/list"}))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut listening = Events::of(stdio.send(session.listen()).await);
    assert_eq!(listening.next().await.unwrap()["id"], 1);
    assert_eq!(listening.next().await.unwrap()["id"], 3);
    child.answer(&got, json!({})).await;
    listening.says_nothing(Duration::from_secs(20)).await;
}

trait EndsNow {
    fn is_end_stream_now(&self) -> bool;
}

impl EndsNow for Body {
    fn is_end_stream_now(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }
}
