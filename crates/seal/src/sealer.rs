//! Sealing: what goes out of our hands and must come back unread and unchanged.
//!
//! Layout of a sealed record, version 1:
//!
//! ```text
//! 1 version │ 8 master key id │ 12 salt │ 12 nonce │ ciphertext │ 16 tag
//! ```
//!
//! The AES-256-GCM key is HKDF(purpose key, record identity ‖ salt), so no two messages share a key even
//! within one record: the birthday bound of random 96-bit nonces is out of reach however often anybody
//! makes us seal something. Everything in front of the ciphertext, the record identity and the caller's
//! associated data are authenticated.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::Prk;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_types::digest::Digest;
use doorward_types::random::{self, Random};
use zeroize::Zeroizing;

use crate::master::{self, MasterKey, Purpose};

/// The longest text that is sealed, in bytes.
pub const MAX_PLAINTEXT: usize = 1 << 20;

const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const SALT: usize = 12;
const TAG: usize = 16;
const HEADER: usize = 1 + KEY_ID + SALT + NONCE_LEN;

/// Why something was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More than [`MAX_PLAINTEXT`].
    #[error("too long to be sealed")]
    TooLong,
    /// The cipher refused.
    #[error("the cipher refused")]
    Cipher,
}

/// Why something sealed was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not base64url, too short or too long to be a sealed record, or of another version.
    #[error("not a sealed record")]
    NotSealed,
    /// It was sealed under a master key that is not here.
    #[error("sealed under another master key")]
    UnknownKey,
    /// Changed, or sealed for another purpose, record or associated data.
    #[error("the seal does not fit")]
    Broken,
}

struct PurposeKey {
    id: [u8; KEY_ID],
    prk: Prk,
}

impl PurposeKey {
    fn new(master: &MasterKey, purpose: Purpose) -> Self {
        Self {
            id: master.id(),
            prk: master::prk(master.derive(purpose)),
        }
    }

    fn message_key(&self, record: &[u8], salt: &[u8]) -> Option<LessSafeKey> {
        let record = Digest::of(record);
        let key = master::expand(&self.prk, &[b"record\0", record.as_bytes(), salt]);
        UnboundKey::new(&AES_256_GCM, key.as_slice())
            .ok()
            .map(LessSafeKey::new)
    }
}

/// Seals and opens for one purpose.
pub struct Sealer {
    current: PurposeKey,
    retired: Vec<PurposeKey>,
}

impl Sealer {
    /// Seals under `master`'s key for `purpose`.
    #[must_use]
    pub fn new(master: &MasterKey, purpose: Purpose) -> Self {
        Self {
            current: PurposeKey::new(master, purpose),
            retired: Vec::new(),
        }
    }

    /// Also opens what an earlier master key sealed for `purpose`. Nothing new is sealed under it, so
    /// records move to the current key whenever they are next written.
    #[must_use]
    pub fn with_retired(mut self, master: &MasterKey, purpose: Purpose) -> Self {
        self.retired.push(PurposeKey::new(master, purpose));
        self
    }

    /// Seals `plaintext` as the content of `record` (its identity: table and id of a row; empty for
    /// messages that are not rows) with `associated` data that must be the same when it is opened.
    pub fn seal(
        &self,
        record: &[u8],
        associated: &[u8],
        plaintext: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(SealError::TooLong);
        }
        let salt: [u8; SALT] = random::bytes(random);
        let nonce: [u8; NONCE_LEN] = random::bytes(random);
        let mut out = Vec::with_capacity(HEADER + plaintext.len() + TAG);
        out.push(VERSION);
        out.extend_from_slice(&self.current.id);
        out.extend_from_slice(&salt);
        out.extend_from_slice(&nonce);
        let aad = authenticated(&out, record, associated);
        let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG));
        body.extend_from_slice(plaintext);
        self.current
            .message_key(record, &salt)
            .ok_or(SealError::Cipher)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), &mut *body)
            .map_err(|_| SealError::Cipher)?;
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Opens what [`Sealer::seal`] gave for the same record and associated data.
    pub fn open(
        &self,
        record: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if sealed.len() > HEADER + MAX_PLAINTEXT + TAG {
            return Err(OpenError::NotSealed);
        }
        let (header, body) = sealed.split_at_checked(HEADER).ok_or(OpenError::NotSealed)?;
        let (&version, rest) = header.split_first().ok_or(OpenError::NotSealed)?;
        if version != VERSION || body.len() < TAG {
            return Err(OpenError::NotSealed);
        }
        let (id, rest) = rest.split_at_checked(KEY_ID).ok_or(OpenError::NotSealed)?;
        let (salt, nonce) = rest.split_at_checked(SALT).ok_or(OpenError::NotSealed)?;
        let key = self.key(id).ok_or(OpenError::UnknownKey)?;
        let key = key.message_key(record, salt).ok_or(OpenError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::NotSealed)?;
        let aad = authenticated(header, record, associated);
        let mut body = Zeroizing::new(body.to_vec());
        let length = key
            .open_in_place(nonce, Aad::from(&aad), &mut body)
            .map_err(|_| OpenError::Broken)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// [`Sealer::seal`] in base64url without padding.
    pub fn seal_text(
        &self,
        record: &[u8],
        associated: &[u8],
        plaintext: &[u8],
        random: &dyn Random,
    ) -> Result<String, SealError> {
        Ok(URL_SAFE_NO_PAD.encode(self.seal(record, associated, plaintext, random)?))
    }

    /// [`Sealer::open`] for the text that [`Sealer::seal_text`] gave.
    pub fn open_text(
        &self,
        record: &[u8],
        associated: &[u8],
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if sealed.len() > (HEADER + MAX_PLAINTEXT + TAG).div_ceil(3) * 4 {
            return Err(OpenError::NotSealed);
        }
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| OpenError::NotSealed)?;
        self.open(record, associated, &sealed)
    }

    /// Whether `sealed` was sealed under a retired key and should be sealed anew when next written.
    #[must_use]
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=KEY_ID).is_some_and(|id| id != self.current.id)
    }

    fn key(&self, id: &[u8]) -> Option<&PurposeKey> {
        std::iter::once(&self.current)
            .chain(&self.retired)
            .find(|key| key.id == id)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([redacted])")
    }
}

/// Header, record and associated data with lengths between them, so that none can run into the next.
fn authenticated(header: &[u8], record: &[u8], associated: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len() + 8 + record.len() + associated.len());
    out.extend_from_slice(header);
    out.extend_from_slice(&u64::try_from(record.len()).unwrap_or(u64::MAX).to_be_bytes());
    out.extend_from_slice(record);
    out.extend_from_slice(associated);
    out
}
