//! Why a call may not be forwarded, in words for its caller.

use doorward_types::scope::ScopeSet;

/// Why a call may not be forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server's `allow` rule does not name this person. Another token would not help.
    #[error("this account may not use this server: ask its operator for access")]
    NotAllowed,
    /// The token lacks scopes that this user and this client can have. `needed` goes into the challenge (RFC 6750 §3.1):
    /// every scope the call needs, and for legacy revisions also those the token has, because those clients replace
    /// their scopes by the challenged ones instead of joining them.
    #[error(
        "this call needs more than was allowed so far (scope {needed}): allow it when your application asks; if it does not ask, connect it to this server again and allow it then"
    )]
    InsufficientScope {
        /// What to ask for.
        needed: ScopeSet,
    },
    /// No scope of the server names what the call acts on. Nobody may use it.
    #[error("nobody may use this here: the operator has opened it under no scope")]
    Unnamed,
    /// The call needs scopes that this person may not have, whatever the client.
    #[error(
        "this account may not have the scope {scopes} that this call needs: ask the server's operator for it"
    )]
    NotForUser {
        /// Those scopes.
        scopes: ScopeSet,
    },
    /// The call needs scopes that this client was not registered for.
    #[error(
        "this application was not registered for the scope {scopes} that this call needs: use another one, or ask the server's operator to add it"
    )]
    NotForClient {
        /// Those scopes.
        scopes: ScopeSet,
    },
    /// The operator's policy forbids this call to this account. No scope would help, so none is asked for.
    #[error("the operator's policy forbids this call to this account: ask the server's operator about it")]
    DeniedByPolicy {
        /// The rules that say so, for the operator. Empty if none forbids it and none permits it.
        policies: Vec<String>,
    },
    /// Rules of the operator's policy could not be evaluated for this call. What they would have forbidden is not known, so
    /// the answer is no.
    #[error(
        "the operator's policy failed on this call, so it was not let through: tell the server's operator about it"
    )]
    PolicyFailed {
        /// Those rules, for the operator.
        policies: Vec<String>,
    },
}

impl Refusal {
    /// A stable word for logs and for `data.reason` of the answer.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::Unnamed => "no_scope_opens_it",
            Self::NotForUser { .. } => "scope_not_for_user",
            Self::NotForClient { .. } => "scope_not_for_client",
            Self::DeniedByPolicy { .. } => "denied_by_policy",
            Self::PolicyFailed { .. } => "policy_failed",
        }
    }

    /// What to ask for in a challenge; `None` where no scope would help.
    #[must_use]
    pub const fn challenge(&self) -> Option<&ScopeSet> {
        match self {
            Self::InsufficientScope { needed } => Some(needed),
            _ => None,
        }
    }

    /// The rules of a policy that the refusal is about: for the record and the operator, not for the caller.
    #[must_use]
    pub fn policies(&self) -> &[String] {
        match self {
            Self::DeniedByPolicy { policies } | Self::PolicyFailed { policies } => policies,
            _ => &[],
        }
    }

    /// The scopes that the refusal is about, whether or not they can be asked for.
    #[must_use]
    pub const fn scopes(&self) -> Option<&ScopeSet> {
        match self {
            Self::InsufficientScope { needed: scopes }
            | Self::NotForUser { scopes }
            | Self::NotForClient { scopes } => Some(scopes),
            _ => None,
        }
    }
}
