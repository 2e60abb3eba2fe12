//! Learning from answers as they pass.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use doorward_mcp::sse::EventReader;
use doorward_types::id::UserId;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body::Frame;

use crate::body::{Body, BodyError, Pieces};
use crate::learner::Learner;
use crate::parameters::Parameters;
use crate::receive::EVENT_STREAM;

/// Longest answer, or event of one, that is learnt from, in bytes. A longer one passes all the same.
const ANSWER_LIMIT: usize = 1 << 20;

/// Reads an answer as it passes. What it learns, it has learnt before the client has the answer's end.
pub(crate) struct Listener {
    learns: Learns,
    heard: Heard,
}

pub(crate) enum Learns {
    /// Which headers tools ask for, from a list of them.
    Parameters(Arc<Parameters>, UserId),
    /// What is handed out to its caller.
    HandedOut(Box<Learner>),
}

enum Heard {
    Nothing,
    Whole(Pieces),
    Stream(Box<EventReader>),
}

impl Listener {
    pub(crate) const fn new(learns: Learns) -> Self {
        let heard = Heard::Nothing;
        Self { learns, heard }
    }

    /// The answer as it was; on the way its body is listened to.
    pub(crate) fn follow(mut self, answer: Response<Body>) -> Response<Body> {
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let kind = answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
        let stream = kind.is_some_and(|kind| {
            kind.get(..EVENT_STREAM.len())
                .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM.as_bytes()))
        });
        self.heard = if stream {
            Heard::Stream(Box::new(EventReader::new(ANSWER_LIMIT)))
        } else {
            Heard::Whole(Pieces::default())
        };
        answer.map(|body| body.heard_by(self))
    }

    /// Takes note of what a body gives. `last` is whether it is known that nothing follows.
    pub(crate) fn hear(&mut self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>, last: bool) {
        match polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.piece(data);
                }
                if last {
                    self.end();
                }
            }
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Err(_))) => self.heard = Heard::Nothing,
        }
    }

    fn piece(&mut self, data: &Bytes) {
        match &mut self.heard {
            Heard::Nothing => {}
            Heard::Whole(pieces) => {
                pieces.push(data.clone());
                if pieces.len() > ANSWER_LIMIT {
                    self.heard = Heard::Nothing;
                }
            }
            Heard::Stream(reader) => match reader.push(data) {
                Ok(events) => {
                    for event in events {
                        self.learns.learn(event.data.as_bytes());
                    }
                }
                Err(_) => self.heard = Heard::Nothing,
            },
        }
    }

    fn end(&mut self) {
        if let Heard::Whole(pieces) = std::mem::replace(&mut self.heard, Heard::Nothing) {
            self.learns.learn(&pieces.whole());
        }
    }
}

impl Learns {
    fn learn(&self, message: &[u8]) {
        match self {
            Self::Parameters(parameters, user) => parameters.learn(*user, message),
            Self::HandedOut(learner) => learner.learn(message),
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
