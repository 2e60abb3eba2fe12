//! Real clients, headless: the TypeScript SDKs v1 and v2 log in, list and call tools; a second start needs
//! nobody; after expiry a refresh is enough.

use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::node;

const TOOLS: [&str; 6] = [
    "add_note",
    "delete_note",
    "echo",
    "list_notes",
    "read_note",
    "whoami",
];

/// A client as a person has it installed: which SDK, and where it keeps its tokens.
struct Client {
    script: &'static str,
    negotiate: bool,
    protocol: &'static str,
    folder: node::Folder,
}

impl Client {
    fn v1() -> Self {
        Self {
            script: "sdk-v1.mjs",
            negotiate: false,
            protocol: "2025-11-25",
            folder: node::Folder::new(),
        }
    }

    fn v2() -> Self {
        Self {
            script: "sdk-v2.mjs",
            ..Self::v1()
        }
    }

    fn v2_negotiating() -> Self {
        Self {
            negotiate: true,
            protocol: "2026-07-28",
            ..Self::v2()
        }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("tokens.json")
    }

    /// Starts the client once and hands back what it saw. Without `may_log_in`, being sent to the browser
    /// ends it with an error.
    async fn start(&self, url: &str, may_log_in: bool) -> Value {
        let mut command = self.folder.node();
        command
            .arg(self.folder.path().join(self.script))
            .arg(url)
            .arg(self.store());
        command
            .args(may_log_in.then_some("--login"))
            .args(self.negotiate.then_some("--negotiate"));
        command.env("E2E_USERNAME", "alice").env("E2E_PASSWORD", PASSWORD);
        let output = finish(command).await;
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("one line of JSON ({error}): {output}"))
    }

    /// The whole life of an installation, against one server.
    async fn live(&self, server: &Doorward, whoami: impl Fn(&Path) -> Value) {
        let url = server.url("/mcp");
        let first = self.start(&url, true).await;
        let mut expected = json!({
            "protocol": self.protocol,
            "tools": TOOLS,
            "whoami": whoami(&self.store()),
            "echo": [{ "type": "text", "text": "through the door" }],
            "logins": 1,
            "requests": ["registration 201", "authorization_code 200"],
        });
        assert_eq!(first, expected, "the first start registers and logs in");

        expected["logins"] = json!(0);
        expected["requests"] = json!([]);
        assert_eq!(
            self.start(&url, false).await,
            expected,
            "the second start has its tokens"
        );

        expire(server).await;
        expected["requests"] = json!(["refresh_token 200"]);
        assert_eq!(
            self.start(&url, false).await,
            expected,
            "after expiry a refresh is enough"
        );

        expected["requests"] = json!([]);
        assert_eq!(
            self.start(&url, false).await,
            expected,
            "the refreshed tokens were kept"
        );
    }
}

/// Lets twelve minutes pass: access tokens live for ten. A server whose clock jumped refuses calls until it
/// has heard of revocations again; another user of the same server sees when that is over.
async fn expire(server: &Doorward) {
    server.advance(Duration::from_secs(12 * 60));
    let fresh = OAuthClient::native(server.site())
        .await
        .login("alice", PASSWORD, &server.url("/mcp"))
        .await;
    let call = || mcp::call(server.site(), "/mcp", "echo", &json!({ "text": "hello" })).bearer(&fresh.access);
    doorward_testkit::eventually("calls are answered again", Duration::from_secs(20), || async {
        (call().send().await.status == 200).then_some(())
    })
    .await;
}

async fn finish(mut command: Command) -> String {
    let running = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(120), running)
        .await
        .expect("the client ends in time");
    let output = output.expect("the client can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the client ended with {}:\n{errors}",
        output.status
    );
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// `--demo`, as a person reaches it: by the name localhost.
async fn demo() -> Doorward {
    let server = Doorward::builder().demo().public_url("http://localhost:{port}");
    server.user("alice", PASSWORD).faketime().start().await
}

/// The demo server says who its caller is, because the gateway told it.
fn known(store: &Path) -> Value {
    let stored = std::fs::read_to_string(store).expect("the client stored what it got");
    let stored: Value = serde_json::from_str(&stored).expect("as JSON");
    json!({ "known": true, "username": "alice", "client_id": stored["client"]["client_id"], "scopes": ["mcp"] })
}

/// An MCP server made with rmcp, in front of which Doorward is put with `--upstream`.
struct Upstream {
    task: tokio::task::JoinHandle<()>,
    url: String,
}

impl Upstream {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("it is bound"));
        let task = tokio::spawn(async move {
            doorward_demo::serve(listener).await.expect("the listener lives");
        });
        Self { task, url }
    }

    async fn behind_doorward(&self) -> Doorward {
        Doorward::builder()
            .upstream(&self.url)
            .user("alice", PASSWORD)
            .faketime()
            .start()
            .await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nothing about the caller reaches an upstream that was not configured to be told.
fn unknown(_store: &Path) -> Value {
    json!({ "known": false, "scopes": [] })
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v1_lives_with_the_demo_server() {
    Client::v1().live(&demo().await, known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_lives_with_the_demo_server() {
    Client::v2().live(&demo().await, known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_finds_the_modern_revision_of_the_demo_server() {
    Client::v2_negotiating().live(&demo().await, known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v1_lives_with_an_upstream() {
    let upstream = Upstream::start().await;
    Client::v1()
        .live(&upstream.behind_doorward().await, unknown)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_lives_with_an_upstream() {
    let upstream = Upstream::start().await;
    Client::v2()
        .live(&upstream.behind_doorward().await, unknown)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_finds_the_modern_revision_of_an_upstream() {
    let upstream = Upstream::start().await;
    Client::v2_negotiating()
        .live(&upstream.behind_doorward().await, unknown)
        .await;
}
