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

/// The revisions that have a requirement set, and how many scenarios each set runs, those that the suite
/// does not score included.
const REVISIONS: [(&str, usize); 2] = [("2025-11-25", 33), ("2026-07-28", 50)];

/// Far beyond what a run needs (ten seconds on an idle machine), so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// One run of a requirement set.
#[derive(Clone)]
struct Run {
    verdicts: Verdicts,
    printed: String,
}

/// Runs every server scenario of a revision's requirement set, scored or not.
async fn run(url: &str, revision: &str) -> Run {
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
        .args(["server", "--url", url, "--requirements", revision, "--output-dir"])
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
    println!(
        "{url} {revision}: {} scenarios, {} checks, {} not successful",
        verdicts.scenarios(),
        verdicts.0.len(),
        verdicts.blemishes().len()
    );
    Run { verdicts, printed }
}

/// The runs against the everything-server itself, one for each of [`REVISIONS`].
async fn directly() -> &'static [Run; 2] {
    static RUNS: OnceCell<[Run; 2]> = OnceCell::const_new();
    RUNS.get_or_init(|| async {
        let url = everything::start().url();
        [run(&url, REVISIONS[0].0).await, run(&url, REVISIONS[1].0).await]
    })
    .await
}

/// Runs both sets against `url` and compares with the direct runs.
async fn assert_no_verdict_is_worse(url: &str, doorward: &Doorward) {
    for (direct, (revision, _)) in directly().await.iter().zip(REVISIONS) {
        let here = run(url, revision).await;
        let worse = here.verdicts.worse_than(&direct.verdicts);
        assert!(
            worse.is_empty(),
            "{revision}: worse through the gateway:\n{}\n\n{}\n\n{}",
            worse.join("\n"),
            here.printed,
            doorward.logs()
        );
    }
}

/// A forwarder that is logged in as alice.
async fn logged_in(doorward: &Doorward) -> Forwarder {
    let client = OAuthClient::register(doorward, "Conformance suite", "http://127.0.0.1/cb").await;
    let tokens = client.login("alice", PASSWORD, &doorward.url("/mcp")).await;
    Forwarder::start(doorward, &tokens.access)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_everything_server_passes_every_scenario_by_itself() {
    for (direct, (revision, scenarios)) in directly().await.iter().zip(REVISIONS) {
        assert_eq!(
            direct.verdicts.blemishes(),
            Vec::<String>::new(),
            "{revision}\n{}",
            direct.printed
        );
        assert_eq!(
            direct.verdicts.scenarios(),
            scenarios,
            "{revision}\n{}",
            direct.printed
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_is_worse_through_the_gateway() {
    let doorward = Doorward::builder()
        .upstream(&everything::start().url())
        .user("alice", PASSWORD)
        .start()
        .await;
    let forwarder = logged_in(&doorward).await;
    assert_no_verdict_is_worse(&forwarder.url("/mcp"), &doorward).await;
}
