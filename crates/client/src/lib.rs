//! The client half of MCP authorization (2026-07-28 and the revisions before it).
//!
//! Nothing here touches a socket, a clock, a file or a browser. Each step of a login is a machine that yields
//! [`http::HttpRequest`]s and takes [`http::HttpResponse`]s; [`provider::Provider`] says where tokens and registrations are kept and
//! how the user is sent to the authorization server; [`http::Http`] is the network. What a server says is believed only after
//! the check that the specification asks for, and every refusal names the hop, the document, the rule and what the
//! operator of that server must change ([`error::Refusal`]).
//!
//! In the order of a login, each module one step and one RFC:
//!
//! | step | module | by |
//! |---|---|---|
//! | the 401 is read | [`challenge`] | RFC 9110 §11.6, RFC 6750 §3, RFC 9728 §5.1 |
//! | what the MCP server says about itself | [`resource_metadata`], [`discover`] | RFC 9728 |
//! | what its authorization server says about itself | [`server_metadata`], [`discover`] | RFC 8414, OpenID Connect Discovery |
//! | a client id | [`registration`] | RFC 7591, client id metadata documents |
//! | which scopes | [`scope`], [`step_up`] | RFC 6749 §3.3, MCP scope selection and step-up |
//! | the authorization request | [`authorize`](mod@authorize) | OAuth 2.1 §4.1.1, RFC 7636, RFC 8707 |
//! | its answer | [`callback`] | OAuth 2.1 §4.1.2, RFC 9207 |
//! | who the client is | [`client_auth`], [`client_assertion`] | RFC 6749 §2.3, RFC 7523 |
//! | the tokens | [`token`], [`proven`], [`refresh`] | RFC 6749 §4 to §6, RFC 9449 |
//! | a call that is refused | [`mod@decide`] | RFC 6750 §3.1, RFC 9449 §9 |
//! | the end | [`revoke`] | RFC 7009 |
//! | single sign-on, in front of it all in a company | [`sign_on`], [`enterprise`] | OpenID Connect Core, MCP enterprise-managed authorization |
//!
//! [`orchestrate`] puts them together; [`grant`] and [`obtain`] are the ways to a token that need no browser here.

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
pub mod sign_on;
pub mod step_up;
#[cfg(test)]
mod testing;
pub mod text;
pub mod token;
pub mod workload;
