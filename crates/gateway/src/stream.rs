//! One open stream of events on its way to a client.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use doorward_mcp::{Action, Summary};
use http_body::Frame;

use crate::body::{BodyError, UpstreamBody};
use crate::filter::{StreamSieve, Unreadable};
use crate::guard::Guard;
use crate::limit;

/// Most pieces that are taken in at once while nothing passes.
const AT_ONCE: usize = 32;

/// The upstream's events, passed on as they come, until they or their guard end.
#[derive(Debug)]
pub(crate) struct Stream {
    body: UpstreamBody,
    guard: Guard,
    purpose: Purpose,
    sieve: Option<Box<StreamSieve>>,
    /// Among the streams of its user.
    _held: Option<limit::Place>,
}

/// What a client opened a stream for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// It waits for the answer to a call.
    Answer,
    /// It listens to what the server sends unasked (GET of the legacy revisions).
    Unasked,
    /// It subscribed: a stream that we end is owed a completion.
    Subscription(Box<Subscription>),
}

/// What the completion of a subscription is made of.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The request's `id` as JSON text.
    id: Box<str>,
    place: Place,
}

impl Purpose {
    /// Why the stream that answers `call` is there.
    pub(crate) fn of(call: &Summary) -> Self {
        if call.action() == Action::OpenStream {
            return Self::Unasked;
        }
        match (call.method(), call.id()) {
            (Some("subscriptions/listen"), Some(id)) => Self::Subscription(Box::new(Subscription {
                id: id.into(),
                place: Place::default(),
            })),
            _ => Self::Answer,
        }
    }
}

impl Purpose {
    /// Whether nobody waits for an answer on it.
    pub(crate) fn is_listening(&self) -> bool {
        !matches!(self, Self::Answer)
    }
}

impl Stream {
    pub(crate) fn new(body: UpstreamBody, guard: Guard, purpose: Purpose) -> Self {
        Self {
            body,
            guard,
            purpose,
            sieve: None,
            _held: None,
        }
    }

    /// The same stream, without what `sieve` holds back.
    #[must_use]
    pub(crate) fn sieved_by(mut self, sieve: Option<StreamSieve>) -> Self {
        self.sieve = sieve.map(Box::new);
        self
    }

    /// The same stream, which holds `place` among those of its user.
    #[must_use]
    pub(crate) fn holding(mut self, place: Option<limit::Place>) -> Self {
        self._held = place;
        self
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.purpose.is_listening()
    }

    /// Ready when we have to end it.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.guard.poll_end(context)
    }

    pub(crate) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_sieved(context));
        match &frame {
            None => self.guard.ends("upstream_ended"),
            Some(Err(_)) => self.guard.ends("upstream_failed"),
            Some(Ok(_)) => {}
        }
        if let Purpose::Subscription(subscription) = &mut self.purpose
            && let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
        {
            subscription.place.after(data);
        }
        Poll::Ready(frame)
    }

    fn poll_sieved(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        for _ in 0..AT_ONCE {
            let frame = ready!(self.body.poll_data(context));
            let (Some(sieve), Some(Ok(data))) = (
                &mut self.sieve,
                frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)),
            ) else {
                return Poll::Ready(frame);
            };
            let Some(data) = data else { continue };
            match sieve.push(data) {
                Ok(passed) if passed.is_empty() => {}
                Ok(passed) => return Poll::Ready(Some(Ok(Frame::data(passed)))),
                Err(Unreadable) => return Poll::Ready(Some(Err(BodyError::Unreadable))),
            }
        }
        // The guard has its turn before more is taken in.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// It is ended from outside: this server stops.
    pub(crate) fn stops(&mut self) {
        self.guard.ends("stopping");
    }

    /// The event that ends a subscription. Within another event it would become part of that one: then there
    /// is none, and the client takes the stream for broken, which it is.
    pub(crate) fn completion(&self) -> Option<Bytes> {
        let Purpose::Subscription(subscription) = &self.purpose else {
            return None;
        };
        let id = &subscription.id;
        subscription.place.is_between_events().then(|| {
            format!(
                "data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"resultType\":\"complete\",\
                 \"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}}}}}}\n\n"
            )
            .into()
        })
    }
}

/// Where in a stream of events the last byte stands (HTML Standard, "Interpreting an event stream").
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    line: Line,
    /// The event has a line already.
    inside: bool,
    /// The last byte was a carriage return: a line feed belongs to it.
    returned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Start,
    Comment,
    Field,
}

impl Place {
    fn after(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let returned = std::mem::replace(&mut self.returned, *byte == b'\r');
            match (byte, self.line) {
                (b'\n', _) if returned => {}
                (b'\r' | b'\n', line) => {
                    match line {
                        Line::Start => self.inside = false,
                        Line::Field => self.inside = true,
                        Line::Comment => {}
                    }
                    self.line = Line::Start;
                }
                (b':', Line::Start) => self.line = Line::Comment,
                (_, Line::Start) => self.line = Line::Field,
                _ => {}
            }
        }
    }

    fn is_between_events(self) -> bool {
        self.line == Line::Start && !self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_a_stream_is_known_however_it_is_cut() {
        for (text, between) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\n", false),
            ("data: 1", false),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\n\r", true),
            ("data: 1\r\n", false),
            ("data: 1\r", false),
            ("data: 1\r\r", true),
            ("data: 1\n\r", true),
            ("data: 1\n\r\n", true),
            (": ping\n", true),
            (": ping", false),
            (": ping\n\n", true),
            ("data: 1\n: ping\n", false),
            ("data: 1\n: ping\n\n", true),
            ("id: 1\n", false),
            ("\n\n\n", true),
            ("data: 1\n\ndata: 2", false),
        ] {
            for cut in 0..=text.len() {
                let mut place = Place::default();
                let (one, other) = text.as_bytes().split_at(cut);
                place.after(one);
                place.after(other);
                assert_eq!(place.is_between_events(), between, "{text:?} cut at {cut}");
            }
        }
    }
}
