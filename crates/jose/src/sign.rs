//! Signing with keys that we make ourselves: ES256 only.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use doorward_types::id::KeyId;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::base64url;
use crate::jwk::Jwk;

/// Why nothing was signed, or a key not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The cryptographic library could not generate a key.
    #[error("a signing key could not be generated")]
    Generate,
    /// Not a P-256 private key in PKCS#8 (RFC 5208).
    #[error("not a P-256 private key in PKCS#8")]
    NotAKey,
    /// The claims do not serialise to a JSON object.
    #[error("the claims are not a JSON object")]
    NotClaims,
    /// The cryptographic library did not sign.
    #[error("the signature could not be made")]
    Sign,
}

/// An ES256 key pair. The private half is never printed.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: Jwk,
    key_id: KeyId,
}

impl SigningKey {
    /// A new P-256 key.
    pub fn generate() -> Result<Self, SigningError> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SigningError::Generate)?;
        Self::from_pair(pair)
    }

    /// Reads what [`SigningKey::to_pkcs8`] wrote.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| SigningError::NotAKey)?;
        Self::from_pair(pair)
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, SigningError> {
        let public = Jwk::from_p256_point(pair.public_key().as_ref()).map_err(|_| SigningError::NotAKey)?;
        let key_id = KeyId::new(public.thumbprint().to_string());
        Ok(Self { pair, public, key_id })
    }

    /// The private key in PKCS#8 v1 (RFC 5208), wiped when dropped. To be sealed before it is stored.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| SigningError::NotAKey)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The public half, with its thumbprint as `kid`.
    #[must_use]
    pub const fn public_jwk(&self) -> &Jwk {
        &self.public
    }

    /// `kid`: the thumbprint (RFC 7638).
    #[must_use]
    pub const fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// A compact JWS (RFC 7515 §7.1) of type `typ` over `claims`, with `kid` in the header.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, SigningError> {
        let header = serde_json::json!({ "alg": "ES256", "typ": typ, "kid": self.key_id });
        compact(&header, claims, |message| self.signature(message))
    }

    /// The same with the public key itself in the header (`jwk`), as proofs of possession carry it (RFC 9449 §4.2):
    /// its required members only.
    pub fn sign_with_public_key(&self, typ: &str, claims: &impl Serialize) -> Result<String, SigningError> {
        let header = serde_json::json!({ "alg": "ES256", "typ": typ, "jwk": self.public.bare() });
        compact(&header, claims, |message| self.signature(message))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| SigningError::Sign)
    }
}

/// `BASE64URL(header).BASE64URL(claims).BASE64URL(signature)`.
pub(crate) fn compact(
    header: &serde_json::Value,
    claims: &impl Serialize,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, SigningError>,
) -> Result<String, SigningError> {
    let claims = Zeroizing::new(serde_json::to_vec(claims).map_err(|_| SigningError::NotClaims)?);
    if claims.first() != Some(&b'{') {
        return Err(SigningError::NotClaims);
    }
    let mut token = base64url::encode(header.to_string().as_bytes());
    token.push('.');
    token.push_str(&base64url::encode(&claims));
    let signature = sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&base64url::encode(&signature));
    Ok(token)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.key_id)
            .finish_non_exhaustive()
    }
}
