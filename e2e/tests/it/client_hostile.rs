//! CL: what a hostile MCP server, a hostile authorization server and a hostile neighbour on the same machine can do to
//! `login` and `connect`. Every case changes one thing about a server that otherwise lets everybody in; the same machine
//! then logs in to prove that nothing else was in the way.

mod callbacks;
mod challenges;
mod credentials;
mod documents;
mod listener;
mod network;
mod redirects;
mod several;
mod step_up;
mod store;
mod traffic;
mod urls;

use doorward_testkit::client_home::{ClientHome, Running};
use doorward_testkit::command::Finished;
use doorward_testkit::evil::{AUTHORIZE, Evil, REGISTER, TOKEN};
use serde_json::{Value, json};

/// Whether the long rounds run.
fn full() -> bool {
    std::env::var_os("DOORWARD_FULL").is_some()
}

/// A login that must be refused: nothing opened, no code asked for, the reason told.
async fn refuse(evil: &Evil, home: &ClientHome, more: &[&str], case: &str) -> Finished {
    let finished = stop(evil, home, more, case).await;
    assert_eq!(finished.code, 1, "{case}: refused, not:\n{}", finished.stderr);
    finished
}

/// A login that must come to an end before anything is opened: refused, or there was no answer that could be read.
async fn stop(evil: &Evil, home: &ClientHome, more: &[&str], case: &str) -> Finished {
    let before = home.opened().len();
    let finished = home.run(&[&["login", &evil.url()], more].concat()).await;
    assert!(
        matches!(finished.code, 1 | 3),
        "{case}: stopped, not:\n{}",
        finished.stderr
    );
    assert_eq!(home.opened().len(), before, "{case}: nothing opened");
    for path in [AUTHORIZE, TOKEN] {
        assert_eq!(evil.seen(path).len(), 0, "{case}: {path} was asked");
    }
    assert!(!finished.stderr.trim().is_empty(), "{case}: a reason is told");
    home.assert_clean(&finished, &evil.secrets()).await;
    finished
}

/// The server behaves again, and the same machine logs in.
async fn logs_in_now(evil: &Evil, home: &ClientHome) {
    evil.behave();
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 0, "the baseline logs in:\n{}", finished.stderr);
    assert_eq!(evil.grants("authorization_code").len(), 1, "one exchange");
    assert_eq!(evil.complaints(), Vec::<String>::new());
    home.assert_clean(&finished, &evil.secrets()).await;
}

/// A machine that is logged in.
async fn logged_in(evil: &Evil) -> ClientHome {
    let home = ClientHome::new();
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 0, "logs in:\n{}", finished.stderr);
    assert_eq!(evil.seen(REGISTER).len(), 1, "registered once");
    home
}

/// The legacy handshake's first message.
fn initialize() -> Value {
    doorward_testkit::mcp::initialize()
}

/// `tools/call` as a legacy host writes it.
fn call(id: u32, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

/// A bridge whose host has shaken hands.
async fn bridge(home: &ClientHome, url: &str, more: &[&str]) -> Running {
    let running = home.start_connect(url, more);
    let answer = running.ask(&initialize()).await;
    assert!(answer.get("result").is_some(), "{answer}\n{}", running.stderr());
    running.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    running
}

/// The first text of an answer.
#[track_caller]
fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("a text: {answer}"))
}
