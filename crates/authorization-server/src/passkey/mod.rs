//! Passkeys: WebAuthn Level 3, as the relying party.
//!
//! Of our own on aws-lc rather than a library: the one that is kept brings a second stack of cryptography with
//! an RSA implementation that this project bans, under a licence that it does not allow. What we need of the
//! standard is small, because we ask for little: no attestation, three algorithms, the person verified every time.

pub mod authenticator_data;
pub mod cbor;
mod ceremony;
pub mod key;
mod response;
#[cfg(any(test, feature = "test-support"))]
pub mod soft;

pub(crate) use self::ceremony::ASSOCIATED;
pub use ceremony::{
    Ceremony, LIFETIME, Presented, Purpose, StoredPasskey, add, claimed_lookup, lookup, sign_in, user_handle,
};
pub use response::{Credential, Expected, PasskeyError, UnverifiedAssertion, register};

#[cfg(test)]
mod tests;
