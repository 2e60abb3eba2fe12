//! Real MCP servers behind Doorward, each started once and shared by all clients.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use doorward_testkit::server::Builder;
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::client;
use super::page::{self, Table};
use crate::{node, python};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RealServer {
    Everything,
    Filesystem,
    PythonStdio,
    PythonHttp,
}

impl RealServer {
    /// Every one of them.
    pub(super) const ALL: [Self; 4] = [
        Self::Everything,
        Self::Filesystem,
        Self::PythonStdio,
        Self::PythonHttp,
    ];
    /// Those that every client is tried with.
    pub(super) const COMMON: [Self; 3] = [Self::Everything, Self::PythonStdio, Self::PythonHttp];

    /// Whether it speaks 2026-07-28.
    pub(super) const fn is_modern(self) -> bool {
        matches!(self, Self::PythonStdio | Self::PythonHttp)
    }

    /// How it is put behind Doorward: the first cell of its line in `docs/clients.md`.
    pub(super) fn how(self) -> String {
        let rest = match self {
            Self::Everything => format!("-- npx -y {EVERYTHING}"),
            Self::Filesystem => format!("-- npx -y {FILESYSTEM} FOLDER"),
            Self::PythonStdio => "-- python server.py".to_owned(),
            Self::PythonHttp => "--upstream URL".to_owned(),
        };
        format!("`doorward serve {rest}`")
    }

    /// Writes its line in `docs/clients.md`.
    pub(super) fn assert_documented(self) {
        let (package, version) = match self {
            Self::Everything => (EVERYTHING, node::version(EVERYTHING)),
            Self::Filesystem => (FILESYSTEM, node::version(FILESYSTEM)),
            Self::PythonStdio | Self::PythonHttp => ("fastmcp", python::version("v2", "fastmcp")),
        };
        let revisions = if self.is_modern() {
            "2025-11-25, 2026-07-28"
        } else {
            "2025-11-25"
        };
        let package = format!("`{package}` {version}");
        page::measured(Table::Servers, &[&self.how(), &package, revisions]);
    }

    pub(super) async fn running(self) -> &'static Running {
        static EVERYTHING: OnceCell<Running> = OnceCell::const_new();
        static FILESYSTEM: OnceCell<Running> = OnceCell::const_new();
        static PYTHON_STDIO: OnceCell<Running> = OnceCell::const_new();
        static PYTHON_HTTP: OnceCell<Running> = OnceCell::const_new();
        match self {
            Self::Everything => EVERYTHING.get_or_init(everything).await,
            Self::Filesystem => FILESYSTEM.get_or_init(filesystem).await,
            Self::PythonStdio => PYTHON_STDIO.get_or_init(python_stdio).await,
            Self::PythonHttp => PYTHON_HTTP.get_or_init(python_http).await,
        }
    }
}

const EVERYTHING: &str = "@modelcontextprotocol/server-everything";
const FILESYSTEM: &str = "@modelcontextprotocol/server-filesystem";

/// A real server behind a Doorward of its own.
pub(super) struct Running {
    pub(super) doorward: Doorward,
    /// What clients are to call.
    pub(super) calls: Value,
    /// What a client without Doorward in between sees of it.
    pub(super) direct: Value,
    /// The HTTP server; it ends when its stdin does, at the latest with this process.
    _upstream: Option<Child>,
}

async fn everything() -> Running {
    let calls = json!([
        ["echo", { "message": "Zürich \u{2028} Genève \u{1F6AA}" }],
        ["get-sum", { "a": 2, "b": 3 }],
        ["get-structured-content", { "location": "New York" }],
    ]);
    stdio(&npx(&[EVERYTHING]), calls).await
}

async fn filesystem() -> Running {
    let calls = json!([
        ["list_allowed_directories", {}],
        ["write_file", { "path": "note.txt", "content": "Zürich\r\nGenève\n" }],
        ["read_text_file", { "path": "note.txt" }],
    ]);
    stdio(&npx(&[FILESYSTEM, "files"]), calls).await
}

async fn python_stdio() -> Running {
    stdio(&python_command(), python_calls()).await
}

async fn python_http() -> Running {
    let (upstream, url) = tokio::task::spawn_blocking(start_python_http)
        .await
        .expect("it starts");
    let doorward = Doorward::builder().upstream(&url).user("alice", PASSWORD);
    let doorward = doorward.start().await;
    let direct = client::directly(&doorward.work, &python_command(), &python_calls()).await;
    Running {
        doorward,
        calls: python_calls(),
        direct,
        _upstream: Some(upstream),
    }
}

/// `npx -y ARGUMENTS`.
pub(super) fn npx(arguments: &[&str]) -> Vec<String> {
    let all = ["npx", "-y"].iter().chain(arguments);
    all.map(|&argument| argument.to_owned()).collect()
}

fn python_calls() -> Value {
    json!([["forecast", { "city": "Zürich \u{2028} Genève" }], ["count", { "to": 3 }]])
}

/// `python server.py`.
fn python_command() -> Vec<String> {
    let (interpreter, script) = (python::interpreter("v2"), python::folder().join("server.py"));
    vec![interpreter.display().to_string(), script.display().to_string()]
}

/// `doorward serve -- COMMAND`.
async fn stdio(command: &[String], calls: Value) -> Running {
    let doorward = serve(Doorward::builder(), command).await;
    let direct = client::directly(&doorward.work, command, &calls).await;
    Running {
        doorward,
        calls,
        direct,
        _upstream: None,
    }
}

/// `doorward serve -- COMMAND` in a folder where npx finds the installed packages, beside a folder `files`.
pub(super) async fn serve(builder: Builder, command: &[String]) -> Doorward {
    let builder = builder
        .user("alice", PASSWORD)
        .env("PATH", &node::path())
        .arg("--");
    let builder = command.iter().fold(builder, |builder, word| builder.arg(word));
    let doorward = builder.prepare();
    node::install_into(&doorward.work);
    std::fs::create_dir(doorward.work.join("files")).expect("a folder");
    doorward.spawn();
    doorward.ready().await;
    doorward
}

fn start_python_http() -> (Child, String) {
    let command = python_command();
    let mut child = std::process::Command::new(&command[0])
        .args(&command[1..])
        .arg("--http")
        .env_clear()
        .current_dir(Path::new("/"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let output = child.stdout.take().expect("it was asked for");
    let mut url = String::new();
    BufReader::new(output).read_line(&mut url).expect("its URL");
    (child, url.trim().to_owned())
}
