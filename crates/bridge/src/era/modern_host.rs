//! A host of 2026-07-28 in front of a server that wants an `initialize`.
//!
//! The session is opened with what the host's first request says of itself, and kept. What the server asks for during a call
//! ends the host's request with an `InputRequiredResult` whose `requestState` names the call, which goes on at the server; the
//! host's next request takes it up again.

mod calls;
mod listens;
mod questions;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use doorward_mcp::Revision;
use tracing::debug;

use self::calls::Call;
use self::listens::Listens;
use self::session::{Caller, Opening, Session};
use super::message::{self, Id, Incoming, own_number, own_number_of};
use super::refusal::Refusal;
use super::translate::{PROTOCOL_VERSION, severity, strip_meta};
use super::{Backlog, Settings};
use crate::adapter::{Adapter, Message, Step};
use crate::failure::Failure;
use doorward_mcp::members::{Members, raw};

/// Most calls that are under way at a time, those that wait for the host included.
const CALLS: usize = 1024;

/// The adapter. See the module.
pub struct ModernHost {
    settings: Settings,
    phase: Phase,
    /// Requests and tickets invented here.
    numbers: u64,
    /// Calls that the server has, by the number of the request.
    calls: BTreeMap<u64, Call>,
    listens: Listens,
    /// The tools that can be called as tasks only.
    task_tools: BTreeSet<String>,
    /// Our own requests to the server.
    own: BTreeMap<u64, Own>,
}

enum Phase {
    New,
    Opening(Box<Opening>),
    Open(Box<Session>),
}

/// A request to the server that no call of the host stands behind.
enum Own {
    /// Whatever the answer is.
    Ignored,
    /// `resources/subscribe` for this URI.
    Subscribe(String),
}

impl ModernHost {
    /// One that waits for the host's first request.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::New,
            numbers: 0,
            calls: BTreeMap::new(),
            listens: Listens::default(),
            task_tools: BTreeSet::new(),
            own: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Open(session) => Some(session),
            _ => None,
        }
    }

    fn request(
        &mut self,
        message: &Message,
        id: &Id,
        method: &str,
        params: Members,
    ) -> Result<Vec<Step>, Refusal> {
        let meta = params.object("_meta").unwrap_or_default();
        match method {
            "initialize" | "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
                return Err(Refusal::NoCounterpart {
                    method: method.to_owned(),
                    reason: "this bridge speaks MCP 2026-07-28 with this host, which has no such method",
                });
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/list" | "tasks/result" => {
                return Err(Refusal::NoCounterpart {
                    method: method.to_owned(),
                    reason: "the server's revision has no tasks of this kind; its tools are waited for",
                });
            }
            _ => {}
        }
        let version = meta.text(PROTOCOL_VERSION);
        let version = version.ok_or(Refusal::BadParams(
            "`_meta` does not say which protocol version this is",
        ))?;
        if version != Revision::V2026_07_28.as_str() {
            return Err(Refusal::Version(version));
        }
        let caller = Caller::read(&meta)?;
        if !self.is_served(&caller)? {
            return Ok(self.open(message, id, &caller));
        }
        match method {
            "server/discover" => self.discover(id),
            "subscriptions/listen" => self.listen(id, &params),
            _ if params.has("requestState") || params.has("inputResponses") => {
                self.resume(id, method, params, caller)
            }
            _ => self.call(id, method, params, caller),
        }
    }

    fn host_notification(&mut self, message: &Message, method: &str, params: &Members) -> Vec<Step> {
        if method != "notifications/cancelled" {
            debug!(method, "a notification that the host's revision does not have");
            return Vec::new();
        }
        let Some(id) = message.cancelled_request().and_then(Id::new) else {
            return Vec::new();
        };
        if let Phase::Opening(opening) = &mut self.phase {
            opening.backlog.push(message);
            return Vec::new();
        }
        let reason = params.text("reason");
        let reason = reason.as_deref().unwrap_or("cancelled by the host");
        self.unlisten(&id).unwrap_or_else(|| self.cancel(&id, reason))
    }

    fn outcome(&mut self, number: u64, outcome: Result<Members, Members>) -> Vec<Step> {
        if matches!(&self.phase, Phase::Opening(opening) if opening.number == number) {
            return self.opened(outcome);
        }
        match self.own.remove(&number) {
            Some(Own::Ignored) => return Vec::new(),
            Some(Own::Subscribe(uri)) => return self.subscribed(&uri, outcome.is_ok()),
            None => {}
        }
        let call = self.calls.remove(&number);
        // Without one: it was cancelled.
        call.map_or_else(Vec::new, |call| self.answered(number, call, outcome))
    }

    fn server_notification(
        &mut self,
        message: &Message,
        request: Option<u64>,
        method: &str,
        mut params: Members,
    ) -> Vec<Step> {
        strip_meta(&mut params);
        match method {
            "notifications/progress" => {
                let token = message.progress_token().and_then(Id::new);
                let hosts = token.and_then(|token| self.progress_token(&token));
                let Some(hosts) = hosts else { return Vec::new() };
                params.set("progressToken", hosts);
            }
            "notifications/message" => {
                let level = params.text("level").and_then(|level| severity(&level));
                if !self.wants_message(level, request) {
                    return Vec::new();
                }
            }
            "notifications/cancelled" => {
                let question = message.cancelled_request().and_then(Id::new);
                return question.map_or_else(Vec::new, |id| self.question_withdrawn(&id));
            }
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated" => return self.news(method, &params),
            // 2026-07-28: "the client learns the outcome of an out-of-band interaction by retrying the original request".
            "notifications/elicitation/complete" | "notifications/tasks/status" => return Vec::new(),
            _ => {}
        }
        vec![Step::ToHost(message::notification(method, &params))]
    }
}

impl Adapter for ModernHost {
    fn host(&mut self, message: &Message) -> Vec<Step> {
        match Incoming::read(message) {
            Incoming::Request { id, method, params } => self
                .request(message, &id, &method, params)
                .unwrap_or_else(|refusal| vec![refuse(&id, &refusal)]),
            Incoming::Notification { method, params } => self.host_notification(message, &method, &params),
            Incoming::Odd { id: Some(id), .. } => {
                vec![refuse(&id, &Refusal::BadParams("`params` is no object"))]
            }
            // Hosts of 2026-07-28 are asked nothing, and so have nothing to answer.
            _ => Vec::new(),
        }
    }

    fn server(&mut self, message: &Message, request: Option<&Message>) -> Vec<Step> {
        let number = request.and_then(Message::id).and_then(own_number_of);
        match Incoming::read(message) {
            Incoming::Request { id, method, params } => self.question(id, &method, params, number),
            Incoming::Notification { method, params } => {
                self.server_notification(message, number, &method, params)
            }
            Incoming::Response {
                id: Some(id),
                outcome,
            } => own_number(&id).map_or_else(Vec::new, |number| self.outcome(number, outcome)),
            Incoming::Odd { id: Some(id), .. } => {
                let refusal = Refusal::BadParams("`params` is no object");
                vec![Step::ToServer(message::refused(&id, &refusal))]
            }
            Incoming::Odd {
                answers: Some(id), ..
            } => {
                let odd = Refusal::Server("its answer holds no object".to_owned()).object();
                own_number(&id).map_or_else(Vec::new, |number| self.outcome(number, Err(odd)))
            }
            _ => Vec::new(),
        }
    }

    fn lost(&mut self, request: &Message, failure: &Failure) -> Vec<Step> {
        let number = request.id().and_then(own_number_of);
        let data = failure.data.as_ref().map(raw);
        let error = message::error_object(failure.code, &failure.message, data);
        number.map_or_else(Vec::new, |number| self.outcome(number, Err(error)))
    }

    fn renewed(&mut self) -> Vec<Step> {
        let mut steps = self.level_again();
        steps.extend(self.subscribe_again());
        steps
    }

    fn elapsed(&mut self, time: Duration) -> Vec<Step> {
        self.expire(time)
    }
}

fn refuse(id: &Id, refusal: &Refusal) -> Step {
    Step::ToHost(message::refused(id, refusal))
}

impl ModernHost {
    fn release(&mut self, backlog: Backlog) -> Vec<Step> {
        let messages = backlog.into_messages();
        messages.iter().flat_map(|message| self.host(message)).collect()
    }

    fn end_opening(&mut self) -> Option<Box<Opening>> {
        match mem::replace(&mut self.phase, Phase::New) {
            Phase::Opening(opening) => Some(opening),
            other => {
                self.phase = other;
                None
            }
        }
    }
}
