//! Servers made with other people's SDKs, with those SDKs' own authorization: a login, calls over the bridge from hosts of both
//! eras, a refresh when the token has run out, and a logout.

mod rmcp_server;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward_testkit::client_home::{ClientHome, PATIENCE, Running};
use doorward_testkit::eventually;
use serde_json::{Value, json};

use crate::{node, python};

/// How long an access token lasts.
const LIFETIME: Duration = Duration::from_secs(3);

/// A server that is a program. It ends when its stdin does.
struct Program {
    url: String,
    child: Child,
    /// Where its script is.
    _folder: node::Folder,
}

impl Program {
    fn start(program: &std::path::Path, script: &str) -> Self {
        let folder = node::Folder::new();
        let mut child = Command::new(program)
            .arg(folder.path().join(script))
            .arg(LIFETIME.as_secs().to_string())
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("UTF-8");
        assert!(line.starts_with("http://127.0.0.1:"), "its URL, not {line:?}");
        Self {
            url: line.trim().to_owned(),
            child,
            _folder: folder,
        }
    }

    fn typescript() -> Self {
        Self::start(&node::program(), "protected-server.mjs")
    }

    fn python() -> Self {
        Self::start(&python::interpreter("v2"), "protected_server.py")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a host speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Legacy,
    Modern,
}

impl Host {
    /// Begins the conversation.
    async fn connect(self, bridge: &Running) {
        if self == Self::Modern {
            let answer = bridge.ask(&self.request(1, "server/discover", json!({}))).await;
            assert!(
                answer["result"]["supportedVersions"]
                    .to_string()
                    .contains("2026-07-28"),
                "{answer}"
            );
            return;
        }
        let parameters = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "a host", "version": "1" },
        });
        let answer = bridge.ask(&self.request(1, "initialize", parameters)).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        bridge.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    }

    fn request(self, id: u64, method: &str, mut parameters: Value) -> Value {
        if self == Self::Modern {
            parameters["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "a host", "version": "1" },
            });
        }
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters })
    }

    /// What the server says that happened so far.
    async fn history(self, bridge: &Running) -> Value {
        static IDS: AtomicU64 = AtomicU64::new(3);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let call = json!({ "name": "history", "arguments": {} });
        let answer = bridge.ask(&self.request(id, "tools/call", call)).await;
        let text = answer["result"]["content"][0]["text"].as_str();
        let text = text.unwrap_or_else(|| panic!("{answer}\n{}", bridge.stderr()));
        serde_json::from_str(text).expect("JSON")
    }
}

/// A bridge that answers, and what its server says that happened.
async fn bridge(home: &ClientHome, url: &str, host: Host) -> (Running, Value) {
    let bridge = home.start_connect(url, &[]);
    host.connect(&bridge).await;
    let tools = bridge.ask(&host.request(2, "tools/list", json!({}))).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "history", "{tools}");
    let history = host.history(&bridge).await;
    (bridge, history)
}

async fn goodbye(bridge: Running) {
    bridge.close_stdin();
    let finished = bridge.ended().await.ok();
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

/// What becomes of a logout at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revocation {
    Works,
    /// It is refused, and the person is told with these words.
    Fails(&'static str),
    /// There is no endpoint for it.
    Missing,
}

/// A login, a bridge whose token runs out, a second bridge with a host of the other era, a logout and a login anew.
async fn life(url: &str, revocation: Revocation) {
    let home = ClientHome::new();
    home.login(url, &[]).await.ok();

    let (first, history) = bridge(&home, url, Host::Legacy).await;
    assert_eq!(history["registrations"], 1);
    assert_eq!(history["logins"], 1);
    let after = eventually("the token is refreshed", PATIENCE, async || {
        let after = Host::Legacy.history(&first).await;
        (after["used"].as_u64() > history["used"].as_u64()).then_some(after)
    })
    .await;
    assert_eq!(after["logins"], 1, "nobody was asked again: {after}");
    assert!(after["refreshes"].as_u64() > Some(0), "{after}");

    let (second, history) = bridge(&home, url, Host::Modern).await;
    assert_eq!(
        history["logins"], 1,
        "it shares what the first one has: {history}"
    );
    goodbye(first).await;
    goodbye(second).await;
    assert_eq!(home.opened_urls().len(), 1, "one tab in all");

    let logout = home.run(&["logout", url]).await.ok();
    home.login(url, &[]).await.ok();
    let (third, history) = bridge(&home, url, Host::Modern).await;
    assert_eq!(history["logins"], 2, "{history}");
    if let Revocation::Fails(words) = revocation {
        assert!(logout.stdout.contains(words), "it says so: {}", logout.stdout);
    }
    if revocation == Revocation::Works {
        assert!(
            history["revocations"].as_u64() > Some(0),
            "the logout reached it: {history}"
        );
    }
    goodbye(third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_server_made_with_the_typescript_sdk_can_be_used() {
    let server = Program::typescript();
    life(&server.url, Revocation::Works).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_server_made_with_the_python_sdk_can_be_used() {
    let server = Program::python();
    // Its revocation endpoint wants the secret in the body, whichever way the client is registered to authenticate.
    let words = "not revoked at";
    life(&server.url, Revocation::Fails(words)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_server_made_with_rmcp_can_be_used() {
    let url = rmcp_server::start(LIFETIME, str::to_owned).await;
    life(&url, Revocation::Missing).await;
}

/// rmcp's example of an authorization server calls itself `127.0.0.1:3000`: whoever runs one is told what to change.
#[tokio::test(flavor = "multi_thread")]
async fn d7_an_issuer_that_is_no_url_is_refused_in_clear_words() {
    let url = rmcp_server::start(LIFETIME, |origin| origin.replace("http://", "")).await;
    let home = ClientHome::new();
    let finished = home.login(&url, &[]).await;
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains("/.well-known/oauth-authorization-server"),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("issuer"), "{}", finished.stderr);
    assert!(finished.stderr.contains("D7"), "{}", finished.stderr);
    assert_eq!(home.opened(), Vec::<Vec<String>>::new());
}
