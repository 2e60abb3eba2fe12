//! Authorization-server endpoints and every page: all of our origin that is not an MCP endpoint.
//!
//! The rules are in `doorward-authorization-server`. This crate does what they must not: it reads requests,
//! loads rows, commits what was decided (again, if the rows changed in between), signs after the commit,
//! and renders. [`router()`] needs a [`WebState`]; the binary builds one from [`WebParts`].

mod assets;
mod body;
mod commit;
mod cookies;
mod cors;
mod csrf;
mod endpoints;
mod headers;
mod origin;
mod pages;
mod passwords;
mod redirect_view;
mod router;
mod sealed_request;
mod session;
mod state;
mod text;

pub use passwords::{Busy, PasswordPool};
pub use router::router;
pub use state::{WebParts, WebState};

#[cfg(test)]
mod tests;
