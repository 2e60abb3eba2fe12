//! HD-15 and FT: upstreams that attack the client, are gone, or break off.

use std::time::{Duration, Instant};

use doorward_testkit::multiplex::Multiplex;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::{Answer, Part, Upstream, event};
use doorward_testkit::usage::Usage;
use doorward_testkit::{Doorward, PASSWORD, eventually, marker, mcp};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::support::{Catalogue, RA, RB, two_servers};

crate::shared_catalogue!();

const HOSTILE: [(&str, &str); 9] = [
    ("Set-Cookie", "doorward_session=evil; Path=/"),
    ("Access-Control-Allow-Origin", "https://evil.test"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Clear-Site-Data", "\"*\""),
    ("Alt-Svc", "h2=\"evil.test:443\""),
    ("Strict-Transport-Security", "max-age=0"),
    ("Content-Security-Policy", "default-src *"),
    ("Server", "evil"),
    ("X-Evil", "1"),
];

#[track_caller]
fn assert_harmless(what: &str, reply: &doorward_testkit::Reply) {
    for (name, value) in HOSTILE {
        let passed = reply
            .headers
            .get_all(name)
            .iter()
            .any(|have| have.as_bytes() == value.as_bytes());
        assert!(!passed, "{what}: {name} passed: {:?}", reply.headers);
    }
    assert_eq!(reply.header("WWW-Authenticate"), None, "{what}");
    assert_eq!(reply.location(), None, "{what}");
}

async fn scripted(catalogue: &Catalogue, answer: Answer) -> doorward_testkit::Reply {
    let case = marker();
    catalogue.up_a.script_for(&case, move |_| answer.clone());
    catalogue.call(&case).bearer(&catalogue.t().await).send().await
}

#[tokio::test]
async fn hd_15_what_an_upstream_could_use_against_the_client_is_dropped() {
    let catalogue = catalogue().await;
    let hostile = |answer: Answer| {
        HOSTILE
            .iter()
            .fold(answer, |answer, (name, value)| answer.header(name, value))
    };
    let result = json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "content": [] } });
    let good = scripted(catalogue, hostile(Answer::json(&result))).await;
    assert_eq!(good.status, 200, "{}", good.text());
    assert_harmless("a good answer", &good);
    let stream = scripted(catalogue, hostile(Answer::events(vec![event(None, &result)]))).await;
    assert_eq!(stream.status, 200, "{}", stream.text());
    assert_harmless("a stream", &stream);

    for status in [401, 403] {
        let challenge = hostile(Answer::json(&json!({ "error": "nope" }))).header(
            "WWW-Authenticate",
            "Bearer resource_metadata=\"https://evil.test/\"",
        );
        let reply = scripted(catalogue, Answer { status, ..challenge }).await;
        assert_eq!(reply.status, 502, "an upstream's {status}: {}", reply.text());
        assert_harmless("a challenge", &reply);
        assert!(!reply.text().contains("evil"), "{}", reply.text());
    }
    for status in [301, 302, 303, 307, 308] {
        let away = hostile(Answer::empty(status)).header("Location", "https://evil.test/");
        let reply = scripted(catalogue, away).await;
        assert_eq!(reply.status, 502, "an upstream's {status}: {}", reply.text());
        assert_harmless("a redirect", &reply);
    }
    for kind in [
        "text/html",
        "image/svg+xml",
        "application/javascript",
        "text/plain",
        "application/xml",
    ] {
        for status in [200, 400, 404] {
            let page = hostile(Answer::new(status, kind, "<script>alert(1)</script>"));
            let reply = scripted(catalogue, page).await;
            assert!(
                !reply.text().contains("<script>"),
                "{kind} {status}: {}",
                reply.text()
            );
            let passed = reply.header("Content-Type").unwrap_or_default();
            assert!(
                passed.is_empty()
                    || passed.starts_with("application/json")
                    || passed.starts_with("text/event-stream"),
                "{kind}: {passed}"
            );
            assert_harmless(kind, &reply);
            if status == 200 {
                assert_eq!(reply.status, 502, "{kind}: {}", reply.text());
            }
        }
    }
    let nothing = scripted(
        catalogue,
        Answer {
            headers: Vec::new(),
            ..Answer::json(&result)
        },
    )
    .await;
    assert!(
        nothing.status == 502
            || nothing
                .header("Content-Type")
                .is_none_or(|kind| kind.contains("json"))
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn other_statuses_of_an_upstream_pass() {
    let catalogue = catalogue().await;
    for status in [400, 404, 405, 429, 503] {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "from the upstream" } });
        let answer = Answer {
            status,
            ..Answer::json(&body)
        }
        .header("Retry-After", "7");
        let reply = scripted(catalogue, answer).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.json(), body);
        assert_eq!(reply.header("Retry-After"), Some("7"));
    }
}

#[tokio::test]
async fn ft_11_an_upstream_that_is_gone_is_a_502_in_words() {
    let gone = doorward_testkit::port::Port::reserve();
    let up = Upstream::start();
    for nowhere in [
        format!("http://127.0.0.1:{}/mcp", gone.number()),
        "http://upstream.invalid/mcp".to_owned(),
    ] {
        let config = two_servers(&nowhere, &up.url());
        let doorward = Doorward::builder()
            .config(&config)
            .user("alice", PASSWORD)
            .start()
            .await;
        let client = OAuthClient::native(&doorward).await;
        let tokens = client.login("alice", PASSWORD, &doorward.url(RA)).await;
        let begun = Instant::now();
        let reply = mcp::call(&doorward, RA, "t_read", &json!({}))
            .bearer(&tokens.access)
            .send()
            .await;
        // Two seconds on an idle machine.
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{nowhere}: {:?}",
            begun.elapsed()
        );
        assert_eq!(reply.status, 502, "{}", reply.text());
        let answer = mcp::answer(&reply);
        assert_eq!(answer["error"]["code"], 502);
        assert_eq!(answer["id"], 1);
        assert!(answer["error"]["data"]["decision_id"].is_string(), "{answer}");
        for inside in ["127.0.0.1", "upstream.invalid"] {
            assert!(
                !reply.text().contains(inside),
                "no address of ours: {}",
                reply.text()
            );
        }
        let other = client.login("alice", PASSWORD, &doorward.url(RB)).await;
        let reply = mcp::call(&doorward, RB, "t_read", &json!({}))
            .bearer(&other.access)
            .send()
            .await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn ft_12_an_upstream_that_never_answers_or_drips_is_given_up() {
    let up = Upstream::start();
    let config = two_servers(&up.url(), &up.url()) + "\n[timeouts]\nupstream_response = \"2s\"\n";
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .start()
        .await;
    let client = OAuthClient::native(&doorward).await;
    let tokens = client.login("alice", PASSWORD, &doorward.url(RA)).await;
    let call =
        |case: &str| mcp::call(&doorward, RA, "t_read", &json!({ "marker": case })).bearer(&tokens.access);
    assert_eq!(call("first").send().await.status, 200);
    let before = Usage::of(doorward.pid());

    let second = Duration::from_secs(1);
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    for (what, parts) in [
        ("nothing", vec![Part::Hang]),
        ("1 B/s", vec![Part::Drip(head, second)]),
        (
            "half a head",
            vec![Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-".to_vec()), Part::Hang],
        ),
    ] {
        let case = marker();
        up.script_for(&case, move |_| Answer::raw(parts.clone()));
        let begun = Instant::now();
        let reply = call(&case).send().await;
        let took = begun.elapsed();
        assert_eq!(reply.status, 504, "{what}: {}", reply.text());
        let answer = mcp::answer(&reply);
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(1), &json!(504)),
            "{what}"
        );
        assert_eq!(answer["error"]["data"]["reason"], "upstream_timed_out");
        // As configured; the rest is for a busy machine.
        assert!((2..30).contains(&took.as_secs()), "{what}: {took:?}");
        assert_eq!(up.with(&case).len(), 1, "{what}: never retried");
    }

    // The head is there, and with it the status: what is left is to break off.
    let body = br#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[]}}"#.to_vec();
    for chunked in [false, true] {
        let (case, body) = (marker(), body.clone());
        up.script_for(&case, move |_| Answer {
            parts: vec![Part::Drip(body.clone(), second)],
            chunked,
            ..Answer::json(&json!({}))
        });
        assert!(call(&case).try_send().await.is_err(), "never a truncated success");
        assert_eq!(up.with(&case).len(), 1, "never retried");
    }

    eventually("the upstream is left alone", Duration::from_secs(60), || async {
        (up.hanging() == 0 && Usage::of(doorward.pid()).descriptors <= before.descriptors + 2).then_some(())
    })
    .await;
    assert_eq!(mcp::text_of(&call("last").send().await), "t_read ok");
}

/// Where an upstream breaks off after it has done its work, and whether a client can have seen its status.
fn cuts() -> Vec<(&'static str, bool, Answer)> {
    let bytes = |text: &str| Part::Bytes(text.as_bytes().to_vec());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let half = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","con"#;
    let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} });
    let chunked = Answer {
        chunked: true,
        ..Answer::json(&json!({}))
    };
    vec![
        ("before the head", false, Answer::raw(vec![Part::Cut])),
        ("in the head", false, Answer::raw(vec![bytes("HTTP/1.1 200 O")])),
        ("between headers", false, Answer::raw(vec![bytes(head)])),
        (
            "before the body",
            true,
            Answer::raw(vec![bytes(&format!("{head}Content-Length: 80\r\n\r\n"))]),
        ),
        (
            "in JSON",
            true,
            Answer::raw(vec![bytes(&format!("{head}Content-Length: 80\r\n\r\n{half}"))]),
        ),
        (
            "before the first chunk",
            true,
            Answer {
                parts: vec![Part::Cut],
                ..chunked.clone()
            },
        ),
        (
            "after a chunk of JSON",
            true,
            Answer {
                parts: vec![bytes(half), Part::Cut],
                ..chunked.clone()
            },
        ),
        (
            "in a chunk of JSON",
            true,
            Answer::raw(vec![bytes(&format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n60\r\n{half}"
            ))]),
        ),
        (
            "after the JSON, before the last chunk",
            true,
            Answer {
                parts: vec![
                    bytes(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} }).to_string()),
                    Part::Cut,
                ],
                ..chunked
            },
        ),
        ("before the first event", true, Answer::events(vec![Part::Cut])),
        (
            "between two events",
            true,
            Answer::events(vec![event(None, &progress), Part::Cut]),
        ),
        (
            "in an event",
            true,
            Answer::events(vec![
                event(None, &progress),
                bytes("data: {\"jsonrpc\":\"2.0\",\"id\":1"),
                Part::Cut,
            ]),
        ),
    ]
}

#[tokio::test]
async fn ft_13_wherever_an_answer_is_cut_it_is_an_error_and_one_execution() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let http_2 = Multiplex::connect(&catalogue.doorward).await;
    for (what, begun, cut) in cuts() {
        for over_http_2 in [false, true] {
            let case = marker();
            let cut = cut.clone();
            catalogue.up_a.script_for(&case, move |_| cut.clone());
            let call = catalogue.call(&case).bearer(&token);
            // The break may come before our own head has left: then there is no answer at all.
            let answer = if over_http_2 {
                match http_2.send(call).await {
                    Ok(response) => {
                        let status = response.status().as_u16();
                        let body = response.into_body().collect().await;
                        body.ok().map(|body| (status, body.to_bytes()))
                    }
                    Err(_) => None,
                }
            } else {
                call.try_send().await.ok().map(|reply| (reply.status, reply.body))
            };
            match answer {
                None => assert!(begun, "{what}: an answer in words"),
                Some((status, body)) => {
                    let answer: serde_json::Value =
                        serde_json::from_slice(&body).expect("never half an answer");
                    assert_eq!(status, 502, "{what}: {answer}");
                    assert_eq!(
                        (&answer["id"], &answer["error"]["code"]),
                        (&json!(1), &json!(502)),
                        "{what}"
                    );
                }
            }
            assert_eq!(catalogue.up_a.with(&case).len(), 1, "{what}: executed once");
        }
    }
    catalogue.still_good().await;
}
