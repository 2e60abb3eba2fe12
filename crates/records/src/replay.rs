//! Names that may be used once: the `jti` of client assertions (RFC 7523 §3).

use doorward_types::digest::Digest;
use doorward_types::time::UnixTime;

/// One used name. Kept in the database, so that a restart does not make it usable again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replay {
    /// Digest of who used it and the name.
    pub key: Digest,
    /// When what carried it has expired, leeway included, so that the row can go.
    pub expires: UnixTime,
}
