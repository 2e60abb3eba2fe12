//! Authorization codes.

use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, Tenant, TraceId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;

/// Where a code is in its life. It only moves forward: open → redeemed, open → void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeState {
    /// It can be redeemed until it expires.
    Open,
    /// It was redeemed; that made `family`.
    Redeemed {
        /// The token chain it made: revoked if the code is presented again in full.
        family: FamilyId,
    },
    /// Too many wrong guesses, or replaced after a lost reply.
    Void,
}

/// An authorization code (RFC 6749 §4.1.2), kept as a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Digest of the code.
    pub code: Digest,
    /// The tenant.
    pub tenant: Tenant,
    /// The grant under which it was issued.
    pub grant: GrantId,
    /// Who approved.
    pub user: UserId,
    /// Who may redeem it.
    pub client: ClientId,
    /// The exact `redirect_uri` of the authorization request, port included.
    pub redirect_uri: String,
    /// The S256 `code_challenge` (RFC 7636 §4.2), 43 characters.
    pub code_challenge: String,
    /// The one resource it is good for.
    pub resource: ResourceUri,
    /// What was granted.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it stops working.
    pub expires: UnixTime,
    /// Where it is in its life.
    pub state: CodeState,
    /// How many presentations did not match while it was open.
    pub misses: u32,
    /// When the person had signed in; unknown for rows of older versions.
    pub authenticated: Option<UnixTime>,
    /// The login that it belongs to.
    pub trace: Option<TraceId>,
}
