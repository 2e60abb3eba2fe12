//! Authorization-server endpoints and every page: all of our origin that is not an MCP endpoint.
//!
//! The rules are in `doorward-authorization-server`. This crate does what they must not: it reads requests,
//! loads rows, commits what was decided (again, if the rows changed in between), signs after the commit,
//! and renders. [`router()`] needs a [`WebState`]; the binary builds one from [`WebParts`].

mod assets;
mod body;
mod challenged;
mod client_auth;
mod commit;
mod cookies;
mod cors;
mod csrf;
mod documents;
mod endpoints;
mod guesses;
mod headers;
mod known_browser;
mod origin;
mod pages;
mod passwords;
mod redirect_view;
mod router;
mod scope_view;
mod sealed_request;
mod sealed_step;
mod session;
mod state;
mod text;
mod throttle;
mod trace;
mod user_agent;
mod when;

pub use challenged::Challenged;
pub use passwords::{Busy, PasswordPool};
pub use router::router;
pub use state::{WebParts, WebState};
pub use throttle::Throttles;

#[cfg(test)]
mod tests;
