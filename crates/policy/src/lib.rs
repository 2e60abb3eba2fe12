//! Who may call what, and why not.
//!
//! [`judge`] is the only way to a [`Permit`], a permit owns the [`Call`](doorward_mcp::Call) it was given for,
//! and forwarding takes a permit by value: so nothing can be forwarded that was not judged, and what is
//! judged is what is forwarded. What a call needs is read from the server's [`ScopeTable`].

mod access;
#[cfg(feature = "cedar")]
pub mod cedar;
mod decide;
mod pattern;
mod refusal;
mod server;
mod table;
mod uri;
mod veto;

pub use access::{AccessRule, AccessRuleError};
pub use decide::{Context, Permit, Subject, judge, may_list, may_use, review};
pub use doorward_mcp::Object;
pub use pattern::{Pattern, PatternError};
pub use refusal::Refusal;
pub use server::{ListMode, ProtectedServer};
pub use table::{Needs, SCOPE_LIMIT, ScopeEntry, ScopeTable, ScopeTableError};
pub use veto::{Grounds, NoFurtherPolicy, Policy, Question};

#[cfg(test)]
mod tests;
