//! Answers, whole and as streams.

use super::*;

fn with_token(id: i32, token: impl Into<Value>) -> Request<Full<Bytes>> {
    let params = json!({"name": "t_read", "arguments": {}, "_meta": {"progressToken": token.into()}});
    ask("alice", id, "tools/call", params)
}

#[tokio::test(start_paused = true)]
async fn progress_comes_back_under_the_clients_own_token() {
    let mut stdio = Stdio::new();
    let calls = [with_token(1, "same"), with_token(1, "same"), with_token(1, 7)];
    let calls: Vec<_> = calls.into_iter().map(|call| stdio.begin(call)).collect();
    let mut child = stdio.child().await;
    child.is_modern().await;
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(child.read().await);
    }
    let tokens: Vec<_> = got
        .iter()
        .map(|got| got["params"]["_meta"]["progressToken"].clone())
        .collect();
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);
    for (n, token) in tokens.iter().enumerate() {
        let params = json!({"progressToken": token, "progress": n});
        child
            .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .await;
    }
    // Nobody gave this one.
    let stray = json!({"progressToken": "same", "progress": 9});
    child
        .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": stray}))
        .await;
    for got in got.iter().rev() {
        child.answer(got, json!({})).await;
    }
    let own = [json!("same"), json!("same"), json!(7)];
    let mut seen = Vec::new();
    for (call, own) in calls.into_iter().zip(own) {
        let mut events = Events::of(call.await.unwrap());
        let progress = events.next().await.unwrap();
        assert_eq!(progress["params"]["progressToken"], own);
        seen.push(progress["params"]["progress"].as_u64().unwrap());
        assert_eq!(events.next().await.unwrap()["id"], 1);
        assert_eq!(events.next().await, None);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2], "each went to one call");
}

#[tokio::test(start_paused = true)]
async fn mb_15_equal_ids_of_two_clients_answered_out_of_order() {
    const CALLS: usize = 100;
    let mut stdio = Stdio::new();
    let mut calls = Vec::new();
    let mut children = Vec::new();
    for token in ["alice", "alice-other-client", "bob"] {
        for n in 0..CALLS {
            let params = json!({"name": "t_read", "arguments": {"mark": format!("{token} {n}")}});
            calls.push((
                format!("{token} {n}"),
                stdio.begin(ask(token, 1, "tools/call", params)),
            ));
        }
    }
    for _ in 0..2 {
        children.push(stdio.child().await);
    }
    let serving = children.into_iter().map(|mut child| {
        tokio::spawn(async move {
            let expected = match child.owner.user == principal("alice").unwrap().subject() {
                true => CALLS * 2,
                false => CALLS,
            };
            child.is_modern().await;
            let mut got = Vec::new();
            for _ in 0..expected {
                got.push(child.read().await);
            }
            // Last come, first served, with a twist.
            got.reverse();
            let middle = got.len() / 2;
            got.rotate_left(middle);
            for got in &got {
                child
                    .answer(got, got["params"]["arguments"]["mark"].clone())
                    .await;
            }
            child
        })
    });
    let serving: Vec<_> = serving.collect();
    for (mark, call) in calls {
        let answer = json_of(call.await.unwrap()).await;
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": mark}));
    }
    for child in serving {
        child.await.unwrap();
    }
    assert_eq!(stdio.started(), 2, "one for each user");
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_status_of_their_revision() {
    let mut stdio = Stdio::new();
    let mut child = None;
    for (code, status) in [
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32602, 200),
        (-32603, 200),
        (-32023, 200),
        (404, 200),
    ] {
        let calling = stdio.begin(ask_tool("alice", 1));
        if child.is_none() {
            let mut started = stdio.child().await;
            started.is_modern().await;
            child = Some(started);
        }
        let child = child.as_mut().unwrap();
        let got = child.read().await;
        child.refuse(&got, code).await;
        let answer = calling.await.unwrap();
        assert_eq!(answer.status(), status, "{code}");
        assert_eq!(json_of(answer).await["error"]["code"], code);
    }
    // The request's metadata is wrong, and it is the gateway's client who has to know.
    let message = super::super::modern("tools/list", "");
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
    ];
    let calling = stdio.begin(post("alice", &message, &headers));
    let child = child.as_mut().unwrap();
    let got = child.read().await;
    child.refuse(&got, -32602).await;
    assert_eq!(calling.await.unwrap().status(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_shows_signs_of_life() {
    let mut stdio = Stdio::new();
    let calling = stdio.begin(with_token(1, 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let token = &got["params"]["_meta"]["progressToken"];
    child.write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})).await;
    let mut events = Events::of(calling.await.unwrap());
    events.next().await.unwrap();
    for _ in 0..3 {
        let start = tokio::time::Instant::now();
        assert_eq!(events.piece().await.unwrap(), ":\n\n");
        assert_eq!(start.elapsed().as_secs(), 15);
    }
    child.answer(&got, json!({})).await;
    assert_eq!(events.next().await.unwrap()["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_up_the_others_for_ten_seconds() {
    let mut stdio = Stdio::new();
    let slow = stdio.begin(with_token(1, "slow"));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let other = stdio.begin(ask_tool("alice-other-client", 2));
    let got_other = child.read().await;
    let token = got["params"]["_meta"]["progressToken"].clone();
    let long = "x".repeat(100_000);
    let start = tokio::time::Instant::now();
    for n in 0..30 {
        let params = json!({"progressToken": token, "progress": n, "message": long});
        child
            .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .await;
    }
    child.answer(&got_other, json!({})).await;
    let answer = other.await.unwrap();
    assert_eq!(answer.status(), 200);
    let waited = start.elapsed().as_secs();
    assert!((10..15).contains(&waited), "{waited}");
    let told = child.read().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], got["id"]);
    // What was there is still there; then the stream is over, without an answer.
    let mut events = Events::of(slow.await.unwrap());
    let mut read = 0;
    while let Some(event) = events.next().await {
        assert_eq!(event["method"], "notifications/progress");
        read += 1;
    }
    assert!((10..=11).contains(&read), "1 MiB at most: {read}");
}

/// Ten seconds for each message would be for ever.
#[tokio::test(start_paused = true)]
async fn ds_08_a_client_that_reads_a_little_now_and_then_does_not_hold_up_the_others_for_long() {
    let mut stdio = Stdio::new();
    let slow = stdio.begin(with_token(1, "slow"));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let other = stdio.begin(ask_tool("alice-other-client", 2));
    let got_other = child.read().await;
    let start = tokio::time::Instant::now();
    let reading = tokio::spawn(async move {
        let mut events = Events::of(slow.await.unwrap());
        let mut read = 0;
        while events.next().await.is_some() {
            read += 1;
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        read
    });
    for n in 0..200 {
        let params = json!({"progressToken": got["id"], "progress": n});
        child
            .write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .await;
    }
    child.answer(&got_other, json!({})).await;
    assert_eq!(other.await.unwrap().status(), 200);
    let waited = start.elapsed().as_secs();
    assert!((10..20).contains(&waited), "{waited}");
    let told = child.read().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], got["id"]);
    let read = reading.await.unwrap();
    assert!((128..140).contains(&read), "{read}: what was there, and the end");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_at_a_time() {
    let mut stdio = Stdio::with(StdioSettings {
        calls: 2,
        ..StdioSettings::default()
    });
    let one = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    let _two = stdio.begin(ask_tool("alice", 2));
    child.read().await;
    let refused = stdio.send(ask_tool("alice", 3)).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(
        json_of(refused).await["error"]["data"]["reason"],
        "too_many_calls"
    );
    child.answer(&got, json!({})).await;
    one.await.unwrap();
    let _three = stdio.begin(ask_tool("alice", 3));
    child.read().await;
}

#[tokio::test(start_paused = true)]
async fn ft_14_calls_that_end_in_any_way_leave_nothing_behind() {
    const AT_A_TIME: usize = 4;
    let mut stdio = Stdio::with(StdioSettings {
        calls: AT_A_TIME,
        ..StdioSettings::default()
    });
    let random = CountingRandom::default();
    let roll = |sides: u8| {
        let [byte] = doorward_types::random::bytes::<1>(&random);
        byte % sides
    };
    let mut child = None;
    for round in 0..500 {
        let mut calls = Vec::new();
        for n in 0..AT_A_TIME {
            calls.push(stdio.begin(with_token(1, format!("{round} {n}"))));
            if child.is_none() {
                let mut started = stdio.child().await;
                started.is_modern().await;
                child = Some(started);
            }
            let child: &mut Child = child.as_mut().unwrap();
            let mut got = child.read().await;
            while got["method"] == "notifications/cancelled" {
                got = child.read().await;
            }
            let progress = json!({"progressToken": got["id"], "progress": 1});
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress});
            match roll(6) {
                0 => child.answer(&got, json!(n)).await,
                1 => child.refuse(&got, -32000).await,
                2 => {
                    child.write(progress).await;
                    child.answer(&got, json!(n)).await;
                }
                // Its client leaves below, with or without a stream.
                3 => child.write(progress).await,
                4 => {}
                _ => {
                    calls.pop().unwrap().abort();
                    child.answer(&got, json!(n)).await;
                }
            }
        }
        // Whatever has come is there now; the rest is left.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for call in calls {
            if call.is_finished() {
                let answer = call.await.unwrap();
                assert_eq!(answer.status(), 200, "{round}");
            } else {
                call.abort();
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stdio.started(), 1);
}

/// Long answers that nobody reads must not add up to more memory than there is.
#[tokio::test(start_paused = true)]
async fn ds_08_long_answers_that_nobody_reads_leave_no_room_for_more() {
    let mut stdio = Stdio::with(StdioSettings {
        unread: 1 << 20,
        ..StdioSettings::default()
    });
    let long = json!({ "content": [{ "type": "text", "text": "x".repeat(400 << 10) }] });
    let mut unread = Vec::new();
    let first = stdio.begin(ask_tool("alice", 1));
    let mut child = stdio.child().await;
    child.is_modern().await;
    let got = child.read().await;
    child.answer(&got, long.clone()).await;
    unread.push(first.await.unwrap());
    for (number, status) in [(2, 200), (3, 503)] {
        let calling = stdio.begin(ask_tool("alice", number));
        let got = child.read().await;
        child.answer(&got, long.clone()).await;
        let answer = calling.await.unwrap();
        assert_eq!(answer.status(), status);
        unread.push(answer);
    }
    let refused = text(unread.pop().unwrap()).await;
    let refused: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(3), &json!(503))
    );

    // Short ones go on, and what is read, or given up, makes room.
    let calling = stdio.begin(ask_tool("alice", 4));
    let got = child.read().await;
    child.answer(&got, json!({})).await;
    assert_eq!(calling.await.unwrap().status(), 200);
    assert!(text(unread.pop().unwrap()).await.len() > 400 << 10);
    let calling = stdio.begin(ask_tool("alice", 5));
    let got = child.read().await;
    child.answer(&got, long).await;
    assert_eq!(calling.await.unwrap().status(), 200);
}
