//! What the network tells.

use std::sync::Arc;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::envelope::Kind;
use doorward_mcp::message::identity;
use http::{HeaderValue, StatusCode};

use super::lookup::HeaderMismatch;
use super::{Conversation, Purpose, Sent, Wire};
use crate::adapter::Mode;
use crate::event::{Event, Outcome, Refused};
use crate::failure::Failure;
use crate::memory::Share;
use crate::reading::{self, ErrorBody, HEADER_MISMATCH};

impl Conversation {
    /// Something happened to an exchange.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Session(number, session) => {
                if let Some(sent) = self.sent.get_mut(&number) {
                    sent.named = Some(session);
                }
            }
            Event::Listening(number) => self.listening(number),
            Event::Endpoint(number, url) => self.endpoint(number, url),
            Event::Message(number, message, share) => self.message(number, &message, share),
            Event::Ended(number, outcome) => self.ended(number, outcome),
        }
    }

    fn message(&mut self, number: u64, message: &Message, share: Share) {
        let Some(sent) = self.sent.get(&number) else {
            return;
        };
        if sent.purpose != Purpose::Stream {
            return self.message_of(number, message, share);
        }
        // HTTP+SSE has one stream for everything; on others, answers stand where a stream was resumed.
        match (message.kind(), message.id()) {
            (Kind::Response, Some(id)) => match self.number_of(id) {
                Some(number) => {
                    self.message_of(number, message, share);
                    if self.sent.get(&number).is_some_and(|sent| sent.elsewhere) {
                        self.ended(number, Outcome::Complete);
                    }
                }
                None => tracing::debug!("an answer to nothing that is under way is dropped"),
            },
            (Kind::Response, None) => {
                tracing::warn!("the server sent an error that answers no request: it is dropped");
            }
            _ => self.hear(message, None, share),
        }
    }

    /// A message that came for a request, as its answer or before it.
    fn message_of(&mut self, number: u64, message: &Message, share: Share) {
        let Some(sent) = self.sent.get_mut(&number) else {
            return;
        };
        let Some(request) = sent.message.clone() else {
            return;
        };
        if message.kind() != Kind::Response {
            return self.hear(message, Some(&request), share);
        }
        let is_answer = match (message.id(), request.id()) {
            (Some(given), Some(asked)) => identity(given) == identity(asked),
            // A server that could not read the request cannot know its id.
            (None, Some(_)) => true,
            _ => false,
        };
        if !is_answer || sent.answered {
            tracing::warn!(
                "the server sent an answer to another request on the stream of one: it is dropped"
            );
            return;
        }
        sent.answered = true;
        let named = sent.named.take();
        if message.id().is_none() {
            let id = request.id().unwrap_or_default();
            let answer = match reading::error_body(message.line(), id) {
                Some(error) => error.answer,
                None => Failure::new(502, "the server answered with an error that cannot be read").answer(id),
            };
            return match Message::read(answer) {
                Ok(answer) => self.answer_of(number, &request, &answer, named, share),
                Err(error) => {
                    tracing::error!(%error, "an error that was made here is none: please report this");
                }
            };
        }
        self.answer_of(number, &request, message, named, share);
    }

    /// The one answer of a request, under its id.
    fn answer_of(
        &mut self,
        number: u64,
        request: &Message,
        message: &Message,
        named: Option<HeaderValue>,
        share: Share,
    ) {
        let Some(purpose) = self.sent.get(&number).map(|sent| sent.purpose) else {
            return;
        };
        match purpose {
            Purpose::Lookup => self.page(message),
            Purpose::Reopen if message.is_error() => {
                self.not_reopened(&Failure::new(
                    502,
                    "the server has forgotten the session and refuses to open a new one",
                ));
            }
            Purpose::Reopen => self.reopened(message, named),
            Purpose::Passed => {
                if request.method() == Some("initialize") && !message.is_error() {
                    self.is_guess = false;
                    self.opened(message, named);
                }
                self.answer(number, request, message, share);
                self.guessed_wrong(request);
            }
            Purpose::Reconfirm | Purpose::Ping | Purpose::Stream => {}
        }
    }

    fn answer(&mut self, number: u64, request: &Message, answer: &Message, share: Share) {
        if self.is_first(number) {
            match self.mode_of(request, answer) {
                Some(Mode::SameEra) => self.found(Mode::SameEra, request),
                Some(mode) => return self.found(mode, request),
                None => {
                    self.tell_host(answer.line().clone());
                    return self.forget_first();
                }
            }
        }
        self.hear(answer, Some(request), share);
        self.go_on();
    }

    pub(super) fn hear_line(&mut self, line: Bytes, request: Option<&Message>, share: Share) {
        match Message::read(line) {
            Ok(message) => self.hear(&message, request, share),
            Err(error) => tracing::error!(%error, "a message that was made here is none: please report this"),
        }
    }

    fn hear(&mut self, message: &Message, request: Option<&Message>, share: Share) {
        let is_list = message.kind() == Kind::Response
            && request.is_some_and(|request| request.method() == Some("tools/list"));
        if is_list && let Some(cut) = self.cut_list(message) {
            return match Message::read(cut) {
                Ok(cut) => self.hand_over(&cut, request, share),
                Err(error) => {
                    tracing::error!(%error, "a list that was cut is no message: please report this");
                }
            };
        }
        self.hand_over(message, request, share);
    }

    fn hand_over(&mut self, message: &Message, request: Option<&Message>, share: Share) {
        match &mut self.adapter {
            Some(adapter) => {
                let steps = adapter.server(message, request);
                self.take_steps(steps, share);
            }
            None => self.tell_host(message.line().clone()),
        }
    }

    /// A list of tools without those that the host may not see, if there are any; an error if nobody can tell.
    fn cut_list(&mut self, list: &Message) -> Option<Bytes> {
        let mut cut = None;
        if matches!(self.wire, Wire::Modern) {
            cut = self.learner.learn(list).without_invalid;
        }
        if self.settings.ignored_tools.is_empty() {
            return cut;
        }
        let read = cut.clone().and_then(|cut| Message::read(cut).ok());
        let list = read.as_ref().unwrap_or(list);
        let settings = Arc::clone(&self.settings);
        match reading::retain_tools(list, |name| !settings.ignores(name)) {
            Ok(without) => without.or(cut),
            Err(_) => {
                let words =
                    "the server's list of tools cannot be read, so nobody knows what --ignore-tool hides";
                list.id().map(|id| Failure::new(502, words).answer(id))
            }
        }
    }

    fn ended(&mut self, number: u64, outcome: Outcome) {
        let Some(sent) = self.sent.remove(&number) else {
            return;
        };
        self.unattended |= outcome.is_for_want_of_login();
        if sent.purpose == Purpose::Stream {
            return self.stream_is_over(number, &sent, &outcome);
        }
        let is_awaited = sent.elsewhere && !sent.answered;
        if matches!(outcome, Outcome::Complete) && is_awaited {
            self.sent.insert(number, sent);
            return;
        }
        let Some(message) = sent.message.clone() else {
            return;
        };
        if let Outcome::Refused(refused) = &outcome
            && sent.in_session
            && is_session_gone(refused, message.id())
        {
            return self.forgotten(number, &sent, message, refused);
        }
        match sent.purpose {
            Purpose::Passed => {
                self.passed_ended(number, &sent, &message, outcome);
                self.guessed_wrong(&message);
            }
            Purpose::Reopen if !sent.answered => self.reopen_ended(number, &message, outcome),
            Purpose::Reconfirm => self.reconfirmed(),
            Purpose::Lookup if !sent.answered => self.looked_up(),
            Purpose::Reopen | Purpose::Lookup | Purpose::Ping | Purpose::Stream => {}
        }
    }

    fn stream_is_over(&mut self, number: u64, sent: &Sent, outcome: &Outcome) {
        if self.is_sse_stream(number) {
            let failure = match outcome {
                Outcome::Failed(failure) => failure.clone(),
                Outcome::Refused(refused) => refusal(refused),
                Outcome::Complete => Failure::new(502, "the server ended the stream of its answers"),
            };
            return self.sse_ended(&failure);
        }
        self.stream_ended(number, outcome.is_for_want_of_login());
        // A server that never had the stream says so with 404 as well as with 405.
        if let Outcome::Refused(refused) = outcome
            && sent.answered
            && sent.in_session
            && is_session_gone(refused, None)
        {
            self.session_gone(sent.generation);
        }
    }

    /// The server does not know the session. It has not processed the message then, and gets it again in a new one, once.
    fn forgotten(&mut self, number: u64, sent: &Sent, message: Arc<Message>, refused: &Refused) {
        let generation = sent.generation;
        if sent.purpose == Purpose::Reconfirm {
            return self.reconfirmed();
        }
        self.session_gone(generation);
        if sent.purpose != Purpose::Passed || sent.answered {
            return;
        }
        let is_of_the_old_session = message.kind() == Kind::Response
            || matches!(
                message.method(),
                Some("notifications/cancelled" | "notifications/initialized")
            );
        if is_of_the_old_session {
            return;
        }
        if sent.again && is_about(&refused.body, message.id()) {
            // It means the request, not the session.
            return self.refused(number, sent, &message, refused);
        }
        if sent.again {
            let words = "the server forgets every session that it has just opened";
            return self.first_or_lost(number, &message, &Failure::new(502, words));
        }
        self.pass_legacy(message, true);
    }

    fn passed_ended(&mut self, number: u64, sent: &Sent, message: &Arc<Message>, outcome: Outcome) {
        if message.method() == Some("notifications/initialized") {
            if let Outcome::Refused(refused) = &outcome {
                tracing::warn!(status = %refused.status, "the server refused `notifications/initialized`");
            }
            return self.confirmed();
        }
        if sent.answered {
            return;
        }
        let is_request = message.kind() == Kind::Request;
        match outcome {
            Outcome::Complete if is_request => {
                let words = "the server ended its answer without a response";
                self.first_or_lost(number, message, &Failure::new(502, words));
            }
            Outcome::Complete => {}
            Outcome::Failed(failure) if is_request => self.first_or_lost(number, message, &failure),
            Outcome::Failed(failure) => {
                tracing::warn!(
                    method = message.method(),
                    error = failure.message,
                    "a message of the host did not reach the server"
                );
            }
            Outcome::Refused(refused) if is_request => self.refused(number, sent, message, &refused),
            Outcome::Refused(refused) => {
                tracing::warn!(method = message.method(), status = %refused.status, "the server refused a message of the host");
            }
        }
    }

    fn refused(&mut self, number: u64, sent: &Sent, request: &Arc<Message>, refused: &Refused) {
        let error = reading::error_body(&refused.body, request.id().unwrap_or_default());
        let code = error.as_ref().map(|error| error.code);
        if self.is_first(number) {
            match self.mode_of_refusal(request, refused.status, code) {
                Some(Mode::SameEra) => self.found(Mode::SameEra, request),
                Some(mode) => return self.found(mode, request),
                None => {}
            }
        }
        let opens = request.method() == Some("initialize");
        let is_modern = code.is_some_and(|code| reading::is_modern(code) || code == reading::UNKNOWN_METHOD);
        if opens
            && !is_modern
            && matches!(refused.status.as_u16(), 400 | 404 | 405)
            && self.fall_back(number, request, Purpose::Passed, &refusal(refused))
        {
            return;
        }
        if code == Some(HEADER_MISMATCH) && !sent.again && request.method() == Some("tools/call") {
            return self.look_again(sent, request, error);
        }
        match error {
            Some(error) if self.adapter.is_some() => {
                self.hear_line(error.answer, Some(request), Share::default());
                self.go_on();
            }
            Some(error) => {
                self.tell_host(error.answer);
                self.forget_first();
            }
            None => self.first_or_lost(number, request, &refusal(refused)),
        }
    }

    fn look_again(&mut self, sent: &Sent, call: &Arc<Message>, error: Option<ErrorBody>) {
        let Some(error) = error else {
            return;
        };
        self.learner.doubt();
        let mismatch = HeaderMismatch {
            parameters: sent.parameters.clone(),
            answer: error.answer,
        };
        self.look_up(Arc::clone(call), Some(mismatch));
    }

    fn reopen_ended(&mut self, number: u64, initialize: &Arc<Message>, outcome: Outcome) {
        let failure = match outcome {
            Outcome::Failed(failure) => failure,
            Outcome::Refused(refused) => {
                let failure = refusal(&refused);
                let other_transport = matches!(refused.status.as_u16(), 400 | 404 | 405);
                if other_transport && self.fall_back(number, initialize, Purpose::Reopen, &failure) {
                    return;
                }
                failure
            }
            Outcome::Complete => Failure::new(502, "the server ended its answer without a response"),
        };
        self.not_reopened(&failure);
    }

    /// A request gets no answer; if it was the one that shows the era, the next one shows it.
    pub(super) fn first_or_lost(&mut self, number: u64, request: &Message, failure: &Failure) {
        let was_first = self.is_first(number);
        self.lost(request, failure);
        if was_first {
            self.shut_out = Some(failure.clone());
            self.forget_first();
        }
    }
}

/// Whether the server does not know the session that a request named. The specification says 404; servers on the official
/// TypeScript SDK mostly say 400 and "No valid session ID provided".
fn is_session_gone(refused: &Refused, request: Option<&str>) -> bool {
    match refused.status {
        StatusCode::NOT_FOUND => true,
        StatusCode::BAD_REQUEST => {
            let error = reading::error_body(&refused.body, "0");
            error.is_some_and(|error| error.message.to_ascii_lowercase().contains("session"))
                && !is_about(&refused.body, request)
        }
        _ => false,
    }
}

/// Whether an error is about this request and nothing around it: it bears its id, so the request was read and may have been acted
/// on, and its code is none of those that servers have for what is wrong with a session.
fn is_about(body: &Bytes, request: Option<&str>) -> bool {
    const AROUND: [i64; 3] = [-32600, -32000, -32001];
    let error = Message::read(body.clone()).ok().filter(Message::is_error);
    error.is_some_and(|error| {
        let same = error.id().map(identity) == request.map(identity) && request.is_some();
        same && error.error_code().is_some_and(|code| !AROUND.contains(&code))
    })
}

/// What a status that says no means, for the person in front of the host.
fn refusal(refused: &Refused) -> Failure {
    let status = refused.status;
    let said = excerpt(&refused.body);
    let words = match status.as_u16() {
        401 => "it wants another authorization than the one that it was given".to_owned(),
        404 | 405 => "is this the URL of its MCP endpoint?".to_owned(),
        421 => "this is not what it calls itself: give the URL that its operator gives, letter for letter (localhost and 127.0.0.1 are \
                two names)"
            .to_owned(),
        429 => match refused.retry_after {
            Some(seconds) => format!("it takes no more requests for now: try again in {seconds} seconds"),
            None => "it takes no more requests for now: try again later".to_owned(),
        },
        403 => "it does not allow this".to_owned(),
        500..=599 => "it, or something in front of it, is in trouble".to_owned(),
        _ => "it does not take this request".to_owned(),
    };
    Failure::new(
        status.as_u16().into(),
        format!("the server answered {status}: {words}{said}"),
    )
}

/// The beginning of what a server said, so that it can be shown anywhere.
fn excerpt(body: &Bytes) -> String {
    const LENGTH: usize = 200;
    let text = String::from_utf8_lossy(body.get(..LENGTH * 4).unwrap_or(body));
    let is_page = text.trim_start().starts_with('<');
    let shown: String = text
        .trim()
        .chars()
        .take(LENGTH)
        .flat_map(char::escape_debug)
        .collect();
    if shown.is_empty() || is_page {
        return String::new();
    }
    format!(" (it said: {shown})")
}
