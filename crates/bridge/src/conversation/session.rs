//! The session of a legacy server: opened by `initialize`, and opened again when the server has forgotten it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use http::HeaderValue;
use url::Url;

use super::{Conversation, Held, Purpose, Sent, Wire};
use crate::event::{Action, Delete, Due, Listen};
use crate::failure::Failure;
use crate::head;
use crate::reading;
use crate::settings::Transport;

/// How long messages wait for the stream of the session.
const ATTACHING: Duration = Duration::from_secs(1);

/// What carries the session.
#[derive(Debug)]
pub(super) enum Via {
    Streamable,
    /// HTTP+SSE of 2024-11-05.
    Sse {
        stream: Option<u64>,
        endpoint: Option<Url>,
        /// The `initialize` that waits for the endpoint, and the number it goes by.
        opening: Option<(u64, Arc<Message>, Purpose)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `initialize` is under way: all else waits.
    Opening,
    /// It was answered.
    Opened,
    /// `notifications/initialized` is under way: all else waits.
    Confirming,
    /// The stream of the session is being opened: all else waits a little.
    Attaching,
    Ready,
    /// It is gone, and is opened again when there is need.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) via: Via,
    pub(super) phase: Phase,
    /// Counts the openings.
    pub(super) generation: u32,
    pub(super) id: Option<HeaderValue>,
    pub(super) version: Option<String>,
    /// What opened it, to be repeated.
    pub(super) initialize: Option<Bytes>,
    pub(super) initialized: Option<Bytes>,
    /// The GET stream.
    pub(super) stream: Option<u64>,
    /// It ended for want of a login.
    stream_is_due: bool,
    /// The other transport may be tried.
    may_fall_back: bool,
    /// Openings in vain, one after another.
    pub(super) in_vain: u32,
    error_of_post: Option<Failure>,
}

impl Session {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            via: match transport {
                Transport::Sse => Via::sse(),
                Transport::Auto | Transport::Streamable => Via::Streamable,
            },
            phase: Phase::Opening,
            generation: 0,
            id: None,
            version: None,
            initialize: None,
            initialized: None,
            stream: None,
            stream_is_due: false,
            may_fall_back: transport == Transport::Auto,
            in_vain: 0,
            error_of_post: None,
        }
    }

    /// "Clients that no longer need a particular session SHOULD send an HTTP DELETE".
    pub(super) fn farewell(&self, url: &Url) -> Option<Delete> {
        let id = self.id.as_ref()?;
        Some(Delete {
            url: url.clone(),
            headers: head::stream(Some(id), self.version.as_deref()),
        })
    }

    /// Whether its `initialize` may still be answered, or was.
    pub(super) fn is_opening(&self) -> bool {
        let waits = matches!(&self.via, Via::Sse { opening: Some(_), .. });
        waits || self.phase != Phase::Opening
    }

    pub(super) fn begin(&mut self) {
        self.generation += 1;
        self.stream_is_due = false;
        self.phase = Phase::Opening;
        (self.id, self.version) = (None, None);
    }
}

impl Via {
    const fn sse() -> Self {
        Self::Sse {
            stream: None,
            endpoint: None,
            opening: None,
        }
    }
}

impl Conversation {
    /// The host or the adapter opens a session; one that was there ends.
    pub(super) fn open_new(&mut self, initialize: &Message) {
        let url = self.settings.url.clone();
        let Some(session) = self.session() else {
            return;
        };
        let farewell = session.farewell(&url);
        let stream = session.stream.take();
        session.begin();
        session.initialize = Some(initialize.line().clone());
        session.initialized = None;
        session.in_vain = 0;
        self.abort_stream(stream);
        self.actions.extend(farewell.map(Action::Delete));
    }

    pub(super) fn abort_stream(&mut self, stream: Option<u64>) {
        if let Some(number) = stream {
            self.sent.remove(&number);
            self.actions.push(Action::Abort(number));
        }
    }

    /// HTTP+SSE: an `initialize` waits for the endpoint, which the stream names. The number it goes by, if it does.
    pub(super) fn await_endpoint(&mut self, initialize: &Arc<Message>, purpose: Purpose) -> Option<u64> {
        let Wire::Legacy(session) = &mut self.wire else {
            return None;
        };
        let Via::Sse {
            opening, endpoint, ..
        } = &mut session.via
        else {
            return None;
        };
        if endpoint.is_some() {
            return None;
        }
        self.next += 1;
        let number = self.next;
        *opening = Some((number, Arc::clone(initialize), purpose));
        self.start_stream(true, Duration::ZERO);
        Some(number)
    }

    fn start_stream(&mut self, is_sse: bool, delay: Duration) {
        self.next += 1;
        let number = self.next;
        let url = self.settings.url.clone();
        let Some(session) = self.session() else {
            return;
        };
        let headers = head::stream(session.id.as_ref(), session.version.as_deref());
        let in_session = session.id.is_some();
        let generation = session.generation;
        let old = match &mut session.via {
            Via::Sse { stream, .. } => stream.replace(number),
            Via::Streamable => session.stream.replace(number),
        };
        self.abort_stream(old);
        self.sent.insert(
            number,
            Sent {
                message: None,
                purpose: Purpose::Stream,
                generation,
                in_session,
                again: false,
                named: None,
                answered: false,
                elsewhere: false,
                parameters: Vec::new(),
            },
        );
        self.actions.push(Action::Listen(Listen {
            number,
            url,
            headers,
            is_sse,
            delay,
        }));
    }

    /// The stream of HTTP+SSE names where messages go.
    pub(super) fn endpoint(&mut self, number: u64, url: Url) {
        let Some(session) = self.session() else {
            return;
        };
        let Via::Sse {
            stream,
            endpoint,
            opening,
        } = &mut session.via
        else {
            return;
        };
        if *stream != Some(number) {
            return;
        }
        *endpoint = Some(url);
        session.error_of_post = None;
        if let Some((number, initialize, purpose)) = opening.take() {
            self.post_as(number, initialize, purpose, false);
        }
    }

    /// The answer to an `initialize` came; `named`: the session that its head named.
    pub(super) fn opened(&mut self, answer: &Message, named: Option<HeaderValue>) {
        let version = reading::negotiated(answer);
        if let Some(session) = self.session() {
            session.phase = Phase::Opened;
            session.id = named;
            session.version = version;
        }
    }

    /// `notifications/initialized` went out, accepted or not: everything may follow.
    pub(super) fn confirmed(&mut self) {
        let Some(session) = self.session() else {
            return;
        };
        if session.phase != Phase::Confirming {
            return;
        }
        session.in_vain = 0;
        session.phase = Phase::Attaching;
        let generation = session.generation;
        if matches!(session.via, Via::Sse { .. }) {
            return self.attached(generation);
        }
        self.start_stream(false, Duration::ZERO);
        self.actions
            .push(Action::Later(ATTACHING, Due::Attached(generation)));
    }

    /// A stream of the session is open.
    pub(super) fn listening(&mut self, number: u64) {
        if let Some(sent) = self.sent.get_mut(&number) {
            // As with an answer: what comes after this is the end of something that was there.
            sent.answered = true;
            let generation = sent.generation;
            self.attached(generation);
        }
    }

    /// What the server asks during a call may come on the stream of the session, and servers drop what they cannot send: calls
    /// go once it is open, or cannot be had, or has had its time.
    pub(super) fn attached(&mut self, of: u32) {
        let Some(session) = self.session() else {
            return;
        };
        if session.phase != Phase::Attaching || session.generation != of {
            return;
        }
        session.phase = Phase::Ready;
        for Held { message, again } in std::mem::take(&mut self.held) {
            self.pass_legacy(message, again);
        }
    }

    /// Tries HTTP+SSE where Streamable HTTP was refused to an `initialize`. Whether it does.
    pub(super) fn fall_back(
        &mut self,
        number: u64,
        initialize: &Arc<Message>,
        purpose: Purpose,
        refusal: &Failure,
    ) -> bool {
        let Some(session) = self.session() else {
            return false;
        };
        if !std::mem::take(&mut session.may_fall_back) || !matches!(session.via, Via::Streamable) {
            return false;
        }
        tracing::debug!("the server does not speak Streamable HTTP: HTTP+SSE is tried");
        session.error_of_post = Some(refusal.clone());
        session.via = Via::Sse {
            stream: None,
            endpoint: None,
            opening: Some((number, Arc::clone(initialize), purpose)),
        };
        self.start_stream(true, Duration::ZERO);
        true
    }

    /// The stream of HTTP+SSE, and with it the session, is over.
    pub(super) fn sse_ended(&mut self, failure: &Failure) {
        let transport = self.settings.transport;
        let Some(session) = self.session() else {
            return;
        };
        let Via::Sse {
            stream,
            endpoint,
            opening,
        } = &mut session.via
        else {
            return;
        };
        (*stream, *endpoint) = (None, None);
        let opening = opening.take();
        let failure = session.error_of_post.take().unwrap_or_else(|| failure.clone());
        let Some((number, initialize, purpose)) = opening else {
            return self.sse_broke(&failure);
        };
        if purpose == Purpose::Reopen {
            return self.not_reopened(&failure);
        }
        // The session was never there: the next `initialize` may try the other transport again.
        self.wire = Wire::Legacy(Box::new(Session::new(transport)));
        self.first_or_lost(number, &initialize, &failure);
        self.guessed_wrong(&initialize);
    }

    /// The GET stream cannot be had, or not any more; or not until somebody has logged in.
    pub(super) fn stream_ended(&mut self, number: u64, for_want_of_login: bool) {
        if let Some(session) = self.session()
            && session.stream == Some(number)
        {
            session.stream = None;
            session.stream_is_due = for_want_of_login;
            let generation = session.generation;
            self.attached(generation);
        }
    }

    /// The host is there again, and with it perhaps somebody who logs in.
    pub(super) fn stream_again(&mut self) {
        let is_due = self.session().is_some_and(|session| {
            session.phase == Phase::Ready && std::mem::take(&mut session.stream_is_due)
        });
        if is_due {
            self.start_stream(false, Duration::ZERO);
        }
    }

    pub(super) fn is_sse_stream(&self, number: u64) -> bool {
        match &self.wire {
            Wire::Legacy(session) => {
                matches!(&session.via, Via::Sse { stream, .. } if *stream == Some(number))
            }
            Wire::Modern | Wire::Unknown => false,
        }
    }
}
