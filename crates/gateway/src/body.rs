//! The one body type of all answers.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Sleep, sleep};

use crate::line::Answer;
use crate::listener::Listener;
use crate::stream::Stream;
use crate::upstream::BoxError;

/// Why an answer's body ended before its end. The connection (or the HTTP/2 stream) is then torn down, so
/// that the client never takes half an answer for a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream broke off.
    #[error("the upstream broke off in the middle of its answer")]
    Upstream(#[source] BoxError),
    /// The upstream began a whole answer and did not finish it.
    #[error("the upstream did not finish its answer in time")]
    UpstreamTimedOut,
    /// An event in which something may have to be left out cannot be read with certainty.
    #[error("the upstream sent an event that cannot be read")]
    Unreadable,
}

/// The body of an answer: our own, or an upstream's, relayed frame by frame as it comes.
#[derive(Debug, Default)]
pub struct Body(Inner);

#[derive(Debug, Default)]
enum Inner {
    #[default]
    Empty,
    Whole(Bytes),
    Relayed(UpstreamBody, Patience),
    Stream(Box<Stream>),
    Heard(Box<(Body, Listener)>),
}

/// How long an upstream may take to finish what is no stream. Nothing is set up for an answer that is all
/// there when it is first looked at, which is nearly every one.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        waiting.as_mut().poll(context)
    }
}

/// What an upstream answers with.
#[derive(Debug)]
pub(crate) enum UpstreamBody {
    Http(Answer),
    InProcess(BoxBody<Bytes, BoxError>),
}

/// What has come of a body. Small pieces are put together: an upstream chooses how small they are.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    first: Bytes,
    rest: BytesMut,
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// All of them in one; without a copy if there is one only.
    pub(crate) fn whole(self) -> Bytes {
        match self.rest.is_empty() {
            true => self.first,
            false => [self.first, self.rest.freeze()].concat().into(),
        }
    }
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is there already.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(bytes.into()))
    }

    /// `limit` is for the whole body, from the first wait for a part of it.
    pub(crate) fn relayed(body: UpstreamBody, limit: Duration) -> Self {
        let waiting = None;
        Self(Inner::Relayed(body, Patience { limit, waiting }))
    }

    pub(crate) fn stream(stream: Stream) -> Self {
        Self(Inner::Stream(Box::new(stream)))
    }

    /// The same body, and somebody learns from what passes.
    pub(crate) fn heard_by(self, listener: Listener) -> Self {
        Self(Inner::Heard(Box::new((self, listener))))
    }

    /// Whether this is a stream on which a client listens for what may come: a GET's, or that of
    /// `subscriptions/listen`. Nothing is lost when such a stream ends, and nothing else would end it.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        match &self.0 {
            Inner::Stream(stream) => stream.is_listening(),
            Inner::Heard(heard) => heard.0.is_listening(),
            _ => false,
        }
    }

    /// Ends a stream before its time. What remains is the completion of a subscription, if that is owed and
    /// the last event is whole (2026-07-28, Subscriptions, "Graceful Closure"). Dropping the upstream's body
    /// ends the upstream's stream as well. Bodies that are no streams go on.
    pub fn end_stream(&mut self) {
        match &mut self.0 {
            Inner::Stream(stream) => {
                stream.stops();
                self.0 = stream.completion().map_or(Inner::Empty, Inner::Whole);
            }
            Inner::Heard(heard) => heard.0.end_stream(),
            _ => {}
        }
    }
}

impl UpstreamBody {
    /// One that is all there.
    pub(crate) fn ready(bytes: Bytes) -> Self {
        Self::InProcess(Full::new(bytes).map_err(|never| match never {}).boxed())
    }

    /// Whether it is known to have no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Http(body) => body.is_end_stream(),
            Self::InProcess(body) => body.is_end_stream(),
        }
    }

    /// The next piece. Trailers are dropped: no rule names any that may pass.
    pub(crate) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self {
            Self::Http(body) => ready!(body.poll_frame(context)),
            Self::InProcess(body) => ready!(Pin::new(body).poll_frame(context)),
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) if frame.is_data() => Some(Ok(frame)),
            Some(Ok(_)) | None => None,
            Some(Err(error)) => {
                tracing::warn!(error = %error, "the upstream broke off in the middle of its answer");
                Some(Err(BodyError::Upstream(error)))
            }
        })
    }

    /// Drops it. If its end is there already, the connection it came over can be used again.
    pub(crate) async fn discard(mut self) {
        poll_fn(|context| {
            // One look: who sends more than an end is not waited for.
            drop(self.poll_data(context));
            Poll::Ready(())
        })
        .await;
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            Self::InProcess(body) => body.size_hint(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Relayed(body, patience) => {
                let polled = body.poll_data(context);
                if polled.is_pending() && patience.poll_end(context).is_ready() {
                    tracing::warn!("the upstream did not finish its answer in time");
                    // Dropping the upstream's body ends its request as well.
                    self.0 = Inner::Empty;
                    return Poll::Ready(Some(Err(BodyError::UpstreamTimedOut)));
                }
                polled
            }
            Inner::Stream(stream) => {
                if stream.poll_end(context).is_ready() {
                    self.end_stream();
                    return self.poll_frame(context);
                }
                stream.poll_data(context)
            }
            Inner::Heard(heard) => {
                let (body, listener) = &mut **heard;
                let polled = Pin::new(&mut *body).poll_frame(context);
                listener.hear(&polled, body.is_end_stream());
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Relayed(body, _) => body.is_empty(),
            Inner::Stream(_) => false,
            Inner::Heard(heard) => heard.0.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Inner::Relayed(body, _) => body.size_hint(),
            // It may end early on purpose, so no length is promised.
            Inner::Stream(_) => SizeHint::default(),
            Inner::Heard(heard) => heard.0.size_hint(),
        }
    }
}
