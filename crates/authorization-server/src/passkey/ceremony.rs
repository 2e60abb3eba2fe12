//! Ceremonies: a question that was put to one browser, for one purpose, and is answered once.
//!
//! Nothing is stored while it waits: the question is sealed into the form, bound to the browser's cookie, and its
//! challenge is noted as used in the same transaction that acts on the answer.

use std::time::Duration;

use doorward_records::account::User;
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::replay::Replay;
use doorward_records::{Precondition, Unit, Write};
use doorward_seal::Sealer;
use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, UserId};
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

use super::response::{self, Expected, PasskeyError, UnverifiedAssertion};
use crate::login::{self, NewSession, SignedIn};

/// How long a question waits for its answer. Longer than browsers wait for the person.
pub const LIFETIME: Duration = Duration::from_mins(5);

/// What seals the public half of a passkey.
pub(crate) const ASSOCIATED: &[u8] = b"passkey 1";

/// What a ceremony is for. An answer to one is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Signing in, as whoever has the passkey.
    SignIn,
    /// Adding a passkey to this account.
    Add(UserId),
}

/// A question that waits, as it is sealed into a form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ceremony {
    challenge: String,
    browser: Digest,
    purpose: Purpose,
    issued: UnixTime,
}

impl Ceremony {
    /// A new question to the browser that has `cookie`.
    #[must_use]
    pub fn begin(purpose: Purpose, cookie: &Secret, now: UnixTime, random: &dyn Random) -> Self {
        Self {
            challenge: Secret::generate(random).expose().to_owned(),
            browser: cookie.digest(),
            purpose,
            issued: now,
        }
    }

    /// The challenge, 256 random bits in base64url.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// By what the challenge is remembered once it was answered.
    #[must_use]
    pub fn replay_key(&self) -> Digest {
        Digest::of_parts(&[b"passkey challenge\0", self.challenge.as_bytes()])
    }

    /// Whether the browser with `cookie` may still answer it for `purpose`.
    pub fn check(&self, purpose: Purpose, cookie: &Secret, now: UnixTime) -> Result<(), PasskeyError> {
        let lives = now < self.expires() && self.issued <= now;
        let fits = self.purpose == purpose && self.browser == cookie.digest();
        (lives && fits).then_some(()).ok_or(PasskeyError::Over)
    }

    fn expires(&self) -> UnixTime {
        self.issued.plus(LIFETIME)
    }

    /// Once: the database says so to every replica and after every restart.
    fn use_up(&self, unit: Unit) -> Unit {
        let key = self.replay_key();
        unit.given(Precondition::ReplayAbsent(key))
            .then(Write::InsertReplay(Replay {
                key,
                expires: self.expires(),
            }))
    }
}

/// What is kept of a passkey beside its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPasskey {
    /// The credential id.
    #[serde(with = "text")]
    pub id: Vec<u8>,
    /// The public key, a COSE key.
    #[serde(with = "text")]
    pub key: Vec<u8>,
    /// Whether it can be copied to other devices.
    pub backup_eligible: bool,
}

impl StoredPasskey {
    /// Opens the sealed part of a row; `None` if it is no passkey or the seal does not fit.
    #[must_use]
    pub fn open(authenticator: &Authenticator, sealer: &Sealer) -> Option<Self> {
        if authenticator.kind != AuthenticatorKind::Passkey {
            return None;
        }
        let plain = sealer
            .open(&record(authenticator), ASSOCIATED, &authenticator.sealed)
            .ok()?;
        serde_json::from_slice(&plain).ok()
    }

    fn seal(&self, authenticator: &Authenticator, sealer: &Sealer, random: &dyn Random) -> Option<Vec<u8>> {
        let plain = serde_json::to_vec(self).ok()?;
        sealer
            .seal(&record(authenticator), ASSOCIATED, &plain, random)
            .ok()
    }
}

fn record(authenticator: &Authenticator) -> Vec<u8> {
    Authenticator::record(&authenticator.tenant, authenticator.user, authenticator.id)
}

/// By what a passkey is found.
#[must_use]
pub fn lookup(credential_id: &[u8]) -> Digest {
    Digest::of_parts(&[b"passkey\0", credential_id])
}

/// What to look up before [`add`]: a credential that is registered already, whoever's it is, is not registered again
/// (WebAuthn §7.1 step 26). `None` if the field cannot be read, which [`add`] refuses.
#[must_use]
pub fn claimed_lookup(field: &str) -> Option<Digest> {
    response::claimed_id(field).map(|id| lookup(&id))
}

/// The user handle (WebAuthn §5.4.3): nothing in it tells who it is.
#[must_use]
pub fn user_handle(user: UserId) -> [u8; 16] {
    *user.as_uuid().as_bytes()
}

/// Adds the passkey in `field` to the account of `user`, under the name that the person chose. The ceremony was
/// checked by [`Ceremony::check`].
pub fn add(
    ceremony: &Ceremony,
    field: &str,
    (rp_id, origin): (&str, &str),
    (user, name): (&User, String),
    sealer: &Sealer,
    now: UnixTime,
    random: &dyn Random,
) -> Result<(Authenticator, Unit), PasskeyError> {
    let expected = Expected {
        rp_id,
        origin,
        challenge: &ceremony.challenge,
    };
    let credential = response::register(field, expected)?;
    let mut authenticator = Authenticator {
        id: AuthenticatorId::generate(now, random),
        tenant: user.tenant.clone(),
        user: user.id,
        kind: AuthenticatorKind::Passkey,
        name,
        lookup: Some(lookup(&credential.id)),
        sealed: Vec::new(),
        counter: u64::from(credential.counter),
        created: now,
        last_used: None,
    };
    let stored = StoredPasskey {
        id: credential.id,
        key: credential.key,
        backup_eligible: credential.backup_eligible,
    };
    authenticator.sealed = stored
        .seal(&authenticator, sealer, random)
        .ok_or(PasskeyError::Key)?;
    let unit = Unit::default()
        .given(Precondition::UserEnabled(user.id))
        .then(Write::InsertAuthenticator(authenticator.clone()));
    Ok((authenticator, ceremony.use_up(unit)))
}

/// What a passkey sign-in rests on.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    /// The question; it was checked by [`Ceremony::check`].
    pub ceremony: &'a Ceremony,
    /// The answer.
    pub assertion: &'a UnverifiedAssertion,
    /// The passkey with the claimed id, and its account.
    pub found: Option<(Authenticator, User)>,
    /// Whether the challenge was answered before.
    pub used: bool,
}

/// Decides a sign-in by passkey. A verified one is two factors by itself.
pub fn sign_in(
    presented: Presented<'_>,
    (rp_id, origin): (&str, &str),
    sealer: &Sealer,
    new: NewSession<'_>,
) -> Result<SignedIn, PasskeyError> {
    let Presented {
        ceremony,
        assertion,
        found,
        used,
    } = presented;
    if used {
        return Err(PasskeyError::Over);
    }
    let (authenticator, user) = found
        .filter(|(authenticator, user)| authenticator.user == user.id && !user.disabled)
        .ok_or(PasskeyError::Unknown)?;
    let stored = StoredPasskey::open(&authenticator, sealer).ok_or(PasskeyError::Unknown)?;
    if stored.id != assertion.credential_id {
        return Err(PasskeyError::OtherAccount);
    }
    let expected = Expected {
        rp_id,
        origin,
        challenge: &ceremony.challenge,
    };
    let counter = assertion.verify(
        &stored.key,
        authenticator.counter,
        &user_handle(user.id),
        expected,
    )?;
    let kind = if stored.backup_eligible { "swk" } else { "hwk" };
    let now = new.now;
    let mut signed_in = login::start(&user, &[kind, "mfa"], new);
    let used = Authenticator {
        counter,
        last_used: Some(now),
        ..authenticator.clone()
    };
    let unit = std::mem::take(&mut signed_in.unit)
        .given(Precondition::AuthenticatorIs(authenticator))
        .then(Write::UpdateAuthenticator(used));
    signed_in.unit = ceremony.use_up(unit);
    Ok(signed_in)
}

/// Bytes as base64url in JSON.
mod text {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map_err(serde::de::Error::custom)
    }
}
