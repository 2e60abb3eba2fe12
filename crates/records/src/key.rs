//! Keys we generate and must read back.

use doorward_types::id::{KeyId, Tenant};
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Signs access tokens (ES256).
    AccessToken,
    /// Derives each refresh token from the one before (HMAC-SHA-256).
    RefreshToken,
}

/// Whether new things are made with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, so that everybody knows it before it signs anything. At most one per purpose.
    Next,
    /// Makes and checks. One per purpose.
    Active,
    /// Only checks what it made before.
    Retired,
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredKey {
    /// The tenant.
    pub tenant: Tenant,
    /// JWK `kid`: the thumbprint of a signing key (RFC 7638), random for the others.
    pub id: KeyId,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Whether new things are made with it.
    pub state: KeyState,
    /// The secret half, sealed (AES-256-GCM) with the row's identity as associated data.
    pub sealed: Vec<u8>,
    /// The public JWK as JSON; `None` for symmetric keys.
    pub public_jwk: Option<String>,
    /// When it was made.
    pub created: UnixTime,
    /// When it became active.
    pub activated: Option<UnixTime>,
    /// When it was retired.
    pub retired: Option<UnixTime>,
}
