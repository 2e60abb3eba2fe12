//! Clients as people have them installed.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use doorward_testkit::PASSWORD;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdout, Command};

use crate::{node, python};

/// Longest life of one start; generous, because many run at the same time.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    TypeScriptV1,
    TypeScriptV2,
    /// It finds out the revision, which it does not unless asked to.
    TypeScriptV2Auto,
    PythonV1,
    PythonV2,
    /// It does not ask for the modern revision, which it does unless told otherwise.
    PythonV2Legacy,
    FastMcp,
    McpRemote,
    Inspector,
    /// It finds out the revision, which it does not unless asked to.
    InspectorAuto,
    Rmcp,
    /// It begins with `server/discover`, which it does not unless asked to.
    RmcpDiscover,
}

impl Kind {
    /// In the order of `docs/clients.md`.
    pub(super) const ALL: [Self; 11] = [
        Self::TypeScriptV1,
        Self::TypeScriptV2,
        Self::TypeScriptV2Auto,
        Self::PythonV1,
        Self::PythonV2,
        Self::Rmcp,
        Self::RmcpDiscover,
        Self::FastMcp,
        Self::McpRemote,
        Self::Inspector,
        Self::InspectorAuto,
    ];

    /// Those that are asked for more than their first login gave, in the order of `docs/clients.md`: every
    /// SDK in each era that it speaks.
    pub(super) const STEPPING: [Self; 12] = [
        Self::TypeScriptV1,
        Self::TypeScriptV2,
        Self::TypeScriptV2Auto,
        Self::PythonV1,
        Self::PythonV2Legacy,
        Self::PythonV2,
        Self::Rmcp,
        Self::RmcpDiscover,
        Self::FastMcp,
        Self::McpRemote,
        Self::Inspector,
        Self::InspectorAuto,
    ];

    /// As `docs/clients.md` calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TypeScriptV1 => "TypeScript SDK v1",
            Self::TypeScriptV2 => "TypeScript SDK v2",
            Self::TypeScriptV2Auto => "TypeScript SDK v2, negotiating",
            Self::PythonV1 => "Python SDK 1.x",
            Self::PythonV2 => "Python SDK 2.x",
            Self::PythonV2Legacy => "Python SDK 2.x, `legacy`",
            Self::FastMcp => "FastMCP client",
            Self::McpRemote => "mcp-remote",
            Self::Inspector => "Inspector, command line",
            Self::InspectorAuto => "Inspector, command line, `auto`",
            Self::Rmcp => "Rust SDK",
            Self::RmcpDiscover => "Rust SDK, discovering",
        }
    }

    /// The package it comes in.
    pub(super) const fn package(self) -> &'static str {
        match self {
            Self::TypeScriptV1 => "@modelcontextprotocol/sdk",
            Self::TypeScriptV2 | Self::TypeScriptV2Auto => "@modelcontextprotocol/client",
            Self::PythonV1 | Self::PythonV2 | Self::PythonV2Legacy => "mcp",
            Self::FastMcp => "fastmcp",
            Self::McpRemote => "mcp-remote",
            Self::Inspector | Self::InspectorAuto => "@modelcontextprotocol/inspector",
            Self::Rmcp | Self::RmcpDiscover => "rmcp",
        }
    }

    /// The version of it that runs here.
    pub(super) fn version(self) -> String {
        match self {
            Self::PythonV1 => python::version("v1", self.package()),
            Self::PythonV2 | Self::PythonV2Legacy | Self::FastMcp => python::version("v2", self.package()),
            Self::Rmcp | Self::RmcpDiscover => rmcp_version(),
            _ => node::version(self.package()),
        }
    }

    /// Whether it speaks the modern revision with a server that does.
    pub(super) const fn is_modern(self) -> bool {
        matches!(
            self,
            Self::TypeScriptV2Auto
                | Self::PythonV2
                | Self::FastMcp
                | Self::InspectorAuto
                | Self::RmcpDiscover
        )
    }

    pub(super) const fn is_inspector(self) -> bool {
        matches!(self, Self::Inspector | Self::InspectorAuto)
    }

    /// It keeps no expiry with its tokens, but knows it for as long as it runs.
    pub(super) const fn forgets_expiry(self) -> bool {
        matches!(self, Self::PythonV1 | Self::PythonV2 | Self::PythonV2Legacy)
    }
}

/// The exact version that the workspace asks for.
fn rmcp_version() -> String {
    let manifest = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let line = manifest.lines().find_map(|line| line.strip_prefix("rmcp = "));
    let version = line
        .and_then(|line| line.split('"').nth(1))
        .expect("rmcp has a version");
    version.strip_prefix('=').expect("an exact one").to_owned()
}

/// An installation: a client and a home for what it stores.
pub(super) struct Client {
    pub(super) kind: Kind,
    folder: node::Folder,
    /// By how much its clock has moved, for those that look at it.
    pub(super) clock: Duration,
    /// Where its metadata document is, if it has one.
    pub(super) document: Option<&'static str>,
}

impl Client {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            clock: Duration::ZERO,
            document: None,
            folder: node::Folder::new(),
        }
    }

    /// One for each server: what programs keep is keyed by the server's URL.
    fn store(&self, url: &str) -> PathBuf {
        let name: String = url
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        self.folder.path().join(format!("{name}.json"))
    }

    fn command(&self, url: &str) -> Command {
        let script = |name: &str| self.folder.path().join(name);
        let mut command = match self.kind {
            Kind::PythonV1 | Kind::PythonV2 | Kind::PythonV2Legacy | Kind::FastMcp => {
                self.folder.within(self.python())
            }
            Kind::Rmcp | Kind::RmcpDiscover => self.folder.within(env!("CARGO_BIN_EXE_rmcp-client")),
            _ => self.folder.node(),
        };
        match self.kind {
            Kind::TypeScriptV1 => command.arg(script("sdk-v1.mjs")).arg(url).arg(self.store(url)),
            Kind::TypeScriptV2 => command.arg(script("sdk-v2.mjs")).arg(url).arg(self.store(url)),
            Kind::TypeScriptV2Auto => command
                .arg(script("sdk-v2.mjs"))
                .arg(url)
                .arg(self.store(url))
                .arg("--negotiate"),
            Kind::PythonV1 => command.arg(script("sdk_v1.py")).arg(url).arg(self.store(url)),
            Kind::PythonV2 => command.arg(script("sdk_v2.py")).arg(url).arg(self.store(url)),
            Kind::PythonV2Legacy => command
                .arg(script("sdk_v2.py"))
                .arg(url)
                .arg(self.store(url))
                .arg("--legacy"),
            Kind::FastMcp => command
                .arg(script("sdk_fastmcp.py"))
                .arg(url)
                .arg(self.store(url)),
            Kind::McpRemote => command
                .arg(script("stdio.mjs"))
                .arg(node::program())
                .arg(script("node_modules/mcp-remote/dist/proxy.js"))
                .arg(url)
                // More than the 30 seconds of its own: a busy machine signs in slowly.
                .args(["--auth-timeout", "90"])
                .args(
                    self.document
                        .map(|url| ["--client-metadata-url", url])
                        .into_iter()
                        .flatten(),
                ),
            Kind::Inspector => command.arg(script("inspector.mjs")).arg(url).arg("legacy"),
            Kind::InspectorAuto => command.arg(script("inspector.mjs")).arg(url).arg("auto"),
            Kind::Rmcp => command.arg(url).arg(self.store(url)),
            Kind::RmcpDiscover => command.arg(url).arg(self.store(url)).arg("--discover"),
        };
        command
    }

    fn python(&self) -> PathBuf {
        python::interpreter(if self.kind == Kind::PythonV1 { "v1" } else { "v2" })
    }

    fn prepared(&self, url: &str, may_log_in: bool, calls: &Value) -> Command {
        let mut command = self.command(url);
        command
            .env("E2E_USERNAME", "alice")
            .env("E2E_PASSWORD", PASSWORD)
            .env("E2E_CALLS", calls.to_string())
            .env("E2E_CLOCK", self.clock.as_secs().to_string());
        if may_log_in {
            command.env("E2E_LOGIN", "yes");
        }
        if let Some(document) = self.document {
            command.env("E2E_METADATA_URL", document);
        }
        command.kill_on_drop(true);
        command
    }

    /// Starts it once: it connects, lists the tools and makes `calls`. Hands back what it saw. Unless it
    /// `may_log_in`, being sent to the browser ends it with an error.
    pub(super) async fn start(&self, url: &str, may_log_in: bool, calls: &Value) -> Value {
        run(self.prepared(url, may_log_in, calls)).await
    }

    /// Starts it once, with a person at the browser whenever it sends them there. The words of a call that
    /// fails are its answer, as `error`.
    pub(super) async fn start_attended(&self, url: &str, calls: &Value) -> Value {
        let mut command = self.prepared(url, true, calls);
        command
            .env("E2E_STEP_UP", "yes")
            .env("E2E_PAGES", self.pages_file());
        run(command).await
    }

    /// Starts it once, without anybody at a browser, when it is to fail. Hands back what it said.
    pub(super) async fn fails(&self, url: &str, calls: &Value) -> String {
        let output = self.prepared(url, false, calls).output();
        let Output {
            status,
            stdout,
            stderr,
        } = tokio::time::timeout(PATIENCE, output)
            .await
            .expect("the client ends in time")
            .expect("the client can be started");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        assert!(!status.success(), "the client succeeded: {said}");
        said
    }

    fn pages_file(&self) -> PathBuf {
        self.folder.path().join("pages.jsonl")
    }

    /// The words of the consent pages that the person saw, in order.
    pub(super) fn pages(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.pages_file()).expect("a page was shown");
        let pages = text.lines().map(serde_json::from_str);
        pages.collect::<Result<_, _>>().expect("lines of JSON")
    }

    /// [`Client::start`] with a pause: between two rounds of calls by one running client, `meanwhile` happens and
    /// the client's clock moves by `by`.
    ///
    /// # Panics
    /// When it is not one that forgets the expiry: only for those is this needed.
    pub(super) async fn start_and_stay(
        &self,
        url: &str,
        calls: &Value,
        by: Duration,
        meanwhile: impl Future<Output = ()>,
    ) -> Value {
        assert!(self.kind.forgets_expiry(), "{:?} does not pause", self.kind);
        let mut command = self.prepared(url, true, calls);
        command
            .arg("--pause")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the client can be started");
        let mut output = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        assert_eq!(line(&mut output).await, "paused");
        meanwhile.await;
        let mut input = child.stdin.take().expect("it was asked for");
        let seconds = format!("{}\n", by.as_secs());
        input.write_all(seconds.as_bytes()).await.expect("it reads");
        let seen = line(&mut output).await;
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        assert!(status.expect("it ends in time").expect("it ran").success());
        serde_json::from_str(&seen).expect("one line of JSON")
    }
}

async fn line(output: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> String {
    let line = tokio::time::timeout(PATIENCE, output.next_line()).await;
    let line = line
        .expect("the client answers in time")
        .expect("it prints UTF-8");
    line.expect("the client prints a line before it ends; its errors are above")
}

/// A program that asks for tokens of its own, without a person: `words` are its arguments.
pub(super) async fn service(kind: Kind, words: &[&str], calls: &Value) -> Value {
    let client = Client::new(kind);
    let script = |name: &str| client.folder.path().join(name);
    let mut command = match kind {
        Kind::TypeScriptV1 | Kind::TypeScriptV2 => client.folder.node(),
        _ => client.folder.within(client.python()),
    };
    match kind {
        Kind::TypeScriptV1 => command.arg(script("service.mjs")).arg("v1"),
        Kind::TypeScriptV2 => command.arg(script("service.mjs")).arg("v2"),
        Kind::PythonV1 => command.arg(script("service_v1.py")),
        Kind::PythonV2 => command.arg(script("service_v2.py")),
        other => panic!("{} asks for no tokens of its own", other.name()),
    };
    command
        .args(words)
        .env("E2E_CALLS", calls.to_string())
        .kill_on_drop(true);
    run(command).await
}

/// What a server answers a client that starts it itself, without Doorward.
pub(super) async fn directly(work: &Path, command: &[String], calls: &Value) -> Value {
    let folder = node::Folder::new();
    let mut client = folder.node();
    client
        .arg(folder.path().join("stdio.mjs"))
        .args(command)
        .env("E2E_CALLS", calls.to_string())
        .env("PATH", node::path())
        .current_dir(work)
        .kill_on_drop(true);
    run(client).await
}

async fn run(mut command: Command) -> Value {
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output
        .expect("the client ends in time")
        .expect("the client can be started");
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "the client ended with {status}:\n{errors}");
    let output = String::from_utf8(stdout).expect("it prints UTF-8");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("one line of JSON ({error}): {output}"))
}
