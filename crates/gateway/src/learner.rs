//! Learning to whom a server hands out tasks and request states.

use std::sync::Arc;
use std::time::Duration;

use doorward_mcp::answer::{self, Facts, HandedTask};
use doorward_mcp::message::identity;
use doorward_mcp::{Action, Call};
use doorward_resource_server::Principal;
use doorward_types::time::Clock;
use http::HeaderValue;
use memchr::memmem;

use crate::handed::{HandedOut, Holder, Task};
use crate::listener::{Learns, Listener};
use crate::standing::Standing;

/// Learns from the answer to one call, or from a stream that is resumed.
pub(crate) struct Learner {
    standing: Arc<Standing>,
    principal: Arc<Principal>,
    asked: Asked,
    /// What the call is for: nothing else of it is kept, an answer may take long.
    name: Box<str>,
    /// Of the upstream; empty if it has none.
    session: Box<str>,
    clock: Arc<dyn Clock>,
    /// Whether the server has the tasks of all its callers in one place.
    shared: bool,
}

/// What hands something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Tool,
    Prompt,
    Resource,
    /// A stream, which may repeat the answer to an earlier request.
    Stream,
}

impl Learner {
    /// Who learns from the answer to `call`: somebody if it may hand something out.
    pub(crate) fn of(
        standing: &Arc<Standing>,
        principal: &Arc<Principal>,
        call: &Call,
        clock: &Arc<dyn Clock>,
        shared: bool,
    ) -> Option<Self> {
        let asked = may_hand_out(call)?;
        Some(Self {
            standing: Arc::clone(standing),
            principal: Arc::clone(principal),
            asked,
            name: call.name().unwrap_or_default().into(),
            session: Box::default(),
            clock: Arc::clone(clock),
            shared,
        })
    }

    /// The same for `call` in a session. In revisions that have sessions the answer may come on another stream, which is
    /// opened with the place where the first one broke off: so the call is remembered. A stream that is not `resumed`
    /// repeats nothing.
    pub(crate) fn within(
        mut self,
        call: &Call,
        session: Option<&HeaderValue>,
        resumed: bool,
    ) -> Option<Self> {
        if let Some(session) = session {
            self.session = String::from_utf8_lossy(session.as_bytes()).into();
        }
        if self.asked == Asked::Stream {
            return resumed.then_some(self);
        }
        if call.revision().is_legacy()
            && let Some(id) = call.id()
        {
            let holder = Holder::of(&self.principal);
            let (handed, id) = (self.standing.handed(), identity(id));
            handed.call(&holder, &self.session, &id, &self.name, self.clock.now());
        }
        Some(self)
    }

    pub(crate) fn listener(self) -> Listener {
        Listener::new(Learns::HandedOut(Box::new(self)))
    }

    /// An answer that spells its keys in escapes is not understood: what it hands out is then nobody's.
    pub(crate) fn learn(&self, message: &[u8]) {
        if memmem::find(message, b"taskId").is_none() && memmem::find(message, b"requestState").is_none() {
            return;
        }
        let facts = match answer::facts(message) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::debug!(%error, "an answer cannot be read: nothing is learnt from it");
                return;
            }
        };
        let handed = self.standing.handed();
        let holder = Holder::of(&self.principal);
        let method = match self.asked {
            Asked::Tool => "tools/call",
            Asked::Prompt => "prompts/get",
            Asked::Resource => "resources/read",
            Asked::Stream => return self.learn_resumed(handed, &holder, &facts),
        };
        if let Some(task) = facts.task.filter(|_| self.asked == Asked::Tool) {
            self.learn_task(handed, &holder, &task, &self.name);
        }
        if let Some(state) = facts.request_state {
            handed.request_state(&holder, method, &self.name, &state, self.clock.now());
        }
    }

    /// What answers a call of an earlier request.
    fn learn_resumed(&self, handed: &HandedOut, holder: &Holder, facts: &Facts) {
        let (Some(task), Some(id)) = (&facts.task, &facts.id) else {
            return;
        };
        let tool = handed.tool_of_call(holder, &self.session, &identity(id), self.clock.now());
        if let Some(tool) = tool {
            self.learn_task(handed, holder, task, &tool);
        }
    }

    fn learn_task(&self, handed: &HandedOut, holder: &Holder, task: &HandedTask, tool: &str) {
        let task = Task {
            id: &task.id,
            tool,
            lasts: task.ttl_ms.map(Duration::from_millis),
            shared: self.shared,
        };
        handed.task(holder, &task, self.clock.now());
    }
}

/// Tasks come from tools; in 2025-11-25 only if the call asked for one. States come with 2026-07-28, from what that
/// revision lets ask back. A stream may repeat an answer.
fn may_hand_out(call: &Call) -> Option<Asked> {
    let legacy = call.revision().is_legacy();
    let asks_for_task =
        || memmem::find(call.body(), b"\"task\"").is_some() || memmem::find(call.body(), b"\\u").is_some();
    match call.method() {
        None if call.action() == Action::OpenStream => Some(Asked::Stream),
        Some("tools/call") if !legacy || asks_for_task() => Some(Asked::Tool),
        Some("prompts/get") if !legacy => Some(Asked::Prompt),
        Some("resources/read") if !legacy => Some(Asked::Resource),
        _ => None,
    }
}
