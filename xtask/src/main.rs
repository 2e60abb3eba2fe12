//! Automation: `cargo xtask COMMAND`.

mod bench;
mod fuzz;
mod ids;
mod lint;
mod packages;
mod python;
mod requirements;
mod run;
mod test;
mod tools;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Everything that is done to this workspace, in one place"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formats every file.
    Fmt,
    /// Checks formatting, lints, documentation and dependencies.
    Lint {
        /// Install what is missing.
        #[arg(long)]
        install: bool,
    },
    /// Everything that has to hold: lints, then every test, end-to-end and real clients included.
    Test(test::Options),
    /// Tries random inputs on everything that reads what strangers write.
    Fuzz(fuzz::Options),
    /// Prints every requirement and attack: id, where the code names it, which tests prove it.
    Requirements {
        /// Write the statuses in docs/ as the tests have them.
        #[arg(long)]
        update: bool,
    },
    /// Runs the real clients and compares what they send with docs/clients.md.
    Clients {
        /// Write what they send into docs/clients.md.
        #[arg(long)]
        update: bool,
    },
    /// Measures the release build beside its peers. Nothing else should be running.
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Fmt => run::cargo(["fmt", "--all"]),
        Command::Lint { install } => lint::all(install),
        Command::Test(options) => test::all(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Requirements { update } => requirements::command(update),
        Command::Clients { update } => test::clients(update),
        Command::Bench { what } => bench::run(&what),
    }
}
