//! CL-15: messages that are too long, not messages, or cut off, on their way to a host that reads lines.

use std::time::Duration;

use doorward_testkit::client_home::{PATIENCE, Running};
use doorward_testkit::evil::{Evil, MCP};
use doorward_testkit::upstream::{Answer, Part};

use super::{bridge, call, logged_in, text};

/// Calls answer like this from now on; the rest stays as it is.
fn calls_answer(evil: &Evil, make: impl Fn(&serde_json::Value) -> Answer + Send + Sync + 'static) {
    let right = evil.clone();
    evil.instead(MCP, move |request| {
        let answer = right.right_answer(request);
        let body = request.json();
        if answer.status == 200 && body["method"] == "tools/call" {
            make(&body["id"])
        } else {
            answer
        }
    });
}

fn events(bytes: impl Into<Vec<u8>>) -> Answer {
    let mut answer = Answer::new(200, "text/event-stream", bytes);
    answer.chunked = true;
    answer
}

fn peak_kib(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Bodies whose answer cannot be passed on, with the id in `ID`.
fn broken() -> Vec<(&'static str, Answer)> {
    let json = |body: &[u8]| Answer::new(200, "application/json", body.to_vec());
    vec![
        ("html", Answer::new(200, "text/html", "<!doctype html>\n<h1>Sign in</h1>")),
        ("not JSON", json(b"hello\nworld")),
        ("half", json(b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{")),
        ("nothing", json(b"")),
        (
            "invalid UTF-8",
            json(b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"text\":\"\xff\xfe\"}}"),
        ),
        (
            "raw ESC and newline in a string",
            json(b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"text\":\"\x1b[2J\n{\\\"jsonrpc\\\":1}\"}}"),
        ),
        ("two messages", json(b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{}}")),
        ("no JSON-RPC", json(b"{\"ok\":true}")),
        ("a number", json(b"7")),
        ("NUL", json(b"\0\0\0\0")),
        ("deep", json("[".repeat(100_000).as_bytes())),
        (
            "an event of invalid UTF-8",
            events(b"data: {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"text\":\"\xff\"}}\n\n".to_vec()),
        ),
        ("an event of rubbish", events(b"data: hello\ndata: world\n\n".to_vec())),
        (
            "an event cut in two",
            Answer {
                parts: vec![
                    Part::Bytes(b"data: {\"jsonrpc\":\"2.0\",\"id\":ID,".to_vec()),
                    Part::Cut,
                ],
                ..events("")
            },
        ),
        (
            "an event without its end",
            events(b"data: {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{}}".to_vec()),
        ),
        (
            "a body cut in two",
            Answer {
                parts: vec![Part::Bytes(b"{\"jsonrpc\":\"2.0\",".to_vec()), Part::Cut],
                chunked: true,
                ..json(b"")
            },
        ),
        ("a stream without an answer", events(": nothing\n\n")),
        ("500", Answer::new(500, "text/plain", "stack trace\n at line 1")),
        ("404", Answer::new(404, "text/plain", "no such tenant\n")),
        ("204", Answer::empty(204)),
        ("unknown type", Answer::new(200, "application/octet-stream", vec![0, 1, 2])),
        (
            "bad gzip",
            Answer::new(200, "application/json", "not gzip").header("Content-Encoding", "gzip"),
        ),
    ]
}

fn with_id(mut answer: Answer, id: &serde_json::Value) -> Answer {
    for part in &mut answer.parts {
        if let Part::Bytes(bytes) = part {
            let text = id.to_string();
            while let Some(at) = bytes.windows(2).position(|window| window == b"ID") {
                bytes.splice(at..at + 2, text.bytes());
            }
        }
    }
    answer
}

#[tokio::test]
async fn cl_15_what_is_no_message_becomes_one_error_and_the_bridge_goes_on() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &[]).await;
    let (mut id, mut unanswered) = (100, Vec::new());
    for (case, answer) in broken() {
        id += 2;
        calls_answer(&evil, move |id| with_id(answer.clone(), id));
        running.send(&call(id, "t_read"));
        let wait = async {
            while !running.messages().iter().any(|message| message["id"] == id) {
                assert!(running.is_alive(), "{case}: it lives\n{}", running.stderr());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Legacy streams may be resumed for a while; none of these can be.
        if tokio::time::timeout(2 * PATIENCE, wait).await.is_err() {
            unanswered.push(case);
        } else {
            let answers: Vec<_> = running
                .messages()
                .into_iter()
                .filter(|message| message["id"] == id)
                .collect();
            assert_eq!(answers.len(), 1, "{case}: one answer: {answers:?}");
            // Event streams are decoded with replacement characters, as their standard says.
            let replaced = case == "an event of invalid UTF-8" && answers[0]["result"]["text"] == "\u{fffd}";
            assert!(
                replaced || answers[0].get("error").is_some(),
                "{case}: an error: {:.300}",
                answers[0]
            );
        }
        evil.behave();
        assert_eq!(
            text(&running.ask(&call(id + 1, "t_read")).await),
            "t_read ok",
            "{case}"
        );
    }
    assert_eq!(unanswered, Vec::<&str>::new(), "told to the host");
    assert_eq!(home.opened().len(), 1, "nothing of that is a reason to log in");
    running.close_stdin();
    let finished = running.ended().await;
    home.assert_clean(&finished, &evil.secrets()).await;
}

#[tokio::test]
async fn cl_15_a_message_over_many_lines_arrives_as_one_line() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &[]).await;
    let pretty = "{\r\n  \"jsonrpc\": \"2.0\",\n  \"id\": ID,\r  \"result\": {\n\"content\":[{\"type\":\"text\",\"text\":\"a\\nb\\u001b[2J\\u2028\u{2028}\u{85}\"}] } }";
    let in_events: String = pretty
        .split(['\n', '\r'])
        .map(|line| format!("data: {line}\r\n"))
        .collect::<String>()
        + "\r\n";
    for (id, answer) in [
        (1, Answer::new(200, "application/json", pretty)),
        (2, Answer::new(200, "application/json; charset=utf-8", pretty)),
        (3, events(in_events)),
        (
            4,
            events(format!(
                "\u{feff}event: message\nid: 7\ndata: {}\n\n",
                pretty.replace(['\n', '\r'], " ")
            )),
        ),
    ] {
        calls_answer(&evil, move |id| with_id(answer.clone(), id));
        let got = running.ask(&call(id, "t_read")).await;
        assert_eq!(text(&got), "a\nb\u{1b}[2J\u{2028}\u{2028}\u{85}", "{id}");
    }
    let out = running.stdout_bytes();
    assert!(
        !out.contains(&b'\r') && !out.contains(&0x1b),
        "no raw control characters"
    );
    assert_eq!(
        running.stdout().lines().count(),
        running.messages().len(),
        "one message a line"
    );
}

#[tokio::test]
async fn cl_15_a_huge_message_is_an_error_and_takes_no_memory() {
    let size: usize = 100 << 20;
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &[]).await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    let before = peak_kib(&running);
    for (id, stream) in [(2, false), (3, true)] {
        calls_answer(&evil, move |id| {
            let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"text\":\"");
            let chunk = vec![b'x'; 1 << 20];
            let mut parts = vec![Part::Bytes(if stream {
                format!("data: {head}").into_bytes()
            } else {
                head.into_bytes()
            })];
            parts.extend(std::iter::repeat_n(Part::Bytes(chunk), size >> 20));
            parts.push(Part::Bytes(if stream {
                b"\"}}\n\n".to_vec()
            } else {
                b"\"}}".to_vec()
            }));
            Answer {
                parts,
                chunked: true,
                ..if stream {
                    events("")
                } else {
                    Answer::new(200, "application/json", "")
                }
            }
        });
        let answer = running.ask(&call(id, "t_read")).await;
        assert!(answer.get("error").is_some(), "{:.200}", answer.to_string());
        evil.behave();
        assert_eq!(text(&running.ask(&call(id + 10, "t_read")).await), "t_read ok");
    }
    let grown = peak_kib(&running).saturating_sub(before) / 1024;
    println!(
        "measured: CL-15 a message of {} MiB: +{grown} MiB at the peak",
        size >> 20
    );
    assert!(grown < 96, "{grown} MiB for a message that is not passed on");
}

/// A header section, an event field, or a stream of comments that never ends.
#[tokio::test]
async fn cl_15_what_never_ends_is_bounded() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &[]).await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    let before = peak_kib(&running);
    let endless = |bytes: &[u8], first: &str| Answer {
        parts: vec![
            Part::Bytes(first.into()),
            Part::Repeat(bytes.to_vec(), Duration::ZERO),
        ],
        ..events("")
    };
    let head = Answer::raw(vec![
        Part::Bytes(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Part::Repeat(
            b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_vec(),
            Duration::ZERO,
        ),
    ]);
    for (id, answer) in [
        (2, endless(&[b'x'; 65536], "data: ")),
        (3, endless(&[b'x'; 65536], "id: ")),
        (4, endless(b"data: x\n", "")),
        (5, head),
        (
            6,
            Answer {
                parts: vec![Part::Repeat(vec![b' '; 65536], Duration::ZERO)],
                chunked: true,
                ..Answer::new(200, "application/json", "")
            },
        ),
    ] {
        calls_answer(&evil, move |_| answer.clone());
        let got = running.ask(&call(id, "t_read")).await;
        assert!(got.get("error").is_some(), "{id}: {:.200}", got.to_string());
        evil.behave();
        assert_eq!(text(&running.ask(&call(id + 10, "t_read")).await), "t_read ok");
    }
    let grown = peak_kib(&running).saturating_sub(before) / 1024;
    assert!(grown < 96, "{grown} MiB");
}

/// The host's own lines: what is no message of the host's is answered, and never sent on.
#[tokio::test]
async fn cl_15_rubbish_from_the_host_is_answered_and_not_sent_on() {
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &[]).await;
    for line in ["hello", "{\"jsonrpc\":\"2.0\"", "[]", "7", "{}", "\u{0}"] {
        running.write_line(line);
    }
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    for request in evil.seen(MCP).iter().filter(|request| request.method() == "POST") {
        let method = request.json()["method"].as_str().unwrap_or_default().to_owned();
        assert!(
            [
                "initialize",
                "notifications/initialized",
                "tools/call",
                "server/discover"
            ]
            .contains(&method.as_str()),
            "only messages go on: {}",
            String::from_utf8_lossy(&request.bytes())
        );
    }
    // `messages` has checked every line. What names an id is answered.
    running.send(&serde_json::json!({ "id": 98, "method": "tools/list" }));
    let answer = running.answer(&serde_json::json!(98)).await;
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
}
