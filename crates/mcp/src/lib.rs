//! MCP as a middle box sees it, without decoding what it need not.
//!
//! [`Envelope::read`] is the strict JSON reader: whatever two parsers could read differently is refused
//! before any decision. [`Call::admit`] then holds the message against the request's headers and the methods
//! of its revision. A [`Call`] owns the bytes it was made from, so what is judged is what is forwarded.

pub mod answer;
mod call;
pub mod envelope;
pub mod escape;
pub mod headers;
pub mod list;
pub mod members;
pub mod message;
pub mod method;
mod object;
pub mod param_headers;
mod reader;
mod rewrite;
pub mod sse;
pub mod version;

pub use call::{Action, Call, NotAdmitted, NotAdmittedReason, Summary};
pub use envelope::{Envelope, EnvelopeError, Kind, TASKS_EXTENSION};
pub use message::{MessageError, ServerMessage};
pub use method::Extensions;
pub use object::{Object, Subscribed};
pub use rewrite::{Rewrite, on_one_line};
pub use version::Revision;

#[cfg(test)]
mod tests;
