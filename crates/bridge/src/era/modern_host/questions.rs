//! What a legacy server asks its client during a call, carried by `InputRequiredResult`s (2026-07-28, "Multi Round-Trip Requests").

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tracing::warn;

use super::super::message::{self, Id};
use super::super::refusal::Refusal;
use super::super::translate::{SERVER_INFO, may_ask, strip_meta};
use super::calls::{Call, token};
use super::session::Caller;
use super::{ModernHost, refuse};
use crate::adapter::Step;
use doorward_mcp::members::{Members, Raw, raw};

/// Most questions of one call at a time.
const QUESTIONS: usize = 32;
/// Most calls that wait for the host.
const SUSPENDED: usize = 64;
/// How long a call waits for the host.
const PATIENCE: Duration = Duration::from_secs(600);

/// Something that the server wants from the host.
pub(super) struct Question {
    /// The server's request. None if the server answered the call with an error that names a page to be opened.
    id: Option<Id>,
    method: String,
    params: Members,
}

impl Question {
    /// Tells the server that there is no answer.
    pub(super) fn refused(&self, refusal: &Refusal) -> Option<Step> {
        let id = self.id.as_ref()?;
        Some(Step::ToServer(message::refused(id, refusal)))
    }

    fn as_input_request(&self) -> Raw {
        let request = Members::default().with("method", &self.method);
        raw(&match self.params.is_empty() {
            true => request,
            false => request.with("params", &self.params),
        })
    }
}

impl ModernHost {
    /// A request of the server. `request` is the one on whose stream it came.
    pub(super) fn question(
        &mut self,
        id: Id,
        method: &str,
        mut params: Members,
        request: Option<u64>,
    ) -> Vec<Step> {
        if method == "ping" {
            return vec![Step::ToServer(message::result(&id, &Members::default()))];
        }
        let carrier = self.carrier(method, &params, request);
        let number = match carrier {
            Ok(number) => number,
            Err(refusal) => {
                warn!(method, %refusal, "a request of the server is refused");
                return vec![Step::ToServer(message::refused(&id, &refusal))];
            }
        };
        for name in ["_meta", "task", "elicitationId"] {
            // Of the old era only: an id that nothing refers to, and progress of an answer.
            params.take(name);
        }
        let key = format!("input-{}", self.number());
        if let Some(call) = self.calls.get_mut(&number) {
            let method = method.to_owned();
            call.questions.insert(
                key,
                Question {
                    id: Some(id),
                    method,
                    params,
                },
            );
        }
        self.suspend(number)
    }

    /// The call that carries a question to the host.
    fn carrier(&self, method: &str, params: &Members, request: Option<u64>) -> Result<u64, Refusal> {
        if !matches!(
            method,
            "elicitation/create" | "sampling/createMessage" | "roots/list"
        ) {
            return Err(Refusal::NotInRevision(method.to_owned()));
        }
        let fits =
            |call: &Call| may_ask(&call.method) && call.caller.declared.lacks(method, params).is_none();
        let number = if let Some(number) = request.filter(|number| self.calls.contains_key(number)) {
            number
        } else {
            let mut fitting = self
                .calls
                .iter()
                .filter(|(_, call)| fits(call))
                .map(|(number, _)| *number);
            match (fitting.next(), fitting.next()) {
                (Some(number), None) => number,
                (None, _) => {
                    return Err(Refusal::NoCarrier(
                        "the host is asked only during a call that can carry the question, and none is running that declares the capability",
                    ));
                }
                // To ask the user for another call's sake would mix up two conversations.
                _ => {
                    return Err(Refusal::NoCarrier(
                        "several calls are running, and nothing says which of them this belongs to: send it on the stream of its call",
                    ));
                }
            }
        };
        let call = self.calls.get(&number).filter(|call| fits(call));
        let call = call.ok_or_else(|| Refusal::NoCounterpart {
            method: method.to_owned(),
            reason: "the host did not declare it for the call that it came with",
        })?;
        if call.questions.len() >= QUESTIONS {
            return Err(Refusal::TooMany("questions"));
        }
        Ok(number)
    }

    /// Ends the host's request with the questions of its call. Nothing happens if the call waits already.
    fn suspend(&mut self, number: u64) -> Vec<Step> {
        let mut steps = self.make_room(number);
        let ticket = self.number();
        let state = format!("{}.{ticket}", self.settings.nonce);
        let info = self.session().map(|session| session.server_info.clone());
        let Some(call) = self.calls.get_mut(&number) else {
            return steps;
        };
        let Some(host) = call.host.take() else {
            return steps;
        };
        call.ticket = Some(ticket);
        call.waited = Duration::ZERO;
        let mut requests = Members::default();
        for (key, question) in &call.questions {
            requests.set(key, question.as_input_request());
        }
        let mut result = Members::default()
            .with("resultType", "input_required")
            .with("inputRequests", &requests)
            .with("requestState", &state);
        if let Some(info) = info {
            result = result.with("_meta", &Members::default().with(SERVER_INFO, &info));
        }
        steps.push(Step::ToHost(message::result(&host, &result)));
        steps
    }

    /// Gives up the call that has waited longest, if too many wait.
    fn make_room(&mut self, but: u64) -> Vec<Step> {
        let waiting = self
            .calls
            .iter()
            .filter(|(number, call)| call.host.is_none() && **number != but);
        if waiting.clone().count() < SUSPENDED {
            return Vec::new();
        }
        let oldest = waiting.max_by_key(|(number, call)| (call.waited, std::cmp::Reverse(**number)));
        let oldest = oldest.map(|(number, _)| *number);
        oldest.map_or_else(Vec::new, |number| {
            self.give_up(number, "too many calls wait for the host")
        })
    }

    /// The host's request that takes a call up again.
    pub(super) fn resume(
        &mut self,
        id: &Id,
        method: &str,
        mut params: Members,
        caller: Caller,
    ) -> Result<Vec<Step>, Refusal> {
        let number = self.waiting(&params)?;
        let Some(call) = self.calls.get_mut(&number) else {
            return Err(Refusal::UnknownState);
        };
        let responses = params.take("inputResponses");
        params.take("requestState");
        strip_meta(&mut params);
        if call.method != method || !same(&call.params, &params) {
            return Err(Refusal::ForeignState);
        }
        let responses =
            responses.map_or_else(|| Some(Members::default()), |responses| Members::read(&responses));
        let responses = responses.ok_or(Refusal::BadParams("`inputResponses` is no object"))?;
        let level = caller.level;
        call.host = Some(id.clone());
        call.ticket = None;
        call.tokens.1 = token(&params);
        call.caller = caller;
        if let Some(outcome) = call.finished.take() {
            let call = self.calls.remove(&number);
            let answer = call.and_then(|call| self.finish(&call, outcome));
            return Ok(answer.into_iter().collect());
        }
        let (mut steps, declined) = answered(&mut call.questions, &responses);
        let (more, again) = (!call.questions.is_empty(), call.again);
        steps.extend(level.and_then(|level| self.set_level(level)));
        if declined {
            self.calls.remove(&number);
            return Err(Refusal::PageDeclined);
        }
        if more {
            steps.extend(self.suspend(number));
        } else if again && let Some(mut call) = self.calls.remove(&number) {
            call.again = false;
            steps.push(self.send(call));
        }
        Ok(steps)
    }

    /// The call that a `requestState` names.
    fn waiting(&self, params: &Members) -> Result<u64, Refusal> {
        let state = params.text("requestState");
        let state = state.ok_or(Refusal::BadParams(
            "`inputResponses` came without the `requestState` that belongs to it",
        ))?;
        let ticket = state
            .strip_prefix(&self.settings.nonce)
            .and_then(|rest| rest.strip_prefix('.'));
        let ticket = ticket
            .and_then(|ticket| ticket.parse::<u64>().ok())
            .ok_or(Refusal::UnknownState)?;
        let mut calls = self.calls.iter();
        let found = calls.find(|(_, call)| call.ticket == Some(ticket) && call.host.is_none());
        found.map(|(number, _)| *number).ok_or(Refusal::UnknownState)
    }

    /// The server answered a call with pages that must be opened first (2025-11-25, -32042): the host is asked, and the call made
    /// again.
    pub(super) fn page_first(&mut self, number: u64, mut call: Call, error: &Members) -> Vec<Step> {
        let pages: Vec<Members> = error
            .object("data")
            .and_then(|data| data.value("elicitations"))
            .unwrap_or_default();
        let refusal = if !call.caller.declared.can_open_pages() {
            Some(Refusal::MissingCapability("elicitation.url"))
        } else if pages.is_empty() || pages.len() > QUESTIONS {
            Some(Refusal::Server(
                "it wants pages to be opened and does not say which".to_owned(),
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let Some(host) = &call.host else {
                call.finished = Some(Err(refusal.object()));
                self.calls.insert(number, call);
                return Vec::new();
            };
            return vec![refuse(host, &refusal)];
        }
        call.questions.clear();
        for mut params in pages {
            params.take("elicitationId");
            params.take("_meta");
            let key = format!("input-{}", self.number());
            let method = "elicitation/create".to_owned();
            call.questions.insert(
                key,
                Question {
                    id: None,
                    method,
                    params: params.with("mode", "url"),
                },
            );
        }
        call.again = true;
        self.calls.insert(number, call);
        self.suspend(number)
    }

    /// The server takes a question back.
    pub(super) fn question_withdrawn(&mut self, id: &Id) -> Vec<Step> {
        for call in self.calls.values_mut() {
            call.questions
                .retain(|_, question| question.id.as_ref() != Some(id));
        }
        Vec::new()
    }

    /// Ends what waited too long for the host.
    pub(super) fn expire(&mut self, time: Duration) -> Vec<Step> {
        let mut expired = Vec::new();
        for (number, call) in &mut self.calls {
            if call.host.is_none() {
                call.waited = call.waited.saturating_add(time);
                if call.waited >= PATIENCE {
                    expired.push(*number);
                }
            }
        }
        let give_up = |number| self.give_up(number, "the host did not come back with what was asked for");
        expired.into_iter().flat_map(give_up).collect()
    }
}

/// Hands the host's answers on and forgets their questions. Also whether a page was not accepted.
fn answered(questions: &mut BTreeMap<String, Question>, responses: &Members) -> (Vec<Step>, bool) {
    let (mut steps, mut declined) = (Vec::new(), false);
    for (key, response) in responses.iter() {
        let Some(mut response) = Members::read(response) else {
            continue;
        };
        let Some(question) = questions.remove(key) else {
            // "the server SHOULD ignore any information it does not recognize or need".
            continue;
        };
        strip_meta(&mut response);
        match &question.id {
            Some(id) => steps.push(Step::ToServer(message::result(id, &response))),
            None => declined |= response.text("action").as_deref() != Some("accept"),
        }
    }
    (steps, declined)
}

/// Whether a host's second request is the first one again, but for its metadata.
fn same(sent: &Members, now: &Members) -> bool {
    let value = |members: &Members, key: &str| members.value::<Value>(key);
    let within = |left: &Members, right: &Members| {
        let mut keys = left
            .iter()
            .map(|(key, _)| key)
            .filter(|key| !matches!(*key, "_meta" | "task"));
        keys.all(|key| value(left, key) == value(right, key))
    };
    within(sent, now) && within(now, sent)
}
