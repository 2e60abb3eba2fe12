//! Calls on their way to the server and back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::message::{self, Id, error_object};
use super::super::refusal::Refusal;
use super::super::translate::{may_ask, strip_meta, task_tools, to_modern};
use super::questions::Question;
use super::session::Caller;
use super::{CALLS, ModernHost, refuse};
use crate::adapter::Step;
use doorward_mcp::members::{Members, Raw, raw};

/// Most tools that are remembered as tasks.
const TASK_TOOLS: usize = 1024;

/// A call of the host that the server has.
pub(super) struct Call {
    /// The host's id; none while the call waits for the host to take it up again.
    pub(super) host: Option<Id>,
    pub(super) method: String,
    pub(super) caller: Caller,
    /// As the server knows it, and as the host's present request has it.
    pub(super) tokens: (Option<Id>, Option<Raw>),
    /// What the server asked for and the host did not answer yet, by the key that the host sees.
    pub(super) questions: BTreeMap<String, Question>,
    /// The `requestState` under which it waits.
    pub(super) ticket: Option<u64>,
    /// How long it has waited.
    pub(super) waited: Duration,
    /// The server's answer, if it came while the call waited.
    pub(super) finished: Option<Result<Members, Members>>,
    /// What the server was sent, kept where it may have to be sent again.
    pub(super) params: Members,
    /// Whether the server's last answer was that a page must be opened first (-32042): the call is to be made again.
    pub(super) again: bool,
    /// The task that the server runs it as.
    pub(super) task: Option<String>,
}

/// The progress token of a request, as JSON text.
pub(super) fn token(params: &Members) -> Option<Raw> {
    Some(params.object("_meta")?.get("progressToken")?.to_owned())
}

impl ModernHost {
    /// Hands a request of the host on.
    pub(super) fn call(
        &mut self,
        id: &Id,
        method: &str,
        mut params: Members,
        caller: Caller,
    ) -> Result<Vec<Step>, Refusal> {
        if self.calls.len() >= CALLS {
            return Err(Refusal::TooMany("calls"));
        }
        strip_meta(&mut params);
        let token = token(&params);
        let as_task = method == "tools/call" && self.is_task(&params);
        if as_task {
            params.set("task", raw(&Members::default()));
        }
        let level = caller.level.and_then(|level| self.set_level(level));
        let call = Call {
            host: Some(id.clone()),
            method: method.to_owned(),
            caller,
            tokens: (token.as_ref().and_then(|token| Id::new(token.get())), token),
            questions: BTreeMap::new(),
            ticket: None,
            waited: Duration::ZERO,
            finished: None,
            params,
            again: false,
            task: None,
        };
        let mut steps: Vec<Step> = level.into_iter().collect();
        steps.push(self.send(call));
        Ok(steps)
    }

    /// Sends a call, for the first time or again.
    pub(super) fn send(&mut self, mut call: Call) -> Step {
        let number = self.number();
        let request = message::request(number, &call.method, &call.params);
        if !may_ask(&call.method) {
            call.params = Members::default();
        }
        self.calls.insert(number, call);
        Step::ToServer(request)
    }

    fn is_task(&self, params: &Members) -> bool {
        let offered = self.session().is_some_and(|session| session.offered.task_calls);
        offered
            && params
                .text("name")
                .is_some_and(|name| self.task_tools.contains(&name))
    }

    /// The server's answer to a call.
    pub(super) fn answered(
        &mut self,
        number: u64,
        mut call: Call,
        outcome: Result<Members, Members>,
    ) -> Vec<Step> {
        match outcome {
            Ok(result) if call.params.has("task") && call.task.is_none() && result.has_object("task") => {
                self.await_task(call, &result)
            }
            Err(error) if error.value::<i64>("code") == Some(-32042) && may_ask(&call.method) => {
                self.page_first(number, call, &error)
            }
            outcome if call.host.is_none() => {
                // The host has not come back yet. What the server asked for is of no use any more.
                call.questions.clear();
                call.finished = Some(outcome);
                self.calls.insert(number, call);
                Vec::new()
            }
            outcome => self.finish(&call, outcome).into_iter().collect(),
        }
    }

    /// A call that the server runs as a task is waited for: `tasks/result` answers when it is done.
    fn await_task(&mut self, mut call: Call, result: &Members) -> Vec<Step> {
        let id = result.object("task").and_then(|task| task.text("taskId"));
        let Some(id) = id else {
            let refusal = Refusal::Server("a task without `taskId`".to_owned());
            return call.host.iter().map(|host| refuse(host, &refusal)).collect();
        };
        let params = Members::default().with("taskId", &id);
        call.task = Some(id);
        let number = self.number();
        self.calls.insert(number, call);
        vec![Step::ToServer(message::request(number, "tasks/result", &params))]
    }

    /// Answers the host's request.
    pub(super) fn finish(&mut self, call: &Call, outcome: Result<Members, Members>) -> Option<Step> {
        let host = call.host.as_ref()?;
        let answer = match outcome {
            Ok(result) => {
                if call.method == "tools/list" {
                    self.learn(&result);
                }
                let info = self.session().map(|session| &*session.server_info);
                message::result(host, &to_modern(&call.method, result, info))
            }
            Err(error) => message::error(host, &modern_error(error)),
        };
        Some(Step::ToHost(answer))
    }

    fn learn(&mut self, list: &Members) {
        let (required, others) = task_tools(list);
        for name in others {
            self.task_tools.remove(&name);
        }
        let room = TASK_TOOLS.saturating_sub(self.task_tools.len());
        self.task_tools.extend(required.into_iter().take(room));
    }

    /// The host gives up a request. One that waits for the host ends by itself.
    pub(super) fn cancel(&mut self, id: &Id, reason: &str) -> Vec<Step> {
        let found = self.calls.iter().find(|(_, call)| call.host.as_ref() == Some(id));
        let Some(number) = found.map(|(number, _)| *number) else {
            return Vec::new();
        };
        self.give_up(number, reason)
    }

    /// Ends a call at the server.
    pub(super) fn give_up(&mut self, number: u64, reason: &str) -> Vec<Step> {
        let Some(call) = self.calls.remove(&number) else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        for question in call.questions.values() {
            steps.extend(question.refused(&Refusal::Expired));
        }
        if let Some(task) = &call.task {
            let own = self.number();
            self.own.insert(own, super::Own::Ignored);
            let params = Members::default().with("taskId", task);
            steps.push(Step::ToServer(message::request(own, "tasks/cancel", &params)));
        }
        if call.finished.is_none() && !call.again {
            steps.push(Step::ToServer(message::cancelled(number, reason)));
        }
        steps
    }

    /// The host's token for a progress token that the server was given.
    pub(super) fn progress_token(&self, token: &Id) -> Option<Raw> {
        let call = self
            .calls
            .values()
            .find(|call| call.tokens.0.as_ref() == Some(token))?;
        call.host.as_ref().and(call.tokens.1.clone())
    }

    /// Whether a request that is under way asked for messages as severe as this one. `request` is the one with which it came.
    pub(super) fn wants_message(&self, severity: Option<usize>, request: Option<u64>) -> bool {
        let Some(severity) = severity else {
            return false;
        };
        let wants =
            |call: &Call| call.host.is_some() && call.caller.level.is_some_and(|level| level <= severity);
        match request.and_then(|number| self.calls.get(&number)) {
            Some(call) => wants(call),
            None => self.calls.values().any(wants),
        }
    }
}

/// An error of a legacy server. Codes that mean something else in 2026-07-28, or that it forbids, are replaced.
pub(super) fn modern_error(error: Members) -> Members {
    let Some(code) = error.value::<i64>("code") else {
        return Refusal::Server("an error without a code".to_owned()).object();
    };
    let text = error.text("message").unwrap_or_default();
    match code {
        // "replaced by -32602" (2026-07-28, "Error Codes").
        -32002 => error_object(-32602, &text, error.get("data").map(ToOwned::to_owned)),
        -32099..=-32020 => {
            let mut data = Members::default().with("code", &code);
            if let Some(theirs) = error.get("data") {
                data.set("data", theirs.to_owned());
            }
            error_object(-32603, &text, Some(raw(&data)))
        }
        _ => error,
    }
}
