//! Learning to whom a server hands out tasks and request states.

use std::sync::Arc;
use std::time::Duration;

use doorward_mcp::{Call, Summary, answer};
use doorward_resource_server::Principal;
use doorward_types::time::Clock;
use memchr::memmem;

use crate::handed::Holder;
use crate::standing::Standing;

/// Learns from the answer to one call.
pub(crate) struct Learner {
    standing: Arc<Standing>,
    principal: Arc<Principal>,
    call: Summary,
    clock: Arc<dyn Clock>,
}

impl Learner {
    /// Who learns from the answer to `call`: somebody if it may hand something out.
    pub(crate) fn of(
        standing: &Arc<Standing>,
        principal: &Arc<Principal>,
        call: &Call,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        may_hand_out(call).then(|| Self {
            standing: Arc::clone(standing),
            principal: Arc::clone(principal),
            call: call.summary(),
            clock: Arc::clone(clock),
        })
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
        let (handed, now) = (self.standing.handed(), self.clock.now());
        let holder = Holder::of(&self.principal);
        let (method, name) = (
            self.call.method().unwrap_or_default(),
            self.call.name().unwrap_or_default(),
        );
        if let Some(task) = facts.task
            && method == "tools/call"
        {
            handed.task(
                &holder,
                &task.id,
                name,
                task.ttl_ms.map(Duration::from_millis),
                now,
            );
        }
        if let Some(state) = facts.request_state {
            handed.request_state(&holder, method, name, &state, now);
        }
    }
}

/// Tasks come from tools; in 2025-11-25 only if the call asked for one. States come with 2026-07-28, from what that
/// revision lets ask back.
fn may_hand_out(call: &Call) -> bool {
    match call.method() {
        Some("tools/call") if call.revision().is_legacy() => {
            memmem::find(call.body(), b"task").is_some() || memmem::find(call.body(), b"\\u").is_some()
        }
        Some("tools/call" | "prompts/get" | "resources/read") => !call.revision().is_legacy(),
        _ => false,
    }
}
