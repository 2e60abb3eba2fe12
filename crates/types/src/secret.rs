//! Text that must not be seen: tokens, codes, passwords, keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroize as _;

use crate::digest::Digest;
use crate::random::{self, Random};

/// A secret text. Prints as `[redacted]`, compares in constant time, is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret that came from outside.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 256 random bits in base64url (43 characters), for codes, tokens and session ids.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::bytes::<32>(random)))
    }

    /// `prefix` followed by 256 random bits, so that scanners (and people) can tell what leaked.
    #[must_use]
    pub fn generate_with_prefix(prefix: &str, random: &dyn Random) -> Self {
        Self(format!(
            "{prefix}{}",
            URL_SAFE_NO_PAD.encode(random::bytes::<32>(random))
        ))
    }

    /// The text itself. Every call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What we keep of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::CountingRandom;

    #[test]
    fn never_prints() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
    }

    #[test]
    fn generates_43_characters_after_the_prefix() {
        let random = CountingRandom::default();
        assert_eq!(Secret::generate(&random).expose().len(), 43);
        let prefixed = Secret::generate_with_prefix("dwr_", &random);
        assert!(prefixed.expose().starts_with("dwr_") && prefixed.expose().len() == 47);
        assert_ne!(Secret::generate(&random), Secret::generate(&random));
    }
}
