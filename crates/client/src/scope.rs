//! Which scopes are asked for (A8 to A12, A28, A35, B28).

use doorward_types::scope::{Scope, ScopeSet};

use crate::challenge::Challenge;
use crate::discover::Discovered;
use crate::error::{Error, Hop, Refusal};

/// The scope that asks for refresh tokens where the authorization server wants to be asked (OpenID Connect Core §11).
const OFFLINE_ACCESS: &str = "offline_access";

/// How many scopes are asked for, and how long the list may be in bytes: it goes into a URL.
const MAX_SCOPES: usize = 128;
const MAX_BYTES: usize = 4096;

/// What a login asks for: what its user says, else the challenge, else `scopes_supported` of the resource metadata, else
/// nothing, and then there is no `scope` parameter (A12). The sets are never compared with each other (A8). `before`: what was
/// asked for at an earlier login, which is asked for again (A10).
#[must_use]
pub fn initial(
    user: Option<&ScopeSet>,
    before: Option<&ScopeSet>,
    challenge: Option<&Challenge>,
    discovered: &Discovered,
) -> ScopeSet {
    if let Some(user) = user {
        return user.clone();
    }
    let challenged = challenge.and_then(|challenge| challenge.scope.as_ref());
    let now = challenged
        .or(discovered.scopes_supported())
        .cloned()
        .unwrap_or_default();
    // `offline_access` is added anew where it is listed.
    let before = before.into_iter().flat_map(ScopeSet::iter);
    let before: ScopeSet = before
        .filter(|scope| scope.as_str() != OFFLINE_ACCESS)
        .cloned()
        .collect();
    now.union(&before)
}

/// Refuses a list that no server could mean.
pub fn bounded(scopes: &ScopeSet, discovered: &Discovered) -> Result<(), Error> {
    if scopes.iter().count() <= MAX_SCOPES && scopes.to_string().len() <= MAX_BYTES {
        return Ok(());
    }
    Err(Refusal::new(
        Hop::McpServer,
        Some(&discovered.server),
        ("A12", "MCP authorization, scope selection strategy"),
        "it asks for more than 128 scopes, or for a list of them that is longer than 4096 bytes",
        "the MCP server's operator must ask for the scopes that an operation needs, and no others",
    )
    .into())
}

/// `scopes` with `offline_access` if the authorization server lists it and refresh tokens are wanted (A28). Not if there is
/// nothing else to ask for: alone it would take the place of the server's default.
#[must_use]
pub fn with_offline_access(scopes: ScopeSet, discovered: &Discovered, wants_refresh: bool) -> ScopeSet {
    let Ok(offline) = OFFLINE_ACCESS.parse::<Scope>() else {
        return scopes;
    };
    let listed = discovered.authorization_server.scopes_supported.as_ref();
    if wants_refresh && !scopes.is_empty() && listed.is_some_and(|listed| listed.contains(&offline)) {
        let mut scopes = scopes;
        scopes.insert(offline);
        return scopes;
    }
    scopes
}

/// Whether `offline_access` is among them.
#[must_use]
pub fn asks_offline_access(scopes: &ScopeSet) -> bool {
    scopes.iter().any(|scope| scope.as_str() == OFFLINE_ACCESS)
}

#[cfg(test)]
mod tests;
