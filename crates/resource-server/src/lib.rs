//! May this token enter? Verification, cache, challenges.
//!
//! A request's credential is taken out by [`bearer_token`], judged by a [`TokenVerifier`] for **one**
//! resource, and comes back as an `Arc<`[`Principal`]`>`: holding one proves that its token was verified.
//! What is refused is answered with the challenges of [`challenge`].
//!
//! [`JwtVerifier`] verifies RFC 9068 access tokens of one issuer. A token that it has seen before costs one
//! SHA-256 and one look-up; expiry, revocation and key changes are checked at every use.
//!
//! This crate does no I/O: keys and revocations are pushed in ([`LocalKeys::replace`],
//! [`RevocationSet::apply`]), the time comes from a [`Clock`](doorward_types::time::Clock).

mod bearer;
mod cache;
pub mod challenge;
mod claims;
mod keys;
mod principal;
mod revocation;
#[cfg(test)]
mod tests;
mod verify;

pub use bearer::{CredentialError, UnverifiedToken, bearer_token};
pub use keys::{KeySnapshot, KeySource, LocalKeys};
pub use principal::{Principal, PrincipalFacts};
pub use revocation::{MAX_BLINDNESS, RevocationSet, Revocations};
pub use verify::{
    FirstSeen, JwtVerifier, JwtVerifierSettings, LEEWAY, TokenRefusal, TokenVerifier, Verification,
};
