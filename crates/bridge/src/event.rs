//! What the state machine asks of the network, and what the network tells it.

use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::failure::Failure;
use crate::memory::Share;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// One line for the host, without line end.
    ToHost(Bytes, Share),
    /// One message for the server.
    Post(Post),
    /// A stream of the session.
    Listen(Listen),
    /// What goes by this number ends at once, and its connection with it.
    Abort(u64),
    /// The session is over.
    Delete(Delete),
    /// Something is due later.
    Later(Duration, Due),
}

/// See [`Action::Later`].
#[derive(Debug)]
pub(crate) enum Due {
    /// A message that the adapter sends.
    Send(Bytes),
    /// The session is opened again.
    Reopen(u32),
    /// The stream of a session has had its time to open.
    Attached(u32),
    /// An exchange that was cancelled has had its time.
    Abort(u64),
}

/// A POST.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) number: u64,
    pub(crate) url: Url,
    /// Without authorization and without the user's own.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The id of the request whose answer is to come, as JSON text.
    pub(crate) expects: Option<String>,
    /// With which headers a stream that broke off is resumed, where that can be (2025-11-25, Resumability).
    pub(crate) resume: Option<HeaderMap>,
    /// What is being done, for the count of step-ups.
    pub(crate) operation: String,
    /// The server has shown that it is one of 2026-07-28 or later.
    pub(crate) is_modern: bool,
}

/// A GET.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) number: u64,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Whether it is the one stream of HTTP+SSE (2024-11-05), which begins with an `endpoint` and is never resumed.
    pub(crate) is_sse: bool,
    /// How long to wait before it.
    pub(crate) delay: Duration,
}

/// A DELETE.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

/// What happened to an exchange.
#[derive(Debug)]
pub(crate) enum Event {
    /// The head of a good answer named a session.
    Session(u64, HeaderValue),
    /// The stream is open.
    Listening(u64),
    /// Where messages go from now on (HTTP+SSE).
    Endpoint(u64, Url),
    /// A message came.
    Message(u64, Box<Message>, Share),
    /// It is over.
    Ended(u64, Outcome),
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With everything that was to come.
    Complete,
    /// The status says no.
    Refused(Refused),
    /// For a reason that is told as it is.
    Failed(Failure),
}

impl Outcome {
    /// See [`Failure::for_want_of_login`].
    pub(crate) fn is_for_want_of_login(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.for_want_of_login)
    }
}

/// A status that says no, after all that could be done about authorization.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    /// Its first 64 KiB.
    pub(crate) body: Bytes,
    /// `Retry-After`, if it is a number of seconds.
    pub(crate) retry_after: Option<u64>,
}
