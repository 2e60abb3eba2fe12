//! R38: every decision is one line with its evidence; LK-01 and LK-02 for the file, and what a killed server leaves.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually, marker, mcp};
use serde_json::{Value, json};

use crate::metrics::{admin, metrics, value};
use crate::support::{Catalogue, RA, RB};

const SOON: Duration = Duration::from_secs(60);

fn file(doorward: &Doorward) -> PathBuf {
    doorward.data_file("decisions.jsonl")
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
        format!("{mark}\u{2028}{{\"outcome\":\"permitted\"}}"),
        format!("{mark}\"}},{{\"a\":\"\\"),
        format!("{mark}\u{202e}ünï"),
    ];
    for name in &hostile {
        let reply = mcp::modern(doorward, RA, "prompts/get", json!({ "name": name }));
        let _ = reply.bearer(&tokens.access).send().await;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": { "name": name } });
        let legacy = doorward
            .post(RA)
            .bearer(&tokens.access)
            .header("MCP-Protocol-Version", "2025-06-18");
        let legacy = legacy
            .header("Accept", "application/json, text/event-stream")
            .json(&body);
        let _ = legacy.send().await;
    }
    for name in &hostile {
        decision(doorward, "each of them", |line| line["name"] == name.as_str()).await;
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
    let of = |outcome: &str| {
        let lines = decisions(doorward);
        lines.iter().filter(|line| line["outcome"] == outcome).count()
    };
    // Of the refusals of strangers 60 a minute are told one by one.
    let written = || of("permitted") >= rounds / 2 && of("refused") >= (rounds / 2).min(60);
    // A fifth of a second on an idle machine. Nothing ends the server but the kill.
    let moment = tokio::time::timeout(SOON, async {
        while !written() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let in_time = moment.await;
    doorward.kill();
    let answered = decisions(doorward);
    assert!(in_time.is_ok() && written(), "{} lines", answered.len());
    doorward.start_again().await;
    catalogue.still_good().await;
    decision(doorward, "it goes on in the same file", |_| {
        decisions(doorward).len() > answered.len()
    })
    .await;
}

const FILES: &str = "/files/mcp";

/// A server with a scope table and a policy, and a login that may read.
struct Files {
    doorward: Doorward,
    token: String,
    _folder: tempfile::TempDir,
    _up: Upstream,
}

impl Files {
    async fn start() -> Self {
        let (up, folder) = (Upstream::start(), doorward_testkit::folder("doorward-e2e-"));
        let policy = folder.path().join("policy.cedar");
        let rules = "@id(\"everybody\")\npermit(principal, action, resource);\n";
        std::fs::write(&policy, rules).unwrap();
        let config = format!(
            "[policy]\nfile = {policy:?}\n[[servers]]\nname = \"files\"\npath = \"{FILES}\"\nupstream = \"{}\"\n\
             [servers.scopes.\"files:read\"]\ndescription = \"Read files\"\ntools = [\"read_*\"]\n\
             [servers.scopes.\"files:write\"]\ndescription = \"Change files\"\ntools = [\"write_*\"]\nstep_up = true\n",
            up.url()
        );
        let doorward = Doorward::builder()
            .config(&config)
            .env("DOORWARD_ADMIN_LISTEN", "127.0.0.1:0")
            .env("DOORWARD_LOG_FORMAT", "json")
            .user("alice", PASSWORD)
            .start()
            .await;
        let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
        let tokens = client.login("alice", PASSWORD, &doorward.url(FILES)).await;
        Self {
            doorward,
            token: tokens.access,
            _folder: folder,
            _up: up,
        }
    }

    async fn call(&self, tool: &str) -> u16 {
        let call = mcp::call(
            &self.doorward,
            FILES,
            tool,
            &json!({ "path": "argument-of-a-call" }),
        );
        let call = call.header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        call.bearer(&self.token).send().await.status
    }
}

/// A line without what differs from one run to the next: of ids, times and spans it keeps the form.
fn form(line: &str, origin: &str) -> Vec<(String, Value)> {
    let line = line.replace(origin, "https://mcp.example.com");
    let values: Value = serde_json::from_str(&line).unwrap();
    let inner = line.trim_start_matches('{').trim_end_matches('}');
    let names = inner.split(",\"").map(|member| {
        let name = member.trim_start_matches('"').split('"').next();
        name.unwrap().to_owned()
    });
    names
        .filter(|name| !values[name].is_null())
        .map(|name| {
            let value = values[&name].clone();
            let value = match (name.as_str(), &value) {
                ("took_us" | "upstream_us", value) => json!(value.is_u64()),
                ("peer", Value::String(address)) => {
                    json!(address.parse::<std::net::IpAddr>().is_ok())
                }
                ("client", Value::String(id)) => json!((&id[..4], id.len())),
                ("time" | "decision_id" | "user" | "token" | "family" | "trace", Value::String(text)) => {
                    let unit = |letter: char| match letter {
                        '0'..='9' | 'a'..='f' => 'x',
                        other => other,
                    };
                    text.chars().map(unit).collect::<String>().into()
                }
                _ => value,
            };
            (name, value)
        })
        .collect()
}

#[tokio::test]
async fn r38_lk_02_the_lines_in_the_documentation_are_what_is_written() {
    let files = Files::start().await;
    assert_eq!(files.call("read_file").await, 200);
    assert_eq!(files.call("write_file").await, 403);
    decision(&files.doorward, "both", |line| line["name"] == "write_file").await;
    let written = std::fs::read_to_string(file(&files.doorward)).unwrap();
    let page = include_str!("../../../docs/observability.md");
    for (name, outcome) in [("read_file", "permitted"), ("write_file", "refused")] {
        let of_call = |line: &&str| {
            let parsed: Value = serde_json::from_str(line).unwrap_or_default();
            parsed["name"] == name && parsed["outcome"] == outcome
        };
        let real = written.lines().find(of_call).expect("a line of the call");
        let documented = page
            .lines()
            .find(of_call)
            .unwrap_or_else(|| panic!("{name}: {real}"));
        let origin = &files.doorward.public_url;
        assert_eq!(
            form(documented, "https://mcp.example.com"),
            form(real, origin),
            "docs/observability.md should have:\n{}",
            real.replace(origin, "https://mcp.example.com")
        );
    }
    for secret in [files.token.as_str(), "argument-of-a-call"] {
        assert!(!written.contains(secret), "a secret in the decision log");
    }
}

#[tokio::test]
async fn r34_r38_a_refusal_that_is_repeated_is_counted_once_and_fills_no_log() {
    let files = Files::start().await;
    let admin = admin(&files.doorward).await;
    for _ in 0..30 {
        assert_eq!(files.call("write_file").await, 403);
    }
    let text = metrics(&admin).await;
    let reason = "reason=\"insufficient_scope\"}";
    let denials = format!("doorward_denials_total{{server=\"files\",{reason}");
    assert_eq!(value(&text, &denials).to_string(), "1", "{text}");
    let all = "doorward_decisions_total{server=\"files\",method=\"tools/call\",outcome=\"refused\",";
    assert!(
        (value(&text, &format!("{all}{reason}")) - 30.0).abs() < 0.1,
        "{text}"
    );
    let log = files.doorward.logs();
    let told = |message: &str| {
        let message = format!("\"message\":\"{message}\"");
        log.lines()
            .filter(|line| line.contains(&message) && line.contains("insufficient_scope"))
            .count()
    };
    assert_eq!(told("call refused"), 1, "{log}");

    files.doorward.terminate();
    files.doorward.wait(SOON).await;
    let lines = decisions(&files.doorward);
    let of_call = lines.iter().filter(|line| line["reason"] == "insufficient_scope");
    let (counted, told): (Vec<_>, Vec<_>) = of_call.partition(|line| line["times"].is_u64());
    assert_eq!(told.len(), 10, "{lines:?}");
    assert_eq!(told[0]["repeated"], Value::Null);
    assert!(told[1..].iter().all(|line| line["repeated"] == true), "{told:?}");
    let times: u64 = counted.iter().filter_map(|line| line["times"].as_u64()).sum();
    assert_eq!(times, 20, "{counted:?}");
    assert_eq!(counted[0]["server"], "files");
}

/// Whoever has no token fills no log, whatever they send.
#[tokio::test]
async fn r38_a_flood_of_strangers_does_not_wash_out_the_decision_log() {
    let files = Files::start().await;
    assert_eq!(files.call("read_file").await, 200);
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        20_000
    } else {
        500
    };
    for number in 0..rounds {
        let call = mcp::call(&files.doorward, FILES, &format!("tool_{number}"), &json!({}));
        let call = match number % 3 {
            0 => call,
            1 => call.bearer(&format!("invented-{number}")),
            _ => call.header("Origin", &format!("https://{number}.attacker.test")),
        };
        let status = call.send().await.status;
        assert!(matches!(status, 401 | 403), "{status}");
    }
    files.doorward.terminate();
    files.doorward.wait(SOON).await;
    let lines = decisions(&files.doorward);
    assert!(lines.iter().any(|line| line["name"] == "read_file"));
    let strangers = lines.iter().filter(|line| line["user"].is_null());
    let (counted, told): (Vec<_>, Vec<_>) = strangers.partition(|line| line["times"].is_u64());
    // Sixty a minute of one address, for the few minutes that this may take, and a line for each reason and minute.
    assert!(told.len() < 60 + rounds / 10, "{}", told.len());
    let times: u64 = counted.iter().filter_map(|line| line["times"].as_u64()).sum();
    assert_eq!(told.len() as u64 + times, rounds as u64, "none is forgotten");
}

/// R38, and FT-07 for this file: nothing else stops, it is said once, and what is missing is told.
#[tokio::test]
async fn r38_ft_07_on_a_full_disk_calls_go_on_and_what_is_lost_is_told() {
    let builder = Doorward::builder()
        .disk(16 * 1024)
        .env("DOORWARD_ADMIN_LISTEN", "127.0.0.1:0")
        .env("DOORWARD_LOG_FORMAT", "json");
    let catalogue = Catalogue::start_with(builder).await;
    let doorward = &catalogue.doorward;
    let admin = admin(doorward).await;
    let token = catalogue.t().await;
    let mut made = 0;
    let mut call = async || {
        let mark = mcp::call(doorward, RA, "t_full", &json!({}));
        assert_eq!(mark.bearer(&token).send().await.status, 200);
        made += 1;
    };
    let (full, again) = (
        "decisions are not written down for now",
        "decisions are written down again",
    );
    call().await;
    decision(doorward, "the first call", |line| line["name"] == "t_full").await;
    doorward.fill_disk();
    let begun = tokio::time::Instant::now();
    while !doorward.logs().contains(full) {
        call().await;
        assert!(begun.elapsed() < SOON, "{}", doorward.logs());
    }
    for _ in 0..50 {
        call().await;
    }
    doorward.free_disk();
    let begun = tokio::time::Instant::now();
    while !doorward.logs().contains(again) {
        call().await;
        assert!(begun.elapsed() < 2 * SOON, "{}", doorward.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    call().await;
    let sum = |lines: &[Value]| {
        let written = lines.iter().filter(|line| line["name"] == "t_full").count();
        let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
        (written, usize::try_from(lost).unwrap())
    };
    let (_, lost) = eventually("every call is written or told to be lost", SOON, || async {
        let (written, lost) = sum(&decisions(doorward));
        (written + lost >= made).then_some((written, lost))
    })
    .await;
    assert!(lost > 0);
    let text = metrics(&admin).await;
    assert!(
        (value(&text, "doorward_decisions_lost") - lost as f64).abs() < 0.1,
        "{text}"
    );
    let log = doorward.logs();
    assert_eq!(log.matches(full).count(), 1, "{log}");
    assert_eq!(log.matches(again).count(), 1, "{log}");
    catalogue.still_good().await;
}
