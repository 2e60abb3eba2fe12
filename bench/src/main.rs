//! Measurements, as `cargo xtask bench` runs them: pinned, release builds, interleaved rounds.
//!
//! Everything measured is a process of its own; this one makes the load. CPU time per request is the main
//! figure, because it hardly depends on who else runs; ratios within one run are what may be compared.

mod call;
mod figures;
mod load;
mod machine;
mod nginx;
mod token;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One tools/call with a warm token: direct, through nginx, through Doorward.
    Call(Plan),
    /// Client credentials, codes and rotated refresh tokens on durable SQLite, beside oidc-provider in memory.
    Token {
        #[command(flatten)]
        plan: Plan,
        /// The installed npm packages.
        #[arg(long)]
        packages: PathBuf,
    },
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
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Call(plan) => call::measure(&plan).await,
        Command::Token { plan, packages } => token::measure(&plan, &packages).await,
        Command::Upstream => upstream::serve().await,
    }
}
