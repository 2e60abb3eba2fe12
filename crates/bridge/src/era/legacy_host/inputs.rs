//! What a server asks for in an `InputRequiredResult`, asked of the host (2026-07-28, "Multi Round-Trip Requests").

use doorward_mcp::Revision;

use super::super::capabilities::is_url;
use super::super::message::{self, Id, own_id, own_number, told};
use super::super::refusal::Refusal;
use super::calls::{Call, Waiting};
use super::{LegacyHost, Phase, refuse};
use crate::adapter::Step;
use doorward_mcp::members::{Members, raw};

/// How often a server may ask for input during one call.
const ROUNDS: u32 = 32;
/// How much it may ask for at a time.
const QUESTIONS: usize = 32;

/// One request of ours to the host.
pub(super) struct Ask {
    /// The number under which the call waits.
    pub(super) call: u64,
    /// The server's name for it.
    key: String,
    method: String,
}

/// One input that the server asks for.
struct Question {
    key: String,
    method: String,
    params: Members,
}

impl LegacyHost {
    /// Asks the host for everything that the server wants to know, all at once.
    pub(super) fn ask(
        &mut self,
        number: u64,
        mut call: Call,
        result: &Members,
    ) -> Result<Vec<Step>, Refusal> {
        call.rounds += 1;
        if call.rounds > ROUNDS {
            return Err(Refusal::Server(format!(
                "it asked for input more than {ROUNDS} times during one call"
            )));
        }
        let questions = self.questions(result)?;
        let state = result.get("requestState").map(ToOwned::to_owned);
        if state.is_some() && result.text("requestState").is_none() {
            return Err(Refusal::Server("`requestState` is no text".to_owned()));
        }
        if questions.is_empty() && state.is_none() {
            return Err(Refusal::Server("it asks for input and names none".to_owned()));
        }
        let waiting = Waiting {
            call,
            missing: questions.len(),
            responses: Members::default(),
            state,
        };
        if questions.is_empty() {
            return Ok(vec![self.retry(waiting)]);
        }
        self.waiting.insert(number, waiting);
        let ask = |question| self.put(number, question);
        Ok(questions.into_iter().map(ask).collect())
    }

    fn questions(&self, result: &Members) -> Result<Vec<Question>, Refusal> {
        let Some(requests) = result.get("inputRequests") else {
            return Ok(Vec::new());
        };
        let odd = |what: &str| Refusal::Server(format!("`inputRequests` {what}"));
        let requests = Members::read(requests).ok_or_else(|| odd("is no object"))?;
        if requests.len() > QUESTIONS {
            return Err(odd("holds too many requests"));
        }
        let question = |(key, request)| {
            let request = Members::read(request).ok_or_else(|| odd("holds what is no request"))?;
            let method = request.text("method").unwrap_or_default();
            if !matches!(
                &*method,
                "elicitation/create" | "sampling/createMessage" | "roots/list"
            ) {
                return Err(odd(&format!(
                    "holds {method:?}, which no client can be asked for"
                )));
            }
            let params = request.object("params").unwrap_or_default();
            if let Phase::Open(open) = &self.phase
                && let Some(path) = open.0.declared.lacks(&method, &params)
            {
                return Err(odd(&format!("asks for {path}, which the host did not declare")));
            }
            Ok(Question {
                key: String::from(key),
                method,
                params,
            })
        };
        requests.iter().map(question).collect()
    }

    fn put(&mut self, call: u64, question: Question) -> Step {
        let Question {
            key,
            method,
            mut params,
        } = question;
        let number = self.number();
        if method == "elicitation/create" {
            if is_url(&params) && !params.has("elicitationId") {
                // 2025-11-25 requires one; 2026-07-28 has none.
                params.set("elicitationId", raw(&own_id(number)));
            }
            if self.revision() < Revision::V2025_11_25 {
                // There was one mode only, without a name.
                params.take("mode");
            }
        }
        let request = message::request(number, &method, &params);
        self.asks.insert(number, Ask { call, key, method });
        Step::ToHost(request)
    }

    /// An answer of the host.
    pub(super) fn input(&mut self, id: &Id, outcome: Result<Members, Members>) -> Vec<Step> {
        let ask = own_number(id).and_then(|number| self.asks.remove(&number));
        let Some((ask, mut waiting)) = ask.and_then(|ask| {
            let waiting = self.waiting.remove(&ask.call)?;
            Some((ask, waiting))
        }) else {
            return Vec::new();
        };
        match outcome {
            Ok(result) => {
                waiting.responses.set(&ask.key, raw(&result));
                waiting.missing = waiting.missing.saturating_sub(1);
                if waiting.missing == 0 {
                    return vec![self.retry(waiting)];
                }
                self.waiting.insert(ask.call, waiting);
                Vec::new()
            }
            Err(error) => {
                // The pattern knows no errors, and nothing may be made up in the user's name.
                let refusal = Refusal::Input {
                    method: ask.method,
                    told: told(&error),
                };
                let mut steps = self.withdraw(ask.call);
                steps.push(refuse(&waiting.call.id, &refusal));
                steps
            }
        }
    }

    /// The call again, with what was asked for. The state is echoed as it came, and only if one came.
    fn retry(&mut self, waiting: Waiting) -> Step {
        let Waiting {
            call,
            responses,
            state,
            ..
        } = waiting;
        self.send(call, |params| {
            if !responses.is_empty() {
                params.set("inputResponses", raw(&responses));
            }
            if let Some(state) = state {
                params.set("requestState", state);
            }
        })
    }
}
