//! The answers people gave on the consent page: one per sealed request, so that a page can be answered
//! once and a lost reply can be repeated.

use doorward_types::digest::Digest;
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Approved, with these scopes; the code issued for it last.
    Approved {
        /// What was ticked.
        scopes: ScopeSet,
        /// Digest of the newest code.
        code: Digest,
    },
    /// Denied.
    Denied,
}

/// One answered consent page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Digest of the nonce in the sealed request.
    pub nonce: Digest,
    /// Digest of the session that answered.
    pub session: Digest,
    /// What it answered.
    pub answer: Answer,
    /// When it answered first.
    pub decided: UnixTime,
    /// When the row can go: the sealed request is dead by then.
    pub expires: UnixTime,
}
