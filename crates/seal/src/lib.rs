//! Master key, derived keys, sealing with associated data.
//!
//! One [`MasterKey`] of 256 random bits protects everything that Doorward must read back: signing keys at
//! rest, the authorization request that travels through a browser's form, `csrf` values, the
//! `Mcp-Session-Id` given to clients. No key is used twice for different things: HKDF-SHA-256 (RFC 5869)
//! derives one key per [`Purpose`], a [`Sealer`] (AES-256-GCM) derives one more per record and message, a
//! [`Mac`] (HMAC-SHA-256) authenticates what need not be hidden.
//!
//! This crate does no I/O and never reads a clock: where chance is needed it is a parameter.

mod mac;
mod master;
mod sealer;
#[cfg(test)]
mod tests;

pub use mac::Mac;
pub use master::{MasterKey, NotAMasterKey, Purpose};
pub use sealer::{MAX_PLAINTEXT, OpenError, SealError, Sealer};
pub use zeroize::Zeroizing;
