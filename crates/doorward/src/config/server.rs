//! One protected server: from `[[servers]]` or from flags.

use doorward_gateway::RateLimits;
use http::HeaderName;
use url::Url;

use super::command::{self, Command, Surroundings};
use super::duration::Span;
use super::file::{ServerFile, Timeouts};
use super::forward;
use super::limits::{self, LimitsFile};
use super::parse::Parsed;
use super::scopes::{self, ConfiguredScope, ListsFile};
use super::source::{Place, Problem};
use crate::cli::ServeArgs;

/// A protected server, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its name, and its scope if it has no others.
    pub(crate) name: String,
    /// The path of its MCP endpoint.
    pub(crate) path: String,
    /// What is behind it.
    pub(crate) upstream: Upstream,
    /// Who may use it; empty: every local account.
    pub(crate) allow: Vec<String>,
    /// What its scopes open; empty: one scope, its name, opens everything.
    pub(crate) scopes: Vec<ConfiguredScope>,
    /// What its lists show.
    pub(crate) lists: ListsFile,
    /// Whether a call without a token is let in.
    pub(crate) allow_insecure_anonymous: bool,
    /// Which of a client's headers pass to the upstream besides those that always do.
    pub(crate) forward_headers: Vec<HeaderName>,
    /// Longest wait for a connection to the upstream.
    pub(crate) connect: Span,
    /// Longest wait for the head of an answer, or for the whole one of a command.
    pub(crate) response: Span,
    /// How often somebody may call it.
    pub(crate) limits: RateLimits,
}

/// What is behind a protected server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// The built-in server.
    Demo,
    /// A Streamable HTTP endpoint.
    Http(Url),
    /// A command that speaks stdio.
    Command(Box<Command>),
}

impl Server {
    /// The command behind it, if there is one.
    pub(crate) fn command(&self) -> Option<&Command> {
        match &self.upstream {
            Upstream::Command(command) => Some(command),
            Upstream::Demo | Upstream::Http(_) => None,
        }
    }
}

/// First segments of paths that are ours (or will be): a server there would shadow them or be shadowed.
const OURS: [&str; 25] = [
    ".well-known",
    "account",
    "authorize",
    "backchannel_logout",
    "callback",
    "client-metadata.json",
    "connect",
    "consent",
    "console",
    "device",
    "device_authorization",
    "healthz",
    "identity",
    "introspect",
    "login",
    "logout",
    "metrics",
    "par",
    "readyz",
    "register",
    "revoke",
    "setup",
    "static",
    "t",
    "token",
];

/// The server that `serve --demo`, `serve --upstream URL` or `serve -- COMMAND` means: named `mcp`, at `/mcp`.
pub(super) fn from_flags(
    args: &ServeArgs,
    timeouts: &Timeouts,
    all: &LimitsFile,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Server> {
    if args.command.is_empty() && !args.env.is_empty() {
        let problem = Problem::new(Place::Named("flag --env".into()), "`--env` without a command");
        problems.push(problem.help("the command comes after `--`; other servers get no variables"));
    }
    let upstream = match (&args.upstream, args.demo, args.command.is_empty()) {
        (None, false, true) => return None,
        (None, true, _) => Upstream::Demo,
        (None, false, false) => Upstream::Command(Box::new(command::from_flags(args, around, problems)?)),
        (Some(text), ..) => {
            upstream(text, || Place::Named("flag --upstream".into()), problems).map(Upstream::Http)?
        }
    };
    Some(Server {
        name: "mcp".into(),
        path: "/mcp".into(),
        upstream,
        allow: Vec::new(),
        scopes: Vec::new(),
        lists: ListsFile::default(),
        allow_insecure_anonymous: false,
        forward_headers: Vec::new(),
        connect: timeouts.upstream_connect,
        response: timeouts.upstream_response,
        limits: limits::of_server(&LimitsFile::default(), all),
    })
}

/// The servers of the file, in its order.
pub(super) fn from_file(
    parsed: &Parsed,
    timeouts: &Timeouts,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Server> {
    let entries = &parsed.file.servers;
    let mut servers = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = |key: &str| parsed.place(&format!("servers[{index}].{key}"));
        let earlier = entries.get(..index).unwrap_or_default();
        check_name(entry, earlier, &at, problems);
        check_path(entry, earlier, &at, problems);
        let allow = entry.allow.clone().unwrap_or_default();
        // Taking the last name off a list must not open the server to everybody.
        if entry.allow.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::new(at("allow"), "`allow` names nobody").help(
                "name people as `user:NAME` or `group:NAME`; leave it out to admit every local account",
            ));
        }
        for (number, rule) in allow.iter().enumerate() {
            if let Err(error) = doorward_policy::AccessRule::parse(&[rule]) {
                problems.push(Problem::new(at(&format!("allow[{number}]")), error.to_string()));
            }
        }
        if entry.allow_insecure_anonymous && entry.allow.is_some() {
            let message = format!(
                "server `{}` admits everybody without a login (`allow_insecure_anonymous`) and only some people (`allow`)",
                entry.name
            );
            problems.push(Problem::new(at("allow_insecure_anonymous"), message).help("keep one of the two"));
        }
        let scopes = scopes::from_file(entry, index, parsed, problems);
        let forward_headers = forward::headers(entry, &at, problems);
        check_timeouts(entry, &at, problems);
        let Some(upstream) = upstream_of(entry, around, &at, problems) else {
            continue;
        };
        servers.push(Server {
            name: entry.name.clone(),
            path: entry.path.clone(),
            upstream,
            allow,
            scopes,
            lists: entry.lists,
            allow_insecure_anonymous: entry.allow_insecure_anonymous,
            forward_headers,
            connect: entry.timeouts.connect.unwrap_or(timeouts.upstream_connect),
            response: entry.timeouts.response.unwrap_or(timeouts.upstream_response),
            limits: limits::of_server(&entry.limits, &parsed.file.limits),
        });
    }
    servers
}

fn upstream_of(
    entry: &ServerFile,
    around: &Surroundings<'_>,
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) -> Option<Upstream> {
    if entry.command.is_none() {
        command::belongs_to_a_command(entry, at, problems);
    }
    let both = |first: &str, second: &str| {
        let message = format!("server `{}` has both `{first}` and `{second}`", entry.name);
        Problem::new(at(second), message).help("a server has exactly one of `upstream`, `command` and `demo`")
    };
    match (&entry.upstream, &entry.command, entry.demo) {
        (Some(text), None, false) => upstream(text, || at("upstream"), problems).map(Upstream::Http),
        (None, Some(words), false) => command::from_file(entry, words, around, at, problems)
            .map(|command| Upstream::Command(Box::new(command))),
        (None, None, true) => Some(Upstream::Demo),
        (Some(_), Some(_), _) => {
            problems.push(both("upstream", "command"));
            None
        }
        (Some(_), None, true) => {
            problems.push(both("upstream", "demo"));
            None
        }
        (None, Some(_), true) => {
            problems.push(both("command", "demo"));
            None
        }
        (None, None, false) => {
            let message = format!("server `{}` has nothing behind it", entry.name);
            problems.push(Problem::new(at("name"), message).help(
                "add `upstream = \"http://127.0.0.1:PORT/mcp\"`, `command = [\"PROGRAM\", \"ARGUMENT\"]` or `demo = true`",
            ));
            None
        }
    }
}

/// The bounds of `[timeouts]`.
fn check_timeouts(entry: &ServerFile, at: &dyn Fn(&str) -> Place, problems: &mut Vec<Problem>) {
    let timeouts = &entry.timeouts;
    for (key, value) in [("connect", timeouts.connect), ("response", timeouts.response)] {
        if let Some(problem) =
            value.and_then(|value| super::check::waiting(key, value, at(&format!("timeouts.{key}"))))
        {
            problems.push(problem);
        }
    }
    if timeouts.connect.is_some() && entry.upstream.is_none() {
        let message = "`connect` belongs to an `upstream`: nothing else is connected to";
        problems.push(Problem::new(at("timeouts.connect"), message).help("leave it out"));
    }
}

fn upstream(text: &str, at: impl Fn() -> Place, problems: &mut Vec<Problem>) -> Option<Url> {
    let refuse = |why: &str| Problem::new(at(), format!("`upstream` {why}"));
    let problem = match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => refuse("must be an `http` or `https` URL"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            refuse("must not carry a user name or password")
        }
        Ok(url) if url.fragment().is_some() => refuse("must not have a fragment"),
        Ok(url) => return Some(url),
        Err(_) => refuse("is not a URL").help("write it in full, such as `http://127.0.0.1:3001/mcp`"),
    };
    problems.push(problem);
    None
}

fn check_name(
    entry: &ServerFile,
    earlier: &[ServerFile],
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let starts = entry
        .name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !starts || entry.name.len() > 64 || !entry.name.bytes().all(allowed) {
        let message = format!("`{}` cannot be a server's name", entry.name.escape_debug());
        let help = "use up to 64 lower-case letters, digits, `-` and `_`, beginning with a letter or digit";
        problems.push(Problem::new(at("name"), message).help(help));
    }
    if matches!(entry.name.as_str(), "openid" | "offline_access") {
        let message = format!(
            "`{}` cannot be a server's name: OAuth gives that scope a meaning of its own",
            entry.name
        );
        problems.push(Problem::new(at("name"), message));
    }
    if earlier.iter().any(|other| other.name == entry.name) {
        problems.push(Problem::new(
            at("name"),
            format!("two servers are named `{}`", entry.name),
        ));
    }
}

fn check_path(
    entry: &ServerFile,
    earlier: &[ServerFile],
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    let path = entry.path.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let segments = path.strip_prefix('/').unwrap_or_default().split('/');
    let good = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    if !path.starts_with('/') || !segments.clone().all(good) {
        let message = format!("`{}` cannot be a server's path", path.escape_debug());
        let help = "write a path such as `/files/mcp`: letters, digits, `-`, `_`, `.` and `~` between single slashes, none at the end";
        problems.push(Problem::new(at("path"), message).help(help));
        return;
    }
    if let Some(first) = segments.clone().next().filter(|first| OURS.contains(first)) {
        let message = format!("`/{first}` belongs to Doorward itself");
        problems.push(Problem::new(at("path"), message).help("choose another first segment, such as `/mcp`"));
    }
    if let Some(other) = earlier.iter().find(|other| other.path == path) {
        let message = format!("servers `{}` and `{}` have the same path", other.name, entry.name);
        problems.push(Problem::new(at("path"), message));
    }
}
