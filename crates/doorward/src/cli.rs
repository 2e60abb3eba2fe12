//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use doorward_stdio_authorization::command_line::CommandLine;

use crate::command::client::ClientCommand;
use crate::command::config::ConfigCommand;
use crate::command::connect::ConnectArgs;
use crate::command::data::DataCommand;
use crate::command::explain::ExplainArgs;
use crate::command::grant::GrantCommand;
use crate::command::key::KeyCommand;
use crate::command::login::LoginArgs;
use crate::command::logout::LogoutArgs;
use crate::command::policy::PolicyCommand;
use crate::command::user::UserCommand;
use crate::output::Format;

/// Complete authorization in front of any MCP server.
#[derive(Debug, Parser)]
#[command(
    name = "doorward",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway and the authorization server
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Local accounts
    User {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Registered clients
    Client {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: ClientCommand,
    },
    /// What people allowed
    Grant {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: GrantCommand,
    },
    /// Keys that sign and derive tokens
    Key {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// What happened in a login, step by step, and which rule ended it; exit 1 if nothing is known of it
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        #[command(flatten)]
        common: CommonArgs,
        #[command(flatten)]
        args: ExplainArgs,
    },
    /// Backup and restore of the data folder
    Data {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: DataCommand,
    },
    /// The configuration
    Config {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Who may call what: scopes and Cedar policies
    Policy {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// A stdio bridge to a remote MCP server: logs in when needed, for hosts that speak stdio only
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(Box<ConnectArgs>),
    /// Log in to an MCP server elsewhere, for `connect` and for later; or list who is logged in where
    #[command(after_help = LOGIN_EXAMPLES)]
    Login(Box<LoginArgs>),
    /// End a login at its authorization server, and forget its tokens
    #[command(after_help = LOGOUT_EXAMPLES, mut_args = only_for_logins_hidden)]
    Logout(Box<LogoutArgs>),
    /// Authorization around any MCP server that speaks stdio, which a client can discover
    #[command(after_help = STDIO_EXAMPLES)]
    Stdio(Box<CommandLine>),
    /// Ask a running server whether it is ready; exit 1 if it is not
    Health {
        #[command(flatten)]
        common: CommonArgs,
    },
}

/// Adds what a person most likely forgot: the `--` before the command of a server.
pub(crate) fn refused(mut error: clap::Error, arguments: impl Iterator<Item = OsString>) -> clap::Error {
    let arguments: Vec<OsString> = arguments.skip(1).collect();
    let tip = match arguments.first().and_then(|first| first.to_str()) {
        Some("serve") => "the command of a server stands behind `--`: doorward serve -- npx -y some-server",
        Some("stdio") => {
            "the command of a server stands behind `--`: doorward stdio --issuer URL -- npx -y some-server"
        }
        _ => return error,
    };
    if error.kind() == ErrorKind::UnknownArgument && !arguments.iter().any(|word| word == "--") {
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![StyledStr::from(tip)]),
        );
    }
    error
}

/// Of what `login` has, only this says something about a logout: the others are taken, so that an earlier line can be used again,
/// and not shown.
fn only_for_logins_hidden(argument: clap::Arg) -> clap::Arg {
    let heading = argument.get_help_heading();
    let id = argument.get_id().as_str();
    let hidden = heading == Some("Login")
        || (heading == Some("Without a person") && !id.starts_with("idp_client"))
        || ["scope", "authorize_param", "dpop"].contains(&id);
    argument.hide(hidden)
}

/// One, one of several people, and all.
pub(crate) const LOGOUT_EXAMPLES: &str = "\
Examples:
  doorward logout https://mcp.example.com/mcp
  doorward logout https://mcp.example.com/mcp --user work
      the second account at the same server
  doorward logout --all
Docs: docs/login.md#logging-out";

/// Any server, a server that takes its token from the environment, and scopes per tool.
pub(crate) const STDIO_EXAMPLES: &str = "\
Examples:
  doorward stdio --issuer https://login.example.com --scope notes:read -- npx -y some-notes-server
      tokens of that issuer, verified before each call; without one, a call says where to log in
  doorward stdio --provider github --client-id Iv1.0123 --client-secret-file secret \\
      --token-env GITHUB_TOKEN -- some-github-server
      the server gets the token of the login in GITHUB_TOKEN, as it expects
  doorward stdio --issuer https://login.example.com --scope read \\
      --tool-scope 'delete_*=write' --public-tool about -- some-server
      tools with scopes of their own, and one that needs no token
Docs: docs/stdio-authorization.md";

/// With a browser, without one, and as several people.
pub(crate) const LOGIN_EXAMPLES: &str = "\
Examples:
  doorward login https://mcp.example.com/mcp
      log in with a browser on this machine
  doorward login https://mcp.example.com/mcp --no-browser
      print the address; log in anywhere and paste the address that the browser ends at
  doorward login https://mcp.example.com/mcp --device
      print a code to type on another device
  doorward login https://mcp.example.com/mcp --user work
      a second account at the same server
  doorward login --list
Docs: docs/login.md";

/// What a host is configured with.
pub(crate) const CONNECT_EXAMPLES: &str = "\
Examples:
  doorward connect https://mcp.example.com/mcp
      what a host runs, for instance after: claude mcp add notes -- doorward connect URL
      or with \"command\": \"doorward\", \"args\": [\"connect\", \"URL\"] in its configuration
  doorward connect https://mcp.example.com/mcp --ignore-tool 'delete*'
      without the tools whose names begin with delete
  doorward connect https://mcp.example.com/mcp --header 'X-Api-Key: ${API_KEY}'
      with a header of your own from the environment
Docs: docs/connect.md";

/// Where ids come from.
pub(crate) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  doorward explain 4bf92f3577b34da6a3ce929d0e0e4736
      the id that somebody read on an error page
  doorward explain 0198c0de-0000-7000-8000-000000000000
      the decision_id in the answer to a refused call
  doorward explain --last 20
      the newest logins";

/// Three ways to start, for `serve` without a word about what to protect.
pub(crate) const SERVE_EXAMPLES: &str = "\
Examples:
  doorward serve -- npx -y @modelcontextprotocol/server-everything
      protect a server that speaks stdio: the command that starts it
  doorward serve --upstream http://127.0.0.1:3001/mcp
      protect your own Streamable HTTP server
  doorward serve --demo
      try it: a built-in MCP server at http://localhost:8080/mcp
Several servers, TLS, groups: one file, `--config doorward.toml` (`doorward config schema` describes it)";

/// `doorward serve`.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Protect the Streamable HTTP server at this URL
    #[arg(long, value_name = "URL", conflicts_with_all = ["demo", "command"])]
    pub(crate) upstream: Option<String>,
    /// Protect the built-in demo server, with the user `demo`
    #[arg(long, conflicts_with = "command")]
    pub(crate) demo: bool,
    /// A variable of this environment that the command gets as well; may be repeated
    #[arg(long, value_name = "NAME", requires = "command")]
    pub(crate) env: Vec<String>,
    /// Most connections at once (or DOORWARD_MAX_CONNECTIONS; default: as many as descriptors allow, at most 20000)
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<String>,
    /// Most connections at once from one address (or DOORWARD_MAX_CONNECTIONS_PER_ADDRESS; default: half of them)
    #[arg(long, value_name = "N")]
    pub(crate) max_connections_per_address: Option<String>,
    /// Where metrics are served: IP:PORT, localhost:PORT or off (or DOORWARD_ADMIN_LISTEN; default: 127.0.0.1:9464)
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<String>,
    /// Start commands also where nothing keeps users apart (or DOORWARD_ALLOW_INSECURE_SHARED_UID=true)
    #[arg(long)]
    pub(crate) allow_insecure_shared_uid: bool,
    /// Protect a server that speaks stdio: the command that starts it, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Where the configuration comes from. A flag beats its variable, which beats the file.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file (or DOORWARD_CONFIG)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// The data folder (or DOORWARD_DATA; default: ./doorward-data)
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen: IP:PORT or localhost:PORT (or DOORWARD_LISTEN; default: localhost:8080)
    #[arg(long, value_name = "ADDR", global = true)]
    pub(crate) listen: Option<String>,
    /// The URL that people and clients use (or DOORWARD_PUBLIC_URL; default: http://localhost:PORT)
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) public_url: Option<String>,
    /// error, warn, info, debug or trace (or DOORWARD_LOG; default: info)
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
    /// auto, human or json (or DOORWARD_LOG_FORMAT; default: auto, which is human on a terminal)
    #[arg(long, value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<String>,
}

/// What every command but `serve` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// How to answer
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) format: Format,
}

#[cfg(test)]
mod tests;
