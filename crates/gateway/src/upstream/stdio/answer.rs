//! What a command says as an answer of Streamable HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::{Call, Revision, sse};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Instant, Sleep, sleep};

use super::conversation::{Listening, Ticket};
use super::failure::StdioFailure;
use super::outbox::{Inbox, Item, Outcome};
use super::state::{Era, Over};
use crate::body::UpstreamBody;
use crate::receive::{EVENT_STREAM, JSON};

/// Between two signs of life on a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The answer to a call.
pub(super) enum Answer {
    /// It is there already.
    Whole {
        line: Bytes,
        status: StatusCode,
        is_error: bool,
    },
    /// It comes after other messages.
    Stream(Events),
}

/// What is kept of a call for its answer.
pub(super) struct Asked {
    id: Box<str>,
    is_initialize: bool,
    /// 2026-07-28 wants them in every request.
    has_capabilities: bool,
}

impl Asked {
    pub(super) fn of(call: &Call) -> Self {
        const CAPABILITIES: &[u8] = b"\"io.modelcontextprotocol/clientCapabilities\"";
        let modern = call.revision() == Revision::V2026_07_28;
        Self {
            id: call.id().unwrap_or("null").into(),
            is_initialize: call.method() == Some("initialize"),
            has_capabilities: !modern || memchr::memmem::find(call.body(), CAPABILITIES).is_some(),
        }
    }

    /// The status that Streamable HTTP has for an answer. Legacy revisions define none for JSON-RPC errors:
    /// 404, for one, would mean that the session is over.
    pub(super) fn status(&self, era: Era, outcome: Outcome) -> StatusCode {
        let code = match outcome {
            Outcome::Error(Some(code)) => code,
            Outcome::Unread => return StatusCode::SERVICE_UNAVAILABLE,
            Outcome::Result | Outcome::Error(None) => return StatusCode::OK,
        };
        match (era, code) {
            (Era::Modern, -32601) => StatusCode::NOT_FOUND,
            (Era::Modern, -32022..=-32020) => StatusCode::BAD_REQUEST,
            (Era::Legacy, -32022) if self.is_initialize => StatusCode::BAD_REQUEST,
            // About the request's metadata, not about a tool's arguments.
            (Era::Modern, -32602) if !self.has_capabilities => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        }
    }

    /// The last event of a call whose process ended.
    fn lost(&self) -> Bytes {
        let failure = StdioFailure::Ended;
        let (id, code) = (&self.id, failure.status().as_u16());
        // The words have nothing to escape.
        let error = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{failure}","data":{{"reason":"{}"}}}}}}"#,
            failure.reason()
        );
        sse::event(error.as_bytes())
    }
}

impl Answer {
    pub(super) fn into_response(self) -> Response<UpstreamBody> {
        match self {
            Self::Whole { line, status, .. } => {
                let mut response = Response::new(in_process(Full::new(line)));
                *response.status_mut() = status;
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
                response
            }
            Self::Stream(events) => events.into_response(),
        }
    }
}

/// An answer that is a status alone.
pub(super) fn status(status: StatusCode) -> Response<UpstreamBody> {
    let mut response = Response::new(in_process(Empty::new()));
    *response.status_mut() = status;
    response
}

fn in_process<B>(body: B) -> UpstreamBody
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    UpstreamBody::InProcess(body.map_err(|never| match never {}).boxed())
}

/// A stream of events to one client.
pub(super) struct Events {
    first: Option<Bytes>,
    inbox: Inbox,
    beat: Pin<Box<Sleep>>,
    source: Source,
}

enum Source {
    Call(Ticket, Asked),
    Session(#[expect(dead_code, reason = "held to tell, when dropped, that the client has gone")] Listening),
    /// Nothing more will come.
    Over,
}

impl Events {
    pub(super) fn of_call(first: &Item, inbox: Inbox, ticket: Ticket, asked: Asked) -> Self {
        Self::new(Some(sse::event(&first.line)), inbox, Source::Call(ticket, asked))
    }

    /// A stream that ends without an answer.
    pub(super) fn ended(inbox: Inbox, ticket: Ticket, asked: Asked) -> Self {
        Self::new(None, inbox, Source::Call(ticket, asked))
    }

    /// It begins with a sign of life: some clients and proxies take a head for sent only then.
    pub(super) fn of_session(inbox: Inbox, listening: Listening) -> Self {
        let first = Bytes::from_static(sse::KEEP_ALIVE);
        Self::new(Some(first), inbox, Source::Session(listening))
    }

    fn new(first: Option<Bytes>, inbox: Inbox, source: Source) -> Self {
        Self {
            first,
            inbox,
            beat: Box::pin(sleep(KEEP_ALIVE)),
            source,
        }
    }

    pub(super) fn into_response(self) -> Response<UpstreamBody> {
        let mut response = Response::new(in_process(self));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert(
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        );
        response
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if matches!(self.source, Source::Over) {
            return Poll::Ready(None);
        }
        match self.inbox.poll_next(context) {
            Poll::Ready(Some(item)) => {
                if item.answer.is_some() {
                    self.source = Source::Over;
                }
                self.beat.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(Some(sse::event(&item.line)))
            }
            Poll::Ready(None) => match std::mem::replace(&mut self.source, Source::Over) {
                Source::Call(ticket, asked) if ticket.conversation().over() == Some(Over::Died) => {
                    Poll::Ready(Some(asked.lost()))
                }
                _ => Poll::Ready(None),
            },
            Poll::Pending => {
                if self.beat.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.beat.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)))
            }
        }
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_next(context)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
