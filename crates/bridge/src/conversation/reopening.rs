//! Opening a session again that the server has forgotten, or whose stream broke.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use http::HeaderValue;

use super::session::Phase;
use super::{Conversation, Purpose};
use crate::event::{Action, Due};
use crate::failure::Failure;
use crate::memory::Share;

/// The first and the longest wait before a session is opened again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Conversation {
    /// Opens the session again, with what opened it before. "When a client receives HTTP 404 in response to a request
    /// containing an `MCP-Session-Id`, it MUST start a new session by sending a new `InitializeRequest`".
    pub(super) fn reopen(&mut self) {
        let Some(session) = self.session() else {
            return;
        };
        let initialize = session
            .initialize
            .clone()
            .and_then(|line| Message::read(line).ok());
        session.begin();
        let stream = session.stream.take();
        self.abort_stream(stream);
        if let Some(initialize) = initialize {
            tracing::info!("the session with the server is opened anew");
            self.send(Arc::new(initialize), Purpose::Reopen, false);
        }
    }

    /// It was, and needs no more of us than going on.
    pub(super) fn reopened(&mut self, answer: &Message, named: Option<HeaderValue>) {
        let before = self.session().and_then(|session| session.version.clone());
        self.opened(answer, named);
        let Some(session) = self.session() else {
            return;
        };
        if before.is_some() && before != session.version {
            tracing::warn!(?before, now = ?session.version, "the server speaks another version than before: the host is not told");
        }
        session.phase = Phase::Confirming;
        let confirm = session.initialized.clone().unwrap_or_else(|| {
            Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        });
        if let Ok(confirm) = Message::read(confirm) {
            self.post(Arc::new(confirm), Purpose::Reconfirm, false);
        }
    }

    /// And the adapter may have to do something.
    pub(super) fn reconfirmed(&mut self) {
        self.confirmed();
        if let Some(adapter) = &mut self.adapter {
            let steps = adapter.renewed();
            self.take_steps(steps, Share::default());
        }
    }

    /// It could not be opened again. Everybody who waits for it is told, and it is tried again later.
    pub(super) fn not_reopened(&mut self, failure: &Failure) {
        let Some(session) = self.session() else {
            return;
        };
        session.phase = Phase::Lost;
        self.retry_later();
        for held in std::mem::take(&mut self.held) {
            self.lost(&held.message, failure);
        }
    }

    /// Unless a login is missing: the next message of the host opens the session then. Tried again and again, it would open
    /// one page after another in front of nobody.
    fn retry_later(&mut self) {
        let unattended = self.unattended;
        let Some(session) = self.session().filter(|_| !unattended) else {
            return;
        };
        let delay = BACK_OFF
            .0
            .saturating_mul(1 << session.in_vain.min(5))
            .min(BACK_OFF.1);
        session.in_vain += 1;
        let generation = session.generation;
        self.actions.push(Action::Later(delay, Due::Reopen(generation)));
    }

    pub(super) fn reopen_if_lost(&mut self, of: u32) {
        let is_lost = self
            .session()
            .is_some_and(|session| session.phase == Phase::Lost && session.generation == of);
        if is_lost && !self.unattended {
            self.reopen();
        }
    }

    /// The server does not know the session of this exchange. Whether there is a newer one already, or now will be.
    pub(super) fn session_gone(&mut self, generation: u32) {
        let unattended = self.unattended;
        let Some(session) = self.session() else {
            return;
        };
        if session.generation != generation || session.phase == Phase::Opening {
            return;
        }
        if unattended {
            session.phase = Phase::Lost;
        } else {
            self.reopen();
        }
    }

    /// What was to come on the stream does not.
    pub(super) fn sse_broke(&mut self, failure: &Failure) {
        if let Some(session) = self.session() {
            session.phase = Phase::Lost;
        }
        self.retry_later();
        let (lost, kept) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(_, sent)| sent.elsewhere);
        self.sent = kept;
        for (number, sent) in lost {
            self.actions.push(Action::Abort(number));
            match (sent.purpose, sent.message) {
                (Purpose::Passed, Some(message)) if !sent.answered => {
                    self.first_or_lost(number, &message, failure);
                }
                // It is under way already: nobody waits for it but those who are held.
                (Purpose::Reopen, _) => self.not_reopened(failure),
                _ => {}
            }
        }
    }
}
