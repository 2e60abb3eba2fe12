//! The claims of our access tokens (RFC 9068 §2.2) and some of our own.

use std::fmt;

use doorward_types::id::{ClientId, FamilyId, TokenId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::url::{Issuer, ResourceUri};
use serde::{Deserialize, Serialize};

/// The `typ` header of an access token (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// Whom a token speaks for. Accounts have UUIDs, and no client is given an id that looks like one: `sub` alone tells
/// the two apart (RFC 9068 §5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenSubject {
    /// A person.
    User(UserId),
    /// A client, for itself (RFC 6749 §4.4).
    Client(ClientId),
}

impl fmt::Display for TokenSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Client(client) => client.fmt(f),
        }
    }
}

/// What an access token says. This is the form we write; the resource server reads with its own, stricter
/// parser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    /// Who issued it.
    pub iss: Issuer,
    /// Whom it speaks for.
    pub sub: TokenSubject,
    /// The one resource it is good for: the configured text, byte for byte (RFC 8707 §2).
    pub aud: ResourceUri,
    /// When it stops working, in seconds since the epoch.
    pub exp: i64,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// Its own id.
    pub jti: TokenId,
    /// The client that holds it.
    pub client_id: ClientId,
    /// What it may do.
    pub scope: ScopeSet,
    /// The revocation sequence number known at issue: a kill switch with a higher one refuses it.
    pub rev: u64,
    /// The token chain it belongs to; a client's own token belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyId>,
    /// What the person signs in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The person's groups at issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// When the person signed in, in seconds since the epoch (RFC 9068 §2.2.1): before the approval that the token rests
    /// on, however often it was refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// All that this client can be granted, if an operator set a limit: who challenges for more would ask in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_scope: Option<ScopeSet>,
}
