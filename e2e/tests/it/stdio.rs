//! Servers that are commands, through the real binary: their clients see Streamable HTTP.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use doorward_testkit::browser::Browser;
use doorward_testkit::command::kill;
use doorward_testkit::http::{Reply, Request};
use doorward_testkit::measure::Memory;
use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::server::Builder;
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::{Value, json};

const PATH: &str = "/a/mcp";
const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");

/// A gateway in front of one command.
struct Command {
    doorward: Doorward,
    tokens: HashMap<&'static str, String>,
}

fn configured(era: &str, more: &str) -> String {
    format!("[[servers]]\nname = \"a\"\npath = \"{PATH}\"\ncommand = [{SCRIPT:?}, \"{era}\"]\n{more}\n")
}

impl Command {
    async fn start(era: &str, more: &str) -> Self {
        Self::of(Doorward::builder().config(&configured(era, more)), PATH).await
    }

    async fn of(builder: Builder, path: &str) -> Self {
        let builder = builder.user("alice", PASSWORD).user("bob", PASSWORD);
        let doorward = builder.start().await;
        let mut tokens = HashMap::new();
        for user in ["alice", "bob"] {
            let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
            let mut browser = Browser::new(&doorward);
            let resource = doorward.url(path);
            let approved = client.approve(&mut browser, user, PASSWORD, &resource).await;
            let reply = client.redeem(&approved).await;
            tokens.insert(user, Tokens::from_reply(&reply).access);
        }
        Self { doorward, tokens }
    }

    /// A modern call.
    fn call(&self, user: &str, tool: &str, arguments: &Value) -> Request {
        mcp::call(&self.doorward, PATH, tool, arguments).bearer(&self.tokens[user])
    }

    fn with_progress(&self, user: &str, tool: &str, token: &str) -> Request {
        let params = json!({ "name": tool, "arguments": {}, "_meta": { "progressToken": token } });
        let mut message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        for (key, value) in mcp::meta().as_object().unwrap() {
            message["params"]["_meta"][key] = value.clone();
        }
        self.call(user, tool, &json!({})).body(message.to_string())
    }

    async fn text(&self, user: &str, tool: &str, arguments: Value) -> String {
        let reply = self.call(user, tool, &arguments).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        mcp::text_of(&reply)
    }

    /// Opens a legacy session.
    async fn session(&self, user: &'static str) -> Session<'_> {
        let reply = self.legacy(user, None, &mcp::initialize()).send().await;
        assert_eq!(reply.status, 200, "{}\n{}", reply.text(), self.doorward.logs());
        let id = reply.header("Mcp-Session-Id").expect("a session").to_owned();
        let session = Session {
            command: self,
            user,
            id,
        };
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(session.post(&note).send().await.status, 202);
        session
    }

    fn legacy(&self, user: &str, session: Option<&str>, message: &Value) -> Request {
        mcp::legacy(&self.doorward, PATH, session, message).bearer(&self.tokens[user])
    }

    async fn logged(&self, text: &str) {
        eventually("the log tells", Duration::from_secs(60), || async {
            self.doorward.logs().contains(text).then_some(())
        })
        .await;
    }
}

struct Session<'a> {
    command: &'a Command,
    user: &'static str,
    id: String,
}

impl Session<'_> {
    fn post(&self, message: &Value) -> Request {
        self.command.legacy(self.user, Some(&self.id), message)
    }

    fn call(&self, tool: &str, meta: &Value) -> Request {
        let params = json!({ "name": tool, "arguments": {}, "_meta": meta });
        self.post(&json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": params }))
    }

    async fn text(&self, tool: &str) -> String {
        mcp::text_of(&self.call(tool, &json!({})).send().await)
    }

    fn bare(&self, method: &str) -> Request {
        let request = self.command.doorward.request(method, PATH);
        request
            .header("Accept", "text/event-stream")
            .header("MCP-Protocol-Version", mcp::LEGACY)
            .header("Mcp-Session-Id", &self.id)
            .bearer(&self.command.tokens[self.user])
    }
}

#[track_caller]
fn reason(reply: &Reply, status: u16, reason: &str) -> Value {
    assert_eq!(reply.status, status, "{}", reply.text());
    let answer = reply.json();
    assert_eq!(answer["error"]["data"]["reason"], reason, "{answer}");
    answer
}

fn message(event: &doorward_testkit::mcp::Event) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test]
async fn a_legacy_client_has_a_session_with_progress_and_questions() {
    let command = Command::start("legacy", "").await;
    let session = command.session("alice").await;
    let other = command.session("alice").await;
    assert_ne!(
        session.text("t_pid").await,
        other.text("t_pid").await,
        "a process each"
    );

    let mut events = session
        .call("t_progress", &json!({ "progressToken": "own" }))
        .stream()
        .await;
    for progress in 1..=3 {
        let event = message(&events.event().await.unwrap());
        assert_eq!(
            event["params"],
            json!({ "progressToken": "own", "progress": progress })
        );
    }
    let answer = message(&events.event().await.unwrap());
    assert_eq!(answer["id"], "c");
    assert_eq!(answer["result"]["content"][0]["text"], "done");
    assert!(events.event().await.is_none());

    let mut events = session.call("t_ask", &json!({})).stream().await;
    let asked = message(&events.event().await.unwrap());
    assert_eq!(asked["method"], "sampling/createMessage");
    let reply = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": {
        "role": "assistant", "model": "m", "content": { "type": "text", "text": "the client's words" } } });
    let foreign = other.post(&reply).send().await;
    assert_eq!(foreign.status, 202, "another session was asked nothing");
    assert_eq!(session.post(&reply).send().await.status, 202);
    let answer = message(&events.event().await.unwrap());
    assert_eq!(answer["result"]["content"][0]["text"], "the client's words");

    let mut listening = session.bare("GET").stream().await;
    assert_eq!(listening.status, 200);
    assert_eq!(session.text("t_change").await, "changed");
    let event = message(&listening.event().await.unwrap());
    assert_eq!(event["method"], "notifications/tools/list_changed");

    assert_eq!(session.bare("DELETE").send().await.status, 204);
    assert!(listening.event().await.is_none());
    reason(
        &session.call("t_pid", &json!({})).send().await,
        404,
        "unknown_session",
    );
    reason(&session.bare("GET").send().await, 404, "unknown_session");
    other.text("t_pid").await;
}

#[tokio::test]
async fn mb_17_a_session_of_a_command_is_its_users_alone() {
    let command = Command::start("legacy", "").await;
    let alices = command.session("alice").await;
    let stolen = Session {
        command: &command,
        user: "bob",
        id: alices.id.clone(),
    };
    for request in [
        stolen.call("t_pid", &json!({})),
        stolen.bare("GET"),
        stolen.bare("DELETE"),
    ] {
        reason(&request.send().await, 404, "unknown_session");
    }
    alices.text("t_pid").await;
}

#[tokio::test]
async fn ft_13_a_killed_process_is_known_and_replaced() {
    let command = Command::start("legacy", "").await;
    let session = command.session("alice").await;
    let pid = session.text("t_pid").await;
    kill(pid.parse().unwrap(), "KILL");
    eventually("the session is over", Duration::from_secs(60), || async {
        (session.call("t_pid", &json!({})).send().await.status == 404).then_some(())
    })
    .await;
    let again = command.session("alice").await;
    assert_ne!(again.text("t_pid").await, pid);
    command.logged("the process of an MCP server ended").await;
}

#[tokio::test]
async fn ft_13_half_an_answer_is_none() {
    let command = Command::start("legacy", "").await;
    let session = command.session("alice").await;
    let reply = session.call("t_half", &json!({})).send().await;
    reason(&reply, 502, "upstream_failed");
}

#[tokio::test]
async fn ds_08_a_flood_for_a_client_that_does_not_read() {
    let command = Command::start("modern", "").await;
    command.text("alice", "t_pid", json!({})).await;
    let memory = Memory::watch(command.doorward.pid());
    let flooded = command.with_progress("alice", "t_flood", "own").stream().await;
    assert_eq!(flooded.headers["content-type"], "text/event-stream");
    // The other calls wait for a while, and then the one who does not read is given up.
    let start = Instant::now();
    for _ in 0..3 {
        command.text("alice", "t_pid", json!({})).await;
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let growth = memory.growth() >> 20;
    assert!(growth <= 24, "100 MiB went by, and {growth} MiB were held");
    command.logged("a client does not read its stream").await;
    drop(flooded);
    command.text("alice", "t_pid", json!({})).await;
}

#[tokio::test]
async fn ft_13_a_call_that_kills_its_process_is_executed_once() {
    let command = Command::start("modern", "").await;
    let reply = command
        .call("alice", "t_crash", &json!({ "marker": "once" }))
        .send()
        .await;
    let answer = reason(&reply, 502, "upstream_failed");
    assert_eq!(answer["id"], 1);
    assert!(reply.text().contains("whether the call took effect is unknown"));
    let resting = command.call("alice", "t_pid", &json!({})).send().await;
    if resting.status != 200 {
        reason(&resting, 503, "upstream_resting");
        let after = resting.header("Retry-After").expect("a time");
        assert!((1..=2).contains(&after.parse::<u32>().unwrap()), "{after}");
    }
    eventually("another process", Duration::from_secs(60), || async {
        let reply = command.call("alice", "t_executed", &json!({})).send().await;
        (reply.status == 200).then(|| assert_eq!(mcp::text_of(&reply), "once\n"))
    })
    .await;
}

#[tokio::test]
async fn modern_clients_of_a_user_share_a_process() {
    let command = Command::start("modern", "").await;
    let alices = command.text("alice", "t_pid", json!({})).await;
    assert_eq!(alices, command.text("alice", "t_pid", json!({})).await);
    assert_ne!(alices, command.text("bob", "t_pid", json!({})).await);

    let mut events = command.with_progress("alice", "t_progress", "own").stream().await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    for progress in 1..=3 {
        let event = message(&events.event().await.unwrap());
        assert_eq!(
            event["params"],
            json!({ "progressToken": "own", "progress": progress })
        );
    }
    assert_eq!(message(&events.event().await.unwrap())["id"], 1);

    let unknown = mcp::modern(&command.doorward, PATH, "prompts/list", json!({}));
    let unknown = unknown.bearer(&command.tokens["alice"]).send().await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["code"], -32601);

    let listen = json!({ "notifications": { "toolsListChanged": true } });
    let listen = mcp::modern(&command.doorward, PATH, "subscriptions/listen", listen);
    let mut events = listen.bearer(&command.tokens["alice"]).stream().await;
    for method in [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
    ] {
        let event = message(&events.event().await.unwrap());
        assert_eq!(event["method"], method);
        assert_eq!(
            event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            1
        );
    }
    // The gateway is told to stop: the subscription is completed, and no process is left.
    command.doorward.terminate();
    let event = message(&events.event().await.unwrap());
    assert_eq!(event["result"]["resultType"], "complete");
    assert_eq!(command.doorward.wait(Duration::from_secs(60)).await, 0);
    let gone = || async { (!std::path::Path::new(&format!("/proc/{alices}")).exists()).then_some(()) };
    eventually("the process is gone", Duration::from_secs(60), gone).await;
}

#[tokio::test]
async fn ft_14_leaving_cancels_the_call_of_a_command() {
    let command = Command::start("modern", "").await;
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        1000
    } else {
        30
    };
    command.text("alice", "t_pid", json!({})).await;
    for round in 0..rounds {
        let marker = format!("round {round}");
        let call = command.call("alice", "t_wait", &json!({ "marker": marker }));
        let patience = Duration::from_millis([0, 10, 100][round % 3]);
        let left = tokio::time::timeout(patience, call.send()).await;
        assert!(left.is_err(), "it has no answer");
    }
    // One that was surely under way, with the clock on it.
    let call = command.call("alice", "t_wait", &json!({ "marker": "last" }));
    let left = tokio::time::timeout(Duration::from_secs(2), call.send()).await;
    assert!(left.is_err(), "it has no answer");
    let start = Instant::now();
    eventually("the server gives up", Duration::from_secs(60), || async {
        let given_up = command.text("alice", "t_given_up", json!({})).await;
        given_up.contains("last").then_some(())
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "1 s, on an idle machine: {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn mb_15_every_client_of_a_command_gets_its_own_answer() {
    let command = Command::start("modern", "").await;
    let calls = if std::env::var_os("DOORWARD_FULL").is_some() {
        500
    } else {
        60
    };
    let mut tasks = Vec::new();
    for n in 0..calls {
        for user in ["alice", "bob"] {
            let marker = format!("{user} {n}");
            // The last are answered first. All have the id 1.
            let arguments = json!({ "marker": marker, "delay": (calls - n) * 3 });
            let call = command.call(user, "t_read", &arguments);
            tasks.push((marker, tokio::spawn(call.send())));
        }
    }
    for (marker, task) in tasks {
        let reply = task.await.unwrap();
        if reply.status == 503 {
            reason(&reply, 503, "too_many_calls");
            continue;
        }
        assert_eq!(mcp::text_of(&reply), marker);
    }
}

#[tokio::test]
async fn clients_of_the_other_era_are_told_what_the_command_speaks() {
    let legacy = Command::start("legacy", "").await;
    for _ in 0..2 {
        let discover = mcp::modern(&legacy.doorward, PATH, "server/discover", json!({}));
        let reply = discover.bearer(&legacy.tokens["alice"]).send().await;
        let answer = reason(&reply, 400, "unsupported_version");
        assert_eq!(answer["error"]["code"], -32022);
        assert_eq!(answer["error"]["data"]["supported"], json!(["2025-11-25"]));
        assert_eq!(answer["error"]["data"]["requested"], "2026-07-28");
    }
    legacy.session("alice").await;

    let modern = Command::start("modern", "").await;
    let reply = modern.legacy("alice", None, &mcp::initialize()).send().await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["code"], -32022);
    assert_eq!(reply.json()["error"]["data"]["supported"], json!(["2026-07-28"]));
    assert!(reply.header("Mcp-Session-Id").is_none());
}

#[tokio::test]
async fn a_user_has_so_many_processes() {
    let command = Command::start("legacy", "processes_per_user = 2").await;
    let first = command.session("alice").await;
    let second = command.session("alice").await;
    let mut events = second.call("t_ask", &json!({})).stream().await;
    events.event().await.unwrap();
    // The first has nothing to do: it makes room.
    let third = command.session("alice").await;
    reason(
        &first.call("t_pid", &json!({})).send().await,
        404,
        "unknown_session",
    );
    let mut more = third.call("t_ask", &json!({})).stream().await;
    more.event().await.unwrap();
    let refused = command.legacy("alice", None, &mcp::initialize()).send().await;
    reason(&refused, 503, "too_many_processes");
    assert!(refused.header("Retry-After").is_some());
    command.session("bob").await;
}

#[tokio::test]
async fn a_process_without_work_ends() {
    let command = Command::start("legacy", "idle = \"1s\"").await;
    let session = command.session("alice").await;
    let pid = session.text("t_pid").await;
    let gone = || async { (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()) };
    eventually("the process is gone", Duration::from_secs(60), gone).await;
    reason(
        &session.call("t_pid", &json!({})).send().await,
        404,
        "unknown_session",
    );
}

#[tokio::test]
async fn ft_11_a_command_that_is_gone() {
    let folder = doorward_testkit::folder("doorward-e2e-");
    let program = folder.path().join("server");
    std::fs::copy(SCRIPT, &program).unwrap();
    let config =
        format!("[[servers]]\nname = \"a\"\npath = \"{PATH}\"\ncommand = [{program:?}, \"modern\"]\n");
    let command = Command::of(Doorward::builder().config(&config), PATH).await;
    std::fs::remove_file(&program).unwrap();
    for request in [
        command.call("alice", "t_pid", &json!({})),
        command.legacy("alice", None, &mcp::initialize()),
    ] {
        let reply = request.send().await;
        let answer = reason(&reply, 502, "upstream_not_started");
        let words = answer["error"]["message"].as_str().unwrap();
        assert!(words.contains("operator"), "{words}");
        assert!(!reply.text().contains(folder.path().to_str().unwrap()));
    }
    command
        .logged("the command of an MCP server cannot be started")
        .await;
    command.logged(program.to_str().unwrap()).await;
}

#[tokio::test]
async fn a_command_that_is_no_mcp_server() {
    let command = Command::start("nonsense", "").await;
    for request in [
        command.legacy("alice", None, &mcp::initialize()),
        command.call("bob", "t_pid", &json!({})),
    ] {
        let reply = request.send().await;
        reason(&reply, 502, "upstream_not_mcp");
        assert!(!reply.text().contains("Usage"));
    }
    command.logged("that is no message").await;
    let logs = command.doorward.logged("Usage: scripted-stdio").await;
    assert!(!logs.contains('\u{1b}'), "{logs}");
}

#[tokio::test]
async fn serve_takes_a_command_after_two_dashes() {
    let builder = Doorward::builder().command([SCRIPT, "legacy"]);
    let command = Command::of(builder, "/mcp").await;
    let reply = mcp::legacy(&command.doorward, "/mcp", None, &mcp::initialize())
        .bearer(&command.tokens["alice"])
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(mcp::answer(&reply)["result"]["serverInfo"]["name"], "scripted");
    command.logged("scripted-stdio is up").await;
}
