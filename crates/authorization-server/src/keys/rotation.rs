//! Keys come and go without a gap: each is published before it signs, and stays published until what it signed
//! has expired. Every function decides on the rows that were loaded and gives the unit that makes the step; two
//! processes that decide the same at once make it once.

use std::time::Duration;

use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_seal::MasterKey;
use doorward_types::id::{KeyId, Tenant};
use doorward_types::random::Random;
use doorward_types::time::UnixTime;

use super::{KeyError, generate};
use crate::settings::Lifetimes;

/// A signing key is never forgotten sooner after its retirement: lifetimes may have been longer before.
const SIGNING_KEPT_AT_LEAST: Duration = Duration::from_hours(2);

/// Room for clocks that differ, after the last refresh token that a key derives has died.
const REFRESH_MARGIN: Duration = Duration::from_hours(24);

/// Longer than any access token lives.
const REVOKED_FOR: Duration = Duration::from_hours(24);

/// What a unit does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes the next key, which everybody can fetch and which signs nothing yet.
    Publish,
    /// Lets the next key take over; the one before only checks from now on.
    Activate,
    /// Notes when a key was retired.
    Stamp,
    /// Forgets a retired key: everything that it made has expired.
    Forget,
    /// Removes a key at once: what it made is void.
    Revoke,
}

impl Step {
    /// A word for logs and people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "published",
            Self::Activate => "activated",
            Self::Stamp => "retired",
            Self::Forget => "forgotten",
            Self::Revoke => "revoked",
        }
    }
}

/// A step to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// What it does.
    pub step: Step,
    /// To which key.
    pub key: KeyId,
    /// What the key is for.
    pub purpose: KeyPurpose,
    /// How. A conflict means that another process made a step first: load and ask again.
    pub unit: Unit,
}

/// A key that should be revoked is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key with this id")]
pub struct NoSuchKey;

const PURPOSES: [KeyPurpose; 2] = [KeyPurpose::AccessToken, KeyPurpose::RefreshToken];

/// The next step that time has made due, if any: to be committed, then asked again with the rows after it.
pub fn due(
    stored: &[StoredKey],
    lifetimes: &Lifetimes,
    tenant: &Tenant,
    master: &MasterKey,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Option<Rotation>, KeyError> {
    for purpose in PURPOSES {
        let active = with_state(stored, purpose, KeyState::Active);
        let next = with_state(stored, purpose, KeyState::Next);
        match (active, next) {
            (Some(active), None) => {
                let since = active.activated.unwrap_or(active.created);
                let until_next = lifetimes.key_rotation.saturating_sub(lifetimes.key_publication);
                if now.since(since) >= until_next {
                    return publish(purpose, tenant, master, now, random).map(Some);
                }
            }
            (_, Some(next)) if active.is_none() || now.since(next.created) >= lifetimes.key_publication => {
                return Ok(Some(activate(active, next, now)));
            }
            _ => {}
        }
    }
    Ok(stored.iter().find_map(|key| ended(key, lifetimes, now)))
}

/// The steps that publish a next key for each purpose that has none. It is activated when it has been known for
/// long enough ([`due`]), or by [`switch`].
pub fn rotate(
    stored: &[StoredKey],
    tenant: &Tenant,
    master: &MasterKey,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Vec<Rotation>, KeyError> {
    PURPOSES
        .into_iter()
        .filter(|purpose| with_state(stored, *purpose, KeyState::Next).is_none())
        .map(|purpose| publish(purpose, tenant, master, now, random))
        .collect()
}

/// The steps that activate every next key now, however short it has been known.
#[must_use]
pub fn switch(stored: &[StoredKey], now: UnixTime) -> Vec<Rotation> {
    PURPOSES
        .into_iter()
        .filter_map(|purpose| {
            let next = with_state(stored, purpose, KeyState::Next)?;
            Some(activate(with_state(stored, purpose, KeyState::Active), next, now))
        })
        .collect()
}

/// The step that removes a key from the world: what it signed or derived is refused from then on. If it is the
/// active one, the next one (or a new one) takes its place in the same unit.
pub fn revoke(
    stored: &[StoredKey],
    id: &KeyId,
    tenant: &Tenant,
    master: &MasterKey,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Result<Rotation, NoSuchKey>, KeyError> {
    let Some(key) = stored.iter().find(|key| key.id == *id) else {
        return Ok(Err(NoSuchKey));
    };
    let mut unit = Unit::default()
        .given(Precondition::KeyHasState(id.clone(), key.state))
        .then(Write::DeleteKey(id.clone()));
    if key.purpose == KeyPurpose::RefreshToken {
        // Whoever has it can follow every chain that it derives.
        unit = unit
            .then(Write::RevokeFamiliesOfKey(id.clone()))
            // Nobody can tell which access tokens were fetched with it.
            .then(Write::AppendRevocation {
                revoked: Revoked::Everything,
                at: now,
                expires: now.plus(REVOKED_FOR),
            });
    }
    if key.state == KeyState::Active {
        unit = match with_state(stored, key.purpose, KeyState::Next) {
            Some(next) => unit
                .given(Precondition::KeyHasState(next.id.clone(), KeyState::Next))
                .then(Write::ActivateKey(next.id.clone(), now)),
            None => {
                let successor = generate(key.purpose, KeyState::Active, tenant, master, now, random)?;
                unit.then(Write::InsertKey(successor))
            }
        };
    }
    Ok(Ok(Rotation {
        step: Step::Revoke,
        key: id.clone(),
        purpose: key.purpose,
        unit,
    }))
}

fn with_state(stored: &[StoredKey], purpose: KeyPurpose, state: KeyState) -> Option<&StoredKey> {
    stored
        .iter()
        .find(|key| key.purpose == purpose && key.state == state)
}

fn publish(
    purpose: KeyPurpose,
    tenant: &Tenant,
    master: &MasterKey,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Rotation, KeyError> {
    let key = generate(purpose, KeyState::Next, tenant, master, now, random)?;
    Ok(Rotation {
        step: Step::Publish,
        key: key.id.clone(),
        purpose,
        unit: Unit::default().then(Write::InsertKey(key)),
    })
}

fn activate(active: Option<&StoredKey>, next: &StoredKey, now: UnixTime) -> Rotation {
    let mut unit = Unit::default().given(Precondition::KeyHasState(next.id.clone(), KeyState::Next));
    unit = match active {
        Some(active) => unit
            .given(Precondition::KeyHasState(active.id.clone(), KeyState::Active))
            .then(Write::RetireKey(active.id.clone(), now)),
        None => unit.given(Precondition::NoActiveKeyLike(next.clone())),
    };
    Rotation {
        step: Step::Activate,
        key: next.id.clone(),
        purpose: next.purpose,
        unit: unit.then(Write::ActivateKey(next.id.clone(), now)),
    }
}

fn ended(key: &StoredKey, lifetimes: &Lifetimes, now: UnixTime) -> Option<Rotation> {
    if key.state != KeyState::Retired {
        return None;
    }
    let step = |step, write| Rotation {
        step,
        key: key.id.clone(),
        purpose: key.purpose,
        unit: Unit::default()
            .given(Precondition::KeyHasState(key.id.clone(), KeyState::Retired))
            .then(write),
    };
    let Some(retired) = key.retired else {
        return Some(step(Step::Stamp, Write::RetireKey(key.id.clone(), now)));
    };
    let kept = match key.purpose {
        KeyPurpose::AccessToken => lifetimes.revocation().max(SIGNING_KEPT_AT_LEAST),
        // The head of a chain may have been issued just before, and is good for as long as the chain.
        KeyPurpose::RefreshToken => lifetimes.refresh_absolute.saturating_add(REFRESH_MARGIN),
    };
    (now.since(retired) >= kept).then(|| step(Step::Forget, Write::DeleteKey(key.id.clone())))
}
