//! Whether what was let in may stay, when the configuration changes while streams are open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use doorward_policy::AccessRule;
use doorward_resource_server::Principal;

/// What the configuration now says about the open streams of one server. Shared between the gateways of
/// successive configurations: streams that one let in look at what the next one says, within seconds.
#[derive(Debug)]
pub struct Standing(ArcSwap<State>);

#[derive(Debug)]
enum State {
    Serving { allow: AccessRule, anonymous: bool },
    Replaced { allow: AccessRule, anonymous: bool },
    Removed,
}

impl Standing {
    /// Of a server that admits whom `allow` names, and callers without a token if `anonymous`.
    #[must_use]
    pub fn new(allow: AccessRule, anonymous: bool) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(State::Serving { allow, anonymous })))
    }

    /// It now admits these: streams of others end.
    pub fn admit(&self, allow: AccessRule, anonymous: bool) {
        self.0.store(Arc::new(State::Serving { allow, anonymous }));
    }

    /// Something else is behind it now, that admits these: streams that only listen end, answers are
    /// finished.
    pub fn replace(&self, allow: AccessRule, anonymous: bool) {
        self.0.store(Arc::new(State::Replaced { allow, anonymous }));
    }

    /// It is no more: all its streams end.
    pub fn remove(&self) {
        self.0.store(Arc::new(State::Removed));
    }

    /// Why a stream has to end.
    pub(crate) fn objection(&self, principal: &Principal, listening: bool) -> Option<&'static str> {
        let state = self.0.load();
        let (allow, anonymous) = match &**state {
            State::Removed => return Some("server_removed"),
            State::Replaced { .. } if listening => return Some("server_replaced"),
            State::Replaced { allow, anonymous } | State::Serving { allow, anonymous } => (allow, *anonymous),
        };
        let admitted = if principal.is_anonymous() {
            anonymous
        } else {
            allow.admits_subject(principal.policy_subject())
        };
        (!admitted).then_some("not_allowed")
    }
}
