//! Refresh tokens.

use doorward_types::digest::Digest;
use doorward_types::id::{FamilyId, KeyId};
use doorward_types::time::UnixTime;

/// One link of a family's chain, kept as a digest. The successor of a token is computed from the token
/// itself (HMAC), so a lost reply can be answered again by any replica without keeping a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefreshToken {
    /// Digest of the token.
    pub token: Digest,
    /// The chain it belongs to.
    pub family: FamilyId,
    /// Its position: 0 for the one that came with the code.
    pub counter: u64,
    /// The key that derives (or derived) its successor.
    pub key: KeyId,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it was rotated to its successor; `None` for the head of the chain.
    pub rotated: Option<UnixTime>,
}
