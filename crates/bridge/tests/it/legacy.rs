//! Servers of 2025-03-26 to 2025-11-25.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use doorward_bridge::settings::Settings;
use http::Method;
use serde_json::{Value, json};

use crate::host::{Host, call, eventually, initialize};
use crate::server::{
    Asked, Piece, Reply, Server, answer, broken, data, events, message, result, status, text,
};

pub(crate) fn opening(asked: &Asked, session: &str) -> Reply {
    let info = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "scripted", "version": "1"}});
    result(asked, &info).with("mcp-session-id", session)
}

/// What every legacy server answers unless a test says otherwise.
pub(crate) fn usual(asked: &Asked) -> Reply {
    match (&asked.method, asked.rpc()) {
        (&Method::GET, _) => status(405),
        (&Method::DELETE, _) => status(200),
        (_, "initialize") => opening(asked, "one"),
        (_, "tools/call") => result(
            asked,
            &json!({"content": [], "tool": asked.body["params"]["name"]}),
        ),
        (_, "tools/list") => result(
            asked,
            &json!({"tools": [{"name": "get_note"}, {"name": "delete_note"}, {"name": "delete_all"}]}),
        ),
        _ => status(202),
    }
}

#[tokio::test]
async fn messages_pass_as_they_are_with_session_and_version() {
    let server = Server::start(usual).await;
    let mut host = Host::start(Settings::new(server.url()));
    let first = r#"{ "jsonrpc":"2.0","id":"\u0061", "method":"initialize","params":{"protocolVersion":"2025-11-25","x":1.0} }"#;
    host.write(first).await;
    assert_eq!(host.message().await["id"], "a");
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    for number in 1..=20 {
        host.send(&call(number, &format!("tool{number}"))).await;
    }
    let mut seen = Vec::new();
    for _ in 1..=20 {
        let got = host.message().await;
        assert_eq!(got["result"]["tool"], format!("tool{}", got["id"]));
        seen.push(got["id"].as_u64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    assert!(host.close().await.is_empty());

    let asked = server.asked();
    assert_eq!(asked[0].raw, first);
    assert_eq!(asked[0].header("mcp-session-id"), None);
    assert_eq!(asked[0].header("mcp-protocol-version"), None);
    assert_eq!(
        asked[0].header("accept"),
        Some("application/json, text/event-stream")
    );
    assert_eq!(
        asked[1].rpc(),
        "notifications/initialized",
        "nothing overtakes it"
    );
    for asked in &asked[1..] {
        assert_eq!(asked.header("mcp-session-id"), Some("one"));
        assert_eq!(asked.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    assert_eq!(asked.last().unwrap().method, Method::DELETE);
    assert_eq!(
        asked.iter().filter(|asked| asked.method == Method::GET).count(),
        1
    );
}

#[tokio::test]
async fn a_signal_ends_the_session_as_well() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "tools/call" => events(vec![Piece::Hang]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    host.send(&call(1, "slow")).await;
    eventually("the call is under way", || server.of("tools/call").len() == 1).await;
    host.stop().await;
    eventually("the session is ended", || {
        server.asked().iter().any(|asked| asked.method == Method::DELETE)
    })
    .await;
}

#[tokio::test]
async fn answers_that_are_under_way_come_before_the_end() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "tools/call" => events(vec![
            Piece::Wait(Duration::from_millis(200)),
            message(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})),
        ]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    host.send(&call(1, "slow")).await;
    let lines = host.close().await;
    let messages: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(messages, [json!({"jsonrpc": "2.0", "id": 1, "result": {}})]);
}

#[tokio::test]
async fn requests_and_notifications_of_the_server_pass_on_every_stream() {
    let server = Server::start(|asked: &Asked| match (&asked.method, asked.rpc()) {
        (&Method::GET, _) => events(vec![
            data(": hello\n\n"),
            message(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})),
            Piece::Hang,
        ]),
        (_, "tools/call") => events(vec![
            message(&json!({"jsonrpc": "2.0", "id": "s1", "method": "roots/list"})),
            Piece::Wait(Duration::from_millis(20)),
            message(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})),
        ]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    assert_eq!(host.message().await["method"], "notifications/tools/list_changed");
    let request = host.call(&call(1, "asks")).await;
    assert_eq!(request["method"], "roots/list");
    host.send(&json!({"jsonrpc": "2.0", "id": "s1", "result": {"roots": []}}))
        .await;
    assert_eq!(host.message().await["id"], 1);
    eventually("the answer of the host arrives", || {
        server
            .asked()
            .iter()
            .any(|asked| asked.body["result"]["roots"].is_array())
    })
    .await;
}

#[tokio::test]
async fn cl_15_a_stream_that_is_cut_mid_event_is_resumed_as_the_server_says() {
    let closed = Arc::new(std::sync::Mutex::new(None::<Instant>));
    let at = Arc::clone(&closed);
    let server = Server::start(move |asked: &Asked| match (&asked.method, asked.rpc()) {
        (_, "tools/call") => {
            *at.lock().unwrap() = Some(Instant::now());
            events(vec![
                data("id: event-1\nretry: 300\ndata: \n\n"),
                data("id: event-2\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"resu"),
                Piece::Cut,
            ])
        }
        (&Method::GET, _) => match asked.header("last-event-id") {
            Some("event-1") => {
                let waited = at.lock().unwrap().unwrap().elapsed();
                events(vec![
                    data("id: event-2\n"),
                    message(&json!({"jsonrpc": "2.0", "id": 1, "result": {"ms": u64::try_from(waited.as_millis()).unwrap()}})),
                    Piece::Hang,
                ])
            }
            _ => status(405),
        },
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    let got = host.call(&call(1, "cut")).await;
    assert!(got["result"]["ms"].as_u64().unwrap() >= 300, "{got}");
    let resumed = server
        .asked()
        .into_iter()
        .find(|asked| asked.header("last-event-id").is_some());
    assert_eq!(resumed.unwrap().header("mcp-session-id"), Some("one"));
    assert_eq!(server.of("tools/call").len(), 1);
}

#[tokio::test]
async fn cl_15_what_cannot_be_resumed_is_told_and_not_sent_again() {
    let server = Server::start(|asked: &Asked| match (asked.rpc(), asked.body["params"]["name"].as_str()) {
        ("tools/call", Some("cut")) => events(vec![
            message(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}})),
            data("data: {\"jsonrpc\":\"2.0\",\"id\":1"),
            Piece::Cut,
        ]),
        ("tools/call", Some("ends")) => events(vec![data(": nothing\n\n")]),
        ("tools/call", Some("breaks")) => broken(),
        ("tools/call", Some("half")) => text("application/json", "").body(vec![data("{\"jsonrpc\":"), Piece::Cut]),
        ("tools/call", Some("page")) => text("text/html", "<html>"),
        ("tools/call", Some("accepted")) => status(202),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    assert_eq!(
        host.call(&call(1, "cut")).await["method"],
        "notifications/progress"
    );
    let told = host.message().await;
    assert_eq!(
        (told["id"].as_u64(), told["error"]["code"].as_i64()),
        (Some(1), Some(502)),
        "{told}"
    );
    for (id, tool) in (2..).zip(["ends", "breaks", "half", "page", "accepted"]) {
        let told = host.call(&call(id, tool)).await;
        assert_eq!(told["id"], id);
        assert_eq!(told["error"]["code"], 502, "{told}");
        assert!(told["error"]["message"].as_str().unwrap().len() > 20, "{told}");
    }
    assert_eq!(server.of("tools/call").len(), 6, "nothing is sent twice");
    assert_eq!(host.call(&call(9, "fine")).await["result"]["tool"], "fine");
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_and_the_message_sent_once_more() {
    for forgotten in [404_u16, 400] {
        let openings = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&openings);
        let server = Server::start(move |asked: &Asked| {
            let current = count.load(Ordering::SeqCst);
            match asked.rpc() {
                "initialize" => {
                    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                    opening(asked, &format!("s{number}"))
                }
                // The first session is gone as soon as there was one call in it.
                "tools/call" if asked.body["params"]["name"] == "forget" => {
                    count.store(10, Ordering::SeqCst);
                    result(asked, &json!({}))
                }
                _ if current == 10 || current == 11 && asked.header("mcp-session-id") != Some("s11") => {
                    let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: No valid session ID provided"}});
                    Reply { status: forgotten, ..answer(&error) }
                }
                _ => usual(asked),
            }
        })
        .await;
        let mut host = Host::start(Settings::new(server.url()));
        host.open().await;
        host.call(&call(1, "forget")).await;
        for id in 2..=6 {
            host.send(&call(id, "again")).await;
        }
        for _ in 2..=6 {
            let got = host.message().await;
            assert_eq!(got["result"]["tool"], "again", "{got}");
        }
        let opened = server.of("initialize");
        assert_eq!(opened.len(), 2, "one opening for all");
        assert_eq!(opened[1].raw, opened[0].raw);
        assert_eq!(opened[1].header("mcp-session-id"), None);
        let confirmed = server.of("notifications/initialized");
        assert_eq!(confirmed[1].header("mcp-session-id"), Some("s11"));
    }
}

#[tokio::test]
async fn a_server_that_forgets_every_session_is_not_asked_for_ever() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "tools/call" => status(404),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    let told = host.call(&call(1, "x")).await;
    assert!(
        told["error"]["message"].as_str().unwrap().contains("forgets"),
        "{told}"
    );
    assert_eq!(server.of("tools/call").len(), 2);
    assert!(server.of("initialize").len() <= 3);
}

#[tokio::test]
async fn a_restart_is_survived_and_calls_under_way_are_told() {
    let server = Server::start(|asked: &Asked| match (&asked.method, asked.rpc()) {
        (_, "tools/call") => events(vec![Piece::Hang]),
        (&Method::GET, _) => events(vec![Piece::Hang]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    host.send(&call(1, "under way")).await;
    eventually("the call is under way", || server.of("tools/call").len() == 1).await;
    let new = |asked: &Asked| match (&asked.method, asked.rpc()) {
        (_, "initialize") => opening(asked, "two"),
        (&Method::GET, _) if asked.header("mcp-session-id") == Some("two") => events(vec![
            message(
                &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "back"}}),
            ),
            Piece::Hang,
        ]),
        _ if asked.header("mcp-session-id") != Some("two") => status(404),
        _ => usual(asked),
    };
    let (server, told) = tokio::join!(server.restart(Duration::from_millis(600), new), host.message());
    assert_eq!(
        (told["id"].as_u64(), told["error"]["code"].as_i64()),
        (Some(1), Some(502)),
        "{told}"
    );
    // While it was down or just after: the call waits, and the stream of the session is back by itself.
    host.send(&call(2, "after")).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let got = host.message().await;
        seen.push(if got["id"] == 2 {
            got["result"]["tool"].clone()
        } else {
            got["params"]["data"].clone()
        });
    }
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, ["after", "back"]);
    assert_eq!(
        server
            .of("tools/call")
            .iter()
            .filter(|asked| asked.body["id"] == 1)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_call_while_the_server_is_down_reaches_it_when_it_is_back() {
    let server = Server::start(usual).await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    eventually("the session is confirmed", || {
        server.of("notifications/initialized").len() == 1
    })
    .await;
    let down = server.restart(Duration::from_millis(700), usual);
    let (server, got) = tokio::join!(down, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        host.call(&call(1, "patient")).await
    });
    assert_eq!(got["result"]["tool"], "patient", "{got}");
    assert_eq!(server.of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_words() {
    let server = Server::start(usual).await;
    let url = server.url();
    drop(server);
    let mut host = Host::start(Settings::new(url));
    let told = host.call(&initialize()).await;
    assert_eq!(
        (told["id"].as_u64(), told["error"]["code"].as_i64()),
        (Some(0), Some(503)),
        "{told}"
    );
}

#[tokio::test]
async fn cancellation_passes_and_frees_the_exchange() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "tools/call" => events(vec![Piece::Hang]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    host.send(&call(1, "slow")).await;
    eventually("the call is under way", || server.of("tools/call").len() == 1).await;
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}))
        .await;
    eventually("the cancellation arrives", || {
        server.of("notifications/cancelled").len() == 1
    })
    .await;
    assert!(host.close().await.is_empty(), "and nobody waits for the answer");
}

#[tokio::test]
async fn refusals_pass_as_the_server_words_them_or_in_ours() {
    let server = Server::start(|asked: &Asked| match asked.body["params"]["name"].as_str() {
        Some("policy") => Reply {
            status: 403,
            ..answer(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": {"code": 403, "message": "no", "data": {"decision_id": "d"}}}))
        },
        Some("many") => status(429).with("retry-after", "7"),
        Some("trouble") => Reply { status: 502, ..text("text/plain", "bad\n\u{1b}[31mgateway") },
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    let told = host.call(&call(1, "policy")).await;
    assert_eq!(told["error"]["data"]["decision_id"], "d");
    let told = host.call(&call(2, "many")).await;
    assert_eq!(told["error"]["code"], 429);
    assert!(
        told["error"]["message"].as_str().unwrap().contains("7 seconds"),
        "{told}"
    );
    let line = {
        host.send(&call(3, "trouble")).await;
        host.line().await
    };
    assert!(
        line.contains("\"code\":502") && !line.contains('\u{1b}') && line.contains("gateway"),
        "{line}"
    );
}

#[tokio::test]
async fn cl_15_what_a_server_writes_is_one_json_line_or_an_error() {
    let long = Arc::new(AtomicU32::new(0));
    let sent = Arc::clone(&long);
    let server = Server::start(move |asked: &Asked| match asked.body["params"]["name"].as_str() {
        Some("newlines") => text(
            "application/json",
            "{\n \"jsonrpc\":\"2.0\",\r\n\"id\":1,\n\"result\":{\"t\":\"a\u{2028}b\u{85}\"}\n}\n",
        ),
        Some("utf8") => text(
            "application/json",
            b"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"t\":\"\xff\"}}".to_vec(),
        ),
        Some("ansi") => text(
            "application/json",
            "\u{1b}[2J{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}",
        ),
        Some("two") => text(
            "application/json",
            "{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{}}",
        ),
        Some("events") => events(vec![
            data("data: \u{1b}[31mred\n\n"),
            data("data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":6,\"result\":{}}\n\n"),
        ]),
        Some("long" | "long events") => {
            // 100 MiB in pieces of 1 MiB.
            sent.fetch_add(1, Ordering::SeqCst);
            let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
            let mut body = vec![data("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"t\":\"")];
            body.extend((0..100).map(|_| Piece::Data(piece.clone())));
            match asked.body["params"]["name"].as_str() {
                Some("long") => text("application/json", "").body(body),
                _ => events(body),
            }
        }
        _ => usual(asked),
    })
    .await;
    let mut settings = Settings::new(server.url());
    settings.longest_message = 8 << 20;
    let mut host = Host::start(settings);
    host.open().await;
    host.send(&call(1, "newlines")).await;
    assert_eq!(
        host.line().await,
        r#"{  "jsonrpc":"2.0",  "id":1, "result":{"t":"a\u2028b\u0085"} } "#
    );
    for (id, tool) in [(2, "utf8"), (3, "ansi"), (4, "two")] {
        let told = host.call(&call(id, tool)).await;
        assert_eq!(
            (&told["id"], &told["error"]["code"]),
            (&json!(id), &json!(502)),
            "{told}"
        );
    }
    assert_eq!(host.call(&call(6, "events")).await["result"], json!({}));
    for (id, tool) in [(7, "long"), (8, "long events")] {
        let told = host.call(&call(id, tool)).await;
        assert_eq!(told["id"], id);
        assert!(
            told["error"]["message"].as_str().unwrap().contains("longer than"),
            "{told}"
        );
    }
    assert_eq!(host.call(&call(9, "fine")).await["result"]["tool"], "fine");
}

#[tokio::test]
async fn ignored_tools_are_neither_listed_nor_called() {
    let server = Server::start(usual).await;
    let mut settings = Settings::new(server.url());
    settings.ignored_tools = vec!["delete*".parse().unwrap()];
    let mut host = Host::start(settings);
    host.open().await;
    let list = host
        .call(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    assert_eq!(list["result"]["tools"], json!([{"name": "get_note"}]));
    let told = host.call(&call(2, "delete_note")).await;
    assert_eq!(told["error"]["code"], -32602, "{told}");
    assert_eq!(host.call(&call(3, "get_note")).await["id"], 3);
    assert_eq!(server.of("tools/call").len(), 1);
}

#[tokio::test]
async fn keep_alive_pings_a_session_on_which_nothing_happens() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "ping" => result(asked, &json!({})),
        _ => usual(asked),
    })
    .await;
    let mut settings = Settings::new(server.url());
    settings.keep_alive = Some(Duration::from_millis(50));
    let mut host = Host::start(settings);
    host.open().await;
    eventually("pings", || server.of("ping").len() >= 3).await;
    assert!(host.close().await.is_empty(), "the host does not hear of them");
}

#[tokio::test]
async fn lines_of_the_host_that_are_no_messages_are_answered_where_they_can_be() {
    let server = Server::start(usual).await;
    let mut host = Host::start(Settings::new(server.url()));
    host.write("hello").await;
    host.write("[]").await;
    host.write(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"a","name":"b"}}"#)
        .await;
    assert_eq!(host.message().await["error"]["code"], -32700);
    let told = host.call(&call(6, "early")).await;
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!(6), &json!(-32600)));
    let pong = host
        .call(&json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}))
        .await;
    assert_eq!(pong, json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    host.open().await;
    assert_eq!(host.call(&call(8, "fine")).await["result"]["tool"], "fine");
}

#[tokio::test]
async fn cookies_keep_a_session_on_one_machine() {
    let server =
        Server::start(|asked: &Asked| usual(asked).with("set-cookie", "machine=seven; Path=/")).await;
    for keeps in [true, false] {
        let mut settings = Settings::new(server.url());
        settings.cookies = keeps;
        let mut host = Host::start(settings);
        host.open().await;
        host.call(&call(1, "x")).await;
        let calls = server.of("tools/call");
        assert_eq!(
            calls.last().unwrap().header("cookie"),
            keeps.then_some("machine=seven")
        );
    }
}

#[tokio::test]
async fn calls_wait_for_the_stream_on_which_the_server_may_ask() {
    let server = Server::start(|asked: &Asked| match asked.method {
        Method::GET => events(vec![Piece::Hang]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.send(&initialize()).await;
    host.message().await;
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    host.call(&call(1, "x")).await;
    let methods: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.rpc()))
        .collect();
    assert_eq!(
        methods,
        [
            "POST initialize",
            "POST notifications/initialized",
            "GET ",
            "POST tools/call"
        ]
    );
}

#[tokio::test]
async fn a_server_without_a_stream_may_say_so_with_404() {
    let server = Server::start(|asked: &Asked| match asked.method {
        Method::GET => status(404),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.open().await;
    for id in 1..5 {
        assert!(host.call(&call(id, "x")).await["result"].is_object());
    }
    assert_eq!(server.of("initialize").len(), 1);
    assert_eq!(
        server
            .asked()
            .iter()
            .filter(|asked| asked.method == Method::GET)
            .count(),
        1
    );
}
