//! Commands and clients that say what they should not.

use super::*;

#[tokio::test(start_paused = true)]
async fn mb_15_only_the_very_id_is_an_answer_and_only_once() {
    let mut stdio = Stdio::new();
    let calling = stdio.begin(ask_tool("alice", 3));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let number = got["id"].as_u64().unwrap();
    for id in [
        format!("\"{number}\""),
        format!("-{number}"),
        format!("{number}.5"),
        format!("{number}e1"),
        "null".into(),
        format!("{}", number + 1),
        format!("{}{number}", u64::MAX),
        format!("[{number}]"),
        "\"3\"".into(),
    ] {
        child
            .write(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"wrong"}}"#))
            .await;
        child
            .write(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"wrong"}}}}"#
            ))
            .await;
    }
    // The next call has the number that was answered before it came.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let next = stdio.begin(ask_tool("alice-other-client", 3));
    let got_next = child.read().await;
    assert_eq!(got_next["id"], number + 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!calling.is_finished() && !next.is_finished());
    child
        .write(format!(r#"{{"id":{number}.0,"jsonrpc":"2.0","result":"right"}}"#))
        .await;
    child.answer(&got, json!("again")).await;
    child.answer(&got_next, json!("the other's")).await;
    child.answer(&got, json!("and again")).await;
    let answer = json_of(calling.await.unwrap()).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 3, "result": "right"}));
    assert_eq!(json_of(next.await.unwrap()).await["result"], "the other's");
}

#[tokio::test(start_paused = true)]
async fn equal_ids_and_tokens_of_one_client_at_the_same_time_are_different_calls() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "t_read", "arguments": {}, "_meta": {"progressToken": 1}}});
    let one = stdio.begin(session.post(&message));
    let got_one = child.read().await;
    let two = stdio.begin(session.post(&message));
    let got_two = child.read().await;
    // Of two with the same id the newer one is meant.
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(stdio.send(session.post(&cancel)).await.status(), 202);
    assert_eq!(child.read().await["params"]["requestId"], got_two["id"]);
    for (got, progress) in [(&got_two, 2), (&got_one, 1)] {
        let params = json!({"progressToken": got["id"], "progress": progress});
        child
            .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .await;
    }
    child.answer(&got_two, json!("too late to cancel")).await;
    child.answer(&got_one, json!("one")).await;
    for (call, progress, result) in [(one, 1, "one"), (two, 2, "too late to cancel")] {
        let mut events = Events::of(call.await.unwrap());
        assert_eq!(events.next().await.unwrap()["params"]["progress"], progress);
        assert_eq!(
            events.next().await.unwrap(),
            json!({"jsonrpc": "2.0", "id": 1, "result": result})
        );
        assert_eq!(events.next().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn mb_17_a_client_answers_only_what_its_own_session_asked() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let (other, mut others_child) = stdio.session("alice").await;
    let listening = stdio.send(session.listen()).await;
    let ask = |id: Value| json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
    child.write(ask(json!(5))).await;
    let mut events = Events::of(listening);
    events.next().await.unwrap();
    let reply = |id: Value| json!({"jsonrpc": "2.0", "id": id, "result": {"roots": []}});
    assert_eq!(stdio.send(other.post(reply(json!(5)))).await.status(), 202);
    for id in [json!("5"), json!(6), json!(-5), json!("\u{0}5")] {
        assert_eq!(stdio.send(session.post(reply(id))).await.status(), 202);
    }
    let disguised = json!({"jsonrpc": "2.0", "id": 5, "method": "notifications/progress", "result": {}});
    assert_eq!(stdio.send(session.post(disguised)).await.status(), 400);
    child.hears_nothing(Duration::from_secs(1)).await;
    assert_eq!(stdio.send(session.post(reply(json!(5)))).await.status(), 202);
    assert_eq!(child.read().await, reply(json!(5)));
    assert_eq!(stdio.send(session.post(reply(json!(5)))).await.status(), 202);
    child.hears_nothing(Duration::from_secs(1)).await;
    others_child.hears_nothing(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_or_is_left_takes_no_seat() {
    let settings = StdioSettings {
        per_user: 1,
        total: 1,
        ..StdioSettings::default()
    };
    let stdio = Stdio::slow(settings, Duration::from_secs(3600));
    for request in [post("alice", INITIALIZE, &[VERSION]), ask_tool("alice", 1)] {
        let answer = stdio.send(request).await;
        assert_eq!(answer.status(), 504);
        assert_eq!(
            json_of(answer).await["error"]["data"]["reason"],
            "upstream_not_ready"
        );
    }
    for _ in 0..20 {
        let opening = stdio.begin(post("alice", INITIALIZE, &[VERSION]));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!opening.is_finished(), "it has the seat");
        opening.abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let opening = stdio.begin(post("bob", INITIALIZE, &[VERSION]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!opening.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_launcher_that_panics_takes_no_seat_and_no_later_call_with_it() {
    struct Panics(AtomicUsize);
    impl Launcher for Panics {
        fn launch(&self, _: Owner) -> Launching {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                panic!("launcher")
            })
        }
    }
    let launcher = Arc::new(Panics(AtomicUsize::new(0)));
    let settings = StdioSettings {
        per_user: 1,
        ..StdioSettings::default()
    };
    let random = Arc::new(CountingRandom::default());
    let upstream = Upstream::stdio(
        ServerName::new("a"),
        Arc::clone(&launcher) as Arc<dyn Launcher>,
        settings,
        random,
    );
    let servers = vec![unlimited(Arc::new(server("a")), upstream)];
    let fixture = Fixture::of(Arc::default(), &super::super::settings(), servers);
    for count in 1..=3 {
        let route = fixture.gateway.route("/a/mcp").unwrap();
        let answer = fixture.gateway.handle(route, ask_tool("alice", 1)).await;
        assert_eq!(answer.status(), 502);
        assert_eq!(launcher.0.load(Ordering::SeqCst), count);
    }
}

#[tokio::test(start_paused = true)]
async fn deleting_a_session_ends_whatever_goes_on_in_it() {
    let mut stdio = Stdio::new();
    let (session, mut child) = stdio.session("alice").await;
    let listening = stdio.send(session.listen()).await;
    let whole = stdio.begin(session.post(call(1)));
    child.read().await;
    let streamed = stdio.begin(
        session.post(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "t_read", "arguments": {}, "_meta": {"progressToken": 1}}})),
    );
    let got = child.read().await;
    let params = json!({"progressToken": got["id"], "progress": 1});
    child
        .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
        .await;
    let mut streamed = Events::of(streamed.await.unwrap());
    streamed.next().await.unwrap();
    assert_eq!(stdio.send(session.bare("DELETE")).await.status(), 204);
    assert_eq!(stdio.send(session.bare("DELETE")).await.status(), 404);
    assert_eq!(whole.await.unwrap().status(), 502);
    assert_eq!(streamed.next().await, None);
    assert_eq!(Events::of(listening).next().await, None);
    child.ends().await;
    stdio.alive(0).await;
}

#[tokio::test(start_paused = true)]
async fn messages_with_line_breaks_between_tokens_stay_one_event() {
    let mut stdio = Stdio::new();
    let (session, child) = stdio.session("alice").await;
    let mut events = Events::of(stdio.send(session.listen()).await);
    let odd = "{\"jsonrpc\":\"2.0\",\r\r\"method\":\"notifications/tools/list_changed\",\r\"params\":{\"x\":\"\u{2028}\u{85}data: 1\"}}";
    child.write(odd).await;
    let piece = loop {
        let piece = events.piece().await.unwrap();
        if piece != ":\n\n" {
            break piece;
        }
    };
    assert!(piece.ends_with("\n\n"));
    let lines: Vec<_> = piece.trim_end().split('\n').collect();
    let data: Vec<_> = lines
        .iter()
        .map(|line| line.strip_prefix("data: ").unwrap())
        .collect();
    let message: Value = serde_json::from_str(&data.join("\n")).unwrap();
    assert_eq!(message["params"]["x"], "\u{2028}\u{85}data: 1");
}
