//! From an HTTP request to a call, within a time; and what happens to bodies that nobody reads.

use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::{Call, Extensions};
use doorward_resource_server::receive::{self, NotACall};
use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::BodyExt;

use crate::refuse::Failure;

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Limits on bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// Reads what the client does. Bodies of GET and DELETE are not looked at and go nowhere.
pub(crate) async fn call<B>(
    method: &Method,
    headers: &HeaderMap,
    body: B,
    limits: Limits,
    extensions: &Extensions,
) -> Result<Call, Failure>
where
    B: Body<Data = Bytes>,
{
    let reading = receive::call(method, headers, body, limits.bytes, extensions);
    let read = tokio::time::timeout(limits.time, reading).await;
    read.map_err(|_| Failure::BodyTimedOut)?.map_err(Failure::from)
}

impl From<NotACall> for Failure {
    fn from(error: NotACall) -> Self {
        match error {
            NotACall::Method => Self::Method,
            NotACall::ContentType => Self::ContentType,
            NotACall::ContentEncoding => Self::ContentEncoding,
            NotACall::Accept => Self::Accept,
            NotACall::TooLarge => Self::TooLarge,
            NotACall::Cut => Self::BodyCut,
            NotACall::Envelope(error) => Self::Envelope(error),
            NotACall::NotAdmitted(refusal) => Self::NotAdmitted(refusal),
        }
    }
}

pub(crate) fn is(value: &[u8], text: &str) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(text.as_bytes())
}

/// How many times the longest accepted body is read only to be thrown away.
const DISCARDED: usize = 4;

/// Reads the rest of a refused request's body and forgets it, while the answer is on its way.
///
/// A connection that is closed while bytes come in is reset, and the reset overtakes the answer (RFC 9112
/// §9.6): a client whose token expired would see a broken connection instead of the 401 that tells it to
/// refresh. And a client that sends head and body apart would find its next request on a connection that
/// closed without a word, however short the body. What is longer or slower than any body may be is not waited for.
pub(crate) fn discard<B>(mut body: B, limits: Limits)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return;
    }
    let mut left = limits.bytes.saturating_mul(DISCARDED);
    let reading = async move {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else {
                return;
            };
            left = rest;
        }
    };
    tokio::spawn(tokio::time::timeout(limits.time, reading));
}
