//! Finding out which era the server speaks, from the host's first message and the answer to it.

use std::sync::Arc;

use doorward_mcp::ServerMessage as Message;
use doorward_mcp::envelope::Kind;
use doorward_mcp::message::identity;
use http::StatusCode;

use super::{Conversation, Purpose, Session, Wire};
use crate::adapter::{Mode, PassThrough};
use crate::era;
use crate::event::Action;
use crate::failure::Failure;
use crate::memory::Share;
use crate::reading::{Params, UNKNOWN_METHOD, is_modern};
use crate::settings::Transport;

impl Conversation {
    /// A message of the host while nobody knows yet how the server speaks.
    pub(super) fn before_eras(&mut self, message: Arc<Message>) {
        if let Some((number, first)) = &self.first {
            let cancelled = message.cancelled_request().map(identity);
            let is_first = cancelled.is_some() && cancelled == first.id().map(identity);
            if is_first && message.method() == Some("notifications/cancelled") {
                self.actions.push(Action::Abort(*number));
                self.sent.remove(&number.clone());
                return self.forget_first();
            }
            self.queue.push_back(message);
            return;
        }
        if message.kind() != Kind::Request {
            tracing::debug!("a message of the host before its first request is not passed");
            return;
        }
        let id = message.id().unwrap_or_default();
        match message.method() {
            Some("initialize") => {
                self.wire = Wire::Legacy(Box::new(Session::new(self.settings.transport)));
                self.begin(message);
            }
            _ if Params::of(&message).version.is_some() => {
                if self.settings.transport == Transport::Sse {
                    // No server of 2026-07-28 has this transport.
                    return self.found(Mode::ModernHostLegacyServer, &message);
                }
                self.wire = Wire::Modern;
                self.begin(message);
            }
            // Allowed at any time (2025-11-25, Ping), and nobody else can answer it yet.
            Some("ping") => {
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
                self.tell_host(answer.into());
            }
            _ => {
                let words = "the first request must be `initialize`, or name its protocol version in `_meta`";
                self.tell_host(Failure::new(-32600, words).answer(id));
            }
        }
    }

    fn begin(&mut self, message: Arc<Message>) {
        let number = self.send(Arc::clone(&message), Purpose::Passed, false);
        // What cannot be sent at all was answered.
        let is_under_way = self.sent.contains_key(&number) || matches!(self.wire, Wire::Legacy(_));
        if is_under_way {
            self.first = Some((number, message));
        } else {
            self.wire = Wire::Unknown;
        }
    }

    /// Whether the exchange is the one that shows the era.
    pub(super) fn is_first(&self, number: u64) -> bool {
        self.first.as_ref().is_some_and(|(first, _)| *first == number)
    }

    /// What the answer to the first request says about the server.
    pub(super) fn mode_of(&self, request: &Message, answer: &Message) -> Option<Mode> {
        let code = answer.error_code().filter(|_| answer.is_error());
        match (&self.wire, request.method(), code) {
            (Wire::Legacy(_), _, Some(code)) if is_modern(code) || code == UNKNOWN_METHOD => {
                Some(Mode::LegacyHostModernServer)
            }
            // The host may try another version.
            (Wire::Legacy(_), _, Some(_)) => None,
            (Wire::Modern, Some("server/discover"), Some(code)) if !is_modern(code) => {
                Some(Mode::ModernHostLegacyServer)
            }
            _ => Some(Mode::SameEra),
        }
    }

    /// What the refusal of the first request says about the server.
    pub(super) fn mode_of_refusal(
        &self,
        request: &Message,
        status: StatusCode,
        code: Option<i64>,
    ) -> Option<Mode> {
        let is_discover = request.method() == Some("server/discover");
        let shows_modern = code.is_some_and(|code| is_modern(code) || code == UNKNOWN_METHOD && !is_discover);
        let is_about_the_transport = matches!(status.as_u16(), 400 | 404 | 405 | 406 | 415 | 501);
        match &self.wire {
            Wire::Legacy(_) => shows_modern.then_some(Mode::LegacyHostModernServer),
            Wire::Modern if shows_modern => Some(Mode::SameEra),
            Wire::Modern => is_about_the_transport.then_some(Mode::ModernHostLegacyServer),
            Wire::Unknown => None,
        }
    }

    /// The eras are known. `first` goes on: through the adapter that is needed now, unless its answer is there.
    pub(super) fn found(&mut self, mode: Mode, first: &Message) {
        tracing::debug!(?mode, "the eras of host and server are known");
        self.first = None;
        self.shut_out = None;
        let settings = self.era_settings.clone();
        match mode {
            Mode::SameEra => {
                self.adapter = Some(Box::new(PassThrough));
                return;
            }
            Mode::LegacyHostModernServer => {
                self.wire = Wire::Modern;
                self.adapter = Some(era::legacy_host(settings));
            }
            Mode::ModernHostLegacyServer => {
                self.is_guess = true;
                self.wire = Wire::Legacy(Box::new(Session::new(self.settings.transport)));
                self.adapter = Some(era::modern_host(settings));
            }
        }
        if let Some(adapter) = &mut self.adapter {
            let steps = adapter.host(first);
            self.take_steps(steps, Share::default());
        }
        self.go_on();
    }

    /// Nobody knows yet: the next request of the host may find out.
    pub(super) fn forget_first(&mut self) {
        self.first = None;
        self.wire = Wire::Unknown;
        self.held.clear();
        self.go_on();
    }

    /// A server that was taken for a legacy one opens no session either: the host's next request shows anew what it is (2026-07-28,
    /// Versioning: "re-probing if the cached assumption later fails").
    pub(super) fn guessed_wrong(&mut self, request: &Message) {
        if !self.is_guess || request.method() != Some("initialize") {
            return;
        }
        if self.session().is_some_and(|session| session.is_opening()) {
            return;
        }
        self.is_guess = false;
        self.adapter = None;
        self.forget_first();
    }

    /// What waited for the eras goes its way.
    pub(super) fn go_on(&mut self) {
        while self.first.is_none() {
            let Some(message) = self.queue.pop_front() else {
                return;
            };
            self.host(message);
        }
    }
}
