//! Device authorizations (RFC 8628).

use std::time::Duration;

use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, Tenant, TraceId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;

/// Where a device authorization is in its life. It only moves forward: pending → approved → redeemed, or
/// pending → denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// Nobody answered yet.
    Pending,
    /// Somebody approved.
    Approved {
        /// Who.
        user: UserId,
        /// Under which consent; if that goes, the device authorization goes with it.
        grant: GrantId,
        /// What.
        scopes: ScopeSet,
        /// When that person had signed in; unknown for rows of older versions.
        authenticated: Option<UnixTime>,
    },
    /// Somebody denied.
    Denied,
    /// The device has its tokens.
    Redeemed {
        /// The chain that was made.
        family: FamilyId,
    },
}

/// A device that waits for a person to approve it on another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceAuthorization {
    /// Digest of what the device polls with.
    pub device_code: Digest,
    /// Digest of what the person types; unique.
    pub user_code: Digest,
    /// The tenant.
    pub tenant: Tenant,
    /// Whose device.
    pub client: ClientId,
    /// The one resource it is for.
    pub resource: ResourceUri,
    /// What it asked for.
    pub offered: ScopeSet,
    /// When it asked.
    pub created: UnixTime,
    /// When it stops working.
    pub expires: UnixTime,
    /// How long the device must wait between polls, in whole seconds.
    pub interval: Duration,
    /// When it last polled.
    pub last_poll: Option<UnixTime>,
    /// Where it is in its life.
    pub state: DeviceState,
    /// The login that it belongs to.
    pub trace: Option<TraceId>,
}
