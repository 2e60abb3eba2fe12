//! What must no longer be accepted although it has not expired.

use doorward_types::id::{ClientId, FamilyId, TokenId, UserId};
use doorward_types::time::UnixTime;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Every token of one chain.
    Family(FamilyId),
    /// Every token of a user that was issued before.
    User(UserId),
    /// Every token of a client that was issued before.
    Client(ClientId),
    /// One access token, by its `jti`: for tokens that belong to no chain.
    Token(TokenId),
    /// Every token that was issued before.
    Everything,
}

/// One entry of the feed that every verifier follows. Sequence numbers follow commit order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revocation {
    /// Position in the feed, from 1. Tokens carry the highest one known when they were issued (`rev`).
    pub sequence: u64,
    /// What.
    pub revoked: Revoked,
    /// When.
    pub at: UnixTime,
    /// When every token it can concern has expired, so that the entry can go.
    pub expires: UnixTime,
}
