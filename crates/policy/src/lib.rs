//! Who may call what, and why not.
//!
//! [`judge`] is the only way to a [`Permit`], a permit owns the [`Call`](doorward_mcp::Call) it was given for,
//! and forwarding takes a permit by value: so nothing can be forwarded that was not judged, and what is
//! judged is what is forwarded.

mod access;
mod decide;
mod server;
mod veto;

pub use access::{AccessRule, AccessRuleError};
pub use decide::{Permit, Refusal, Subject, judge};
pub use server::{ProtectedServer, ScopeDescription};
pub use veto::{NoFurtherPolicy, Policy};

#[cfg(test)]
mod tests;
