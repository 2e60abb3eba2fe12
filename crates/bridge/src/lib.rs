//! The stdio bridge: a host that speaks MCP over stdio on one side, a remote MCP server over HTTP on the other.
//!
//! [`run`] is one task that routes. What it knows of host, server and what is under way between them is a state machine
//! without input or output (`conversation`); each exchange with the server is a task of its own (`exchange`) that sees to
//! authorization, reads what comes and resumes what broke off; [`era`] translates where host and server do not speak the same
//! revision. Nothing is sent a second time that the server may have acted on, and what cannot be answered is answered here, in
//! words.

pub mod adapter;
mod bridge;
mod conversation;
mod cookies;
pub mod era;
mod event;
mod exchange;
pub mod failure;
mod head;
pub mod http;
mod learner;
mod lines;
mod memory;
pub mod network;
mod owner;
mod reading;
pub mod settings;

pub use bridge::{Parts, run};
