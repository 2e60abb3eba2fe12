//! The official suite's server scenarios, directly and through the gateway: no verdict may be worse.

mod verdicts;

use std::process::Stdio;
use std::time::Duration;

use doorward_testkit::everything::serve as everything;
use doorward_testkit::forwarder::Forwarder;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD};
use tokio::sync::OnceCell;

use crate::node;
use verdicts::Verdicts;

/// What is run of the suite, and how many scenarios that is. A change of the suite must be looked at, not
/// pass by.
struct Selection {
    name: &'static str,
    arguments: &'static [&'static str],
    scenarios: usize,
    /// Checks that the suite itself always skips.
    skipped: &'static [&'static str],
}

/// Requirement sets exist for the two newest revisions; they run what the suite does not score, too.
/// The extension of skills is in no set.
const SELECTIONS: [Selection; 6] = [
    Selection {
        name: "2025-06-18",
        arguments: &["--suite", "all", "--spec-version", "2025-06-18"],
        scenarios: 27,
        skipped: &[],
    },
    Selection {
        name: "2025-11-25",
        arguments: &["--requirements", "2025-11-25"],
        scenarios: 33,
        skipped: &[],
    },
    Selection {
        name: "2026-07-28",
        arguments: &["--requirements", "2026-07-28"],
        scenarios: 50,
        // "Pending subscriptions/listen rewrite", says its source.
        skipped: &["tasks-status-notifications / tasks-status-notifications: Skipped"],
    },
    skills(
        "sep-2640-skills-directory",
        &["--scenario", "sep-2640-skills-directory"],
    ),
    skills(
        "sep-2640-skills-enumeration",
        &["--scenario", "sep-2640-skills-enumeration"],
    ),
    skills(
        "sep-2640-skills-manifest",
        &["--scenario", "sep-2640-skills-manifest"],
    ),
];

const fn skills(name: &'static str, arguments: &'static [&'static str]) -> Selection {
    Selection {
        name,
        arguments,
        scenarios: 1,
        skipped: &[],
    }
}

/// Far beyond what a run needs (ten seconds on an idle machine), so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// One run of a selection.
struct Run {
    verdicts: Verdicts,
    printed: String,
}

/// Runs a selection against `url`.
async fn run(url: &str, selection: &Selection) -> Run {
    let folder = node::Folder::new();
    let results = folder.path().join("results");
    let mut command = folder.node();
    command
        .arg("--import")
        .arg(folder.path().join("loopback-only.mjs"))
        .arg(
            folder
                .path()
                .join("node_modules/@modelcontextprotocol/conformance/dist/index.js"),
        )
        .args(["server", "--url", url])
        .args(selection.arguments)
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
    let verdicts = Verdicts::read(&results);
    println!("{url} {}: {}", selection.name, verdicts.summary());
    Run { verdicts, printed }
}

/// The runs against the everything-server itself, one for each of [`SELECTIONS`].
async fn directly() -> &'static [Run] {
    static RUNS: OnceCell<Vec<Run>> = OnceCell::const_new();
    RUNS.get_or_init(|| async { all(&everything::start().url()).await })
        .await
}

/// Every selection, one after the other.
async fn all(url: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    for selection in &SELECTIONS {
        runs.push(run(url, selection).await);
    }
    runs
}

/// Runs everything against `url` and compares with the direct runs, but for `exceptions`, lines of
/// [`Verdicts::worse_than`]. An exception that does not occur fails as well.
async fn assert_no_verdict_is_worse(url: &str, doorward: &Doorward, exceptions: &[&str]) {
    let runs = all(url).await;
    let mut worse = Vec::new();
    let mut printed = String::new();
    for ((direct, here), selection) in directly().await.iter().zip(&runs).zip(&SELECTIONS) {
        let found = here.verdicts.worse_than(&direct.verdicts);
        if !found.is_empty() {
            printed.push_str(&here.printed);
        }
        worse.extend(found.iter().map(|line| format!("{}: {line}", selection.name)));
    }
    assert_eq!(worse, exceptions, "{printed}\n{}", doorward.logs());
}

/// A forwarder that is logged in as alice.
async fn logged_in(doorward: &Doorward) -> Forwarder {
    let client = OAuthClient::register(doorward, "Conformance suite", "http://127.0.0.1/cb").await;
    let tokens = client.login("alice", PASSWORD, &doorward.url("/mcp")).await;
    Forwarder::start(doorward, &tokens.access)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_everything_server_passes_every_scenario_by_itself() {
    for (direct, selection) in directly().await.iter().zip(&SELECTIONS) {
        let Selection {
            name,
            scenarios,
            skipped,
            ..
        } = selection;
        assert_eq!(
            direct.verdicts.blemishes(),
            *skipped,
            "{name}\n{}",
            direct.printed
        );
        assert_eq!(
            direct.verdicts.scenarios(),
            *scenarios,
            "{name}\n{}",
            direct.printed
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_is_worse_over_http() {
    let doorward = Doorward::builder()
        .upstream(&everything::start().url())
        .user("alice", PASSWORD)
        .start()
        .await;
    let forwarder = logged_in(&doorward).await;
    assert_no_verdict_is_worse(&forwarder.url("/mcp"), &doorward, &[]).await;
}
