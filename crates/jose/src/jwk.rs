//! Public keys as JWK (RFC 7517, RFC 7518 §6, RFC 8037), and their thumbprints (RFC 7638).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use doorward_types::digest::Digest;
use doorward_types::id::KeyId;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use crate::header::is_key_id;
use crate::{base64url, json};

/// A signature algorithm. Each belongs to one type of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037 §3.1, RFC 9864 §2.2). Ed448, which `EdDSA` can also mean, is not accepted.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3), only to verify.
    Rs256,
    /// RSASSA-PSS with SHA-256 (RFC 7518 §3.5), only to verify, and only with a key that names it as its `alg`.
    Ps256,
}

impl Algorithm {
    /// The algorithm of an `alg` value, compared byte for byte.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            _ => None,
        }
    }

    /// The `alg` value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }
}

/// Why a JWK cannot be used to verify signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not a JSON object with unique keys, or a member of the wrong type.
    #[error("not a JWK")]
    NotAJwk,
    /// It holds a private or symmetric key (`d`, `p`, `q`, `dp`, `dq`, `qi`, `oth`, `k`, `kty: oct`): whoever
    /// published it has lost it.
    #[error("the JWK holds a private or symmetric key")]
    NotPublic,
    /// It is for another use than signatures (`use`, `key_ops`).
    #[error("the JWK is not for verifying signatures")]
    OtherUse,
    /// Its type, curve or `alg` is none that we verify, or they contradict each other.
    #[error(
        "the JWK is of a type that is not supported: EC P-256 (ES256), OKP Ed25519 (EdDSA), RSA (RS256, PS256)"
    )]
    Unsupported,
    /// Its key material is not a valid public key of its type, or an RSA key outside 2048 to 8192 bits.
    #[error("the JWK's key material is not valid")]
    Material,
    /// `kid` is no string, empty, too long, or not printable ASCII.
    #[error("the JWK's key id is not printable ASCII of acceptable length")]
    KeyId,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    P256 { x: String, y: String },
    Ed25519 { x: String },
    Rsa { n: String, e: String, pss: bool },
}

/// A public key that verifies one algorithm. Valid by construction.
#[derive(Clone)]
pub struct Jwk {
    key_id: Option<KeyId>,
    material: Material,
    key: ParsedPublicKey,
}

impl Jwk {
    /// Parses a JWK and checks that it is a public key for one of our algorithms.
    pub fn parse(json: &[u8]) -> Result<Self, JwkError> {
        Self::from_object(&json::parse_object(json).map_err(|_| JwkError::NotAJwk)?)
    }

    pub(crate) fn from_object(object: &Map<String, Value>) -> Result<Self, JwkError> {
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| object.contains_key(*name))
            || text(object, "kty")? == Some("oct")
        {
            return Err(JwkError::NotPublic);
        }
        if text(object, "use")?.is_some_and(|usage| usage != "sig") || !allows_verify(object)? {
            return Err(JwkError::OtherUse);
        }
        let (material, key) = read_material(object)?;
        let key_id = match text(object, "kid")? {
            None => None,
            Some(kid) if is_key_id(kid) => Some(KeyId::new(kid)),
            Some(_) => return Err(JwkError::KeyId),
        };
        let jwk = Self {
            key_id,
            material,
            key,
        };
        match text(object, "alg")? {
            Some(name) if Algorithm::from_name(name) != Some(jwk.algorithm()) => Err(JwkError::Unsupported),
            _ => Ok(jwk),
        }
    }

    /// An EC P-256 key from its uncompressed point (SEC 1 §2.3.3); `kid` is its thumbprint.
    pub(crate) fn from_p256_point(point: &[u8]) -> Result<Self, JwkError> {
        let coordinates = point
            .strip_prefix(&[4])
            .filter(|rest| rest.len() == 64)
            .ok_or(JwkError::Material)?;
        let (x, y) = coordinates.split_at_checked(32).ok_or(JwkError::Material)?;
        let material = Material::P256 {
            x: base64url::encode(x),
            y: base64url::encode(y),
        };
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| JwkError::Material)?;
        let mut jwk = Self {
            key_id: None,
            material,
            key,
        };
        jwk.key_id = Some(KeyId::new(jwk.thumbprint().to_string()));
        Ok(jwk)
    }

    /// The one algorithm that this key verifies. It follows from the type of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::P256 { .. } => Algorithm::Es256,
            Material::Ed25519 { .. } => Algorithm::EdDsa,
            Material::Rsa { pss: false, .. } => Algorithm::Rs256,
            Material::Rsa { pss: true, .. } => Algorithm::Ps256,
        }
    }

    /// `kid`.
    #[must_use]
    pub const fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// The SHA-256 thumbprint (RFC 7638 §3); its text form is the usual base64url.
    #[must_use]
    pub fn thumbprint(&self) -> Digest {
        // The members are base64url, so nothing needs escaping; the order is the RFC's, lexicographic.
        let canonical = match &self.material {
            Material::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Material::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Material::Rsa { n, e, .. } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        Digest::of(canonical.as_bytes())
    }

    /// The members that RFC 7638 §3.2 requires, and no others.
    pub(crate) fn bare(&self) -> Value {
        match &self.material {
            Material::P256 { x, y } => json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
            Material::Ed25519 { x } => json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
            Material::Rsa { n, e, .. } => json!({ "kty": "RSA", "n": n, "e": e }),
        }
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

/// The same key under the same id.
impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        self.key_id == other.key_id && self.material == other.material
    }
}

impl Eq for Jwk {}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("kid", &self.key_id)
            .field("alg", &self.algorithm().name())
            .finish()
    }
}

/// As published: `kty`, the key, `use`, `alg`, `kid`.
impl Serialize for Jwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.material {
            Material::P256 { x, y } => {
                for (name, value) in [("kty", "EC"), ("crv", "P-256"), ("x", x), ("y", y)] {
                    map.serialize_entry(name, value)?;
                }
            }
            Material::Ed25519 { x } => {
                for (name, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("x", x)] {
                    map.serialize_entry(name, value)?;
                }
            }
            Material::Rsa { n, e, .. } => {
                for (name, value) in [("kty", "RSA"), ("n", n), ("e", e)] {
                    map.serialize_entry(name, value)?;
                }
            }
        }
        map.serialize_entry("use", "sig")?;
        map.serialize_entry("alg", self.algorithm().name())?;
        if let Some(key_id) = &self.key_id {
            map.serialize_entry("kid", key_id)?;
        }
        map.end()
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, JwkError> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwkError::NotAJwk),
    }
}

fn required<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, JwkError> {
    text(object, name)?.ok_or(JwkError::NotAJwk)
}

/// `key_ops` (RFC 7517 §4.3), where present, must hold `verify`.
fn allows_verify(object: &Map<String, Value>) -> Result<bool, JwkError> {
    match object.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations.iter().any(|operation| operation == "verify")),
        Some(_) => Err(JwkError::NotAJwk),
    }
}

fn read_material(object: &Map<String, Value>) -> Result<(Material, ParsedPublicKey), JwkError> {
    let curve = text(object, "crv")?;
    match (required(object, "kty")?, curve) {
        ("EC", Some("P-256")) => {
            let (x, y) = (required(object, "x")?, required(object, "y")?);
            let mut point = vec![4];
            point.extend(base64url::decode_array::<32>(x).ok_or(JwkError::Material)?);
            point.extend(base64url::decode_array::<32>(y).ok_or(JwkError::Material)?);
            let key =
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| JwkError::Material)?;
            Ok((
                Material::P256 {
                    x: x.into(),
                    y: y.into(),
                },
                key,
            ))
        }
        ("OKP", Some("Ed25519")) => {
            let x = required(object, "x")?;
            let bytes = base64url::decode_array::<32>(x).ok_or(JwkError::Material)?;
            let key = ParsedPublicKey::new(&ED25519, bytes).map_err(|_| JwkError::Material)?;
            Ok((Material::Ed25519 { x: x.into() }, key))
        }
        ("RSA", None) => {
            let (n, e) = (required(object, "n")?, required(object, "e")?);
            // One key, one algorithm: without an `alg` it is the older one.
            let pss = text(object, "alg")? == Some(Algorithm::Ps256.name());
            let key = rsa_key(n, e, pss).ok_or(JwkError::Material)?;
            Ok((
                Material::Rsa {
                    n: n.into(),
                    e: e.into(),
                    pss,
                },
                key,
            ))
        }
        _ => Err(JwkError::Unsupported),
    }
}

/// 2048 to 8192 bits, an odd exponent from 3 to 2^33, both without leading zero octets (RFC 7518 §6.3.1).
fn rsa_key(n: &str, e: &str, pss: bool) -> Option<ParsedPublicKey> {
    if n.len() > 2048 || e.len() > 8 {
        return None;
    }
    let (n, e) = (base64url::decode(n)?, base64url::decode(e)?);
    let exponent = e
        .iter()
        .try_fold(0_u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)))?;
    let long_enough = n.len() > 256 || (n.len() == 256 && n.first()? >= &0x80);
    if !long_enough || n.len() > 1024 || n.first()? == &0 || e.first()? == &0 {
        return None;
    }
    if exponent < 3 || exponent % 2 == 0 || exponent >= 1 << 33 || n.last()? % 2 == 0 {
        return None;
    }
    let parameters = if pss {
        &RSA_PSS_2048_8192_SHA256
    } else {
        &RSA_PKCS1_2048_8192_SHA256
    };
    RsaPublicKeyComponents { n, e }
        .to_parsed_public_key(parameters)
        .ok()
}
