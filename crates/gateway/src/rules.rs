//! What one configuration says about one server.

use std::fmt;
use std::sync::Arc;

use doorward_mcp::list::Keep;
use doorward_mcp::{Object, Subscribed};
use doorward_policy::{Context, Policy, ProtectedServer, Refusal, Subject, may_use, review};
use doorward_types::time::UnixTime;

use crate::handed::{HandedOut, Holder};
use crate::standing::Visit;

/// The access rule, the scopes and the policy of a server. Cheap to clone.
#[derive(Clone)]
pub struct Rules {
    pub(crate) server: Arc<ProtectedServer>,
    pub(crate) policy: Arc<dyn Policy>,
}

impl Rules {
    /// Those of `server` under `policy`.
    #[must_use]
    pub fn new(server: Arc<ProtectedServer>, policy: Arc<dyn Policy>) -> Self {
        Self { server, policy }
    }

    /// Whether callers that are let in may be kept from some of what the server has.
    pub(crate) fn restrict(&self) -> bool {
        !self.server.scopes.is_whole() || self.policy.restricts()
    }

    /// What is written on a listed item: the scopes it takes, the same for all callers. Where one scope opens
    /// everything there is nothing to say.
    pub(crate) fn mark(&self, object: Object<'_>) -> Keep {
        if self.server.scopes.is_whole() {
            return Keep::Keep;
        }
        let needs = self.server.scopes.needs(object);
        Keep::Mark(needs.iter().map(|scope| scope.as_str().to_owned()).collect())
    }

    /// Why a call that was let in would not be let in still.
    pub(crate) fn objection(
        &self,
        visit: &Visit,
        subject: &Subject,
        handed: &HandedOut,
        now: UnixTime,
    ) -> Option<&'static str> {
        let (call, context) = (&visit.call, visit.context(now));
        if let Err(refusal) = review(&self.server, subject, &context, call, &*self.policy) {
            return Some(refusal.reason());
        }
        let holder = Holder::of(&visit.principal);
        call.subscribed().find_map(|subscribed| {
            let refused = match subscribed {
                Subscribed::Resource(uri) => self.may_use(subject, &context, Object::Resource(uri)).err(),
                Subscribed::Task(id) => {
                    // Nothing is told of one that is forgotten.
                    let tool = handed.tool_of(&holder, id, now)?;
                    self.may_use(subject, &context, Object::Tool(&tool)).err()
                }
            };
            refused.map(|refusal| refusal.reason())
        })
    }

    /// Whether an object may be used now that no call of its own asks for.
    pub(crate) fn may_use(
        &self,
        subject: &Subject,
        context: &Context<'_>,
        object: Object<'_>,
    ) -> Result<(), Refusal> {
        may_use(&self.server, subject, context, object, &*self.policy)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("server", &self.server.name)
            .finish_non_exhaustive()
    }
}
