//! `doorward-stdio`: what `doorward stdio` does, as a small program of its own.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use doorward_stdio_authorization::command_line::{CommandLine, CommandLineError, run};
use doorward_stdio_authorization::hide_ourselves;
use tracing_subscriber::filter::LevelFilter;

/// Authorization around any MCP server that speaks stdio, which a client can discover
#[derive(Parser)]
#[command(version, name = "doorward-stdio", after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    line: CommandLine,
}

const EXAMPLES: &str = "\
Examples:
  doorward-stdio --issuer https://login.example.com --scope notes:read -- npx -y some-notes-server
      tokens of that issuer, verified before each call; without one, a call says where to log in
The same as `doorward stdio`, whose logins it shares.
Docs: docs/stdio-authorization.md";

fn main() -> ExitCode {
    // Tokens are in memory: no core dump, no ptrace by other processes of the same user.
    if let Err(error) = hide_ourselves() {
        say(&format!("cannot start: {error}"));
        return ExitCode::from(3);
    }
    let Arguments { line } = Arguments::parse();
    let level = if line.verbose {
        LevelFilter::INFO
    } else {
        LevelFilter::ERROR
    };
    // stdout belongs to MCP.
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return ExitCode::from(3);
        }
    };
    let ended = runtime.block_on(run(line, say, doorward_process::asked_to_end()));
    // A thread may still be waiting for a line of the host.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&told(&error));
            ExitCode::from(if error.is_usage() { 2 } else { 3 })
        }
    }
}

/// What happened, why, and what to do.
fn told(error: &CommandLineError) -> String {
    let mut text = format!("error: {error}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        next = cause.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\n  {hint}"));
    }
    text
}

fn say(text: &str) {
    // Nobody may read stderr any more.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "doorward-stdio: {text}");
}
