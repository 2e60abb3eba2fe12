//! The wrapper as a command: its options, from the first word of the command line to the code it ends with.
//!
//! `doorward stdio` is this, and so is the small program `doorward-stdio`: a host that wraps ten servers starts ten of them, and the
//! rest of Doorward would only take memory there.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use clap::Args;
use doorward_local_login::network::{RootsFileError, roots};
use doorward_local_login::store::{KeySource, Store, StoreError, default_folder};
use doorward_outbound::{ClientOptions, GuardedClient, ProxyError, ProxyRules};
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;

use crate::compose::{ComposeError, Composed, Configuration, Machine, compose};
use crate::options::{Options, OptionsError};
use crate::server_name::{name_of, stem};
use crate::{CommandServer, Hand, RunError, run as wrap};

/// What stands on the command line, the name of the program aside.
#[derive(Debug, Args)]
pub struct CommandLine {
    #[command(flatten)]
    options: Options,
    /// The file of further certificate authorities, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Log every step on stderr, without secrets
    #[arg(long, short = 'v')]
    pub verbose: bool,
    /// The command of the server, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Why no server was wrapped, or why it ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CommandLineError {
    /// There is nothing behind the `--`.
    #[error("name the command of the server after `--`")]
    NoCommand,
    /// The command could be any server, and nothing says which resource it is.
    #[error(
        "--resource: `{0}` starts many servers, and tokens are for one: say which by a URI of your choice, for instance \
         --resource https://login.example.com/stdio/notes"
    )]
    Unnamed(String),
    /// An option cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The options do not make a whole.
    #[error(transparent)]
    Composed(#[from] ComposeError),
    /// The file of `--ca-file`, or what the environment names.
    #[error("the certificate authorities cannot be read")]
    Roots(#[source] RootsFileError),
    /// What the environment says about a proxy.
    #[error("the proxy cannot be used")]
    Proxy(#[source] ProxyError),
    /// The folder of the tokens.
    #[error("the token store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The program of the server.
    #[error("the server cannot be started: `{program}`: {why}")]
    NotStarted {
        /// The program, escaped.
        program: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// A pipe broke, or a line was too long.
    #[error(transparent)]
    Broke(RunError),
}

impl CommandLineError {
    /// Whether the command line or the environment has to be changed, in contrast to the machine.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::NotStarted { .. } | Self::Broke(_))
    }

    /// What to do, where the words of the error do not say it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::NotStarted { why, .. } = self else {
            return None;
        };
        match why.kind() {
            std::io::ErrorKind::NotFound => Some(
                "is it installed, and in the PATH that the host gives its servers? Its full path always works",
            ),
            std::io::ErrorKind::PermissionDenied => {
                Some("is it a program, and may you run it? `chmod +x` makes it one")
            }
            _ => None,
        }
    }
}

/// Runs the wrapper until the host or the command ends, or `asked_to_end` does. Stdout gets the command's lines and our answers,
/// and nothing else; `say` gets words for the person.
///
/// # Errors
/// [`CommandLineError`], before the command is started or after the connection broke. Else how the command ended, as a shell
/// would tell it.
pub async fn run(
    line: CommandLine,
    say: fn(&str),
    asked_to_end: impl Future<Output = ()>,
) -> Result<u8, CommandLineError> {
    let (program, arguments) = line.command.split_first().ok_or(CommandLineError::NoCommand)?;
    let name = match name_of(program, arguments) {
        Some(name) => name,
        // What is not said by the resource is only a word for the person.
        None if line.options.resource.is_some() => stem(program),
        None => {
            return Err(CommandLineError::Unnamed(
                stem(program).escape_debug().to_string(),
            ));
        }
    };
    let configuration = configuration(&line.options, &name, say)?;
    let machine = machine(&line, &configuration, say)?;
    let Composed { authority, upkeep } = compose(&configuration, machine)?;
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
            () = asked_to_end => Ok(true),
        }
    };
    let ending = async {
        match ended {
            Ok(false) => server.ended().await,
            Ok(true) | Err(_) => server.stop().await,
        }
    };
    // A host may have little patience with either.
    let (status, ()) = tokio::join!(ending, authority.settled());
    match ended {
        Ok(_) => Ok(exit_code(status)),
        Err(RunError::Start(why)) => Err(CommandLineError::NotStarted {
            program: program.to_string_lossy().escape_debug().to_string(),
            why,
        }),
        Err(other) => Err(CommandLineError::Broke(other)),
    }
}

fn configuration(options: &Options, name: &str, say: fn(&str)) -> Result<Configuration, CommandLineError> {
    let token = variable("DOORWARD_TOKEN").map(Secret::new);
    let mut configuration = options.configuration(name, token)?;
    if let Some(provider) = configuration
        .provider
        .filter(|_| configuration.client_id.is_none())
    {
        // Such a provider registers nobody by itself: a login could only fail.
        if configuration.logs_in && configuration.token.is_none() {
            say(&format!(
                "no login here: {} gives nobody a client id by itself. Give --client-id and --client-secret-file of an app that you made \
                 there, or a token in DOORWARD_TOKEN",
                provider.name
            ));
        }
        configuration.logs_in = false;
    }
    Ok(configuration)
}

fn machine(
    line: &CommandLine,
    configuration: &Configuration,
    say: fn(&str),
) -> Result<Machine, CommandLineError> {
    let roots = roots(line.ca_file.as_deref(), &variable).map_err(CommandLineError::Roots)?;
    let mut http = ClientOptions::new(roots.clone());
    http.proxy = ProxyRules::from_environment(&variable).map_err(CommandLineError::Proxy)?;
    Ok(Machine {
        client: GuardedClient::new(http),
        roots,
        store: if configuration.logs_in {
            Some(store(&line.options)?)
        } else {
            None
        },
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        say: Arc::new(say),
    })
}

fn store(options: &Options) -> Result<Store, StoreError> {
    let folder = match &options.store {
        Some(folder) => folder.clone(),
        None => default_folder(std::env::var_os("HOME"), std::env::var_os("XDG_DATA_HOME"))?,
    };
    Store::open(&folder, KeySource::File, Arc::new(SystemRandom))
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

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn r02_vt_07_a_command_without_a_name_is_told_to_name_its_resource() {
        let error = CommandLineError::Unnamed(stem(OsStr::new("/bin/sh")));
        assert!(
            error
                .to_string()
                .starts_with("--resource: `sh` starts many servers")
        );
        assert!(error.is_usage());
    }

    #[test]
    fn a_program_that_is_not_there_gets_a_hint() {
        let error = CommandLineError::NotStarted {
            program: "nowhere".to_owned(),
            why: std::io::ErrorKind::NotFound.into(),
        };
        assert!(!error.is_usage());
        assert!(error.hint().unwrap().contains("PATH"));
    }
}
