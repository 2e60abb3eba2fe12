//! JWK sets (RFC 7517 §5).

use doorward_types::id::KeyId;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::json;
use crate::jwk::{Algorithm, Jwk};

/// The longest JWK set, in bytes.
pub const MAX_SET: usize = 256 * 1024;

/// The most entries a JWK set may have.
pub const MAX_KEYS: usize = 128;

/// Why a document is not a JWK set that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkSetError {
    /// Longer than [`MAX_SET`] or more entries than [`MAX_KEYS`].
    #[error("the JWK set is too large")]
    TooLarge,
    /// Not a JSON object with unique keys and an array `keys` of objects.
    #[error("not a JWK set")]
    NotASet,
    /// Two different usable keys share a `kid` and an algorithm: which one is meant?
    #[error("two keys of the JWK set share a key id")]
    AmbiguousKeyId,
}

/// The usable keys of a JWK set: public, for signatures, of a supported type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSet(Vec<Jwk>);

impl JwkSet {
    /// No key: verifies nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// A set of these keys.
    pub fn new(keys: impl IntoIterator<Item = Jwk>) -> Result<Self, JwkSetError> {
        let mut set = Self::empty();
        for key in keys {
            set.insert(key)?;
        }
        Ok(set)
    }

    /// Parses a set. Entries that cannot verify our algorithms (another use, type or curve, private or
    /// symmetric keys, broken material) are left out, as RFC 7517 §5 wants it.
    pub fn parse(json: &[u8]) -> Result<Self, JwkSetError> {
        if json.len() > MAX_SET {
            return Err(JwkSetError::TooLarge);
        }
        let object = json::parse_object(json).map_err(|_| JwkSetError::NotASet)?;
        let Some(Value::Array(entries)) = object.get("keys") else {
            return Err(JwkSetError::NotASet);
        };
        if entries.len() > MAX_KEYS {
            return Err(JwkSetError::TooLarge);
        }
        let mut set = Self::empty();
        for entry in entries {
            let entry = entry.as_object().ok_or(JwkSetError::NotASet)?;
            if let Ok(key) = Jwk::from_object(entry) {
                set.insert(key)?;
            }
        }
        Ok(set)
    }

    /// The key with this id for this algorithm.
    #[must_use]
    pub fn find(&self, key_id: &KeyId, algorithm: Algorithm) -> Option<&Jwk> {
        self.0
            .iter()
            .find(|key| key.key_id() == Some(key_id) && key.algorithm() == algorithm)
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Jwk] {
        &self.0
    }

    fn insert(&mut self, key: Jwk) -> Result<(), JwkSetError> {
        let twin = key.key_id().and_then(|key_id| self.find(key_id, key.algorithm()));
        match twin {
            Some(twin) if *twin != key => Err(JwkSetError::AmbiguousKeyId),
            Some(_) => Ok(()),
            None => {
                self.0.push(key);
                Ok(())
            }
        }
    }
}

/// As published: `{"keys": [...]}`.
impl Serialize for JwkSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("keys", &self.0)?;
        map.end()
    }
}
