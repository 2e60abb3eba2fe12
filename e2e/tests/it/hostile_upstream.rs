//! HD-15 and FT: upstreams that attack the client, are gone, or break off.

use std::time::{Duration, Instant};

use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::{Answer, Part, Upstream, event};
use doorward_testkit::{Doorward, PASSWORD, marker, mcp};
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
            begun.elapsed() < Duration::from_secs(10),
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
async fn ft_13_a_cut_answer_is_never_a_truncated_success() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let half = Part::Bytes(br#"{"jsonrpc":"2.0","id":1,"resu"#.to_vec());
    let json_half = Answer {
        parts: vec![half.clone(), Part::Cut],
        chunked: true,
        ..Answer::json(&json!({}))
    };
    let before = Answer {
        parts: vec![Part::Cut],
        chunked: true,
        ..Answer::json(&json!({}))
    };
    for (what, cut) in [("in the middle of JSON", json_half), ("before the body", before)] {
        let case = marker();
        catalogue.up_a.script_for(&case, move |_| cut.clone());
        let reply = catalogue.call(&case).bearer(&token).try_send().await;
        assert!(
            reply.is_err() || reply.is_ok_and(|reply| reply.status == 502),
            "{what}: never a truncated success"
        );
        assert_eq!(catalogue.up_a.with(&case).len(), 1, "{what}: never retried");
    }
    let case = marker();
    catalogue.up_a.script_for(&case, move |_| {
        let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} });
        Answer::events(vec![
            event(None, &progress),
            Part::Bytes(b"data: {\"jsonrpc\":\"2.0\",\"id\":1".to_vec()),
            Part::Cut,
        ])
    });
    let mut stream = catalogue.call(&case).bearer(&token).stream().await;
    assert_eq!(stream.status, 200);
    assert!(
        stream
            .event()
            .await
            .expect("the first event")
            .data
            .contains("progress")
    );
    assert!(
        stream.try_chunk().await.is_err() || stream.rest().await.is_err(),
        "the break is passed on as a break"
    );
    assert_eq!(catalogue.up_a.with(&case).len(), 1, "never retried");
    catalogue.still_good().await;
}
