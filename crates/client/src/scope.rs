//! Which scopes are asked for (A8 to A12, A28, A35, B28).

use doorward_types::scope::{Scope, ScopeSet};

use crate::challenge::Challenge;
use crate::discover::Discovered;

/// The scope that asks for refresh tokens where the authorization server wants to be asked (OpenID Connect Core §11).
const OFFLINE_ACCESS: &str = "offline_access";

/// What the first login asks for: what its user says, else the challenge, else `scopes_supported` of the resource metadata,
/// else nothing, and then there is no `scope` parameter (A12). The sets are never compared with each other (A8).
#[must_use]
pub fn initial(user: Option<&ScopeSet>, challenge: Option<&Challenge>, discovered: &Discovered) -> ScopeSet {
    let challenged = challenge.and_then(|challenge| challenge.scope.as_ref());
    user.or(challenged)
        .or(discovered.scopes_supported())
        .cloned()
        .unwrap_or_default()
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
