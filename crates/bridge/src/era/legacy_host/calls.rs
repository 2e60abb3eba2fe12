//! Calls on their way to the server and back.

use tracing::warn;

use super::super::message::{self, Id, own_id};
use super::super::refusal::Refusal;
use super::super::translate::{may_ask, to_legacy};
use super::{CALLS, LegacyHost, Phase, answer, refuse};
use crate::adapter::Step;
use doorward_mcp::members::{Members, Raw};

/// A call of the host that the server has.
pub(super) struct Call {
    /// The host's id.
    pub(super) id: Id,
    pub(super) method: String,
    /// What the host sent, kept to be sent again; without anything where the server may ask for nothing.
    pub(super) params: Members,
    /// The host's progress token.
    token: Option<Id>,
    /// How often the server asked for input.
    pub(super) rounds: u32,
}

/// A call that waits for what the host is asked.
pub(super) struct Waiting {
    pub(super) call: Call,
    /// Questions without an answer.
    pub(super) missing: usize,
    pub(super) responses: Members,
    pub(super) state: Option<Raw>,
}

impl LegacyHost {
    /// Hands a request of the host on.
    pub(super) fn call(&mut self, id: &Id, method: &str, mut params: Members) -> Result<Vec<Step>, Refusal> {
        if self.calls.len() + self.waiting.len() >= CALLS {
            return Err(Refusal::TooMany("calls"));
        }
        if method == "tools/call" {
            // No server here declares tasks: "Receivers that do not declare the task capability for a request type MUST process
            // requests of that type normally, ignoring any task-augmentation metadata".
            params.take("task");
        }
        let token = params
            .object("_meta")
            .and_then(|meta| Some(meta.get("progressToken")?.to_owned()));
        let call = Call {
            id: id.clone(),
            method: method.to_owned(),
            params,
            token: token.and_then(|token| Id::new(token.get())),
            rounds: 0,
        };
        Ok(vec![self.send(call, |_| {})])
    }

    /// Sends a call, for the first time or again: every request has an id of its own.
    pub(super) fn send(&mut self, mut call: Call, add: impl FnOnce(&mut Members)) -> Step {
        let number = self.number();
        let mut params = call.params.clone();
        add(&mut params);
        if let Phase::Open(open) = &self.phase {
            open.0.meta(&mut params, self.level.as_deref());
        }
        if !may_ask(&call.method) {
            call.params = Members::default();
        }
        let request = message::request(number, &call.method, &params);
        self.calls.insert(number, call);
        Step::ToServer(request)
    }

    /// The server's result for a call.
    pub(super) fn answered(&mut self, number: u64, call: Call, result: Members) -> Vec<Step> {
        let kind = result
            .get("resultType")
            .map(|kind| serde_json::from_str::<String>(kind.get()));
        let refusal = match kind {
            None => return self.finish(&call, result),
            Some(Ok(kind)) if kind == "complete" => return self.finish(&call, result),
            Some(Ok(kind)) if kind == "input_required" && may_ask(&call.method) => {
                let id = call.id.clone();
                match self.ask(number, call, &result) {
                    Ok(steps) => return steps,
                    Err(refusal) => return vec![refuse(&id, &refusal)],
                }
            }
            Some(Ok(kind)) if kind == "input_required" => {
                Refusal::Server(format!("{kind} is no answer to {}", call.method))
            }
            Some(Ok(kind)) => Refusal::Server(format!("a result of type {kind:?} was not negotiated")),
            Some(Err(_)) => Refusal::Server("`resultType` is no text".to_owned()),
        };
        vec![refuse(&call.id, &refusal)]
    }

    fn finish(&self, call: &Call, result: Members) -> Vec<Step> {
        let (result, notes) = to_legacy(&call.method, result, self.revision());
        for note in notes {
            warn!("{note}");
        }
        vec![answer(&call.id, &result)]
    }

    /// Whether a request that is under way at the server carries this progress token.
    pub(super) fn awaits_progress(&self, token: &Id) -> bool {
        self.calls.values().any(|call| call.token.as_ref() == Some(token))
    }

    /// The host gives up a call: at the server, or the questions that it waits for.
    pub(super) fn cancel(&mut self, params: &Members) -> Vec<Step> {
        let Some(id) = params.get("requestId").and_then(|id| Id::new(id.get())) else {
            return Vec::new();
        };
        let at_server = self
            .calls
            .iter()
            .find(|(_, call)| call.id == id)
            .map(|(number, _)| *number);
        if let Some(number) = at_server {
            self.calls.remove(&number);
            return vec![Step::ToServer(message::cancelled(
                number,
                "cancelled by the host",
            ))];
        }
        let waiting = self.waiting.iter().find(|(_, waiting)| waiting.call.id == id);
        let Some(number) = waiting.map(|(number, _)| *number) else {
            return Vec::new();
        };
        self.waiting.remove(&number);
        self.withdraw(number)
    }

    /// Takes back what the host was asked for a call.
    pub(super) fn withdraw(&mut self, call: u64) -> Vec<Step> {
        let asks = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.call == call)
            .map(|(number, _)| *number);
        let asks: Vec<u64> = asks.collect();
        asks.into_iter()
            .map(|number| {
                self.asks.remove(&number);
                let params = Members::default().with("requestId", &own_id(number));
                let params = params.with("reason", "the call that needed it is over");
                Step::ToHost(message::notification("notifications/cancelled", &params))
            })
            .collect()
    }
}
