//! What the gateway decides, written down and counted.

use std::collections::HashMap;

use doorward_gateway::{Decision, Observer};
use doorward_recorder::decisions::{Caller, DecisionLog, Entry, ServerFacts};
use doorward_types::id::ServerName;
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
            needed: decision.needed,
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
