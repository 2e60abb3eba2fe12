//! Authenticator data (WebAuthn §6.1): what an authenticator signs.

use super::cbor::Value;

/// The longest credential id (WebAuthn §5.8.1).
pub const MAX_CREDENTIAL_ID: usize = 1023;

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;
const RESERVED: u8 = 1 << 1 | 1 << 5;

/// Not authenticator data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not authenticator data")]
pub struct NotAuthenticatorData;

/// Authenticator data, taken apart but believed in nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorData<'a> {
    /// SHA-256 of the relying party id that it was made for.
    pub rp_id_hash: [u8; 32],
    /// Somebody touched it.
    pub user_present: bool,
    /// It knows the person: by PIN, finger or face.
    pub user_verified: bool,
    /// The passkey can be copied to other devices.
    pub backup_eligible: bool,
    /// Signatures so far; zero if it does not count.
    pub counter: u32,
    /// The new credential, at registration.
    pub credential: Option<NewCredential<'a>>,
}

/// A new credential (WebAuthn §6.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCredential<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// Its public key, a COSE key, as written.
    pub key: &'a [u8],
    /// The same, read.
    pub cose: Value<'a>,
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of `input`.
    pub fn parse(input: &'a [u8]) -> Result<Self, NotAuthenticatorData> {
        let (rp_id_hash, rest) = input.split_first_chunk::<32>().ok_or(NotAuthenticatorData)?;
        let (flags, rest) = rest.split_first().ok_or(NotAuthenticatorData)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or(NotAuthenticatorData)?;
        let has = |flag| flags & flag != 0;
        // §6.1: what cannot be backed up is not; the reserved bits say nothing yet.
        if has(RESERVED) || (has(BACKED_UP) && !has(BACKUP_ELIGIBLE)) {
            return Err(NotAuthenticatorData);
        }
        let mut credential = None;
        if has(HAS_CREDENTIAL) {
            let (new, after) = NewCredential::read(rest)?;
            (credential, rest) = (Some(new), after);
        }
        if has(HAS_EXTENSIONS) {
            let (extensions, after) = Value::read(rest).map_err(|_| NotAuthenticatorData)?;
            extensions.entries().ok_or(NotAuthenticatorData)?;
            rest = after;
        }
        if !rest.is_empty() {
            return Err(NotAuthenticatorData);
        }
        Ok(Self {
            rp_id_hash: *rp_id_hash,
            user_present: has(USER_PRESENT),
            user_verified: has(USER_VERIFIED),
            backup_eligible: has(BACKUP_ELIGIBLE),
            counter: u32::from_be_bytes(*counter),
            credential,
        })
    }
}

impl<'a> NewCredential<'a> {
    fn read(input: &'a [u8]) -> Result<(Self, &'a [u8]), NotAuthenticatorData> {
        // The model of the authenticator; nobody asked for it.
        let (_aaguid, rest) = input.split_first_chunk::<16>().ok_or(NotAuthenticatorData)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(NotAuthenticatorData)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > MAX_CREDENTIAL_ID {
            return Err(NotAuthenticatorData);
        }
        let (id, rest) = rest.split_at_checked(length).ok_or(NotAuthenticatorData)?;
        let (cose, after) = Value::read(rest).map_err(|_| NotAuthenticatorData)?;
        let key = rest.get(..rest.len() - after.len()).ok_or(NotAuthenticatorData)?;
        Ok((Self { id, key, cose }, after))
    }
}
