//! The master key and what is derived from it.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use zeroize::{Zeroize as _, Zeroizing};

/// Separates our use of HKDF from anybody else's use of the same key, and this format from a later one.
const EXTRACT_SALT: &[u8] = b"doorward master key v1";

/// A text is not a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a master key: expected 32 bytes in base64url without padding (43 characters) on one line")]
pub struct NotAMasterKey;

/// What a derived key is for. Two purposes never share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Keys at rest: signing keys and the keys of refresh tokens.
    StoredKey,
    /// The authorization request inside the login and consent forms.
    AuthorizationRequest,
    /// The hidden `csrf` field of every form.
    Csrf,
    /// The `Mcp-Session-Id` that a client holds instead of the upstream's.
    McpSession,
    /// Second factors and passkeys at rest.
    Authenticator,
    /// A sign-in between two of its steps, inside a form.
    SignIn,
    /// The cookie of a browser in which somebody signed in before.
    Device,
    /// What a person's own machine keeps of logins elsewhere.
    LocalRecord,
}

impl Purpose {
    /// The text that goes into the derivation. Changing one makes everything sealed under it unreadable.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::StoredKey => "stored-key",
            Self::AuthorizationRequest => "authorization-request",
            Self::Csrf => "csrf",
            Self::McpSession => "mcp-session",
            Self::Authenticator => "authenticator",
            Self::SignIn => "sign-in",
            Self::Device => "device",
            Self::LocalRecord => "local-record",
        }
    }
}

/// 256 random bits from which every other key of an installation is derived. Wiped when dropped, never
/// printed by `Debug`.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// A new key.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Reads the text form, as in the file `master.key`: 43 characters of base64url, then at most one line
    /// end. Anything else is refused: a damaged key must not become another key.
    pub fn parse(text: &str) -> Result<Self, NotAMasterKey> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(line).map_err(|_| NotAMasterKey)?);
        let mut bytes = Zeroizing::new([0; 32]);
        if decoded.len() != bytes.len() {
            return Err(NotAMasterKey);
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self(bytes))
    }

    /// The text form with its line end: what [`MasterKey::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        let mut text = URL_SAFE_NO_PAD.encode(self.0.as_slice());
        text.push('\n');
        Secret::new(text)
    }

    /// Eight bytes that name this key without telling anything about it. They stand in front of whatever is
    /// sealed under it, so that an old record can be opened after the master key was replaced.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let derived = self.expand(b"key id", b"");
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(derived.iter()) {
            *to = *from;
        }
        id
    }

    /// The key for one purpose.
    pub(crate) fn derive(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        self.expand(b"purpose", purpose.label().as_bytes())
    }

    fn expand(&self, kind: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
        let prk = Salt::new(HKDF_SHA256, EXTRACT_SALT).extract(self.0.as_slice());
        expand(&prk, &[kind, b"\0", label])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([redacted])")
    }
}

/// HKDF-Expand (RFC 5869 §2.3) to 32 bytes. Callers separate the parts of `info`.
pub(crate) fn expand(prk: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let filled = prk
        .expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(out.as_mut_slice()));
    #[expect(
        clippy::expect_used,
        reason = "HKDF-SHA-256 fails only above 8160 bytes of output; going on with a zero key is not an option"
    )]
    filled.expect("32 bytes are within the limit of HKDF-SHA-256");
    out
}

/// A key of 32 bytes as an HKDF pseudo-random key; `bytes` is wiped.
pub(crate) fn prk(mut bytes: Zeroizing<[u8; 32]>) -> Prk {
    let prk = Prk::new_less_safe(HKDF_SHA256, bytes.as_slice());
    bytes.zeroize();
    prk
}
