//! `doorward stdio`: authorization around any MCP server that speaks stdio.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use clap::Args;
use doorward_local_login::network::roots;
use doorward_local_login::store::{KeySource, Store, default_folder};
use doorward_outbound::{ClientOptions, GuardedClient, ProxyRules};
use doorward_stdio_authorization::compose::{Composed, Machine, compose};
use doorward_stdio_authorization::options::Options;
use doorward_stdio_authorization::{CommandServer, Hand, RunError, run as wrap};
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
    let name = match name_of(program, arguments) {
        Some(name) => name,
        // What is not said by the resource is only a word for the person.
        None if args.options.resource.is_some() => stem(program),
        None => return Err(CommandError::usage(unnamed(program))),
    };
    let token = variable("DOORWARD_TOKEN").map(Secret::new);
    let mut configuration = args
        .options
        .configuration(&name, token)
        .map_err(|error| CommandError::usage(error.to_string()))?;
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
    authority.settled().await;
    let status = match ended {
        Ok(false) => server.ended().await,
        Ok(true) => server.stop().await,
        Err(error) => {
            server.stop().await;
            return Err(not_run(&error, program));
        }
    };
    Ok(exit_code(status))
}

fn not_run(error: &RunError, program: &OsStr) -> CommandError {
    let RunError::Start(why) = error else {
        return CommandError::failed(error.to_string());
    };
    let program = program.to_string_lossy();
    let told = CommandError::failed(format!(
        "the server cannot be started: `{}`: {why}",
        program.escape_debug()
    ));
    match why.kind() {
        std::io::ErrorKind::NotFound => told.hint(
            "is it installed, and in the PATH that the host gives its servers? Its full path always works",
        ),
        std::io::ErrorKind::PermissionDenied => {
            told.hint("is it a program, and may you run it? `chmod +x` makes it one")
        }
        _ => told,
    }
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

/// Programs that start the package that their first argument names, and their options that take no value.
const PACKAGES: [(&str, &[&str]); 4] = [
    (
        "npx",
        &[
            "-y",
            "--yes",
            "-q",
            "--quiet",
            "--no-install",
            "--prefer-offline",
            "--prefer-online",
        ],
    ),
    (
        "bunx",
        &["-y", "--yes", "--bun", "--silent", "--verbose", "--no-install"],
    ),
    (
        "uvx",
        &[
            "-q",
            "--quiet",
            "-v",
            "--verbose",
            "--isolated",
            "--offline",
            "-n",
            "--no-cache",
            "--refresh",
        ],
    ),
    ("pipx", &["-q", "--quiet", "-v", "--verbose", "--no-cache"]),
];
/// Their options after which the first argument is not the package.
const OTHER_PACKAGE: [&str; 5] = ["--package", "--call", "--from", "--spec", "-p"];
/// Programs that start other programs: their name says nothing about the server.
const LAUNCHERS: &str = "npm pnpm pnpx yarn node nodejs deno bun ts-node tsx uv pip poetry pdm rye hatch conda ruby perl php java \
    dotnet cargo go make docker podman nerdctl kubectl flatpak snap nix wsl ssh sh bash zsh fish dash ksh busybox cmd powershell pwsh \
    env sudo doas nice nohup timeout setsid stdbuf xvfb-run systemd-run mise asdf direnv time";

/// What a person would call the server, as the end of its resource: the package that is started, else the program without its folder
/// and ending. Two servers must not get one name, or a token for the one opens the other (VT-07): `None` if the command does not
/// say which server it starts.
fn name_of(program: &OsStr, arguments: &[OsString]) -> Option<String> {
    let stem = stem(program);
    let lower = stem.to_ascii_lowercase();
    if let Some((_, plain)) = PACKAGES.iter().find(|(name, _)| *name == lower) {
        let mut arguments = arguments.iter();
        if lower == "pipx" && arguments.next()? != "run" {
            return None;
        }
        return package(arguments, plain);
    }
    let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || ".w".contains(c));
    let interpreter = ["python", "pypy"]
        .iter()
        .any(|name| lower.strip_prefix(name).is_some_and(is_version));
    (!interpreter && !LAUNCHERS.split_whitespace().any(|name| name == lower)).then_some(stem)
}

/// The first argument that is no option, without its version.
fn package<'a>(arguments: impl Iterator<Item = &'a OsString>, plain: &[&str]) -> Option<String> {
    for argument in arguments {
        let argument = argument.to_str()?;
        if !argument.starts_with('-') {
            return package_name(argument);
        }
        let (option, value) = argument.split_once('=').unzip();
        let known = match (option, value) {
            (Some(option), Some(_)) => !OTHER_PACKAGE.contains(&option),
            // What follows might be its value.
            _ => argument == "--" || plain.contains(&argument),
        };
        if !known {
            return None;
        }
    }
    None
}

/// `@scope/name` or `name`, and nothing that leads elsewhere: paths, URLs and archives have names of their own choice.
fn package_name(argument: &str) -> Option<String> {
    let (scope, rest) = match argument.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').map(|(scope, rest)| (Some(scope), rest))?,
        None => (None, argument),
    };
    let end = rest
        .find(['@', '=', '[', '<', '>', '~', '!'])
        .unwrap_or(rest.len());
    let (name, version) = rest.split_at(end);
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if !good(name) || !scope.is_none_or(good) || version.contains(['/', ':']) {
        return None;
    }
    Some(match scope {
        Some(scope) => format!("@{scope}/{name}"),
        None => name.to_owned(),
    })
}

fn stem(program: &OsStr) -> String {
    let stem = Path::new(program).file_stem().unwrap_or(program);
    stem.to_string_lossy().into_owned()
}

fn unnamed(program: &OsStr) -> String {
    format!(
        "--resource: `{}` starts many servers, and tokens are for one: say which by a URI of your choice, for instance --resource https://login.example.com/stdio/notes",
        stem(program).escape_debug()
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(command: &str) -> Option<String> {
        let mut words = command.split(' ').map(OsString::from);
        let program = words.next().unwrap();
        name_of(&program, &words.collect::<Vec<_>>())
    }

    #[test]
    fn r02_vt_07_the_name_is_the_package_or_the_program() {
        for (command, expected) in [
            ("npx -y some-notes-server", "some-notes-server"),
            ("/usr/bin/npx --yes @acme/notes@1.2.3 --verbose", "@acme/notes"),
            ("npx.cmd -y --registry=https://r.example server@latest", "server"),
            ("bunx --bun Notes", "Notes"),
            (
                "uvx -q mcp-server-git[extra]==1.0 --repository /x",
                "mcp-server-git",
            ),
            ("uvx --python=3.12 mcp-server-git", "mcp-server-git"),
            ("pipx run notes", "notes"),
            ("/opt/notes/notes-server --stdio", "notes-server"),
            ("./server.exe", "server"),
            ("python-notes", "python-notes"),
        ] {
            assert_eq!(name(command).as_deref(), Some(expected), "{command}");
        }
    }

    #[test]
    fn r02_vt_07_a_command_that_does_not_say_which_server_has_no_name() {
        for command in [
            "npx",
            "npx -y",
            "npx -p a-package its-command",
            "npx --package=a its-command",
            "npx -y ./local",
            "npx -y github:who/what",
            "npx -y who/what",
            "npx -y @who",
            "npx -y a@https://elsewhere.example/x.tgz",
            "npx -y ..",
            "uvx --python 3.12 a",
            "uvx --from git+https://x.example/y a",
            "uvx --from=b a",
            "pipx list",
            "pipx run --spec b a",
            "node server.js",
            "python3.12 -m notes",
            "/bin/sh -c notes",
            "bash notes.sh",
            "uv run notes",
            "docker run -i notes",
            "DOCKER run -i notes",
            "env A=b notes",
        ] {
            assert_eq!(name(command), None, "{command}");
        }
        assert!(unnamed(OsStr::new("/bin/sh")).starts_with("--resource: `sh` starts many servers"));
    }
}
