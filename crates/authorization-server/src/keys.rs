//! The keys we generate: they sign access tokens and derive refresh tokens. Stored sealed under the master
//! key, opened at start-up and whenever they change.

mod reseal;
mod rotation;

use std::collections::BTreeMap;

use doorward_jose::{JwkSet, JwkSetError, SigningError, SigningKey};
use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_records::{Precondition, Unit, Write};
use doorward_seal::{Mac, MasterKey, OpenError, Purpose, SealError, Sealer};
use doorward_types::digest::Digest;
use doorward_types::id::{FamilyId, KeyId, Tenant};
use doorward_types::random::{self, Random};
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

pub use self::reseal::reseal;
pub use self::rotation::{NoSuchKey, Rotation, Step, due, revoke, rotate, switch};

/// Why the keys cannot be used. The process must not start: with other keys, every token would be void.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A stored key does not open: another master key, or a changed row.
    #[error("a stored key cannot be opened: {0}")]
    Sealed(#[from] OpenError),
    /// A new key cannot be sealed.
    #[error("a new key cannot be sealed: {0}")]
    NotSealed(#[from] SealError),
    /// A signing key is broken.
    #[error("a signing key cannot be used: {0}")]
    Signing(#[from] SigningError),
    /// Two keys claim the same id.
    #[error("the public keys do not make a key set: {0}")]
    Set(#[from] JwkSetError),
    /// A key is not what its row says: its bytes or its id are another's.
    #[error("a stored key is not the one that its row names")]
    Mixed,
    /// There is no active key for a purpose.
    #[error("no active key to make {0}")]
    NoActive(&'static str),
}

/// Every key, opened.
#[derive(Debug)]
pub struct KeyRing {
    signing: SigningKey,
    public: JwkSet,
    refresh: RefreshKeys,
}

impl KeyRing {
    /// Opens the stored keys; one of each purpose must be active (see [`missing`]).
    pub fn open(stored: &[StoredKey], master: &MasterKey) -> Result<Self, KeyError> {
        let sealer = Sealer::new(master, Purpose::StoredKey);
        let mut signing = None;
        let mut public = Vec::new();
        let mut active_refresh = None;
        let mut refresh = BTreeMap::new();
        for row in stored {
            let secret = sealer.open(
                &record(&row.tenant, &row.id),
                associated(row.purpose),
                &row.sealed,
            )?;
            match row.purpose {
                KeyPurpose::AccessToken => {
                    let key = SigningKey::from_pkcs8(&secret)?;
                    if *key.key_id() != row.id {
                        return Err(KeyError::Mixed);
                    }
                    public.push(key.public_jwk().clone());
                    if row.state == KeyState::Active && signing.is_none() {
                        signing = Some(key);
                    }
                }
                KeyPurpose::RefreshToken => {
                    let key: &[u8; 32] = secret.as_slice().try_into().map_err(|_| KeyError::Mixed)?;
                    refresh.insert(row.id.clone(), Mac::from_key(key));
                    if row.state == KeyState::Active && active_refresh.is_none() {
                        active_refresh = Some(row.id.clone());
                    }
                }
            }
        }
        Ok(Self {
            signing: signing.ok_or(KeyError::NoActive("access tokens"))?,
            public: JwkSet::new(public)?,
            refresh: RefreshKeys {
                active: active_refresh.ok_or(KeyError::NoActive("refresh tokens"))?,
                keys: refresh,
            },
        })
    }

    /// The key that signs access tokens.
    #[must_use]
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The key set to publish: the next key included, so that it is known before it signs, and retired ones,
    /// because tokens that they signed are still out there.
    #[must_use]
    pub fn public(&self) -> &JwkSet {
        &self.public
    }

    /// The keys that derive refresh tokens.
    #[must_use]
    pub fn refresh(&self) -> &RefreshKeys {
        &self.refresh
    }
}

/// The keys that derive each refresh token from the one before.
#[derive(Debug)]
pub struct RefreshKeys {
    active: KeyId,
    keys: BTreeMap<KeyId, Mac>,
}

impl RefreshKeys {
    /// The key that will derive the successor of a token that is issued now.
    #[must_use]
    pub fn active(&self) -> &KeyId {
        &self.active
    }

    /// The successor with number `counter` of `token` in `family`; `None` if `key` is not here.
    #[must_use]
    pub fn successor(&self, key: &KeyId, family: FamilyId, counter: u64, token: &Secret) -> Option<Secret> {
        let mac = self.keys.get(key)?;
        let parts: [&[u8]; 4] = [
            b"rt1",
            family.as_uuid().as_bytes(),
            &counter.to_be_bytes(),
            token.expose().as_bytes(),
        ];
        Some(Secret::new(format!("dwr_{}", mac.tag_text(&parts))))
    }
}

#[cfg(test)]
impl RefreshKeys {
    /// Keys without rows.
    pub(crate) fn of(active: &str, others: &[&str]) -> Self {
        let key = |name: &str| {
            (
                KeyId::new(name),
                Mac::from_key(Digest::of(name.as_bytes()).as_bytes()),
            )
        };
        Self {
            active: KeyId::new(active),
            keys: others.iter().copied().chain([active]).map(key).collect(),
        }
    }
}

/// The units that make the active keys that are missing among `stored`: commit each, load the keys again.
/// A conflict means that another process made the key first, which is as good.
pub fn missing(
    stored: &[StoredKey],
    tenant: &Tenant,
    master: &MasterKey,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Vec<Unit>, KeyError> {
    let has = |purpose| {
        stored
            .iter()
            .any(|key| key.purpose == purpose && key.state == KeyState::Active)
    };
    let mut units = Vec::new();
    for purpose in [KeyPurpose::AccessToken, KeyPurpose::RefreshToken] {
        if !has(purpose) {
            let key = generate(purpose, KeyState::Active, tenant, master, now, random)?;
            units.push(
                Unit::default()
                    .given(Precondition::NoActiveKeyLike(key.clone()))
                    .then(Write::InsertKey(key)),
            );
        }
    }
    Ok(units)
}

/// A new key, sealed with the identity of its row as associated data.
fn generate(
    purpose: KeyPurpose,
    state: KeyState,
    tenant: &Tenant,
    master: &MasterKey,
    now: UnixTime,
    random: &dyn Random,
) -> Result<StoredKey, KeyError> {
    let sealer = Sealer::new(master, Purpose::StoredKey);
    let seal =
        |id: &KeyId, secret: &[u8]| sealer.seal(&record(tenant, id), associated(purpose), secret, random);
    let (id, sealed, public_jwk) = match purpose {
        KeyPurpose::AccessToken => {
            let key = SigningKey::generate()?;
            let id = key.key_id().clone();
            let sealed = seal(&id, &key.to_pkcs8()?)?;
            (id, sealed, Some(serde_json::json!(key.public_jwk()).to_string()))
        }
        KeyPurpose::RefreshToken => {
            let secret = doorward_seal::Zeroizing::new(random::bytes::<32>(random));
            let id = KeyId::new(Digest::from_bytes(random::bytes(random)).to_string());
            let sealed = seal(&id, secret.as_slice())?;
            (id, sealed, None)
        }
    };
    Ok(StoredKey {
        tenant: tenant.clone(),
        id,
        purpose,
        state,
        sealed,
        public_jwk,
        created: now,
        activated: (state == KeyState::Active).then_some(now),
        retired: None,
    })
}

fn record(tenant: &Tenant, id: &KeyId) -> Vec<u8> {
    format!("signing_keys/{tenant}/{id}").into_bytes()
}

const fn associated(purpose: KeyPurpose) -> &'static [u8] {
    match purpose {
        KeyPurpose::AccessToken => b"access token",
        KeyPurpose::RefreshToken => b"refresh token",
    }
}

#[cfg(test)]
mod tests;
