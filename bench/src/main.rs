//! Measurements, as `cargo xtask bench` runs them: pinned, release builds, interleaved rounds.
//!
//! Everything measured is a process of its own; this one makes the load. CPU time per request is the main
//! figure, because it hardly depends on who else runs; ratios within one run are what may be compared.

mod bridge;
mod call;
mod figures;
mod gate;
mod growth;
mod load;
mod machine;
mod nginx;
mod peer;
mod stdio;
mod target;
mod token;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use http::HeaderValue;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One tools/call with a warm token: direct, through nginx, through Doorward with more and more switched on.
    Call {
        #[command(flatten)]
        plan: Plan,
        #[command(flatten)]
        peers: call::Peers,
    },
    /// The same call where there are many servers, tools and tokens.
    Growth(Plan),
    /// Client credentials, codes and rotated refresh tokens on durable SQLite, beside oidc-provider in memory.
    Token {
        #[command(flatten)]
        plan: Plan,
        /// The installed npm packages.
        #[arg(long)]
        packages: PathBuf,
    },
    /// The stdio bridge beside mcp-remote: start, added latency, memory.
    Bridge {
        #[command(flatten)]
        plan: Plan,
        /// The installed npm packages.
        #[arg(long)]
        packages: PathBuf,
    },
    /// A call through `doorward stdio` beside the same server without it.
    Stdio(Plan),
    /// The MCP server behind `doorward stdio`.
    StdioServer,
    /// The MCP server behind the proxies: one fixed answer. Prints its port.
    Upstream,
}

#[derive(Args)]
pub(crate) struct Plan {
    /// The core that nginx is put on; Doorward is on it already.
    #[arg(long, default_value = "0")]
    measured_core: String,
    /// Few and short rounds.
    #[arg(long)]
    quick: bool,
}

impl Plan {
    /// How many rounds the medians are taken of.
    pub(crate) const fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// How long one measurement lasts.
    pub(crate) const fn length(&self) -> Duration {
        Duration::from_millis(if self.quick { 1_000 } else { 3_000 })
    }

    /// What the figures are medians of, and where they were measured.
    pub(crate) fn describe(&self) -> String {
        format!(
            "medians of {} rounds of {:?}; {}",
            self.rounds(),
            self.length(),
            machine::describe()
        )
    }
}

/// `Basic` with both halves encoded as RFC 6749 §2.3.1 says.
pub(crate) fn basic(id: &str, secret: &str) -> Result<HeaderValue> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    let credentials = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    Ok(HeaderValue::from_str(&format!("Basic {credentials}"))?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Call { plan, peers } => call::measure(&plan, &peers).await,
        Command::Growth(plan) => growth::measure(&plan).await,
        Command::Token { plan, packages } => token::measure(&plan, &packages).await,
        Command::Bridge { plan, packages } => bridge::measure(&plan, &packages).await,
        Command::Stdio(plan) => stdio::measure(&plan).await,
        Command::StdioServer => stdio::serve(),
        Command::Upstream => upstream::serve().await,
    }
}
