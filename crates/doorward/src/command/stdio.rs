//! `doorward stdio`: authorization around any MCP server that speaks stdio.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use clap::Args;
use doorward_local_login::network::roots;
use doorward_local_login::store::{KeySource, Store, default_folder};
use doorward_outbound::{ClientOptions, GuardedClient, ProxyRules};
use doorward_stdio_authorization::compose::{Composed, Machine, compose};
use doorward_stdio_authorization::options::Options;
use doorward_stdio_authorization::{CommandServer, Hand, run as wrap};
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;

use super::connect::signalled;
use crate::error::CommandError;
use crate::log::{self, LogFormat, LogLevel};

/// `doorward stdio`.
#[derive(Debug, Args)]
pub(crate) struct StdioArgs {
    #[command(flatten)]
    options: Options,
    /// The file of further certificate authorities, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
    /// Log every step on stderr, without secrets
    #[arg(long, short = 'v')]
    verbose: bool,
    /// The command of the server, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs it until the host or the command ends. Stdout gets the command's lines and our answers, and nothing else.
pub(super) async fn run(args: StdioArgs) -> Result<u8, CommandError> {
    let level = if args.verbose {
        LogLevel::Info
    } else {
        LogLevel::Error
    };
    let _logging = log::start(level, LogFormat::Human, true);
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| CommandError::usage("name the command of the server after `--`"))?;
    let name = name_of(program);
    let token = variable("DOORWARD_TOKEN").map(Secret::new);
    let configuration = args
        .options
        .configuration(&name, token)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let roots = roots(args.ca_file.as_deref(), &variable)
        .map_err(|error| CommandError::usage("the certificate authorities cannot be read").because(&error))?;
    let mut http = ClientOptions::new(roots.clone());
    http.proxy = ProxyRules::from_environment(&variable)
        .map_err(|error| CommandError::usage("the proxy cannot be used").because(&error))?;
    let machine = Machine {
        client: GuardedClient::new(http),
        roots,
        store: if configuration.logs_in {
            Some(store(&args.options)?)
        } else {
            None
        },
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        say: Arc::new(say),
    };
    let Composed { authority, upkeep } =
        compose(&configuration, machine).map_err(|error| CommandError::usage(error.to_string()))?;
    let variable = match &configuration.hand {
        Hand::Environment(name) => Some(name.clone()),
        Hand::Nothing | Hand::Meta => None,
    };
    let mut server = CommandServer::new(program.clone(), arguments.to_vec(), variable);
    let ended = {
        let wrapping = wrap(tokio::io::stdin(), tokio::io::stdout(), &mut server, &*authority);
        tokio::select! {
            ended = wrapping => ended.map(|()| false),
            () = upkeep.run() => Ok(false),
            () = signalled() => Ok(true),
        }
    };
    let status = match ended {
        Ok(false) => server.ended().await,
        Ok(true) => server.stop().await,
        Err(error) => {
            server.stop().await;
            return Err(CommandError::failed(error.to_string()));
        }
    };
    Ok(exit_code(status))
}

/// The command's own, as a shell would tell it.
fn exit_code(status: Option<ExitStatus>) -> u8 {
    let Some(status) = status else { return 0 };
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// What a person would call the server: the program, without its folder and ending.
fn name_of(program: &std::ffi::OsStr) -> String {
    let stem = Path::new(program).file_stem().unwrap_or(program);
    stem.to_string_lossy().into_owned()
}

fn store(options: &Options) -> Result<Store, CommandError> {
    let unusable = |error: &dyn std::error::Error| {
        CommandError::failed(format!("the token store cannot be used: {error}"))
    };
    let folder = match &options.store {
        Some(folder) => folder.clone(),
        None => default_folder(std::env::var_os("HOME"), std::env::var_os("XDG_DATA_HOME"))
            .map_err(|error| unusable(&error))?,
    };
    Store::open(&folder, KeySource::File, Arc::new(SystemRandom)).map_err(|error| unusable(&error))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(
    clippy::print_stderr,
    reason = "words for the person at the terminal; stdout is the protocol's"
)]
fn say(text: &str) {
    eprintln!("doorward stdio: {text}");
}
