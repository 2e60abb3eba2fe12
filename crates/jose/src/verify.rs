//! Compact JWS (RFC 7515 §3.1): from text to verified claims.

use std::fmt;

use doorward_types::id::KeyId;

use crate::base64url;
use crate::claims::Claims;
use crate::header::{Header, HeaderError, MAX_HEADER};
use crate::json::parse_object;
use crate::jwk::{Algorithm, Jwk};
use crate::jwks::JwkSet;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The longest signature in base64url: RSA with 8192 bits.
const MAX_SIGNATURE_TEXT: usize = 1366;

const MAX_HEADER_TEXT: usize = (MAX_HEADER * 4).div_ceil(3);

/// Why a text is not a token that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`MAX_TOKEN`], or a part of it longer than it can be.
    #[error("the token is too long")]
    TooLong,
    /// Not exactly three parts, or an empty one.
    #[error("the token does not have three parts")]
    NotThreeParts,
    /// A part is not canonical base64url without padding (RFC 7515 §2).
    #[error("a part of the token is not base64url")]
    NotBase64Url,
    /// The header was refused.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The payload is not a JSON object with unique keys (RFC 7519 §4).
    #[error("the payload is not a JSON object with unique keys")]
    NotClaims,
}

/// Why a token was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token names no key.
    #[error("the token names no key")]
    NoKeyId,
    /// No key of the set has this id **and** this algorithm.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The token's `alg` is not the key's algorithm (RFC 8725 §3.1).
    #[error("the token's algorithm is not the key's")]
    AlgorithmMismatch,
    /// The signature does not fit.
    #[error("the signature does not fit")]
    BadSignature,
}

/// A token that was taken apart but not verified. Only what chooses the key can be seen.
pub struct UnverifiedJws<'a> {
    message: &'a [u8],
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

impl<'a> UnverifiedJws<'a> {
    /// Takes a compact serialisation apart. Sizes are checked before anything is decoded.
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(JwsError::NotThreeParts)?;
        let (header, payload) = message.split_once('.').ok_or(JwsError::NotThreeParts)?;
        if payload.contains('.') || header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(JwsError::NotThreeParts);
        }
        if header.len() > MAX_HEADER_TEXT || signature.len() > MAX_SIGNATURE_TEXT {
            return Err(JwsError::TooLong);
        }
        let decode = |part| base64url::decode(part).ok_or(JwsError::NotBase64Url);
        let header = Header::parse(&decode(header)?)?;
        let signature = decode(signature)?;
        let claims = parse_object(&decode(payload)?).map_err(|_| JwsError::NotClaims)?;
        Ok(Self {
            message: message.as_bytes(),
            signature,
            header,
            claims: Claims::new(claims),
        })
    }

    /// `iss`, if it is a string. Unverified: only good for choosing whose keys to ask.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.string("iss").ok().flatten()
    }

    /// `exp` in seconds, if it is an integer. Unverified: only good against the token.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        self.claims.integer("exp").ok().flatten()
    }

    /// `kid`. Unverified: only good for choosing a key.
    #[must_use]
    pub const fn key_id(&self) -> Option<&KeyId> {
        self.header.key_id.as_ref()
    }

    /// `alg`. Unverified: only good for choosing a key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }

    /// Verifies with the key of `keys` that has the token's `kid` and algorithm. A token without `kid` is
    /// refused: trying keys one by one would make every bad token cost all of them.
    pub fn verify_with(self, keys: &JwkSet) -> Result<VerifiedJws, VerifyError> {
        let key_id = self.header.key_id.as_ref().ok_or(VerifyError::NoKeyId)?;
        let key = keys
            .find(key_id, self.header.algorithm)
            .ok_or(VerifyError::UnknownKey)?;
        self.verify(key)
    }

    /// Verifies with `key`, whatever the token's `kid` says.
    pub fn verify(self, key: &Jwk) -> Result<VerifiedJws, VerifyError> {
        if self.header.algorithm != key.algorithm() {
            return Err(VerifyError::AlgorithmMismatch);
        }
        if !key.verifies(self.message, &self.signature) {
            return Err(VerifyError::BadSignature);
        }
        Ok(VerifiedJws {
            typ: self.header.typ,
            key_id: self.header.key_id,
            claims: self.claims,
        })
    }
}

impl fmt::Debug for UnverifiedJws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnverifiedJws([redacted])")
    }
}

/// A token whose signature was verified. Lifetime, issuer, audience and type are the caller's to check.
#[derive(Debug)]
pub struct VerifiedJws {
    typ: Option<String>,
    key_id: Option<KeyId>,
    claims: Claims,
}

impl VerifiedJws {
    /// `typ` as sent.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// Whether `typ` is this media type: compared without case, with or without the `application/` in front
    /// (RFC 7515 §4.1.9, RFC 9068 §4). An absent `typ` is no type.
    #[must_use]
    pub fn is_type(&self, media_type: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| {
            let short = match typ.split_at_checked(12) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
                _ => typ,
            };
            short.eq_ignore_ascii_case(media_type)
        })
    }

    /// `kid`.
    #[must_use]
    pub const fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// The claims.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }
}
