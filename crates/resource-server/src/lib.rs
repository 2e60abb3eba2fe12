#![cfg_attr(all(feature = "axum", feature = "remote"), doc = include_str!("../README.md"))]
//!
//! # What is where
//!
//! [`ResourceServer`] holds every setting of one protected resource; [`ResourceServer::layer`] goes around its MCP
//! endpoint and [`ResourceServer::require`] around other routes. Handlers take an [`AccessToken`], or a [`Granted`] for
//! a [`Permission`]: a function that wants one cannot be called where the check was forgotten. [`TokenVerifier`] is the
//! seam for a way to verify tokens of your own.
//!
//! # Features
//!
//! - `axum`: [`AccessToken`] and [`Granted`] are extractors.
//! - `remote`: keys by JWK set or issuer metadata, and introspection; brings a tokio runtime and TLS. Without it keys are
//!   pushed in ([`LocalKeys`]).
//!
//! # The core
//!
//! The gateway is made of the same parts. A request's credential is taken out by [`bearer_token`], judged by a
//! [`TokenVerifier`] for **one** resource, and what comes back proves that its token was verified: an [`AccessToken`], or
//! a [`Principal`] for Doorward's own tokens ([`JwtVerifier`]). What is refused is answered with the challenges of
//! [`challenge`]. A token that was seen before costs one SHA-256 and one look-up; expiry, revocation and key changes are
//! checked at every use.
//!
//! Before verification nothing can be read from a token:
//!
//! ```compile_fail,E0599
//! # use doorward_resource_server::UnverifiedToken;
//! let subject = UnverifiedToken::new("eyJ…").subject();
//! ```
//!
//! All of this but the feature `remote` does no I/O: keys and revocations are pushed in ([`LocalKeys::replace`],
//! [`RevocationSet::apply`]), the time comes from a [`Clock`](doorward_types::time::Clock).

mod access_token;
#[cfg(feature = "axum")]
pub mod axum;
mod bearer;
mod cache;
pub mod challenge;
mod claims;
mod generic;
mod guard;
mod keys;
mod layer;
pub mod metadata;
mod principal;
pub mod receive;
mod refused;
#[cfg(feature = "remote")]
pub mod remote;
mod revocation;
mod rule;
mod server;
pub mod statements;
#[cfg(test)]
mod tests;
mod verify;

pub use access_token::{AccessToken, TokenFacts};
pub use bearer::{CredentialError, UnverifiedToken, bearer_token};
pub use generic::{Rfc9068Settings, Rfc9068Verifier};
pub use guard::{Granted, Permission};
pub use keys::{KeySnapshot, KeySource, LocalKeys, Renewal};
pub use layer::{ProtectLayer, Protected, RequestBody, ResponseBody};
pub use principal::{Principal, PrincipalFacts};
pub use refused::Refused;
pub use revocation::{MAX_BLINDNESS, RevocationSet, Revocations};
pub use rule::ScopeRule;
pub use server::{BuildError, ResourceServer, ResourceServerBuilder};
pub use verify::{
    FirstSeen, JwtVerifier, JwtVerifierSettings, LEEWAY, TokenRefusal, TokenVerifier, Verification,
};
