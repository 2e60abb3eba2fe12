//! Private keys that somebody else made: PEM or JWK in, assertions signed with them out (RFC 7523, RFC 9449).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPairComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_types::id::KeyId;
use serde::Serialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::header::is_key_id;
use crate::jwk::Algorithm;
use crate::sign::{SigningError, compact};
use crate::{base64url, json};

/// The longest text that is read as a key, in bytes. An RSA key of 8192 bits takes under 7 KiB as PEM.
pub const MAX_PRIVATE_KEY: usize = 16 * 1024;

/// Why a text is not a private key that we sign with. Nothing of the text is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// Neither one PEM block (RFC 7468) nor a JWK (RFC 7517).
    #[error("not a private key: one PEM block or one JWK is expected")]
    NotAKey,
    /// Longer than [`MAX_PRIVATE_KEY`].
    #[error("too long for a private key")]
    TooLong,
    /// A public key or a certificate.
    #[error("this is the public half, or a certificate; the private key is needed")]
    Public,
    /// A key under a passphrase.
    #[error("the key is encrypted: decrypt it first, and keep the file readable by its owner only")]
    Encrypted,
    /// A curve, type or use that is not supported.
    #[error(
        "the key is of a type that is not supported: EC P-256 (ES256), Ed25519 (EdDSA), RSA of 2048 to 8192 bits (RS256, PS256)"
    )]
    Unsupported,
    /// Key material that is not valid, or whose public half belongs to another key.
    #[error("the key material is not valid")]
    Material,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa { pair: RsaKeyPair, pss: bool },
}

/// A private key and the one algorithm that it signs with. Never printed.
pub struct PrivateKey {
    pair: Pair,
    key_id: Option<KeyId>,
}

impl PrivateKey {
    /// Reads a PEM block (`PRIVATE KEY`, `EC PRIVATE KEY`, `RSA PRIVATE KEY`) or a private JWK, whichever `text` is.
    pub fn parse(text: &str) -> Result<Self, PrivateKeyError> {
        if text.len() > MAX_PRIVATE_KEY {
            return Err(PrivateKeyError::TooLong);
        }
        if text.trim_start().starts_with('{') {
            return Self::from_jwk(text.as_bytes());
        }
        Self::from_pem(text)
    }

    fn from_pem(text: &str) -> Result<Self, PrivateKeyError> {
        let (label, der) = pem_block(text)?;
        let pair = match label {
            "PRIVATE KEY" => any_pkcs8(&der)?,
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                .map(Pair::P256)
                .map_err(|_| PrivateKeyError::Unsupported)?,
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der)
                .map(|pair| Pair::Rsa { pair, pss: false })
                .map_err(|_| PrivateKeyError::Unsupported)?,
            "ENCRYPTED PRIVATE KEY" => return Err(PrivateKeyError::Encrypted),
            "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => return Err(PrivateKeyError::Public),
            _ => return Err(PrivateKeyError::Unsupported),
        };
        Ok(Self { pair, key_id: None })
    }

    fn from_jwk(json: &[u8]) -> Result<Self, PrivateKeyError> {
        let object = json::parse_object(json).map_err(|_| PrivateKeyError::NotAKey)?;
        if text(&object, "use").is_some_and(|usage| usage != "sig") {
            return Err(PrivateKeyError::Unsupported);
        }
        let pair = match (text(&object, "kty"), text(&object, "crv")) {
            (Some("EC"), Some("P-256")) => p256(&object)?,
            (Some("OKP"), Some("Ed25519")) => ed25519(&object)?,
            (Some("RSA"), None) => rsa(&object)?,
            _ => return Err(PrivateKeyError::Unsupported),
        };
        let key_id = match text(&object, "kid") {
            None => None,
            Some(kid) if is_key_id(kid) => Some(KeyId::new(kid)),
            Some(_) => return Err(PrivateKeyError::NotAKey),
        };
        let key = Self { pair, key_id };
        match text(&object, "alg") {
            Some(name) if Algorithm::from_name(name) != Some(key.algorithm()) => {
                Err(PrivateKeyError::Unsupported)
            }
            _ => Ok(key),
        }
    }

    /// Signs with this `kid` in the header, for whom the key is known under one.
    #[must_use]
    pub fn with_key_id(mut self, key_id: KeyId) -> Self {
        self.key_id = Some(key_id);
        self
    }

    /// The algorithm that it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::P256(_) => Algorithm::Es256,
            Pair::Ed25519(_) => Algorithm::EdDsa,
            Pair::Rsa { pss: false, .. } => Algorithm::Rs256,
            Pair::Rsa { pss: true, .. } => Algorithm::Ps256,
        }
    }

    /// `kid`, if it came with one.
    #[must_use]
    pub const fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// A compact JWS (RFC 7515 §7.1) of type `typ` over `claims`.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, SigningError> {
        let mut header = json!({ "alg": self.algorithm().name(), "typ": typ });
        if let (Some(key_id), Some(members)) = (&self.key_id, header.as_object_mut()) {
            members.insert("kid".into(), json!(key_id));
        }
        compact(&header, claims, |message| self.signature(message))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SigningError::Sign),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa { pair, pss } => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if *pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(|_| SigningError::Sign)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("alg", &self.algorithm().name())
            .field("kid", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// PKCS#8 says itself what it holds, so that only one of the three reads it.
fn any_pkcs8(der: &[u8]) -> Result<Pair, PrivateKeyError> {
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
        return Ok(Pair::P256(pair));
    }
    // OpenSSL writes version 1, without the public half.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Ok(Pair::Ed25519(pair));
    }
    RsaKeyPair::from_pkcs8(der)
        .map(|pair| Pair::Rsa { pair, pss: false })
        .map_err(|_| PrivateKeyError::Unsupported)
}

/// The label and the bytes of the first PEM block that is a key (RFC 7468). Text before and after it is allowed, and
/// so are the curve parameters that `openssl ecparam` writes before the key; a second key is not.
fn pem_block(text: &str) -> Result<(&str, Zeroizing<Vec<u8>>), PrivateKeyError> {
    let mut found = None;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(PrivateKeyError::NotAKey)?;
        let end = format!("-----END {label}-----");
        let (body, after) = after.split_once(&end).ok_or(PrivateKeyError::NotAKey)?;
        rest = after;
        if label == "EC PARAMETERS" {
            continue;
        }
        if found.replace((label, body)).is_some() {
            return Err(PrivateKeyError::NotAKey);
        }
    }
    let (label, body) = found.ok_or(PrivateKeyError::NotAKey)?;
    if body.contains("ENCRYPTED") {
        return Err(PrivateKeyError::Encrypted);
    }
    let plain: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let der = STANDARD
        .decode(plain.as_bytes())
        .map_err(|_| PrivateKeyError::NotAKey)?;
    Ok((label, Zeroizing::new(der)))
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// Bytes of a member; without `d` it was the public half.
fn member(object: &Map<String, Value>, name: &str) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let missing = if name == "d" {
        PrivateKeyError::Public
    } else {
        PrivateKeyError::Material
    };
    let bytes = base64url::decode(text(object, name).ok_or(missing)?).ok_or(PrivateKeyError::Material)?;
    Ok(Zeroizing::new(bytes))
}

fn p256(object: &Map<String, Value>) -> Result<Pair, PrivateKeyError> {
    let d = member(object, "d")?;
    let mut point = vec![4];
    point.extend_from_slice(&member(object, "x")?);
    point.extend_from_slice(&member(object, "y")?);
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point)
        .map(Pair::P256)
        .map_err(|_| PrivateKeyError::Material)
}

fn ed25519(object: &Map<String, Value>) -> Result<Pair, PrivateKeyError> {
    let (d, x) = (member(object, "d")?, member(object, "x")?);
    if d.len() != 32 {
        return Err(PrivateKeyError::Material);
    }
    Ed25519KeyPair::from_seed_and_public_key(&d, &x)
        .map(Pair::Ed25519)
        .map_err(|_| PrivateKeyError::Material)
}

fn rsa(object: &Map<String, Value>) -> Result<Pair, PrivateKeyError> {
    let d = member(object, "d")?;
    let components = KeyPairComponents {
        public_key: RsaPublicKeyComponents {
            n: member(object, "n")?,
            e: member(object, "e")?,
        },
        d,
        p: member(object, "p")?,
        q: member(object, "q")?,
        dP: member(object, "dp")?,
        dQ: member(object, "dq")?,
        qInv: member(object, "qi")?,
    };
    RsaKeyPair::from_components(&components)
        .map(|pair| Pair::Rsa {
            pair,
            pss: text(object, "alg") == Some(Algorithm::Ps256.name()),
        })
        .map_err(|_| PrivateKeyError::Material)
}
