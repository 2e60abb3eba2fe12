//! An MCP server that acts on GitHub for its user: who they are, and which repositories they have.
//!
//! It is the worked example of authorization over stdio that a client can discover. The server itself ([`GitHubServer`]) knows only how
//! to ask GitHub with a token that somebody verified; everything about getting that token is the crate
//! `doorward-stdio-authorization`, which stands between it and the host.

pub mod api;
pub mod http;
pub mod refused_options;
mod tools;

pub use tools::{GitHubServer, OverHttp, RepositoriesArguments, ReviewArguments, TokenIn, VerifiedToken};
