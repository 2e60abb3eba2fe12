//! `doorward stdio`: authorization around any MCP server that speaks stdio.

use std::io::Write as _;

use doorward_stdio_authorization::command_line::{self, CommandLine, CommandLineError};

use crate::error::CommandError;
use crate::log::{self, LogFormat, LogLevel};

/// Runs it until the host or the command ends. Stdout gets the command's lines and our answers, and nothing else.
pub(super) async fn run(line: CommandLine) -> Result<u8, CommandError> {
    let level = if line.verbose {
        LogLevel::Info
    } else {
        LogLevel::Error
    };
    let _logging = log::start(level, LogFormat::Human, true);
    Ok(command_line::run(line, say, doorward_process::asked_to_end()).await?)
}

impl From<CommandLineError> for CommandError {
    fn from(error: CommandLineError) -> Self {
        let text = error.to_string();
        let mut told = if error.is_usage() {
            Self::usage(text)
        } else {
            Self::failed(text)
        };
        if let Some(cause) = std::error::Error::source(&error) {
            told = told.because(cause);
        }
        match error.hint() {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

/// Words for the person at the terminal, for whom nothing waits; stdout is the protocol's.
fn say(text: &str) {
    let _unread: std::io::Result<()> = log::Aside.write_all(format!("doorward stdio: {text}\n").as_bytes());
}
