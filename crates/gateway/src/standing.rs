//! What became of a server since its open streams were let in, and what it handed out.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use doorward_mcp::{Action, Summary};
use doorward_policy::{Context, ProtectedServer};
use doorward_resource_server::Principal;
use doorward_types::id::Tenant;
use doorward_types::time::UnixTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::handed::HandedOut;
use crate::rules::Rules;

/// Most long lists of one server that are filtered at a time.
const LONG_LISTS: usize = 2;

/// What the configuration now says about the open streams of one server, and what that server handed out to its
/// callers. Shared between the gateways of successive configurations: streams that one let in look at what the next
/// one says, within seconds.
#[derive(Debug)]
pub struct Standing {
    state: ArcSwap<State>,
    handed: HandedOut,
    long_lists: Arc<Semaphore>,
}

/// A call whose answer is a stream.
pub(crate) struct Visit {
    pub(crate) principal: Arc<Principal>,
    pub(crate) call: Summary,
    /// The tool whose task the call is about: known when it was let in, whatever is remembered of the task later.
    pub(crate) tool: Option<Box<str>>,
    pub(crate) address: Option<IpAddr>,
    /// Those that let it in.
    pub(crate) rules: Rules,
    /// Whether what it is told is filtered.
    pub(crate) sieved: bool,
}

impl Visit {
    /// Whether nobody waits for an answer on it.
    fn is_listening(&self) -> bool {
        self.call.action() == Action::OpenStream || self.call.method() == Some("subscriptions/listen")
    }

    pub(crate) fn context(&self, now: UnixTime) -> Context<'_> {
        Context {
            address: self.address,
            tool: self.tool.as_deref(),
            ..Context::new(now, self.call.revision())
        }
    }
}

#[derive(Debug)]
enum State {
    /// Nothing came after the configuration that let them in.
    AsLetIn,
    Serving {
        rules: Rules,
        anonymous: bool,
    },
    Replaced {
        rules: Rules,
        anonymous: bool,
    },
    Removed,
}

impl Standing {
    /// Of a server that stands as it was configured.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: ArcSwap::from_pointee(State::AsLetIn),
            handed: HandedOut::default(),
            long_lists: Arc::new(Semaphore::new(LONG_LISTS)),
        })
    }

    /// These rules hold for it now, and callers without a token are let in if `anonymous`: streams that they would
    /// not let in end.
    pub fn admit(&self, rules: Rules, anonymous: bool) {
        self.state.store(Arc::new(State::Serving { rules, anonymous }));
    }

    /// Something else is behind it now, with these rules: streams that only listen end, answers are finished.
    pub fn replace(&self, rules: Rules, anonymous: bool) {
        self.state.store(Arc::new(State::Replaced { rules, anonymous }));
    }

    /// It is no more: all its streams end.
    pub fn remove(&self) {
        self.state.store(Arc::new(State::Removed));
    }

    /// A turn to filter a long list. There are few for each server, so that none takes all of the machine.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.long_lists).acquire_owned().await.ok()
    }

    pub(crate) const fn handed(&self) -> &HandedOut {
        &self.handed
    }

    /// The rules that hold now, if they are not those of the configuration that let its streams in.
    pub(crate) fn rules(&self) -> Option<Rules> {
        match &**self.state.load() {
            State::AsLetIn | State::Removed => None,
            State::Serving { rules, .. } | State::Replaced { rules, .. } => Some(rules.clone()),
        }
    }

    /// Why a stream has to end: what its call would meet if it came now.
    pub(crate) fn objection(&self, visit: &Visit, now: UnixTime) -> Option<&'static str> {
        let state = self.state.load();
        let (rules, anonymous) = match &**state {
            State::AsLetIn => (&visit.rules, true),
            State::Removed => return Some("server_removed"),
            State::Replaced { .. } if visit.is_listening() => return Some("server_replaced"),
            State::Replaced { rules, anonymous } | State::Serving { rules, anonymous } => (rules, *anonymous),
        };
        if rules.restrict() && !visit.sieved && visit.is_listening() {
            // What it is told is not filtered, and now has to be.
            return Some("rules_changed");
        }
        if !visit.principal.is_anonymous() {
            return rules.objection(visit, visit.principal.policy_subject(), &self.handed, now);
        }
        if !anonymous {
            return Some("not_allowed");
        }
        let nobody = nobody(&rules.server);
        rules.objection(visit, nobody.policy_subject(), &self.handed, now)
    }
}

/// Callers of a server that asks nobody who they are: they have there what every app gets that anybody connects. Who needs
/// more logs in.
pub(crate) fn nobody(server: &ProtectedServer) -> Principal {
    Principal::anonymous(
        server.resource.clone(),
        server.scopes.defaults(),
        Tenant::default_tenant(),
    )
}
