//! Strict compact JWS, JWK, JWK sets and thumbprints.
//!
//! A token goes [`UnverifiedJws::parse`] → [`UnverifiedJws::verify`] → [`VerifiedJws`]. Before the signature
//! was checked only the issuer and the key id can be seen, because those choose the key; everything else
//! becomes visible on the verified value. What a signature may be made with follows from the **key**
//! ([`Jwk::algorithm`]) and never from the token (RFC 8725 §3.1): `none` and the HMAC algorithms do not exist
//! here, and a key that comes inside a token (`jwk`, `jku`, `x5c`, `x5u`) makes the token refused.
//!
//! The cryptography is aws-lc-rs, called directly. The crate `jsonwebtoken` sits between us and the same
//! functions elsewhere; here it is only the other side of a differential test, because what is to be strict
//! must be ours anyway: its header parser refuses `alg: Ed25519` (RFC 9864), lets `crit` and `b64` pass, keeps
//! the last of two equal claims, and its claim checks read the machine's clock and have treated claims of the
//! wrong type as absent (CVE-2026-25537).
//!
//! No I/O, no clock. Chance is needed to generate keys and to sign; it comes from inside aws-lc-rs, which
//! offers no other way.

mod base64url;
mod claims;
mod header;
mod json;
mod jwk;
mod jwks;
mod private_key;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use claims::{ClaimError, Claims};
pub use header::{HeaderError, MAX_HEADER, MAX_KEY_ID};
pub use json::{JsonError, parse_object};
pub use jwk::{Algorithm, Jwk, JwkError};
pub use jwks::{JwkSet, JwkSetError, MAX_KEYS, MAX_SET};
pub use private_key::{MAX_PRIVATE_KEY, PrivateKey, PrivateKeyError};
pub use sign::{SigningError, SigningKey};
pub use verify::{JwsError, MAX_TOKEN, UnverifiedJws, VerifiedJws, VerifyError};
