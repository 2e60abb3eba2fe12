//! Consent records and the token families that grow under them.

use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, Tenant, TraceId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use serde::{Deserialize, Serialize};

/// What a person saw when they approved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// The name the client gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Digest of the client metadata that was shown.
    pub client_metadata: Digest,
    /// The exact redirect URI.
    pub redirect_uri: String,
    /// The scopes that were offered.
    pub offered: ScopeSet,
    /// When the person had signed in.
    pub authenticated_at: UnixTime,
}

/// A consent record: user × client × redirect host × resource → scopes. Unique in that combination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its id.
    pub id: GrantId,
    /// Who approved.
    pub user: UserId,
    /// Whom.
    pub client: ClientId,
    /// Host of the redirect URI (with port unless loopback), or the scheme of a custom-scheme one.
    pub redirect_host: String,
    /// For what.
    pub resource: ResourceUri,
    /// Everything approved so far.
    pub scopes: ScopeSet,
    /// What was seen at the newest approval.
    pub evidence: Evidence,
    /// First approval.
    pub created: UnixTime,
    /// Newest approval.
    pub updated: UnixTime,
}

/// The token chain of one redeemed code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// The tenant.
    pub tenant: Tenant,
    /// What access tokens carry as `family`.
    pub id: FamilyId,
    /// The consent it lives under.
    pub grant: GrantId,
    /// Whose it is.
    pub user: UserId,
    /// Which client holds it.
    pub client: ClientId,
    /// The one resource its tokens are good for.
    pub resource: ResourceUri,
    /// The widest scope a refresh can return to.
    pub scopes: ScopeSet,
    /// When the code was redeemed; absolute lifetime counts from here.
    pub created: UnixTime,
    /// When a token was last issued; idle lifetime counts from here.
    pub last_used: UnixTime,
    /// When a superseded refresh token was last answered after its first 30 seconds: at most once a day.
    pub late_repeat: Option<UnixTime>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When the person had signed in; unknown for rows of older versions.
    pub authenticated: Option<UnixTime>,
    /// The login that it came from.
    pub trace: Option<TraceId>,
    /// What the client's side said it is, in a few words (at most 80 characters); never trusted to be true.
    pub device: Option<String>,
}
