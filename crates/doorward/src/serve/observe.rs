//! What the gateway decides, written down and counted.

use std::collections::HashMap;
use std::fmt;

use doorward_gateway::{Decision, Needed, Observer};
use doorward_recorder::decisions::{Caller, DecisionLog, Entry, ScopeNames, ServerFacts};
use doorward_types::id::ServerName;
use doorward_types::scope::Scope;
use doorward_web::Challenged;

use super::metrics::ServerMetrics;

/// The observer of the gateway of one configuration.
pub(super) struct Observed {
    pub(super) log: DecisionLog,
    /// Is told who lacks scopes.
    pub(super) challenged: Challenged,
    pub(super) servers: HashMap<ServerName, Server>,
}

/// One server of it.
pub(super) struct Server {
    pub(super) facts: ServerFacts,
    pub(super) metrics: ServerMetrics,
}

impl Observer for Observed {
    fn observe(&self, decision: &Decision<'_>) {
        let Some(server) = self.servers.get(&decision.server.name) else {
            return;
        };
        server.metrics.count(decision);
        if decision.reason == Some("insufficient_scope")
            && let Some(principal) = decision.principal
            && let Some(family) = principal.family()
        {
            self.challenged.note(family, principal.expires());
        }
        if decision.too_often {
            let reason = decision.reason.unwrap_or("left");
            self.log
                .count(decision.at, decision.outcome.as_str(), reason, &server.facts);
            return;
        }
        let needed = decision.needed.map(Scopes);
        let caller = decision.principal.filter(|principal| !principal.is_anonymous());
        self.log.record(&Entry {
            at: decision.at,
            id: decision.id,
            outcome: decision.outcome.as_str(),
            reason: decision.reason,
            status: decision.status,
            server: &server.facts,
            caller: caller.map(|principal| Caller {
                user: *principal.subject().as_uuid(),
                client: principal.client_id().as_str(),
                token: *principal.token_id().as_uuid(),
                family: principal.family().map(|family| *family.as_uuid()),
                audience: principal.resource().as_str(),
                scopes: principal.scopes(),
            }),
            http_method: decision.http_method.as_str(),
            method: decision.method,
            name: decision.name,
            revision: decision.revision.map(|revision| revision.as_str()),
            needed: needed.as_ref().map(|needed| needed as &dyn ScopeNames),
            repeated: decision.repeated,
            policies: decision.policies,
            trace: decision.trace,
            traceparent: decision.traceparent,
            peer: decision.peer,
            took: decision.took,
            upstream_took: decision.upstream_took,
            upstream_status: decision.upstream_status,
            opens_stream: decision.opens_stream,
        });
    }
}

/// The scopes of a decision, for its line.
struct Scopes<'a>(Needed<'a>);

impl ScopeNames for Scopes<'_> {
    fn each(&self, tell: &mut dyn FnMut(&Scope)) {
        self.0.each(tell);
    }
}

impl fmt::Debug for Scopes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        self.0.each(|scope| {
            list.entry(scope);
        });
        list.finish()
    }
}
