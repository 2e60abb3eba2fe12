//! The seam between the host's side and the server's: who sees which message, and what becomes of it.
//!
//! The transport below finds out which era the host and the server speak, keeps sessions, streams and headers, and sees to
//! authorization. An [`Adapter`] sees messages only.

use std::time::Duration;

use bytes::Bytes;

/// One JSON-RPC message of either side with the bytes it was read from.
pub use doorward_mcp::ServerMessage as Message;

use crate::failure::Failure;

/// Which eras meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both open with `initialize`, or neither does: messages pass byte for byte.
    SameEra,
    /// The host opens with `initialize`, the server knows only requests that carry their own metadata (2026-07-28).
    LegacyHostModernServer,
    /// The host's requests carry their own metadata (2026-07-28), the server wants an `initialize`.
    ModernHostLegacyServer,
}

/// What is to be done with what an adapter was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One message for the host: JSON of any layout, it is put on one line.
    ToHost(Bytes),
    /// One message for the server. The transport gives it the headers of the server's era; on a modern server's wire a
    /// `notifications/cancelled` closes the stream of the request that it names.
    ToServer(Bytes),
    /// The same, after a while: for what is tried again.
    ToServerIn(Duration, Bytes),
}

/// Translates between a host and a server. No input or output, no clock: one call, one list of steps.
pub trait Adapter: Send {
    /// A message of the host, in the order in which it wrote them. The first one is the message by which the mode was found
    /// out; it was not processed by the server, or is of no consequence (`initialize`, `server/discover`).
    fn host(&mut self, message: &Message) -> Vec<Step>;

    /// A message of the server. `request` is the request (as it went to the server) on whose stream or as whose answer it came;
    /// `None` on a stream of the session.
    fn server(&mut self, message: &Message, request: Option<&Message>) -> Vec<Step>;

    /// A request that went to the server gets no answer: it could not be delivered, was refused below JSON-RPC, or its
    /// stream broke off. Not told of requests that were cancelled.
    fn lost(&mut self, request: &Message, failure: &Failure) -> Vec<Step>;

    /// The transport opened a new session in place of one that the server forgot: what the session held (subscriptions, the
    /// level of logging) is to be asked for again.
    fn renewed(&mut self) -> Vec<Step> {
        Vec::new()
    }

    /// Time goes by: called every few seconds with how long it is since the last time.
    fn elapsed(&mut self, _: Duration) -> Vec<Step> {
        Vec::new()
    }
}

/// Passes everything byte for byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassThrough;

impl Adapter for PassThrough {
    fn host(&mut self, message: &Message) -> Vec<Step> {
        vec![Step::ToServer(message.line().clone())]
    }

    fn server(&mut self, message: &Message, _: Option<&Message>) -> Vec<Step> {
        vec![Step::ToHost(message.line().clone())]
    }

    fn lost(&mut self, request: &Message, failure: &Failure) -> Vec<Step> {
        let answer = request.id().map(|id| Step::ToHost(failure.answer(id)));
        answer.into_iter().collect()
    }
}
