//! What a person proves themselves with beside a password.

use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, Tenant, UserId};
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

/// What kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticatorKind {
    /// A WebAuthn credential.
    Passkey,
    /// An authenticator app (RFC 6238).
    Totp,
    /// One of a set of single-use codes on paper.
    RecoveryCode,
}

/// A passkey, an authenticator app or a recovery code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authenticator {
    /// Its id.
    pub id: AuthenticatorId,
    /// The tenant.
    pub tenant: Tenant,
    /// Whose it is.
    pub user: UserId,
    /// What kind it is.
    pub kind: AuthenticatorKind,
    /// What the person calls it.
    pub name: String,
    /// Digest of the credential id or of the recovery code, by which it is found; unique.
    pub lookup: Option<Digest>,
    /// The secret or public half, sealed under the master key with [`Authenticator::record`] as its record.
    pub sealed: Vec<u8>,
    /// A passkey's signature counter; the last accepted time step of an app.
    pub counter: u64,
    /// When it was added.
    pub created: UnixTime,
    /// When it was last used.
    pub last_used: Option<UnixTime>,
}

impl Authenticator {
    /// The identity of a row, to which its sealed part is bound.
    #[must_use]
    pub fn record(tenant: &Tenant, user: UserId, id: AuthenticatorId) -> Vec<u8> {
        format!("authenticators/{tenant}/{user}/{id}").into_bytes()
    }
}
