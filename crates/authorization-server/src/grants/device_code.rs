//! Polling with a device code (RFC 8628 §3.4 and §3.5).
//!
//! | state | presented | answer | next |
//! |---|---|---|---|
//! | – (unknown), another client's | anything | `invalid_grant` | – |
//! | any | another resource | `invalid_target` | – |
//! | redeemed(F) | by its client | `invalid_grant` | redeemed(F), **F revoked** |
//! | denied | by its client | `access_denied` | – |
//! | pending or approved, expired | by its client | `expired_token` | – |
//! | pending | too soon after the last poll | `slow_down` | interval + 5 s |
//! | pending | in time | `authorization_pending` | poll noted |
//! | approved | by its client, no longer allowed | `invalid_grant` | approved |
//! | approved | by its client | tokens | redeemed(new family) |

use std::time::Duration;

use doorward_records::account::User;
use doorward_records::client::Client;
use doorward_records::device::{DeviceAuthorization, DeviceState};
use doorward_records::grant::{Family, Grant};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId};
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use super::{Allowed, Decided, check_resource, revoke};
use crate::keys::RefreshKeys;
use crate::settings::Settings;
use crate::token::TokenRefusal;

/// What is added to the interval by every poll that comes too soon (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// From here on a poll that comes too soon writes nothing any more: ten minutes have room for few.
const SLOWEST: Duration = Duration::from_secs(120);

/// `grant_type=urn:ietf:params:oauth:grant-type:device_code`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The device code.
    pub device_code: Secret,
    /// The client that polls.
    pub client: ClientId,
    /// `resource`, each one.
    pub resource: Vec<String>,
    /// What the client's side calls itself, for the account page.
    pub device: Option<String>,
}

impl Request {
    /// What to look the device authorization up by.
    #[must_use]
    pub fn lookup(&self) -> Digest {
        self.device_code.digest()
    }
}

/// What to load: the device authorization under [`Request::lookup`] and, if there is one, the rows it names.
#[derive(Clone, Debug, Default)]
pub struct DeviceCodeFacts {
    /// The device authorization.
    pub authorization: Option<DeviceAuthorization>,
    /// Its client.
    pub client: Option<Client>,
    /// Who approved.
    pub user: Option<User>,
    /// The consent record.
    pub grant: Option<Grant>,
    /// The family of a redeemed one.
    pub family: Option<Family>,
}

/// Decides a poll.
#[must_use]
pub fn decide(
    settings: &Settings,
    keys: &RefreshKeys,
    request: &Request,
    facts: &DeviceCodeFacts,
    now: UnixTime,
    random: &dyn Random,
) -> Decided {
    let found = facts.authorization.as_ref();
    let Some(device) = found.filter(|device| device.device_code == request.lookup()) else {
        return Decided::refuse(TokenRefusal::UnknownDeviceCode);
    };
    if device.client != request.client {
        return Decided::refuse(TokenRefusal::WrongClient);
    }
    if let Err(refusal) = check_resource(&request.resource, &device.resource) {
        return Decided::refuse(refusal);
    }
    match &device.state {
        DeviceState::Redeemed { family } => redeemed(settings, *family, facts, now),
        DeviceState::Denied => Decided::refuse(TokenRefusal::DeviceDenied),
        _ if now >= device.expires => Decided::refuse(TokenRefusal::DeviceExpired),
        DeviceState::Pending => pending(device, now),
        DeviceState::Approved {
            user,
            grant,
            scopes,
            authenticated,
        } => {
            let approved = Approved {
                device,
                grant: *grant,
                scopes,
                authenticated: *authenticated,
            };
            let user = facts.user.as_ref().filter(|found| found.id == *user);
            approved
                .redeem(settings, keys, request, (user, facts), now, random)
                .unwrap_or_else(Decided::refuse)
        }
    }
}

/// Single use: whoever presents it again has, or pretends to have, what was handed out. As with codes, that ends.
fn redeemed(settings: &Settings, family: FamilyId, facts: &DeviceCodeFacts, now: UnixTime) -> Decided {
    let unit = match &facts.family {
        Some(live) if live.id == family && !live.revoked => revoke(&settings.lifetimes, live, now),
        _ => Unit::default(),
    };
    Decided::refuse_and(TokenRefusal::DeviceCodeRedeemed, unit)
}

fn pending(device: &DeviceAuthorization, now: UnixTime) -> Decided {
    let too_soon = device
        .last_poll
        .is_some_and(|last| now < last.plus(device.interval));
    if !too_soon {
        let unit = moved(device, device.interval, now);
        return Decided::refuse_and(TokenRefusal::DevicePending, unit);
    }
    let unit = if device.interval < SLOWEST {
        moved(device, device.interval.saturating_add(SLOWER), now)
    } else {
        Unit::default()
    };
    Decided::refuse_and(TokenRefusal::SlowDown, unit)
}

fn moved(device: &DeviceAuthorization, interval: Duration, now: UnixTime) -> Unit {
    unchanged(device).then(Write::UpdateDeviceAuthorization(DeviceAuthorization {
        interval,
        last_poll: Some(now),
        ..device.clone()
    }))
}

/// If it is still what was loaded: of two polls that saw an approval only one gets tokens.
fn unchanged(device: &DeviceAuthorization) -> Unit {
    Unit::default().given(Precondition::DeviceAuthorizationIs(device.clone()))
}

struct Approved<'a> {
    device: &'a DeviceAuthorization,
    grant: GrantId,
    scopes: &'a ScopeSet,
    authenticated: Option<UnixTime>,
}

impl Approved<'_> {
    fn redeem(
        &self,
        settings: &Settings,
        keys: &RefreshKeys,
        request: &Request,
        (user, facts): (Option<&User>, &DeviceCodeFacts),
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<Decided, TokenRefusal> {
        let device = self.device;
        let consent = facts.grant.as_ref().is_some_and(|grant| grant.id == self.grant);
        let allowed = Allowed::check(settings, user, facts.client.as_ref(), consent, &device.resource)?;
        let scopes = allowed.scopes(self.scopes)?;
        let family = Family {
            tenant: device.tenant.clone(),
            id: FamilyId::generate(now, random),
            grant: self.grant,
            user: allowed.user.id,
            client: device.client.clone(),
            resource: device.resource.clone(),
            scopes: self.scopes.clone(),
            created: now,
            last_used: now,
            late_repeat: None,
            revoked: false,
            authenticated: self.authenticated,
            trace: device.trace,
            device: request.device.clone(),
        };
        let redeemed = DeviceAuthorization {
            state: DeviceState::Redeemed { family: family.id },
            last_poll: Some(now),
            ..device.clone()
        };
        let unit = unchanged(device).then(Write::UpdateDeviceAuthorization(redeemed));
        Ok(allowed.begin(&settings.lifetimes, keys, &family, scopes, unit, random))
    }
}

#[cfg(test)]
mod tests;
