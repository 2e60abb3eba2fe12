//! Request states that a client holds for us and cannot change (2026-07-28, multi round-trip requests).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp::ErrorData;

/// Signs states with a key of its own process.
pub(super) struct Sealer(hmac::Key);

impl Sealer {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("the system gives random bytes");
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// `STATE.TAG`, both in base64url.
    pub(super) fn seal(&self, state: &str) -> String {
        let tag = hmac::sign(&self.0, state.as_bytes());
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(state),
            URL_SAFE_NO_PAD.encode(tag)
        )
    }

    /// The state, if it is one of ours.
    ///
    /// # Errors
    /// `-32602` when a byte of it was changed.
    pub(super) fn open(&self, sealed: &str) -> Result<String, ErrorData> {
        let state = || {
            let (state, tag) = sealed.split_once('.')?;
            let state = URL_SAFE_NO_PAD.decode(state).ok()?;
            let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
            hmac::verify(&self.0, &state, &tag).ok()?;
            String::from_utf8(state).ok()
        };
        state().ok_or_else(|| ErrorData::invalid_params("requestState was not made here", None))
    }
}
