//! The official suite's server scenarios, directly and through the gateway: no verdict may be worse.

mod verdicts;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use doorward_resource_server::ResourceServer;
use doorward_testkit::everything::serve as everything;
use doorward_testkit::forwarder::Forwarder;
use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::{Doorward, PASSWORD};
use tokio::sync::OnceCell;

use crate::node;
use verdicts::{Verdicts, Worse};

/// What is run of the suite, and how many scenarios that is. A change of the suite must be looked at, not
/// pass by.
struct Selection {
    name: &'static str,
    revision: &'static str,
    arguments: &'static [&'static str],
    scenarios: usize,
}

/// Requirement sets exist for the two newest revisions; they run what the suite does not score, too.
/// The extension of skills is in no set.
const SELECTIONS: [Selection; 6] = [
    Selection {
        name: "2025-06-18",
        revision: "2025-06-18",
        arguments: &["--suite", "all", "--spec-version", "2025-06-18"],
        scenarios: 27,
    },
    Selection {
        name: "2025-11-25",
        revision: "2025-11-25",
        arguments: &["--requirements", "2025-11-25"],
        scenarios: 33,
    },
    Selection {
        name: "2026-07-28",
        revision: "2026-07-28",
        arguments: &["--requirements", "2026-07-28"],
        scenarios: 50,
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
        revision: "2026-07-28",
        arguments,
        scenarios: 1,
    }
}

/// A check in which a run may differ: selection, scenario, check.
type Exception = (&'static str, &'static str, &'static str);

/// The suite skips it itself, whatever the server does: "pending subscriptions/listen rewrite", says its source.
const SKIPPED: [Exception; 1] = [(
    "2026-07-28",
    "tasks-status-notifications",
    "tasks-status-notifications",
)];

/// What a command has no part in. A line has no event id, so there is nothing to resume a stream by; and an
/// answer that comes alone goes out as JSON, which Streamable HTTP allows: no stream for the suite to judge.
const BEYOND_STDIO: [Exception; 4] = [
    (
        "2025-11-25",
        "server-sse-multiple-streams",
        "server-sse-streams-functional",
    ),
    ("2025-11-25", "server-sse-polling", "server-sse-priming-event"),
    ("2025-11-25", "server-sse-polling", "server-sse-retry-field"),
    (
        "2026-07-28",
        "server-sse-multiple-streams",
        "server-sse-streams-functional",
    ),
];

/// How often a scenario with a worse verdict is run again, alone. The suite waits half a second in places,
/// which a busy machine exceeds; what is wrong stays wrong.
const AGAIN: usize = 2;

/// Far beyond what a run needs (ten seconds on an idle machine), so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// One run of a selection.
struct Run {
    verdicts: Verdicts,
    printed: String,
}

/// Runs a part of the suite against `url`.
async fn run(url: &str, arguments: &[&str]) -> Run {
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
        .args(arguments)
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
    Run { verdicts, printed }
}

/// Every selection. Those of 2026-07-28 one after the other, because news about lists go to all of its clients; and
/// beside them those before it. Most of the time the suite waits.
async fn all(url: &str) -> Vec<Run> {
    let (older, newer) = SELECTIONS.split_at(2);
    let (mut runs, newer) = tokio::join!(in_turn(url, older), in_turn(url, newer));
    runs.extend(newer);
    runs
}

async fn in_turn(url: &str, selections: &[Selection]) -> Vec<Run> {
    let mut runs = Vec::new();
    for selection in selections {
        let run = run(url, selection.arguments).await;
        println!("{url} {}: {}", selection.name, run.verdicts.summary());
        runs.push(run);
    }
    runs
}

/// Judges every run and repeats the scenarios that `judge` finds something wrong with.
///
/// # Panics
/// When something stays wrong that is no exception, or an exception is none.
async fn settle(
    url: &str,
    runs: &mut [Run],
    exceptions: &[Exception],
    judge: impl Fn(usize, &Verdicts) -> Vec<Worse>,
) {
    for (at, (run, selection)) in runs.iter_mut().zip(&SELECTIONS).enumerate() {
        let excepted: Vec<&Exception> = exceptions
            .iter()
            .filter(|(name, ..)| *name == selection.name)
            .collect();
        let wrong = |verdicts: &Verdicts| -> (Vec<Worse>, Vec<Worse>) {
            let mut all = judge(at, verdicts);
            all.sort();
            all.into_iter().partition(|worse| {
                excepted
                    .iter()
                    .any(|(_, scenario, check)| worse.scenario == *scenario && worse.check == *check)
            })
        };
        for _ in 0..AGAIN {
            let mut again: Vec<String> = wrong(&run.verdicts)
                .1
                .into_iter()
                .map(|worse| worse.scenario)
                .collect();
            again.dedup();
            for scenario in again {
                println!("{url} {}: {scenario} again", selection.name);
                let arguments = [
                    "--scenario",
                    &scenario,
                    "--spec-version",
                    selection.revision,
                    "--force",
                ];
                let alone = self::run(url, &arguments).await;
                run.verdicts.replace(&scenario, &alone.verdicts);
                run.printed.push_str(&alone.printed);
            }
        }
        let (expected, unexpected) = wrong(&run.verdicts);
        assert!(
            unexpected.is_empty(),
            "{}: {unexpected:#?}\n{}",
            selection.name,
            run.printed
        );
        assert_eq!(
            expected.len(),
            excepted.len(),
            "every exception is one: {expected:#?}"
        );
    }
}

/// The runs against the everything-server itself, one for each of [`SELECTIONS`].
async fn directly() -> &'static [Run] {
    static RUNS: OnceCell<Vec<Run>> = OnceCell::const_new();
    let runs = RUNS.get_or_init(|| async {
        let url = everything::start().url();
        let mut runs = all(&url).await;
        settle(&url, &mut runs, &SKIPPED, |_, verdicts| verdicts.blemishes()).await;
        runs
    });
    runs.await
}

/// Runs everything against `url` and compares with the direct runs.
async fn assert_no_verdict_is_worse(url: &str, column: &str, exceptions: &[Exception]) {
    let (mut runs, directly) = tokio::join!(all(url), directly());
    let judge = |at: usize, verdicts: &Verdicts| verdicts.worse_than(&directly[at].verdicts);
    settle(url, &mut runs, exceptions, judge).await;
    assert_documented(column, &runs);
}

/// Compares the numbers of successes with a column of the table in `docs/compatibility.md`.
fn assert_documented(column: &str, runs: &[Run]) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let page = std::fs::read_to_string(page).expect("the page about compatibility");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .skip_while(|row: &Vec<&str>| !row.contains(&column))
        .collect();
    let at = rows[0]
        .iter()
        .position(|name| *name == column)
        .expect("the column");
    for (run, selection) in runs.iter().zip(&SELECTIONS) {
        let row = rows.iter().find(|row| row[0] == selection.name);
        let row = row.unwrap_or_else(|| panic!("a row for {}", selection.name));
        assert_eq!(
            row[at],
            run.verdicts.successes().to_string(),
            "{}: {column}",
            selection.name
        );
        assert_eq!(row[1], selection.scenarios.to_string(), "{}", selection.name);
    }
}

/// What alice's login gives the suite.
async fn login(doorward: &Doorward) -> Tokens {
    let client = OAuthClient::register(doorward, "Conformance suite", "http://127.0.0.1/cb").await;
    client.login("alice", PASSWORD, &doorward.url("/mcp")).await
}

/// A forwarder that is logged in as alice.
async fn logged_in(doorward: &Doorward) -> Forwarder {
    Forwarder::start(doorward, &login(doorward).await.access)
}

/// Opens what the suite uses, and no more: reading by implication alone, `test_elicitation*` by two scopes.
const TABLE: &str = r#"
[servers.scopes."all:read"]
description = "Read"
step_up = true
tools = ["test_*_content*", "test_simple_*", "test_embedded_*", "test_error_*", "json_schema_*", "test_custom_header"]
prompts = ["test_*"]
resources = ["test://*", "skill://doorward/*"]
[servers.scopes."all:talk"]
description = "Ask you things"
implies = ["all:read"]
tools = ["test_tool_with_*", "test_sampling", "test_elicitation*", "test_input_required_*", "test_streaming_*",
    "test_missing_capability", "test_reconnection", "test_logging_tool", "test_trigger_*"]
[servers.scopes."all:forms"]
description = "Show you forms"
tools = ["test_elicitation*"]
[servers.scopes."all:work"]
description = "Work for a while"
tools = ["greet", "slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input"]
[servers.scopes."all:skills"]
description = "Use skills"
methods = ["skills/list", "skills/get", "resources/directory/read"]
"#;

/// Permits alice what the suite does, by name, by pattern and by what stands in the arguments.
const POLICY: &str = r#"
permit(principal, action == Doorward::Action::"tools/call", resource in Doorward::Server::"all")
when { principal.name == "alice" && context.scopes.contains("all:talk") };
permit(principal, action, resource) when { resource has uri };
permit(principal, action == Doorward::Action::"prompts/get", resource);
permit(principal, action == Doorward::Action::"extension", resource);
forbid(principal, action == Doorward::Action::"tools/call", resource)
when { context.arguments.hasTag("filename") && context.arguments.getTag("filename") == "/etc/passwd" };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_everything_server_passes_every_scenario_by_itself() {
    let runs = directly().await;
    for (run, selection) in runs.iter().zip(&SELECTIONS) {
        assert_eq!(
            run.verdicts.scenarios(),
            selection.scenarios,
            "{}",
            selection.name
        );
    }
    assert_documented("Directly", runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_is_worse_over_http() {
    let doorward = Doorward::builder()
        .upstream(&everything::start().url())
        .user("alice", PASSWORD)
        .start()
        .await;
    let forwarder = logged_in(&doorward).await;
    assert_no_verdict_is_worse(&forwarder.url("/mcp"), "HTTP upstream", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_is_worse_under_a_scope_table_and_a_policy() {
    let folder = doorward_testkit::folder("doorward-e2e-");
    let policy = folder.path().join("policy.cedar");
    std::fs::write(&policy, POLICY).unwrap();
    let config = format!(
        "[policy]\nfile = {policy:?}\n[[servers]]\nname = \"all\"\npath = \"/mcp\"\nupstream = \"{}\"\n{TABLE}",
        everything::start().url()
    );
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .start()
        .await;
    let tokens = login(&doorward).await;
    let scopes = tokens.claims()["scope"].clone();
    assert_eq!(
        scopes, "all:forms all:skills all:talk all:work",
        "reading comes with talking"
    );
    let forwarder = Forwarder::start(&doorward, &tokens.access);
    assert_no_verdict_is_worse(&forwarder.url("/mcp"), "Table and policy", &[]).await;
}

/// The server itself asks for tokens, and finds the keys of whoever issues them.
#[tokio::test(flavor = "multi_thread")]
async fn r23_r24_no_verdict_is_worse_behind_the_library() {
    let doorward = Doorward::builder()
        .upstream(&everything::start().url())
        .user("alice", PASSWORD)
        .start()
        .await;
    let tokens = login(&doorward).await;
    let resource_server = ResourceServer::builder(doorward.url("/mcp"))
        .issuer(&doorward.public_url)
        .required_scopes(tokens.claims()["scope"].as_str().unwrap())
        .build()
        .unwrap();
    let protected = everything::start_behind(&resource_server.layer());
    let tokenless = protected.site().post("/mcp").send().await;
    assert_eq!(tokenless.status, 401, "it does ask");
    let forwarder = Forwarder::start(&protected.site(), &tokens.access);
    assert_no_verdict_is_worse(&forwarder.url("/mcp"), "Library", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_is_worse_without_a_login() {
    let config = format!(
        "[[servers]]\nname = \"open\"\npath = \"/mcp\"\nupstream = \"{}\"\nallow_insecure_anonymous = true\n",
        everything::start().url()
    );
    let doorward = Doorward::builder().config(&config).start().await;
    assert_no_verdict_is_worse(&doorward.url("/mcp"), "Without login", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_is_worse_over_stdio() {
    let doorward = Doorward::builder()
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_everything-stdio"))
        .user("alice", PASSWORD)
        .start()
        .await;
    let forwarder = logged_in(&doorward).await;
    assert_no_verdict_is_worse(&forwarder.url("/mcp"), "stdio", &BEYOND_STDIO).await;
}
