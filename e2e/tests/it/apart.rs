//! MB-15, MB-16, MB-18: what is one user's never reaches another one, however much goes on at once.

use std::sync::Arc;
use std::time::Duration;

use doorward_testkit::http::Request;
use doorward_testkit::multiplex::Multiplex;
use doorward_testkit::upstream::{Answer, Part, friendly};
use doorward_testkit::{PASSWORD, marker, mcp};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::{Catalogue, RA};

/// A server on which alice and bob have a token each.
async fn both() -> (Catalogue, [String; 2]) {
    let catalogue = Catalogue::start().await;
    let alice = catalogue.t().await;
    let bob = catalogue
        .n1()
        .await
        .login("bob", PASSWORD, &catalogue.ra())
        .await
        .access;
    (catalogue, [alice, bob])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mb_15_a_thousand_calls_with_the_same_id_get_their_own_answers() {
    const EACH: usize = 500;
    let (catalogue, tokens) = both().await;
    // Late ones first: each call waits the less the later it was sent.
    catalogue.up_a.script(|request| {
        let arguments = &request.json()["params"]["arguments"];
        let (user, number) = (
            arguments["user"].as_u64().unwrap_or(0),
            arguments["number"].as_u64().unwrap_or(0),
        );
        let pause = Duration::from_millis(400 - (number * 7 + user * 3) % 400);
        let stream = number % 3 == 0;
        let answer = json!({ "jsonrpc": "2.0", "id": request.json()["id"],
            "result": { "resultType": "complete", "content": [], "you": [user, number] } });
        if stream {
            Answer::events(vec![
                Part::Pause(pause),
                doorward_testkit::upstream::event(None, &answer),
            ])
        } else {
            let body = answer.to_string().into_bytes();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            Answer::raw(vec![
                Part::Pause(pause),
                Part::Bytes(head.into_bytes()),
                Part::Bytes(body),
            ])
        }
    });
    // Twice, so that connections to the upstream are used again by others.
    for _ in 0..2 {
        let mut calls = Vec::new();
        let shared = Arc::new([
            Multiplex::connect(&catalogue.doorward).await,
            Multiplex::connect(&catalogue.doorward).await,
        ]);
        for number in 0..EACH {
            for (user, token) in tokens.iter().enumerate() {
                let arguments = json!({ "user": user, "number": number });
                let call = mcp::call(&catalogue.doorward, RA, "t_read", &arguments).bearer(token);
                let shared = Arc::clone(&shared);
                calls.push(tokio::spawn(async move {
                    let (body, kind) = if number % 2 == 0 {
                        let response = shared[user].send(call).await.expect("an answer");
                        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
                        (
                            response
                                .into_body()
                                .collect()
                                .await
                                .expect("all of it")
                                .to_bytes(),
                            kind,
                        )
                    } else {
                        let reply = call.send().await;
                        (
                            reply.body.clone(),
                            reply.header("Content-Type").unwrap().to_owned(),
                        )
                    };
                    let text = String::from_utf8(body.to_vec()).unwrap();
                    let data = if kind.starts_with("text/event-stream") {
                        text.strip_prefix("data: ").expect("one event").trim().to_owned()
                    } else {
                        text
                    };
                    let answer: Value =
                        serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
                    assert_eq!(answer["id"], 1);
                    assert_eq!(answer["result"]["you"], json!([user, number]), "{answer}");
                }));
            }
        }
        for call in calls {
            call.await.expect("its own answer");
        }
    }
    assert_eq!(catalogue.up_a.with("arguments").len(), 4 * EACH, "each once");
    catalogue.up_a.script(friendly);
    catalogue.still_good().await;
}

/// The scope half of this case (a cache that outlives a scope) has nothing to try as long as nothing is cached.
#[tokio::test]
async fn mb_16_answers_are_not_kept_however_long_they_may_be() {
    let (catalogue, tokens) = both().await;
    let serial = std::sync::atomic::AtomicU64::new(0);
    catalogue.up_a.script(move |request| {
        let serial = serial.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let result = json!({ "resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "private",
            "serial": serial, "tools": [], "contents": [] });
        Answer::result(request, &result)
            .header("Cache-Control", "private, max-age=3600")
            .header("ETag", "\"1\"")
    });
    let mut seen = Vec::new();
    for (method, params) in [
        ("resources/read", json!({ "uri": "file:///same" })),
        ("tools/list", json!({})),
        ("resources/read", json!({ "uri": "file:///same" })),
    ] {
        for token in [&tokens[0], &tokens[1], &tokens[0]] {
            let reply = mcp::modern(&catalogue.doorward, RA, method, params.clone())
                .bearer(token)
                .send()
                .await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(reply.header("ETag"), None);
            let result = mcp::answer(&reply)["result"].clone();
            assert_eq!(
                (&result["cacheScope"], &result["ttlMs"]),
                (&json!("private"), &json!(3_600_000))
            );
            seen.push(result["serial"].as_u64().unwrap());
        }
    }
    assert_eq!(
        seen,
        (0..9).collect::<Vec<_>>(),
        "the upstream was asked every time"
    );
}

/// Multi round-trip requests: an upstream's `requestState` is opaque to us. It passes byte for byte in both directions,
/// within the answer to the call that it belongs to and in nothing else, is logged nowhere, and comes back from nobody
/// but whom it was given to, for the call it was given for (2026-07-28, MRTR, "Server Requirements").
#[tokio::test]
async fn mb_18_an_upstream_s_request_state_reaches_its_own_caller_alone() {
    let (catalogue, tokens) = both().await;
    // As awkward as JSON allows, so that any re-serialisation would show.
    let secret = marker();
    let states: Vec<String> = ["alice", "bob"]
        .map(|user| format!(r#""{secret}\u0041\/{user} = \"+\u00e9é""#))
        .to_vec();
    let of_script = states.clone();
    catalogue.up_a.script(move |request| {
        let body = request.json();
        if body["params"].get("requestState").is_some() {
            return Answer::result(request, &json!({ "resultType": "complete", "content": [] }));
        }
        let user = usize::try_from(body["params"]["arguments"]["user"].as_u64().unwrap_or(0)).unwrap();
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required","inputRequests":{{}},"requestState":{}}}}}"#,
            of_script[user]
        );
        Answer::new(200, "application/json", answer)
    });
    let mut calls = Vec::new();
    for _ in 0..50 {
        for (user, token) in tokens.iter().enumerate() {
            let call = mcp::call(&catalogue.doorward, RA, "t_read", &json!({ "user": user })).bearer(token);
            calls.push((user, tokio::spawn(call.send())));
        }
    }
    for (user, call) in calls {
        let text = call.await.unwrap().text();
        assert!(text.contains(&states[user]), "byte for byte: {text}");
        assert!(!text.contains(&states[1 - user]), "{text}");
    }

    // Sent back by its owner, twice; then by another user, and on another tool.
    let with_state = |tool: &str, state: &str, token: &str| -> Request {
        let request = mcp::call(&catalogue.doorward, RA, tool, &json!({})).bearer(token);
        let body = String::from_utf8(request.body_bytes().to_vec()).unwrap();
        request.body(body.replacen(
            r#""params":{"#,
            &format!(r#""params":{{"requestState":{state},"#),
            1,
        ))
    };
    for (tool, token, owned) in [
        ("t_read", &tokens[0], true),
        ("t_read", &tokens[0], true),
        ("t_read", &tokens[1], false),
        ("t_write", &tokens[0], false),
    ] {
        let _ = catalogue.up_a.take();
        let request = with_state(tool, &states[0], token);
        let sent = request.body_bytes().clone();
        let reply = request.send().await;
        assert_eq!(reply.status, if owned { 200 } else { 400 }, "{}", reply.text());
        assert!(
            !reply.text().contains(&secret),
            "not repeated by us: {}",
            reply.text()
        );
        let arrived = catalogue.up_a.take();
        assert_eq!(arrived.len(), usize::from(owned));
        if !owned {
            continue;
        }
        assert_eq!(arrived[0].body, sent);
    }
    assert!(
        !catalogue.doorward.logs().contains(&secret),
        "and nowhere in the log"
    );
}
