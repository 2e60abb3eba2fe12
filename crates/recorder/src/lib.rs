//! A login one can see: every step from the first `401` to the last token under one [`TraceId`].
//!
//! A request is followed by [`Recorder::follow`]; while it is answered, the events that endpoints log become notes of
//! its hop ([`layer()`]), so that what is written for the operator and what `doorward explain` shows cannot differ.
//! Before `/authorize` nothing in a request says which login it belongs to: those hops are joined by the
//! address they came from, and say so ([`Joined::ByAddress`]). From there the id travels sealed in the form, then with the code
//! and the token family, and [`adopt`] tells it: from there it is exact.
//!
//! Hops go through a bounded queue to a thread that writes them to `traces.db`. When the queue is full they are
//! dropped and counted. Nothing that happens to that file ever holds up or fails a request.
//!
//! No hop holds a secret: paths are templates, and of an event only the fields of an allow-list are taken.
//!
//! [`TraceId`]: doorward_types::id::TraceId

pub mod decisions;
mod file;
mod follow;
mod hop;
mod join;
mod layer;
mod reader;
mod recorder;
mod writer;

pub use follow::{Followed, Kind, Login, adopt, current, login};
pub use hop::{Actor, Hop, Joined, Note, trace_of_parent};
pub use join::Arrival;
pub use layer::layer;
pub use reader::{Found, ReadError, Reader, Summary};
pub use recorder::{Limits, Recorder, Refusal, StartError};

/// Response header of a refusal: the id to give to the operator.
pub const HEADER: &str = "doorward-trace";
/// The file's name in the data folder.
pub const FILE: &str = "traces.db";

#[cfg(test)]
mod tests;
