//! The JOSE header (RFC 7515 §4), of which we accept little.

use doorward_types::id::KeyId;
use serde_json::Value;

use crate::json::parse_object;
use crate::jwk::Algorithm;

/// The longest decoded header, in bytes.
pub const MAX_HEADER: usize = 2048;

/// The longest `kid`, in bytes.
pub const MAX_KEY_ID: usize = 256;

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Longer than [`MAX_HEADER`].
    #[error("the header is too long")]
    TooLong,
    /// Not a JSON object with unique keys (RFC 7515 §4).
    #[error("the header is not a JSON object with unique keys")]
    NotAnObject,
    /// `alg` missing, not a string, or none of ES256, EdDSA, Ed25519, RS256, PS256 (RFC 8725 §3.1).
    #[error("the algorithm is not one of ES256, EdDSA, Ed25519, RS256, PS256")]
    Algorithm,
    /// `crit` in any form: there is no extension that we understand (RFC 7515 §4.1.11).
    #[error("the header names critical extensions")]
    Critical,
    /// `b64` (RFC 7797), `enc` or `zip` (RFC 7516): the payload would not be what it seems.
    #[error("the header asks for another encoding of the payload")]
    Encoding,
    /// `jku`, `jwk`, `x5u` or `x5c`: keys come from configuration, never from a token (RFC 8725 §3.10).
    #[error("the header brings its own key")]
    EmbeddedKey,
    /// `kid` is no string, empty, longer than [`MAX_KEY_ID`], or not printable ASCII.
    #[error("the key id is not printable ASCII of acceptable length")]
    KeyId,
    /// `typ` is no string, or not printable ASCII.
    #[error("the type is not printable ASCII")]
    Type,
}

/// What a header says, once it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<KeyId>,
    pub(crate) typ: Option<String>,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > MAX_HEADER {
            return Err(HeaderError::TooLong);
        }
        let object = parse_object(bytes).map_err(|_| HeaderError::NotAnObject)?;
        let has = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
        if has(&["crit"]) {
            return Err(HeaderError::Critical);
        }
        if has(&["b64", "enc", "zip"]) {
            return Err(HeaderError::Encoding);
        }
        if has(&["jku", "jwk", "x5u", "x5c"]) {
            return Err(HeaderError::EmbeddedKey);
        }
        let algorithm = object
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::from_name)
            .ok_or(HeaderError::Algorithm)?;
        let key_id = match object.get("kid") {
            None => None,
            Some(Value::String(kid)) if is_key_id(kid) => Some(KeyId::new(kid)),
            Some(_) => return Err(HeaderError::KeyId),
        };
        let typ = match object.get("typ") {
            None => None,
            Some(Value::String(typ)) if is_printable(typ) => Some(typ.clone()),
            Some(_) => return Err(HeaderError::Type),
        };
        Ok(Self {
            algorithm,
            key_id,
            typ,
        })
    }
}

pub(crate) fn is_key_id(text: &str) -> bool {
    text.len() <= MAX_KEY_ID && is_printable(text)
}

/// Printable ASCII only, so that neither a log line nor a terminal can be forged with it.
fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, 0x20..=0x7e))
}
