//! A host that opens with `initialize`, in front of a server of 2026-07-28.
//!
//! `initialize` is answered from `server/discover`. Every request gets the metadata that the host gave once, every result loses
//! what its era adds, and a result that asks for input becomes requests to the host, whose answers go with the call made anew.

mod calls;
mod inputs;
mod opening;
mod subscriptions;

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use doorward_mcp::Revision;
use tracing::{debug, warn};

use self::calls::{Call, Waiting};
use self::inputs::Ask;
use self::opening::{Host, Opening, Server};
use self::subscriptions::Subscriptions;
use super::message::{Id, Incoming, own_number};
use super::refusal::Refusal;
use super::translate::severity;
use super::{Settings, message};
use crate::adapter::{Adapter, Message, Step};
use crate::failure::Failure;
use doorward_mcp::members::{Members, Raw, raw};

/// Most calls of the host that are under way at a time.
const CALLS: usize = 1024;

/// The adapter. See the module.
pub struct LegacyHost {
    settings: Settings,
    phase: Phase,
    /// Requests invented here, towards both sides.
    numbers: u64,
    /// What `logging/setLevel` set.
    level: Option<Raw>,
    /// Calls that the server has, by the number of the request.
    calls: BTreeMap<u64, Call>,
    /// Calls that wait for the host, by the number of their last request.
    waiting: BTreeMap<u64, Waiting>,
    /// Our requests to the host.
    asks: BTreeMap<u64, Ask>,
    subscriptions: Subscriptions,
}

enum Phase {
    New,
    Opening(Box<Opening>),
    Open(Box<(Host, Server)>),
}

impl LegacyHost {
    /// One that waits for the host's `initialize`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::New,
            numbers: 0,
            level: None,
            calls: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asks: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn revision(&self) -> Revision {
        match &self.phase {
            Phase::Open(open) => open.0.revision,
            _ => Revision::V2025_11_25,
        }
    }

    fn request(&mut self, message: &Message, id: &Id, method: &str, params: Members) -> Vec<Step> {
        match (method, &self.phase) {
            // Either side may ask at any time, before `initialize` is answered, too.
            ("ping", _) => return vec![answer(id, &Members::default())],
            ("initialize", Phase::New) => return self.initialize(id.clone(), &params),
            ("initialize", _) => return vec![refuse(id, &Refusal::InitializedTwice)],
            (_, Phase::New) => return vec![refuse(id, &Refusal::NotInitialized(method.to_owned()))],
            (_, Phase::Opening(_)) => return self.keep(message, Some(id)),
            (_, Phase::Open(_)) => {}
        }
        match self.open_request(id, method, params) {
            Ok(steps) => steps,
            Err(refusal) => vec![refuse(id, &refusal)],
        }
    }

    fn open_request(&mut self, id: &Id, method: &str, params: Members) -> Result<Vec<Step>, Refusal> {
        match method {
            "logging/setLevel" => self.set_level(id, &params),
            "resources/subscribe" => self.subscribe(id, &params),
            "resources/unsubscribe" => self.unsubscribe(id, &params),
            "server/discover" | "subscriptions/listen" => Err(Refusal::NotInRevision(method.to_owned())),
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/list" => Err(Refusal::NoCounterpart {
                method: method.to_owned(),
                reason: "tasks of this host's revision have nothing in common with those of the server's",
            }),
            _ => self.call(id, method, params),
        }
    }

    /// The level is told with every request from now on (2026-07-28, "Per-request log level").
    fn set_level(&mut self, id: &Id, params: &Members) -> Result<Vec<Step>, Refusal> {
        if !matches!(&self.phase, Phase::Open(open) if open.1.offered.logging) {
            return Err(Refusal::NotDeclared("logging"));
        }
        let level = params.text("level").filter(|level| severity(level).is_some());
        let level = level.ok_or(Refusal::BadParams("`level` is no level of logging"))?;
        self.level = Some(raw(&level));
        Ok(vec![answer(id, &Members::default())])
    }

    fn notification(&mut self, message: &Message, method: &str, params: &Members) -> Vec<Step> {
        if let Phase::Opening(_) = self.phase {
            return self.keep(message, None);
        }
        match method {
            "notifications/initialized" => self.listen(),
            "notifications/cancelled" => self.cancel(params),
            // The server asks for roots whenever it needs them, and keeps none.
            "notifications/roots/list_changed" => Vec::new(),
            _ => {
                debug!(
                    method,
                    "a notification for which the server's revision has no counterpart"
                );
                Vec::new()
            }
        }
    }

    /// An answer of the server, or what stands for one.
    fn outcome(&mut self, number: u64, outcome: Result<Members, Members>) -> Vec<Step> {
        if matches!(&self.phase, Phase::Opening(opening) if opening.discover == number) {
            return self.discovered(outcome);
        }
        if self.subscriptions.is_stream(number) {
            return self.stream_ended(number, outcome.err().as_ref());
        }
        let Some(call) = self.calls.remove(&number) else {
            // It was cancelled.
            return Vec::new();
        };
        match outcome {
            Ok(result) => self.answered(number, call, result),
            Err(error) => vec![Step::ToHost(message::error(&call.id, &self.error(error)))],
        }
    }

    /// An error of the server: codes and words stay, but for the one that means nothing without the host's own choice.
    fn error(&self, error: Members) -> Members {
        if error.value::<i64>("code") != Some(-32022) {
            return error;
        }
        let named = error
            .object("data")
            .and_then(|data| data.value::<Vec<String>>("supported"));
        let told = named.map_or_else(|| message::told(&error), |named| named.join(", "));
        Refusal::ServerChanged(told).object()
    }

    fn server_notification(&mut self, message: &Message, method: &str, mut params: Members) -> Vec<Step> {
        let subscription = message.subscription_id().and_then(Id::new);
        match method {
            "notifications/subscriptions/acknowledged" => {
                return subscription.map_or_else(Vec::new, |id| self.acknowledged(&id, &params));
            }
            "notifications/cancelled" => {
                // The only thing that a server of 2026-07-28 cancels is a subscription.
                let ended = message.cancelled_request().and_then(Id::new);
                let number = ended.as_ref().and_then(own_number);
                return number.map_or_else(Vec::new, |number| self.stream_ended(number, None));
            }
            "notifications/progress" => {
                let token = message.progress_token().and_then(Id::new);
                if !token.is_some_and(|token| self.awaits_progress(&token)) {
                    return Vec::new();
                }
            }
            _ => {
                if subscription.is_some_and(|id| !self.subscriptions.is_current(&id)) {
                    return Vec::new();
                }
            }
        }
        super::translate::strip_meta(&mut params);
        vec![Step::ToHost(message::notification(method, &params))]
    }
}

impl Adapter for LegacyHost {
    fn host(&mut self, message: &Message) -> Vec<Step> {
        match Incoming::read(message) {
            Incoming::Request { id, method, params } => self.request(message, &id, &method, params),
            Incoming::Notification { method, params } => self.notification(message, &method, &params),
            Incoming::Response {
                id: Some(id),
                outcome,
            } => self.input(&id, outcome),
            Incoming::Odd { id: Some(id), .. } => {
                vec![refuse(&id, &Refusal::BadParams("`params` is no object"))]
            }
            Incoming::Odd {
                answers: Some(id), ..
            } => {
                let odd = message::error_object(-32603, "the host's answer holds no object", None);
                self.input(&id, Err(odd))
            }
            _ => Vec::new(),
        }
    }

    fn server(&mut self, message: &Message, _: Option<&Message>) -> Vec<Step> {
        match Incoming::read(message) {
            Incoming::Response {
                id: Some(id),
                outcome,
            } => {
                let number = own_number(&id);
                number.map_or_else(Vec::new, |number| self.outcome(number, outcome))
            }
            Incoming::Odd {
                answers: Some(id), ..
            } => {
                let odd = Refusal::Server("its answer holds no object".to_owned()).object();
                let number = own_number(&id);
                number.map_or_else(Vec::new, |number| self.outcome(number, Err(odd)))
            }
            Incoming::Notification { method, params } => self.server_notification(message, &method, params),
            Incoming::Request { method, .. } => {
                warn!(
                    method,
                    "the server sends a request, which its revision forbids: not answered"
                );
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn lost(&mut self, request: &Message, failure: &Failure) -> Vec<Step> {
        let number = request.id().and_then(message::own_number_of);
        let data = failure.data.as_ref().map(raw);
        let error = message::error_object(failure.code, &failure.message, data);
        number.map_or_else(Vec::new, |number| self.outcome(number, Err(error)))
    }

    fn elapsed(&mut self, time: Duration) -> Vec<Step> {
        self.watch_streams(time)
    }
}

fn answer(id: &Id, result: &Members) -> Step {
    Step::ToHost(message::result(id, result))
}

fn refuse(id: &Id, refusal: &Refusal) -> Step {
    Step::ToHost(message::refused(id, refusal))
}

impl LegacyHost {
    /// What the host writes before its `initialize` is answered waits: scripts write everything at once.
    fn keep(&mut self, message: &Message, id: Option<&Id>) -> Vec<Step> {
        let Phase::Opening(opening) = &mut self.phase else {
            return Vec::new();
        };
        if opening.backlog.push(message) {
            return Vec::new();
        }
        let refusal = Refusal::TooMany("messages before the answer to `initialize`");
        id.map(|id| refuse(id, &refusal)).into_iter().collect()
    }

    fn release(&mut self, backlog: super::Backlog) -> Vec<Step> {
        let messages = backlog.into_messages();
        messages.iter().flat_map(|message| self.host(message)).collect()
    }

    /// Takes the opening apart, if there is one.
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
