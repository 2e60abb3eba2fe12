//! The seam between knowing who calls and letting the call through.

use doorward_mcp::Call;
use doorward_types::id::{ClientId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;

use crate::{Policy, ProtectedServer};

/// Who calls: the facts of a verified token that policy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account; for a client that acts for itself [`UserId::of_client`].
    pub user: UserId,
    /// Its name, for `user:` rules; for a client that acts for itself `client:` and its id.
    pub username: String,
    /// Its groups, for `group:` rules.
    pub groups: Vec<String>,
    /// The client that acts for the user.
    pub client: ClientId,
    /// Whether there is no user: the client acts for itself (RFC 6749 §4.4), for `client:` rules.
    pub for_itself: bool,
    /// What the token was granted.
    pub scopes: ScopeSet,
    /// All that this client can be granted, if an operator set a limit.
    pub client_scopes: Option<ScopeSet>,
    /// When the person signed in; unknown for clients that act for themselves.
    pub authenticated: Option<UnixTime>,
}

/// A call that may be forwarded. Only [`judge`] makes one, and it owns the very call that was judged.
#[derive(Debug)]
#[must_use = "a permit that is dropped forwards nothing"]
pub struct Permit {
    call: Call,
}

impl Permit {
    /// What was judged, to look at.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Releases the call to be forwarded. The permit is spent.
    #[must_use]
    pub fn into_call(self) -> Call {
        self.call
    }
}

/// Why a call may not be forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server's `allow` rule does not name this person. Another token would not help.
    #[error("this account may not use this server: ask its operator for access")]
    NotAllowed,
    /// The token lacks scopes. `needed` goes into the challenge (RFC 6750 §3.1): every scope the call
    /// needs, and for legacy revisions also those the token has, because those clients replace their
    /// scopes by the challenged ones instead of joining them.
    #[error("the token lacks a scope that this call needs: log in again and grant it")]
    InsufficientScope {
        /// What to ask for.
        needed: ScopeSet,
    },
    /// The operator's policy forbids this call to this account. No scope would help, so none is asked for.
    #[error("the operator's policy forbids this call")]
    DeniedByPolicy,
}

impl Refusal {
    /// A stable word for logs and for `data.reason` of the answer.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::DeniedByPolicy => "denied_by_policy",
        }
    }
}

/// May this user and client make this call on this server?
///
/// The access rule holds for every call. `server/discover`, `initialize` and `ping` then need no scope,
/// because an unexpected refusal of those makes clients fall back to an older revision; every other call
/// needs the server's scope. `policy` has the last word on what those let through. The call comes in by value
/// and leaves only inside the [`Permit`].
pub fn judge(
    server: &ProtectedServer,
    subject: &Subject,
    call: Call,
    policy: &dyn Policy,
) -> Result<Permit, Refusal> {
    if !server.allow.admits_subject(subject) {
        return Err(Refusal::NotAllowed);
    }
    if !is_open(&call) && !has_scopes(server, subject) {
        let needed = server.default_scopes();
        let needed = if call.revision().is_legacy() {
            needed.union(&subject.scopes)
        } else {
            needed
        };
        return Err(Refusal::InsufficientScope { needed });
    }
    match policy.objection(server, subject, &call) {
        Some(refusal) => Err(refusal),
        None => Ok(Permit { call }),
    }
}

fn is_open(call: &Call) -> bool {
    matches!(call.method(), Some("server/discover" | "initialize" | "ping"))
}

fn has_scopes(server: &ProtectedServer, subject: &Subject) -> bool {
    server
        .scopes
        .iter()
        .all(|entry| subject.scopes.contains(&entry.scope))
}
