//! Public keys of passkeys: COSE keys (RFC 9052 §7) of the three algorithms that we ask for.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};

use super::cbor::Value;

/// ECDSA on P-256 with SHA-256.
pub const ES256: i64 = -7;
/// Ed25519, under the name that WebAuthn has for it.
pub const EDDSA: i64 = -8;
/// RSASSA-PKCS1-v1_5 with SHA-256: what Windows Hello on older machines has.
pub const RS256: i64 = -257;

/// Not a public key of one of our algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key that can be used")]
pub struct UnusableKey;

/// A public key that verifies signatures.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// [`ES256`].
    P256(ParsedPublicKey),
    /// [`EDDSA`].
    Ed25519(ParsedPublicKey),
    /// [`RS256`]: modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

impl PublicKey {
    /// Reads a COSE key. It has exactly the parameters of its kind; `alg` must fit the kind (WebAuthn §6.5.1.1).
    pub fn from_cose(key: &Value<'_>) -> Result<Self, UnusableKey> {
        let entries = key.entries().ok_or(UnusableKey)?;
        let get = |name: i128| {
            let named = entries.iter().find(|(key, _)| *key == Value::Integer(name));
            named.map(|(_, value)| value)
        };
        let integer = |name| match get(name) {
            Some(Value::Integer(number)) => i64::try_from(*number).ok(),
            _ => None,
        };
        let bytes = |name| match get(name) {
            Some(Value::Bytes(bytes)) => Some(*bytes),
            _ => None,
        };
        match (integer(1), integer(3), entries.len()) {
            (Some(2), Some(ES256), 5) if integer(-1) == Some(1) => p256(bytes(-2), bytes(-3)),
            (Some(1), Some(EDDSA), 4) if integer(-1) == Some(6) => ed25519(bytes(-2)),
            (Some(3), Some(RS256), 4) => rsa(bytes(-1), bytes(-2)),
            _ => Err(UnusableKey),
        }
    }

    /// The algorithm's COSE number.
    #[must_use]
    pub const fn algorithm(&self) -> i64 {
        match self {
            Self::P256(_) => ES256,
            Self::Ed25519(_) => EDDSA,
            Self::Rsa(..) => RS256,
        }
    }

    /// Whether `signature` over `message` was made with the private half.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) | Self::Ed25519(key) => key.verify_sig(message, signature).is_ok(),
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

/// The uncompressed form of SEC 1 §2.3.3; the library refuses what is not on the curve.
fn p256(x: Option<&[u8]>, y: Option<&[u8]>) -> Result<PublicKey, UnusableKey> {
    let (Some(x), Some(y)) = (x, y) else {
        return Err(UnusableKey);
    };
    if (x.len(), y.len()) != (32, 32) {
        return Err(UnusableKey);
    }
    let point = [&[4], x, y].concat();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| UnusableKey)?;
    Ok(PublicKey::P256(key))
}

fn ed25519(x: Option<&[u8]>) -> Result<PublicKey, UnusableKey> {
    let x = x.filter(|x| x.len() == 32).ok_or(UnusableKey)?;
    let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| UnusableKey)?;
    Ok(PublicKey::Ed25519(key))
}

/// 2048 to 4096 bits; the one exponent that is in use.
fn rsa(n: Option<&[u8]>, e: Option<&[u8]>) -> Result<PublicKey, UnusableKey> {
    let (Some(n), Some(e)) = (n, e) else {
        return Err(UnusableKey);
    };
    let top_bit = n.first().is_some_and(|first| *first >= 0x80);
    let odd = n.last().is_some_and(|last| last % 2 == 1);
    if !(256..=512).contains(&n.len()) || !top_bit || !odd || e != [1, 0, 1] {
        return Err(UnusableKey);
    }
    Ok(PublicKey::Rsa(n.to_vec(), e.to_vec()))
}
