//! The seam to the network: one request, the head of its answer, and the body as it comes.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct SendError {
    /// Whether the server may have got the request. Only what it provably did not get is sent again.
    pub maybe_processed: bool,
    /// What went wrong, for the person in front of the host.
    pub words: String,
}

/// The head of an answer, and its body to come.
pub struct Answer {
    /// The status. Redirects are not followed: they are answers like others.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. Dropping it before its end closes the connection, which is how requests of 2026-07-28 are cancelled.
    pub body: Box<dyn Body>,
}

/// A body in pieces.
#[async_trait]
pub trait Body: Send {
    /// The next piece; `None` at the end; words if the connection broke off before it.
    async fn next(&mut self) -> Option<Result<Bytes, String>>;
}

/// Sends requests to the MCP server, whose URL the user wrote down.
#[async_trait]
pub trait Http: Send + Sync + 'static {
    /// Sends one request, whose URI is absolute, and waits for the head of its answer, however long that takes.
    async fn send(&self, request: Request<Bytes>) -> Result<Answer, SendError>;
}
