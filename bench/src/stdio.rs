//! A call through `doorward stdio`, and through the small program `doorward-stdio`, beside the same call to the same server without it.

use std::io::{BufRead as _, Write as _};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use doorward_testkit::command::doorward_binary;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Plan;
use crate::bridge::Host;
use crate::figures::{self, median};
use crate::load::Outcome;
use crate::machine::{self, Process};

/// How long the wrapper is left alone before its memory is read.
const REST: Duration = Duration::from_secs(1);

/// A server that answers everything at once: what is behind the wrapper, and what it is compared with.
pub(crate) fn serve() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if message.get("id").is_none() {
            continue;
        }
        let result = match message["method"].as_str() {
            Some("initialize") => json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "bench", "version": "1" } }),
            _ => json!({ "content": [{ "type": "text", "text": "as always" }] }),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

struct Round {
    direct: Outcome,
    /// As `doorward stdio` and as `doorward-stdio`.
    wrapped: [Wrapped; 2],
}

struct Wrapped {
    outcome: Outcome,
    resident: f64,
    proportional: f64,
    anonymous: f64,
}

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let up = Upstream::start();
    let config = format!(
        "[[servers]]\nname = \"any\"\npath = \"/any/mcp\"\nupstream = \"{}\"\n",
        up.url()
    );
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    let doorward = builder.start().await;
    let resource = doorward.url("/any/mcp");
    let client = OAuthClient::native(doorward.site()).await;
    let token = client.login("alice", PASSWORD, &resource).await.access;
    let issuer = doorward.site().public_url.clone();
    let home = tempfile::tempdir()?;
    let server = std::env::current_exe()?.display().to_string();

    let direct = || {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &plan.measured_core, &server, "stdio-server"]);
        command
    };
    let small = std::env::var_os("DOORWARD_STDIO_BIN").context("DOORWARD_STDIO_BIN is not set")?;
    let options = [&issuer, &resource, &token, &server];
    let mut rounds = Vec::new();
    for round in 0..plan.rounds() {
        eprintln!("round {} of {}", round + 1, plan.rounds());
        let (direct, _) = calls(plan, direct())?;
        let mut whole = Command::new(doorward_binary());
        whole.arg("stdio");
        rounds.push(Round {
            direct,
            wrapped: [
                wrapped(plan, wrapper(whole, &home, &options)).await?,
                wrapped(plan, wrapper(Command::new(&small), &home, &options)).await?,
            ],
        });
    }
    print(plan, &rounds);
    Ok(())
}

/// The calls through one of the two, and what memory it has when they are over.
async fn wrapped(plan: &Plan, command: Command) -> Result<Wrapped> {
    let (outcome, host) = calls(plan, command)?;
    tokio::time::sleep(REST).await;
    let process = Process(host.id());
    Ok(Wrapped {
        outcome,
        resident: process.resident(),
        proportional: process.proportional(),
        anonymous: process.anonymous(),
    })
}

fn wrapper(
    mut command: Command,
    home: &TempDir,
    [issuer, resource, token, server]: &[&String; 4],
) -> Command {
    command
        .args(["--issuer", issuer, "--resource", resource])
        .args(["--scope", "any", "--no-login", "--", server, "stdio-server"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("DOORWARD_TOKEN", token);
    command
}

/// One call after the other, after some that warm up.
fn calls(plan: &Plan, mut command: Command) -> Result<(Outcome, Host)> {
    let number = if plan.quick { 2_000 } else { 20_000 };
    let mut host = Host::start(&mut command)?.initialize()?;
    host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    host.calls(number / 10).context("no call succeeds")?;
    let outcome = host.calls(number)?;
    Ok((outcome, host))
}

fn print(plan: &Plan, rounds: &[Round]) {
    println!("medians of {} rounds; {}", plan.rounds(), machine::describe());
    let direct = |share: f64| median(rounds.iter().map(|round| round.direct.percentile(share)));
    let mut rows = vec![vec![
        "the server alone".to_owned(),
        format!("({:.0})", direct(0.5)),
        format!("({:.0})", direct(0.99)),
    ]];
    for (index, name) in ["`doorward stdio`", "`doorward-stdio`"].into_iter().enumerate() {
        let of = |figure: &dyn Fn(&Wrapped) -> f64| {
            median(rounds.iter().map(|round| figure(&round.wrapped[index])))
        };
        let added =
            |share: f64| {
                median(rounds.iter().map(|round| {
                    round.wrapped[index].outcome.percentile(share) - round.direct.percentile(share)
                }))
            };
        rows.push(vec![
            name.to_owned(),
            format!("{:.0}", added(0.5)),
            format!("{:.0}", added(0.99)),
            format!("{:.1}", of(&|wrapped| wrapped.resident)),
            format!("{:.1}", of(&|wrapped| wrapped.proportional)),
            format!("{:.1}", of(&|wrapped| wrapped.anonymous)),
        ]);
    }
    let head = [
        "",
        "added p50 µs",
        "added p99 µs",
        "RSS MiB",
        "PSS MiB",
        "its own MiB",
    ];
    figures::print(&head, &rows);
}
