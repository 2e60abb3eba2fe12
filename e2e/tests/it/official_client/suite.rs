//! One scenario of the suite.

use std::process::Stdio;
use std::time::Duration;

use tokio::sync::Mutex;

use super::catalogue::{Revision, SUITE};
use super::judge::Run;
use crate::node;

/// How often a scenario that did not pass is run again.
const AGAIN: usize = 4;

/// Far beyond the thirty seconds that the suite gives a client, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is under test.
pub(crate) enum Way {
    /// rmcp's client, authorized by the client library.
    Library,
    /// The bridge of this binary.
    Bridge(String),
    /// A client that ends at once, content with itself.
    Nothing,
}

impl Way {
    pub(crate) fn bridge() -> Self {
        Self::Bridge(doorward_testkit::command::doorward_binary().display().to_string())
    }

    /// The suite splits it at spaces and appends the server's URL.
    fn command(&self) -> String {
        let client = env!("CARGO_BIN_EXE_official-client");
        match self {
            Self::Library => format!("{client} library"),
            Self::Bridge(doorward) => format!("{client} connect {doorward}"),
            Self::Nothing => "true".to_owned(),
        }
    }
}

/// One at a time: several of them at once exceed what the suite waits for.
static TURN: Mutex<()> = Mutex::const_new(());

/// Runs a scenario, until it passes or has been tried often enough.
pub(crate) async fn passes(way: &Way, scenario: &str, revision: Revision) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..=AGAIN {
        let run = run(way, scenario, revision).await;
        let problems = run.problems(scenario);
        if problems.is_empty() {
            return Ok(());
        }
        last = format!(
            "== {scenario} at {revision}: {problems:#?}\n{}{}",
            run.printed, run.said
        );
    }
    Err(last)
}

/// Runs a scenario once.
pub(crate) async fn run(way: &Way, scenario: &str, revision: Revision) -> Run {
    let _turn = TURN.lock().await;
    let folder = node::Folder::new();
    let results = folder.path().join("results");
    let mut command = folder.node();
    command
        .arg("--import")
        .arg(folder.path().join("loopback-only.mjs"))
        .arg(folder.path().join(format!("node_modules/{SUITE}/dist/index.js")))
        .args(["client", "--command", &way.command()])
        .args(["--scenario", scenario, "--spec-version", revision, "--force"])
        .arg("--output-dir")
        .arg(&results)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .expect("the suite ends in time")
        .expect("the suite can be started");
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Run::read(&results, output.status.success(), printed)
}
