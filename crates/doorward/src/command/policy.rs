//! `doorward policy check|test|suggest|schema`.

mod ask;
mod check;
mod suggest;
mod test;

use std::path::PathBuf;

use clap::Subcommand;
use doorward_policy::cedar;

use crate::cli::CommonArgs;
use crate::config::{Config, Environment, Server};
use crate::error::CommandError;
use crate::output::{Format, Output};

/// `doorward policy …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check scopes and policies, and ask the servers what no scope names; exit 2 if they cannot be used
    Check {
        /// Do not ask the servers
        #[arg(long)]
        offline: bool,
    },
    /// Hold cases against access rules, scopes and policies; exit 1 if an answer is not the expected one
    #[command(after_help = TEST_EXAMPLE)]
    Test {
        /// A TOML file with `[[cases]]`
        file: PathBuf,
    },
    /// Ask a server what it offers, and print a first table of scopes for it to review
    Suggest {
        /// Its name in the configuration; needless if there is only one
        server: Option<String>,
    },
    /// Print what Cedar policies can speak of
    Schema,
}

const TEST_EXAMPLE: &str = "\
A case:
  [[cases]]
  who = \"alice\"              # or only `client`, for a client that acts for itself
  groups = [\"eng\"]
  client = \"desktop\"
  scopes = \"files:read\"      # default: what a first login grants
  client_scopes = \"files:read\" # all that the client may have; default: no limit
  server = \"files\"           # default: the only one
  method = \"tools/call\"      # the default
  name = \"read_file\"         # a tool, a prompt, or the URI of a resource
  arguments = { path = \"/home/alice/a\" }
  time = 2026-01-07T12:00:00Z # the default
  address = \"10.0.0.7\"
  authenticated = \"5m\"       # since the person signed in
  expect = \"permit\"          # or \"deny\", or a reason such as \"insufficient_scope\";
                             # or \"shown\" or \"hidden\" in lists
  policies = [\"no-admin\"]    # those that permit or deny it, if that matters";

/// Runs it.
pub(crate) async fn run(command: PolicyCommand, common: &CommonArgs) -> Result<(), CommandError> {
    let mut output = Output::stdout(common.format);
    if matches!(command, PolicyCommand::Schema) {
        return schema(&mut output);
    }
    let config = Config::load_to_check(&common.config, &Environment::of_process())?;
    match command {
        PolicyCommand::Check { offline } => check::run(config, offline, &mut output).await,
        PolicyCommand::Test { file } => test::run(&config, &file, &mut output),
        PolicyCommand::Suggest { server } => {
            let server = the_server(&config, server.as_deref())?.name.clone();
            suggest::run(config, &server, &mut output).await
        }
        PolicyCommand::Schema => Ok(()),
    }
}

fn schema(output: &mut Output) -> Result<(), CommandError> {
    if output.format == Format::Human {
        return Ok(output.text(cedar::SCHEMA)?);
    }
    let schema = cedar::schema_as_json()
        .map_err(|error| CommandError::failed("the schema cannot be written as JSON").because(&error))?;
    Ok(output.json(&schema)?)
}

/// The server with this name; the only one if there is no name.
fn the_server<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Server, CommandError> {
    let servers = &config.servers;
    let names = || {
        servers
            .iter()
            .map(|server| server.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (name, servers.as_slice()) {
        (None, [server]) => Ok(server),
        (None, []) => Err(CommandError::usage("the configuration names no server")
            .hint("give it with `--config FILE` or DOORWARD_CONFIG")),
        (None, _) => Err(CommandError::usage("which server?").hint(format!("there are {}", names()))),
        (Some(name), _) => servers.iter().find(|server| server.name == name).ok_or_else(|| {
            CommandError::usage(format!("there is no server `{name}`")).hint(format!("there are {}", names()))
        }),
    }
}
