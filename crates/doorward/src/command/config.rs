//! `doorward config check|schema|show`.

use clap::Subcommand;
use serde_json::json;

use crate::cli::CommonArgs;
use crate::config::{self, Config, Environment, Server, scopes};
use crate::error::CommandError;
use crate::output::{Format, Output};

/// `doorward config …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration file completely; exit 2 if it cannot be used
    Check,
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print every value in effect and where it comes from
    Show,
}

/// Runs it.
pub(crate) fn run(command: &ConfigCommand, common: &CommonArgs) -> Result<(), CommandError> {
    let mut output = Output::stdout(common.format);
    match command {
        ConfigCommand::Check => check(common, &mut output),
        ConfigCommand::Schema => Ok(output.json(&config::schema())?),
        ConfigCommand::Show => show(common, &mut output),
    }
}

fn check(common: &CommonArgs, output: &mut Output) -> Result<(), CommandError> {
    let config = match Config::load_to_check(&common.config, &Environment::of_process()) {
        Ok(config) => config,
        Err(error) => {
            if output.format == Format::Json {
                output.json(&json!({ "valid": false, "problems": error.to_json() }))?;
            }
            return Err(error.into());
        }
    };
    crate::serve::tls::check(&config)?;
    crate::serve::outbound::roots(&config)?;
    crate::serve::children::check(&config)?;
    if output.format == Format::Json {
        let of_servers = config.servers.iter().flat_map(notes);
        let notes: Vec<_> = of_servers.chain(config.policy_notes()).collect();
        return Ok(output.json(&json!({ "valid": true, "problems": [], "notes": notes }))?);
    }
    let name = config
        .file()
        .map_or_else(|| "the configuration".into(), |file| file.display().to_string());
    output.line(format!("{name} is good"))?;
    if config.servers.is_empty() {
        output.line(
            "it names no server: `doorward serve` also needs `--upstream URL`, `--demo` or `-- COMMAND`",
        )?;
    }
    for server in &config.servers {
        let who = if server.allow_insecure_anonymous {
            "everybody, without a login (allow_insecure_anonymous)".into()
        } else if server.allow.is_empty() {
            "every local account".into()
        } else {
            server.allow.join(", ")
        };
        output.line(format!(
            "  {}{} ({}): {who}",
            config.public_url.value, server.path, server.name
        ))?;
        for note in notes(server) {
            output.line(format!("    note: {note}"))?;
        }
    }
    for note in config.policy_notes() {
        output.line(format!("  note: {note}"))?;
    }
    Ok(())
}

/// What is odd about a server, although it can be used.
fn notes(server: &Server) -> Vec<String> {
    scopes::notes(&server.scopes)
}

fn show(common: &CommonArgs, output: &mut Output) -> Result<(), CommandError> {
    let config = Config::load(&common.config, &Environment::of_process())?;
    let shown = config.shown();
    if output.format == Format::Json {
        let entries = shown
            .iter()
            .map(|line| json!({ "key": line.key, "value": line.value, "origin": line.origin }));
        return Ok(output.json(&entries.collect::<Vec<_>>())?);
    }
    let width = shown
        .iter()
        .map(|line| line.key.len() + line.value.to_string().len())
        .max()
        .unwrap_or(0);
    for line in shown {
        let value = line.value.to_string();
        let gap = width.saturating_sub(line.key.len() + value.len());
        output.line(format!(
            "{} = {value}{}  # {}",
            line.key,
            " ".repeat(gap),
            line.origin
        ))?;
    }
    Ok(())
}
