//! `doorward-stdio`: what `doorward stdio` does, as a small program of its own.

mod stderr;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;
use doorward_stdio_authorization::command_line::{CommandLine, CommandLineError, run};
use doorward_stdio_authorization::hide_ourselves;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::stderr::Stderr;

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

static STDERR: OnceLock<Stderr> = OnceLock::new();

fn main() -> ExitCode {
    let code = wrapped();
    if let Some(stderr) = STDERR.get() {
        stderr.settle();
    }
    ExitCode::from(code)
}

fn wrapped() -> u8 {
    // Tokens are in memory: no core dump, no ptrace by other processes of the same user.
    if let Err(error) = hide_ourselves() {
        say(&format!("cannot start: {error}"));
        return 3;
    }
    let Arguments { line } = Arguments::parse();
    log(line.verbose);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return 3;
        }
    };
    let ended = runtime.block_on(run(line, say, doorward_process::asked_to_end()));
    // A thread may still be waiting for a line of the host.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => {
            say(&told(&error));
            if error.is_usage() { 2 } else { 3 }
        }
    }
}

/// On stderr, stdout belongs to MCP. Of other crates nothing that is no warning: their lines may hold headers.
fn log(verbose: bool) {
    let level = if verbose {
        LevelFilter::INFO
    } else {
        LevelFilter::ERROR
    };
    let ours = filter_fn(|metadata| {
        metadata.target().starts_with("doorward") || *metadata.level() <= tracing::Level::WARN
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_filter(ours)
        .with_filter(level);
    tracing_subscriber::registry().with(layer).init();
    // Its text may hold what nobody should read.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        say(&format!("a bug: panic at {place}"));
    }));
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
    let _unread: std::io::Result<()> = stderr().write_all(format!("doorward-stdio: {text}\n").as_bytes());
}

fn stderr() -> Stderr {
    STDERR.get_or_init(Stderr::start).clone()
}
