//! Authorization over stdio that a client can discover (docs/stdio-authorization.md).
//!
//! MCP leaves authorization over stdio to "the environment", so a client learns nothing of it from the protocol. With the
//! extension `io.doorward/authorization` a server says in its first answer which authorization servers it trusts and which scopes
//! there are, marks each tool with what it takes, and refuses a call without a token by an error that a program can act on.
//!
//! [`Wrapper`] is the whole of it as a state machine without I/O: lines of the host go in, lines for the host and for the
//! server come out, and whatever is not about authorization passes byte for byte. It stands between the two pipes of any command
//! (`doorward stdio -- COMMAND`), or between stdin and an rmcp service in one process.

mod authority;
mod command;
#[cfg(feature = "cli")]
pub mod command_line;
pub mod compose;
pub mod discovery;
mod entry;
mod github;
mod members;
#[cfg(feature = "cli")]
pub mod options;
mod own_login;
pub mod providers;
#[cfg(feature = "rmcp")]
pub mod rmcp;
mod run;
#[cfg(feature = "cli")]
mod server_name;
pub mod settings;
pub mod verify;
mod wrap;

pub use authority::{LocalAuthority, Login};
pub use command::CommandServer;
pub use doorward_process::hide_ourselves;
pub use entry::{EXTENSION, TOKEN};
pub use github::{GitHubTokens, is_rate_limit};
pub use run::{Authority, LONGEST_LINE, Pipes, RunError, Server, run};
pub use settings::{AuthorizationServer, Hand, Protects, Settings, ToolScopes};
pub use wrap::{Action, FromServer, Held, Reason, RefusedByServer, Verdict, Wrapper};
