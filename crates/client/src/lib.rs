//! The client half of MCP authorization (2026-07-28 and the revisions before it).
//!
//! Nothing here touches a socket, a clock, a file or a browser. Each step of a login is a machine that yields
//! [`http::HttpRequest`]s and takes [`http::HttpResponse`]s; [`provider::Provider`] says where tokens and registrations are kept and
//! how the user is sent to the authorization server; [`http::Http`] is the network. What a server says is believed only after
//! the check that the specification asks for, and every refusal names the hop, the document, the rule and what the
//! operator of that server must change ([`error::Refusal`]).

pub mod authorize;
pub mod authorizer;
pub mod callback;
pub mod challenge;
pub mod client_assertion;
pub mod client_auth;
pub mod client_credentials;
pub mod decide;
pub mod device;
pub mod discover;
mod document;
pub mod dpop;
pub mod enterprise;
pub mod error;
pub mod grant;
pub mod http;
pub mod machine;
pub mod named_url;
pub mod obtain;
pub mod orchestrate;
pub mod paste;
mod peek;
pub mod proven;
pub mod provider;
pub mod refresh;
pub mod registration;
pub mod resource_metadata;
pub mod revoke;
pub mod scope;
pub mod server_metadata;
pub mod step_up;
#[cfg(test)]
mod testing;
pub mod text;
pub mod token;
pub mod workload;
