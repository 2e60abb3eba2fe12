//! One file per command.

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod data;
pub(crate) mod explain;
pub(crate) mod grant;
pub(crate) mod grant_options;
mod health;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod policy;
pub(crate) mod remote_options;
pub(crate) mod remote_session;
pub(crate) mod stdio;
pub(crate) mod user;

use std::sync::Arc;

use doorward_records::Unit;
use doorward_storage::{CommitError, DataFolder, DataFolderError, LoadError, SqliteStore, Store as _};
use doorward_types::random::SystemRandom;
use doorward_types::time::UnixTime;

use crate::cli::{Command, CommonArgs};
use crate::clock;
use crate::config::{Config, Environment};
use crate::error::CommandError;
use crate::output::{Format, Output};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The configuration in effect.
    pub(crate) config: Config,
    /// Where answers go.
    pub(crate) output: Output,
}

impl Context {
    fn new(common: &CommonArgs) -> Result<Self, CommandError> {
        let config = Config::load(&common.config, &Environment::of_process())?;
        Ok(Self::with(config, common))
    }

    /// For `health`, which has to work when the file does not.
    fn to_ask(common: &CommonArgs) -> Result<Self, CommandError> {
        let config = Config::load_to_ask(&common.config, &Environment::of_process())?;
        Ok(Self::with(config, common))
    }

    fn with(config: Config, common: &CommonArgs) -> Self {
        Self {
            config,
            output: Output::stdout(common.format),
        }
    }

    /// Opens the data folder; makes it if there is none.
    fn folder(&self) -> Result<DataFolder, CommandError> {
        let folder = DataFolder::open_or_create(&self.config.data.value, &SystemRandom);
        remembered(folder)
    }

    /// Opens the data folder; refuses if there is none.
    fn existing_folder(&self) -> Result<DataFolder, CommandError> {
        remembered(DataFolder::open(&self.config.data.value))
    }

    /// Opens the data folder; makes it if there is none.
    fn store(&self) -> Result<Arc<SqliteStore>, CommandError> {
        Ok(self.folder()?.store())
    }

    fn is_json(&self) -> bool {
        self.output.format == Format::Json
    }
}

fn remembered(folder: Result<DataFolder, DataFolderError>) -> Result<DataFolder, CommandError> {
    let folder =
        folder.map_err(|error| CommandError::failed("the data folder cannot be used").because(&error))?;
    clock::remember(folder.clock_mark());
    Ok(folder)
}

/// Runs a command.
pub(crate) async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Serve(args) => crate::serve::run(*args).await,
        Command::User { common, command } => user::run(command, &mut Context::new(&common)?).await,
        Command::Client { common, command } => client::run(command, &mut Context::new(&common)?).await,
        Command::Grant { common, command } => grant::run(command, &mut Context::new(&common)?).await,
        Command::Key { common, command } => key::run(&command, &mut Context::new(&common)?).await,
        Command::Explain { common, args } => explain::run(&args, &mut Context::new(&common)?),
        Command::Data { common, command } => data::run(&command, &mut Context::new(&common)?).await,
        Command::Config { common, command } => config::run(&command, &common),
        Command::Policy { common, command } => policy::run(command, &common).await,
        Command::Connect(args) => connect::run(*args).await,
        Command::Login(args) => login::run(*args).await,
        Command::Logout(args) => logout::run(*args).await,
        Command::Stdio(args) => match stdio::run(*args).await? {
            0 => Ok(()),
            // As the command ended.
            code => std::process::exit(i32::from(code)),
        },
        Command::Health { common } => health::run(&mut Context::to_ask(&common)?).await,
    }
}

/// The present, which is not before what a server on the same data knew. To be asked after [`Context::store`].
fn now() -> UnixTime {
    clock::present_for_command()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn unreadable(error: LoadError) -> CommandError {
    CommandError::failed("the database cannot be read").because(&error)
}

/// Commits; a conflict means that something else changed the same rows a moment ago.
async fn commit(store: &SqliteStore, unit: Unit) -> Result<(), CommandError> {
    match store.commit(unit).await {
        Ok(_) => Ok(()),
        Err(error @ CommitError::Conflict) => Err(CommandError::failed("nothing was changed")
            .because(&error)
            .hint("run the command again")),
        Err(error) => Err(CommandError::failed("nothing was changed").because(&error)),
    }
}
