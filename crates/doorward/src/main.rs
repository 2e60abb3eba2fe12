//! The `doorward` binary: configuration, composition, one file per command.

mod cli;
mod clock;
mod command;
mod config;
mod error;
mod known_url;
mod log;
mod output;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::error::CommandError;

fn main() -> ExitCode {
    // As a child of ours, before anything else: we become the program of a stdio server.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == doorward_process::LAUNCH)
    {
        return not_launched(&doorward_process::launch(arguments));
    }
    // Keys and tokens are in memory: no core dump, no ptrace by other processes of the same user.
    let hidden = doorward_process::hide_ourselves();
    let cli = Cli::try_parse().unwrap_or_else(|error| cli::refused(error, std::env::args_os()).exit());
    let result = hidden
        .map_err(|error| CommandError::failed("cannot start").because(&error))
        .and_then(|()| run(cli));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read stderr any more; the exit code still tells.
            let _: std::io::Result<()> = writeln!(std::io::stderr(), "{error}");
            error.exit_code()
        }
    }
}

fn not_launched(error: &doorward_process::LaunchError) -> ExitCode {
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "{error}");
    ExitCode::from(126)
}

fn run(cli: Cli) -> Result<(), CommandError> {
    // A host starts several bridges, which wait most of the time: one thread each is enough.
    let mut builder = match &cli.command {
        Command::Connect(_) | Command::Stdio(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("cannot start").because(&error))?;
    let result = runtime.block_on(command::run(cli.command));
    // Blocking work that nobody waits for any more (a slow name look-up) must not hold up the end.
    runtime.shutdown_background();
    result
}
