//! Logging in to an MCP server from a person's machine: the guarded network, the browser, the loopback callback, the token
//! store that all copies share, and the lock that dies with its process.

pub mod assertion;
pub mod browser;
pub mod builder;
pub mod callback;
pub mod lock;
pub mod login_page;
mod loopback;
pub mod network;
mod page;
pub mod session;
pub mod sign_on;
pub mod store;
