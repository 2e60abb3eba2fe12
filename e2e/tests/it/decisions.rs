//! R38: every decision is one line with its evidence; LK-01 and LK-02 for the file, and what a killed server leaves.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use doorward_testkit::{Doorward, eventually, marker, mcp};
use serde_json::{Value, json};

use crate::support::{Catalogue, RA, RB};

const SOON: Duration = Duration::from_secs(20);

fn file(doorward: &Doorward) -> PathBuf {
    doorward.data.join("decisions.jsonl")
}

/// Every line so far, each strict JSON.
fn decisions(doorward: &Doorward) -> Vec<Value> {
    let text = std::fs::read_to_string(file(doorward)).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The line that `holds`, as soon as it is there: lines are written a moment after the answer.
async fn decision(doorward: &Doorward, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || async {
        decisions(doorward).into_iter().find(&holds)
    })
    .await
}

#[tokio::test]
async fn r32_r38_lk_02_each_end_of_a_call_leaves_one_line_with_its_evidence() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let claims = tokens.claims();
    let parent = "4bf92f3577b34da6a3ce929d0e0e4736";
    let call = mcp::call(doorward, RA, "t_read", &json!({ "secret": "argument-of-a-call" }));
    let traced = call
        .clone()
        .header("traceparent", &format!("00-{parent}-00f067aa0ba902b7-01"));
    assert_eq!(traced.bearer(&tokens.access).send().await.status, 200);

    let line = decision(doorward, "the permitted call", |line| {
        line["traceparent"] == parent
    })
    .await;
    let metadata = format!("{}/.well-known/oauth-authorization-server", catalogue.issuer());
    for (member, value) in [
        ("outcome", json!("permitted")),
        ("status", json!(200)),
        ("server", json!("a")),
        ("resource", json!(catalogue.ra())),
        ("audience", claims["aud"].clone()),
        ("transport", json!("http")),
        ("issuer", claims["iss"].clone()),
        ("issuer_metadata", json!(metadata)),
        ("method", json!("tools/call")),
        ("name", json!("t_read")),
        ("user", claims["sub"].clone()),
        ("client", claims["client_id"].clone()),
        ("token", claims["jti"].clone()),
        ("family", claims["family"].clone()),
        ("scopes", claims["scope"].clone()),
        ("peer", json!("127.0.0.1")),
        ("upstream_status", json!(200)),
    ] {
        assert_eq!(line[member], value, "{member} in {line}");
    }
    assert!(line["took_us"].as_u64() >= line["upstream_us"].as_u64(), "{line}");

    // Refusals: the id that the caller is told is in the log, and `explain` knows it.
    let elsewhere = mcp::call(doorward, RB, "t_read", &json!({}));
    let crossed = elsewhere.bearer(&tokens.access).send().await;
    let unread = doorward
        .post(RA)
        .bearer(&tokens.access)
        .header("Accept", "application/json, text/event-stream");
    let unread = unread
        .header("Content-Type", "application/json")
        .body("{")
        .send()
        .await;
    let bad = call.clone().bearer("not-a-token").send().await;
    let none = call.send().await;
    for (reply, status, reason) in [
        (crossed, 401, "wrong_audience"),
        (unread, 400, ""),
        (bad, 401, "malformed"),
        (none, 401, "no_token"),
    ] {
        assert_eq!(reply.status, status, "{}", reply.text());
        let told = reply.json()["error"]["data"].clone();
        let id = told["decision_id"].as_str().unwrap().to_owned();
        let line = decision(doorward, "the refusal", |line| line["decision_id"] == id.as_str()).await;
        assert_eq!(line["outcome"], "refused", "{line}");
        assert_eq!(line["reason"], told["reason"], "{line}");
        assert!(reason.is_empty() || line["reason"] == reason, "{line}");
        assert_eq!(line["trace"], reply.header("Doorward-Trace").unwrap(), "{line}");
        let explained = eventually("explain knows it", SOON, || async {
            let finished = doorward.command(&["explain", &id, "--format", "json"]);
            serde_json::from_str::<Value>(&finished.stdout).ok()
        })
        .await;
        assert_eq!(explained["failure"]["reason"], told["reason"], "{explained}");
    }

    let text = std::fs::read_to_string(file(doorward)).unwrap();
    for secret in [
        &*tokens.access,
        tokens.refresh(),
        "argument-of-a-call",
        "not-a-token",
    ] {
        assert!(!text.contains(secret), "a secret in the decision log");
    }
    let ids: std::collections::BTreeSet<_> = decisions(doorward)
        .iter()
        .map(|line| line["decision_id"].to_string())
        .collect();
    assert_eq!(ids.len(), decisions(doorward).len(), "one line for each decision");
    let mode = std::fs::metadata(file(doorward)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn lk_01_no_caller_writes_a_second_line_into_the_decision_log() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let mark = marker();
    let hostile = [
        format!("file:///{mark}\u{2028}{{\"outcome\":\"permitted\"}}"),
        format!("file:///{mark}\"}},{{\"a\":\"\\"),
        format!("file:///{mark}\u{202e}ünï"),
    ];
    for uri in &hostile {
        let reply = mcp::modern(doorward, RA, "resources/read", json!({ "uri": uri }));
        let _ = reply.bearer(&tokens.access).send().await;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": uri } });
        let legacy = doorward
            .post(RA)
            .bearer(&tokens.access)
            .header("MCP-Protocol-Version", "2025-06-18");
        let legacy = legacy
            .header("Accept", "application/json, text/event-stream")
            .json(&body);
        let _ = legacy.send().await;
    }
    for uri in &hostile {
        decision(doorward, "each of them", |line| line["name"] == uri.as_str()).await;
    }
    let bytes = std::fs::read(file(doorward)).unwrap();
    assert!(
        bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')),
        "printable ASCII"
    );
    decisions(doorward);
}

#[tokio::test]
async fn r38_a_killed_server_has_written_all_but_the_last_moment() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        1000
    } else {
        100
    };
    for number in 0..rounds {
        let call = mcp::call(doorward, RA, "t_read", &json!({ "n": number }));
        let call = if number % 2 == 0 {
            call.bearer(&tokens.access)
        } else {
            call
        };
        let status = call.send().await.status;
        assert_eq!(status, if number % 2 == 0 { 200 } else { 401 });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    doorward.kill();
    let answered = decisions(doorward);
    let of = |outcome: &str| answered.iter().filter(|line| line["outcome"] == outcome).count();
    assert!(
        of("permitted") >= rounds / 2 && of("refused") >= rounds / 2,
        "{} lines",
        answered.len()
    );
    doorward.start_again().await;
    catalogue.still_good().await;
    decision(doorward, "it goes on in the same file", |_| {
        decisions(doorward).len() > answered.len()
    })
    .await;
}
