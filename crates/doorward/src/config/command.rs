//! A server that speaks stdio: the command that starts it, and what its processes may have.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward_types::secret::Secret;

use super::Config;
use super::duration::Span;
use super::environment::Environment;
use super::file::ServerFile;
use super::size::Size;
use super::source::{Place, Problem};
use crate::cli::ServeArgs;

/// A command and the limits of its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The program.
    pub(crate) program: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// What it finds in its environment besides what every child finds there.
    pub(crate) environment: BTreeMap<String, Variable>,
    /// Where it starts; absolute.
    pub(crate) working_directory: PathBuf,
    /// How long a process may have nothing to do.
    pub(crate) idle: Span,
    /// How long a process may take until it answers for the first time.
    pub(crate) start: Span,
    /// Most processes of one user at once.
    pub(crate) processes_per_user: u32,
    /// Most processes at once.
    pub(crate) processes: u32,
    /// Most memory of one process and its children.
    pub(crate) memory: Size,
    /// Most children of one process.
    pub(crate) max_children: u32,
    /// Longest message of the server.
    pub(crate) max_message: Size,
}

/// The value of a variable for a command. It prints as `[redacted]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// It is written in the file.
    Written(Secret),
    /// It is a variable of our own environment; without a value if it was not looked for or is not set.
    Named(String, Option<Secret>),
}

impl Variable {
    /// The value, for the child alone.
    pub(crate) fn value(&self) -> Option<&Secret> {
        match self {
            Self::Written(value) => Some(value),
            Self::Named(_, value) => value.as_ref(),
        }
    }

    /// What may be shown of it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Written(_) => "[set]".into(),
            Self::Named(name, _) => format!("env:{name}"),
        }
    }
}

/// What is around a command while it is read.
pub(super) struct Surroundings<'a> {
    /// Our environment; `None` for commands that start nothing and so need no secret.
    pub(super) environment: Option<&'a Environment>,
    /// Relative working directories start here.
    pub(super) folder: &'a Path,
    /// No child may work in the data folder.
    pub(super) data: &'a Path,
}

const IDLE: Span = Span(Duration::from_mins(10));
const START: Span = Span(Duration::from_mins(1));
const PROCESSES_PER_USER: u32 = 8;
const PROCESSES: u32 = 64;
const MEMORY: Size = Size::mebibytes(2048);
const CHILDREN: u32 = 256;
const MESSAGE: Size = Size::mebibytes(16);

/// What `[[servers]]` says.
pub(super) fn from_file(
    entry: &ServerFile,
    words: &[String],
    around: &Surroundings<'_>,
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) -> Option<Command> {
    let mut environment = BTreeMap::new();
    for (name, written) in &entry.env {
        let place = || at(&format!("env.{name}"));
        check_variable(name, place, problems);
        environment.insert(name.clone(), variable(&written.0, around, place, problems));
    }
    let wished = entry.working_directory.as_deref();
    let place = || {
        at(if wished.is_some() {
            "working_directory"
        } else {
            "command"
        })
    };
    let working_directory = working_directory(wished, around, place, problems);
    let words: Vec<OsString> = words.iter().map(Into::into).collect();
    let (program, arguments) = split(&words, || at("command"), problems)?;
    check_limits(entry, at, problems);
    Some(Command {
        program,
        arguments,
        environment,
        working_directory,
        idle: entry.idle.unwrap_or(IDLE),
        start: entry.timeouts.start.unwrap_or(START),
        processes_per_user: entry.processes_per_user.unwrap_or(PROCESSES_PER_USER),
        processes: entry.processes.unwrap_or(PROCESSES),
        memory: entry.memory.unwrap_or(MEMORY),
        max_children: entry.max_children.unwrap_or(CHILDREN),
        max_message: entry.max_message.unwrap_or(MESSAGE),
    })
}

/// What `serve --env NAME -- COMMAND ARGS` says.
pub(super) fn from_flags(
    args: &ServeArgs,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Command> {
    let mut environment = BTreeMap::new();
    for name in &args.env {
        let place = || Place::Named("flag --env".into());
        if let Some((name, _)) = name.split_once('=') {
            let message = format!("`--env {}=…` carries a value", name.escape_debug());
            problems.push(Problem::new(place(), message).help(format!(
                "everybody on this machine can read command lines: set the variable, and say `--env {}`",
                name.escape_debug()
            )));
            continue;
        }
        if !is_variable(name) {
            let message = format!("`{}` cannot be the name of a variable", name.escape_debug());
            problems.push(Problem::new(place(), message).help(VARIABLE));
            continue;
        }
        check_variable(name, place, problems);
        environment.insert(name.clone(), named(name, around, place, problems));
    }
    let place = || Place::Named("the command after `--`".into());
    let working_directory = working_directory(None, around, place, problems);
    let (program, arguments) = split(&args.command, place, problems)?;
    Some(Command {
        program,
        arguments,
        environment,
        working_directory,
        idle: IDLE,
        start: START,
        processes_per_user: PROCESSES_PER_USER,
        processes: PROCESSES,
        memory: MEMORY,
        max_children: CHILDREN,
        max_message: MESSAGE,
    })
}

fn split(
    words: &[OsString],
    at: impl Fn() -> Place,
    problems: &mut Vec<Problem>,
) -> Option<(OsString, Vec<OsString>)> {
    let nul = |word: &OsString| word.as_encoded_bytes().contains(&0);
    match words.split_first() {
        Some((program, _)) if program.is_empty() => {}
        Some(_) if words.iter().any(nul) => {
            problems.push(Problem::new(at(), "`command` holds a zero byte"));
            return None;
        }
        Some((program, arguments)) => return Some((program.clone(), arguments.to_vec())),
        None => {}
    }
    problems.push(Problem::new(at(), "`command` names no program").help(
        "write the program and each of its arguments as a string of its own, such as `[\"npx\", \"-y\", \"some-server\"]`",
    ));
    None
}

fn variable(
    written: &str,
    around: &Surroundings<'_>,
    at: impl Fn() -> Place,
    problems: &mut Vec<Problem>,
) -> Variable {
    if let Some(name) = written.strip_prefix("env:") {
        return named(name, around, at, problems);
    }
    if written.contains('\0') {
        problems.push(Problem::new(at(), "the value holds a zero byte"));
    }
    Variable::Written(Secret::new(written))
}

fn named(
    name: &str,
    around: &Surroundings<'_>,
    at: impl Fn() -> Place,
    problems: &mut Vec<Problem>,
) -> Variable {
    if !is_variable(name) {
        // Perhaps no name at all, but a secret that happens to begin with `env:`.
        problems.push(Problem::new(at(), "what follows `env:` is not the name of a variable").help(VARIABLE));
        return Variable::Named(String::new(), None);
    }
    let value = around.environment.and_then(|environment| environment.get(name));
    if around.environment.is_some() && value.is_none() {
        let message = format!("the environment variable `{name}` is not set");
        problems.push(Problem::new(at(), message).help(format!(
            "set `{name}` before starting Doorward, or leave it out if the command does not need it"
        )));
    }
    Variable::Named(name.to_owned(), value.map(Secret::new))
}

const VARIABLE: &str = "use letters, digits and `_`, not beginning with a digit";

fn is_variable(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(letter) && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

fn check_variable(name: &str, at: impl Fn() -> Place, problems: &mut Vec<Problem>) {
    if !is_variable(name) {
        let message = format!("`{}` cannot be the name of a variable", name.escape_debug());
        problems.push(Problem::new(at(), message).help(VARIABLE));
    }
    if matches!(name, "HOME" | "TMPDIR") {
        let message = format!("`{name}` cannot be set: it would be one folder for all users");
        problems.push(Problem::new(at(), message).help("each user's processes get folders of their own"));
    }
}

fn working_directory(
    wished: Option<&Path>,
    around: &Surroundings<'_>,
    at: impl Fn() -> Place,
    problems: &mut Vec<Problem>,
) -> PathBuf {
    let folder = wished.map_or_else(
        || around.folder.to_path_buf(),
        |wished| around.folder.join(wished),
    );
    let folder = absolute(&folder);
    // Also by another name: links are followed.
    if real(&folder).starts_with(real(around.data)) {
        problems.push(
            Problem::new(
                at(),
                "the command would work in the data folder, which no child may read",
            )
            .help("set `working_directory` to a folder outside of it, or move `data`"),
        );
    }
    folder
}

impl Config {
    /// What no command may read: the data folder, and the files that hold a key or a value meant for one command alone.
    pub(crate) fn hidden_from_commands(&self) -> Vec<PathBuf> {
        let key = self.tls.as_ref().map(|tls| tls.key.as_path());
        let secrets = self.secret_files.iter().map(PathBuf::as_path);
        // A command that could write policies would be judged by its own.
        let policies = self.policies.files().iter().map(PathBuf::as_path);
        let files = self
            .file
            .as_deref()
            .into_iter()
            .chain(key)
            .chain(secrets)
            .chain(policies);
        let log = self.decision_log.file.as_path();
        // In the data folder it is hidden with that.
        let log = (self.decision_log.enabled && !log.starts_with(&self.data.value)).then_some(log);
        // Those that were put aside hold the same.
        let logs: Vec<PathBuf> = log
            .into_iter()
            .flat_map(|log| {
                ["", ".1", ".2"].map(|end| {
                    let mut name = log.as_os_str().to_owned();
                    name.push(end);
                    name.into()
                })
            })
            .collect();
        std::iter::once(self.data.value.as_path())
            .chain(logs.iter().map(PathBuf::as_path))
            .chain(files)
            // A key that is renewed lies elsewhere, and its link leads there; the one in use is still a secret.
            .flat_map(|path| [real(path), absolute(path)])
            .fold(Vec::new(), |mut paths, path| {
                if !paths.contains(&path) {
                    paths.push(path);
                }
                paths
            })
    }
}

/// The same path from the root on.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Where a path really leads, also if its last parts are not there yet.
pub(crate) fn real(path: &Path) -> PathBuf {
    let path = absolute(path);
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    path
}

/// Keys that only mean something for a command.
pub(super) fn belongs_to_a_command(
    entry: &ServerFile,
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    for (key, set) in [
        ("env", !entry.env.is_empty()),
        ("working_directory", entry.working_directory.is_some()),
        ("idle", entry.idle.is_some()),
        ("processes", entry.processes.is_some()),
        ("processes_per_user", entry.processes_per_user.is_some()),
        ("memory", entry.memory.is_some()),
        ("max_children", entry.max_children.is_some()),
        ("max_message", entry.max_message.is_some()),
        ("timeouts.start", entry.timeouts.start.is_some()),
    ] {
        if set {
            let message = format!(
                "`{key}` belongs to a `command`, and server `{}` has none",
                entry.name
            );
            problems.push(Problem::new(at(key), message).help("leave it out"));
        }
    }
}

fn check_limits(entry: &ServerFile, at: &dyn Fn(&str) -> Place, problems: &mut Vec<Problem>) {
    let second = Span(Duration::from_secs(1));
    for (key, value, most) in [
        ("idle", entry.idle, Span(Duration::from_hours(24))),
        (
            "timeouts.start",
            entry.timeouts.start,
            Span(Duration::from_hours(1)),
        ),
    ] {
        if value.is_some_and(|value| value < second || value > most) {
            problems.push(Problem::new(
                at(key),
                format!("`{key}` must be between {second} and {most}"),
            ));
        }
    }
    for (key, value, most) in [
        ("processes", entry.processes, 10_000),
        ("processes_per_user", entry.processes_per_user, 10_000),
        ("max_children", entry.max_children, 100_000),
    ] {
        if value.is_some_and(|value| value == 0 || value > most) {
            problems.push(Problem::new(
                at(key),
                format!("`{key}` must be between 1 and {most}"),
            ));
        }
    }
    if entry.processes_per_user.unwrap_or(PROCESSES_PER_USER) > entry.processes.unwrap_or(PROCESSES) {
        let key = if entry.processes.is_some() {
            "processes"
        } else {
            "processes_per_user"
        };
        let message =
            "one user may have more processes (`processes_per_user`) than all together (`processes`)";
        problems.push(Problem::new(at(key), message));
    }
    for (key, value, least, most) in [
        (
            "memory",
            entry.memory,
            Size::mebibytes(16),
            Size::mebibytes(1 << 20),
        ),
        (
            "max_message",
            entry.max_message,
            Size(64 << 10),
            Size::mebibytes(256),
        ),
    ] {
        if value.is_some_and(|value| value < least || value > most) {
            problems.push(Problem::new(
                at(key),
                format!("`{key}` must be between {least} and {most}"),
            ));
        }
    }
}

#[cfg(test)]
mod tests;
