//! `bench call`: one `tools/call`, direct, through nginx, and through Doorward with a token it knows: with nothing
//! switched on that can be off, and with one thing more from row to row.

use std::path::PathBuf;

use anyhow::Result;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD};

use crate::Plan;
use crate::figures::print;
use crate::gate::{Gate, Policies};
use crate::nginx::Nginx;
use crate::peer::AgentGateway;
use crate::target::{Address, CONNECTIONS, Call, Target, columns};
use crate::upstream::Upstream;

const USER: &str = "alice";

/// The words by which `--only` picks rows, what they are called, and what is on.
const GATES: [(&str, &str, Gate); 6] = [
    (
        "plain",
        "Doorward, one scope, no limits, no log",
        Gate {
            tools: 0,
            limits: false,
            log: false,
            policies: Policies::None,
        },
    ),
    (
        "scopes",
        "  + table of scopes",
        Gate {
            limits: false,
            log: false,
            ..Gate::DEFAULT
        },
    ),
    (
        "limits",
        "  + limits",
        Gate {
            log: false,
            ..Gate::DEFAULT
        },
    ),
    ("log", "  + decision log: the default", Gate::DEFAULT),
    (
        "policies",
        "  + 50 policies",
        Gate {
            policies: Policies::Plain,
            ..Gate::DEFAULT
        },
    ),
    (
        "arguments",
        "  + 50 policies, one reads arguments",
        Gate {
            policies: Policies::WithArguments,
            ..Gate::DEFAULT
        },
    ),
];

/// What else is measured.
#[derive(clap::Args)]
pub(crate) struct Peers {
    /// An older build of Doorward, which knows all that is configured here.
    #[arg(long)]
    older: Option<PathBuf>,
    /// A binary of agentgateway, which verifies the same token.
    #[arg(long)]
    agentgateway: Option<PathBuf>,
    /// Only these rows of Doorward: plain, scopes, limits, log, policies, arguments.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Processes that must not end before the measurement does.
struct Running {
    doorwards: Vec<Doorward>,
    _agentgateway: Option<AgentGateway>,
}

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan, peers: &Peers) -> Result<()> {
    let upstream = Upstream::start()?;
    let nginx = Nginx::start(upstream.address, &plan.measured_core).await?;
    let url = format!("http://{}/mcp", upstream.address);
    let mut running = Running {
        doorwards: Vec::new(),
        _agentgateway: None,
    };
    let mut measured = Vec::new();
    for (word, name, gate) in GATES {
        if peers.only.is_empty() || peers.only.iter().any(|only| only == word) {
            let doorward = gate.start(&url, USER, PASSWORD).await?;
            measured.push(through(name, &doorward, "/bench/mcp").await?);
            running.doorwards.push(doorward);
        }
    }
    if let Some(binary) = &peers.older {
        for (name, gate) in [
            ("Doorward, the older build: the first row", GATES[0].2),
            ("  and the default", Gate::DEFAULT),
        ] {
            let doorward = gate.start_with(Some(binary), &url, USER, PASSWORD).await?;
            measured.push(through(name, &doorward, "/bench/mcp").await?);
            running.doorwards.push(doorward);
        }
    }
    let doorward = Doorward::builder()
        .upstream(&url)
        .user(USER, PASSWORD)
        .start()
        .await;
    let token = token(&doorward, "/mcp").await;
    if let Some(binary) = &peers.agentgateway {
        let peer = AgentGateway::start(binary, &plan.measured_core, &doorward, upstream.address).await?;
        let call = Call::new(&peer.address.to_string(), vec![Address::new("/mcp", &token)?])?;
        measured.push(Target::new(
            "agentgateway, HTTP route, JWT".into(),
            peer.address,
            peer.pid(),
            call,
        ));
        running._agentgateway = Some(peer);
    }
    running.doorwards.push(doorward);

    let beside = |name: &str, address: std::net::SocketAddr, pid| -> Result<Target> {
        let call = Call::new(&address.to_string(), vec![Address::new("/mcp", &token)?])?;
        Ok(Target::new(name.into(), address, pid, call))
    };
    let mut targets = vec![
        beside(
            "direct (the upstream's own CPU)",
            upstream.address,
            upstream.pid(),
        )?,
        beside("nginx, plain proxy", nginx.address, nginx.pid())?,
    ];
    targets.extend(measured);
    for _ in 0..plan.rounds() {
        for target in &mut targets {
            target.measure(plan.length()).await?;
        }
    }

    println!(
        "\ntools/call over HTTP/1.1, {}-byte token, {CONNECTIONS} connections then one",
        token.len()
    );
    println!("{}\n", plan.describe());
    let rows = targets.iter().map(|target| target.row(&targets[1]));
    print(&columns("nginx"), &rows.collect::<Result<Vec<_>>>()?);
    Ok(())
}

/// Calls with a token that somebody logged in for.
async fn through(name: &str, doorward: &Doorward, path: &str) -> Result<Target> {
    let token = token(doorward, path).await;
    let call = Call::new(&doorward.address.to_string(), vec![Address::new(path, &token)?])?;
    Ok(Target::new(name.into(), doorward.address, doorward.pid(), call))
}

async fn token(doorward: &Doorward, path: &str) -> String {
    let client = OAuthClient::native(doorward.site()).await;
    let tokens = client.login(USER, PASSWORD, &doorward.url(path)).await;
    tokens.access
}
