//! Message authentication codes.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::master::{MasterKey, Purpose};

/// HMAC-SHA-256 (RFC 2104) under one key.
#[derive(Clone)]
pub struct Mac(hmac::Key);

impl Mac {
    /// Under the key that the master key gives for `purpose`.
    #[must_use]
    pub fn new(master: &MasterKey, purpose: Purpose) -> Self {
        Self::from_key(&master.derive(purpose))
    }

    /// Under a key that is kept elsewhere: 256 random bits.
    #[must_use]
    pub fn from_key(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The code of the concatenation of `parts`. Callers separate parts that could run together.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }

    /// [`Mac::tag`] in base64url without padding (43 characters).
    #[must_use]
    pub fn tag_text(&self, parts: &[&[u8]]) -> String {
        URL_SAFE_NO_PAD.encode(self.tag(parts))
    }

    /// Whether `tag` is the whole code of `parts`; constant time. A shortened code is refused.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.tag(parts), tag).is_ok()
    }

    /// [`Mac::verify`] for the text that [`Mac::tag_text`] gave.
    #[must_use]
    pub fn verify_text(&self, parts: &[&[u8]], tag: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(tag)
            .is_ok_and(|tag| self.verify(parts, &tag))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac([redacted])")
    }
}
