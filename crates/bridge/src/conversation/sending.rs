//! Messages on their way to the server.

use std::sync::Arc;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::envelope::Kind;
use doorward_mcp::message::identity;

use super::session::{Phase, Via};
use super::{CANCELLED, Conversation, Held, Purpose, Sent, Wire};
use crate::event::{Action, Due, Post};
use crate::failure::Failure;
use crate::head;
use crate::memory::Share;
use crate::reading::Params;

impl Conversation {
    /// A message that the host or the adapter wants sent.
    pub(super) fn tell_server(&mut self, body: Bytes) {
        match Message::read(body) {
            Ok(message) => self.pass(Arc::new(message)),
            Err(error) => tracing::error!(%error, "a message that was made here is none: please report this"),
        }
    }

    fn pass(&mut self, message: Arc<Message>) {
        let is_cancellation = message.method() == Some("notifications/cancelled");
        match &self.wire {
            Wire::Unknown => tracing::debug!("a message for a server that is not connected is dropped"),
            Wire::Modern if is_cancellation => self.cancel_modern(&message),
            Wire::Modern if message.kind() == Kind::Response => {
                tracing::debug!("this server takes no responses: one of the host is dropped");
            }
            Wire::Modern => self.pass_modern(message),
            Wire::Legacy(_) if is_cancellation => self.cancel_legacy(message),
            Wire::Legacy(_) => self.pass_legacy(message, false),
        }
    }

    /// "Closing the SSE response stream is the cancellation signal" (2026-07-28, Cancellation).
    fn cancel_modern(&mut self, message: &Message) {
        let Some(id) = message.cancelled_request() else {
            return;
        };
        if let Some(lookup) = &mut self.lookup {
            lookup.forget(id);
        }
        if let Some(number) = self.number_of(id) {
            self.sent.remove(&number);
            self.actions.push(Action::Abort(number));
        }
    }

    fn cancel_legacy(&mut self, message: Arc<Message>) {
        let Some(id) = message.cancelled_request() else {
            return;
        };
        let wanted = identity(id);
        let before = self.held.len();
        self.held
            .retain(|held| held.message.id().map(identity) != Some(wanted.clone()));
        if self.held.len() < before {
            return;
        }
        if let Some(number) = self.number_of(id) {
            // It need not answer any more, and then nobody would end the exchange.
            self.actions.push(Action::Later(CANCELLED, Due::Abort(number)));
            if let Some(sent) = self.sent.get_mut(&number) {
                sent.answered = true;
            }
        }
        self.pass_legacy(message, false);
    }

    fn pass_modern(&mut self, message: Arc<Message>) {
        if message.method() == Some("tools/call") {
            let tool = Params::of(&message).name.unwrap_or_default();
            if !self.learner.knows(&tool) {
                return self.look_up(message, None);
            }
        }
        self.send(message, Purpose::Passed, false);
    }

    /// `again`: it was sent before, and provably not processed.
    pub(super) fn pass_legacy(&mut self, message: Arc<Message>, again: bool) {
        let Some(session) = self.session() else {
            return;
        };
        if message.method() == Some("initialize") {
            self.send(message, Purpose::Passed, false);
            return;
        }
        match session.phase {
            Phase::Opened if message.method() == Some("notifications/initialized") => {
                session.phase = Phase::Confirming;
                session.initialized = Some(message.line().clone());
                self.send(message, Purpose::Passed, again);
            }
            Phase::Opened | Phase::Ready => {
                self.send(message, Purpose::Passed, again);
            }
            Phase::Opening | Phase::Confirming | Phase::Attaching => {
                self.held.push_back(Held { message, again });
            }
            Phase::Lost => {
                self.held.push_back(Held { message, again });
                self.reopen();
            }
        }
    }

    /// Starts an exchange; its number.
    pub(super) fn send(&mut self, message: Arc<Message>, purpose: Purpose, again: bool) -> u64 {
        let opens = message.method() == Some("initialize");
        if opens && purpose == Purpose::Passed {
            self.open_new(&message);
        }
        if opens && let Some(number) = self.await_endpoint(&message, purpose) {
            return number;
        }
        self.post(message, purpose, again)
    }

    pub(super) fn post(&mut self, message: Arc<Message>, purpose: Purpose, again: bool) -> u64 {
        self.next += 1;
        let number = self.next;
        self.post_as(number, message, purpose, again);
        number
    }

    pub(super) fn post_as(&mut self, number: u64, message: Arc<Message>, purpose: Purpose, again: bool) {
        let mut sent = Sent {
            message: None,
            purpose,
            generation: 0,
            in_session: false,
            again,
            named: None,
            answered: false,
            elsewhere: false,
            parameters: Vec::new(),
        };
        let operation = operation(&message);
        let expects = (message.kind() == Kind::Request).then(|| message.id().unwrap_or_default().to_owned());
        let mut url = self.settings.url.clone();
        let mut resume = None;
        let headers = match &self.wire {
            Wire::Legacy(session) => {
                sent.generation = session.generation;
                let opens = message.method() == Some("initialize");
                let id = session.id.as_ref().filter(|_| !opens);
                sent.in_session = id.is_some();
                let version = session.version.as_deref().filter(|_| !opens);
                match &session.via {
                    Via::Streamable => resume = Some(head::stream(id, version)),
                    Via::Sse { endpoint, .. } => {
                        sent.elsewhere = expects.is_some();
                        url = endpoint.clone().unwrap_or(url);
                    }
                }
                head::legacy(id, version)
            }
            Wire::Modern | Wire::Unknown => match head::modern(&message, self.modern_version.as_deref()) {
                Ok(mut headers) => {
                    sent.parameters = self.mirrored(&message);
                    headers.extend(sent.parameters.iter().cloned());
                    headers
                }
                Err(failure) => return self.lost(&message, &failure),
            },
        };
        let body = message.line().clone();
        let is_modern = matches!(self.wire, Wire::Modern) && self.adapter.is_some();
        let expects = expects.filter(|_| !sent.elsewhere);
        sent.message = Some(message);
        self.sent.insert(number, sent);
        self.actions.push(Action::Post(Post {
            number,
            url,
            headers,
            body,
            expects,
            resume,
            operation,
            is_modern,
        }));
    }

    fn mirrored(&mut self, message: &Message) -> Vec<(http::HeaderName, http::HeaderValue)> {
        let params = Params::of(message);
        if params.version.is_some() {
            self.modern_version = params.version;
        }
        if message.method() != Some("tools/call") {
            return Vec::new();
        }
        self.learner
            .headers(&params.name.unwrap_or_default(), message.line())
    }

    /// A request gets no answer.
    pub(super) fn lost(&mut self, request: &Message, failure: &Failure) {
        if let Some(adapter) = &mut self.adapter {
            let steps = adapter.lost(request, failure);
            self.take_steps(steps, Share::default());
        } else if let Some(id) = request.id() {
            self.tell_host(failure.answer(id));
        }
    }
}

/// What a message does, for the count of step-ups and for the log.
fn operation(message: &Message) -> String {
    let method = message.method().unwrap_or("response");
    match method {
        "tools/call" | "prompts/get" => {
            let name = Params::of(message).name.unwrap_or_default();
            format!("{method} {name}")
        }
        _ => method.to_owned(),
    }
}
