//! What storage keeps: plain rows, the [`Write`]s that change them and the [`Precondition`]s under which
//! a change may happen. No SQL, no I/O, no rules: those live in `doorward-authorization-server`.
//!
//! A decision is made on rows that were loaded a moment ago. It comes back as a [`Unit`]: the facts it
//! rests on (preconditions) and what it changes (writes). Storage applies a unit in one transaction or
//! not at all; when a precondition no longer holds, the caller loads again and decides again.

pub mod account;
pub mod authenticator;
pub mod client;
pub mod code;
pub mod decision;
pub mod device;
pub mod facts;
pub mod grant;
pub mod key;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod refresh;
pub mod replay;
pub mod revocation;
mod unit;

pub use unit::{Precondition, Unit, Write};
