//! What a page asks a person about: the scopes that they can tick, what each of them brings along, and what is new.

use doorward_policy::{ProtectedServer, ScopeEntry};
use doorward_records::account::User;
use doorward_records::grant::Grant;
use doorward_types::id::GrantId;
use doorward_types::scope::{Scope, ScopeSet};

use crate::settings::may_have;

/// The scopes of a consent or device page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedScopes {
    /// What can be ticked, in the order of the configuration.
    pub offered: Vec<AskedScope>,
    /// What the client asked for and this person may not have: nothing to tick, but to be told.
    pub withheld: Vec<ScopeEntry>,
    /// What this client was granted before and does not ask for now. It keeps what it has.
    pub kept: Vec<ScopeEntry>,
    /// Whether this client was granted something before.
    pub again: bool,
}

/// A scope that can be ticked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedScope {
    /// The scope.
    pub entry: ScopeEntry,
    /// Whether this client could not do it so far.
    pub new: bool,
    /// The scopes that come with it, because it implies them.
    pub includes: Vec<ScopeEntry>,
    /// The others of this page that imply it: while one of them is ticked, not ticking this one takes nothing away.
    pub comes_with: Vec<ScopeEntry>,
}

impl AskedScopes {
    /// What `user` is asked about `server` by a client that wants `wanted` and has `grant`.
    #[must_use]
    pub fn of(server: &ProtectedServer, user: &User, wanted: &ScopeSet, grant: Option<&Grant>) -> Self {
        let table = &server.scopes;
        let may_have = may_have(server, user);
        let offered = wanted.intersection(&may_have);
        let granted = grant.map(|grant| &grant.scopes);
        let had = granted.map(|granted| table.closure(granted)).unwrap_or_default();
        let picked = |keep: &dyn Fn(&Scope) -> bool| -> Vec<ScopeEntry> {
            let entries = table.entries().iter().filter(|entry| keep(&entry.scope));
            entries.cloned().collect()
        };
        let implies =
            |broad: &Scope, narrow: &Scope| broad != narrow && closure_of(server, broad).contains(narrow);
        let asked = |entry: ScopeEntry| AskedScope {
            new: !had.contains(&entry.scope),
            includes: picked(&|other| may_have.contains(other) && implies(&entry.scope, other)),
            comes_with: picked(&|other| offered.contains(other) && implies(other, &entry.scope)),
            entry,
        };
        Self {
            offered: picked(&|scope| offered.contains(scope))
                .into_iter()
                .map(asked)
                .collect(),
            withheld: picked(&|scope| wanted.contains(scope) && !may_have.contains(scope)),
            kept: picked(&|scope| {
                granted.is_some_and(|granted| granted.contains(scope)) && !wanted.contains(scope)
            }),
            again: grant.is_some(),
        }
    }
}

fn closure_of(server: &ProtectedServer, scope: &Scope) -> ScopeSet {
    server.scopes.closure(&ScopeSet::from_iter([scope.clone()]))
}

/// A client was granted more than it had: to be logged (MCP security best practices, scope minimization).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elevation {
    /// The consent record that grew.
    pub grant: GrantId,
    /// Its scopes before.
    pub before: ScopeSet,
    /// Its scopes now.
    pub after: ScopeSet,
}

impl Elevation {
    /// If `after`, which takes the place of `before`, holds more.
    pub(crate) fn between(before: Option<&Grant>, after: &Grant) -> Option<Self> {
        let before = &before?.scopes;
        (!after.scopes.is_subset(before)).then(|| Self {
            grant: after.id,
            before: before.clone(),
            after: after.scopes.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
