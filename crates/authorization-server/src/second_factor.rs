//! The second step of a sign-in: a code of an authenticator app, or a recovery code. Between the steps nothing is
//! stored: what the first one proved is sealed into the form, for a short while and for one browser.

use std::time::Duration;

use doorward_records::account::User;
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::{Precondition, Unit, Write};
use doorward_seal::Sealer;
use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, UserId};
use doorward_types::random::{self, Random};
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

use crate::login::{self, NewSession, SignedIn};
use crate::totp::{self, TotpSecret};

/// How long the second step may take.
pub const LIFETIME: Duration = Duration::from_mins(5);
/// Recovery codes in a set.
pub const RECOVERY_CODES: usize = 10;
/// Bytes of a recovery code: 80 bits, too many to find out from its digest.
const RECOVERY_BYTES: usize = 10;

pub(crate) const TOTP: &[u8] = b"totp 1";

/// Why the second step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecondFactorError {
    /// It took too long, or it is another browser, or the account changed: from the beginning.
    #[error("the sign-in is over")]
    Over,
    /// The code is wrong or was used.
    #[error("the code is not right")]
    Wrong,
}

/// A right password, before the second step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HalfSignedIn {
    /// Whose.
    pub user: UserId,
    password: Digest,
    browser: Digest,
    issued: UnixTime,
}

impl HalfSignedIn {
    pub(crate) fn new(user: &User, prelogin: &Secret, now: UnixTime) -> Self {
        Self {
            user: user.id,
            password: password_of(user),
            browser: prelogin.digest(),
            issued: now,
        }
    }

    /// Whether the browser with this cookie may still take the second step.
    pub fn check(&self, prelogin: &Secret, now: UnixTime) -> Result<(), SecondFactorError> {
        let lives = self.issued <= now && now < self.issued.plus(LIFETIME);
        (lives && self.browser == prelogin.digest())
            .then_some(())
            .ok_or(SecondFactorError::Over)
    }
}

/// Names the password that was right, so that the step is worth nothing once it was changed.
fn password_of(user: &User) -> Digest {
    Digest::of(user.password_hash.as_deref().unwrap_or_default().as_bytes())
}

/// Whether a password alone is not enough.
#[must_use]
pub fn is_required(authenticators: &[Authenticator]) -> bool {
    authenticators
        .iter()
        .any(|authenticator| authenticator.kind == AuthenticatorKind::Totp)
}

/// Decides the second step. `user` and `authenticators` are loaded now; `typed` is what the person typed.
pub fn decide(
    half: &HalfSignedIn,
    user: Option<&User>,
    authenticators: &[Authenticator],
    typed: &Secret,
    sealer: &Sealer,
    new: NewSession<'_>,
) -> Result<SignedIn, SecondFactorError> {
    let user = user
        .filter(|user| user.id == half.user && !user.disabled && password_of(user) == half.password)
        .ok_or(SecondFactorError::Over)?;
    let used = judge(authenticators, typed, sealer, new.now).ok_or(SecondFactorError::Wrong)?;
    let mut signed_in = login::start(user, &["pwd", "otp", "mfa"], new);
    let unit = std::mem::take(&mut signed_in.unit).given(Precondition::UserIs(user.clone()));
    signed_in.unit = Unit {
        preconditions: [unit.preconditions, used.preconditions].concat(),
        writes: [unit.writes, used.writes].concat(),
    };
    Ok(signed_in)
}

/// What accepting `typed` uses up; `None` if it is no code of these.
fn judge(authenticators: &[Authenticator], typed: &Secret, sealer: &Sealer, now: UnixTime) -> Option<Unit> {
    let digits: String = typed.expose().chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() == totp::DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return authenticators
            .iter()
            .find_map(|authenticator| accept_totp(authenticator, &digits, sealer, now));
    }
    let lookup = recovery_lookup(typed.expose());
    let of_these = |one: &&Authenticator| {
        one.kind == AuthenticatorKind::RecoveryCode && one.lookup.is_some_and(|known| known == lookup)
    };
    let code = authenticators.iter().find(of_these)?;
    Some(
        Unit::default()
            .given(Precondition::AuthenticatorIs(code.clone()))
            .then(Write::DeleteAuthenticator(code.id)),
    )
}

/// Moves the counter to the step of an accepted code: under the precondition it is accepted once, races included.
pub fn accept_totp(
    authenticator: &Authenticator,
    typed: &str,
    sealer: &Sealer,
    now: UnixTime,
) -> Option<Unit> {
    let secret = totp_secret(authenticator, sealer)?;
    let step = secret.matching_step(typed, authenticator.counter, now)?;
    let used = Authenticator {
        counter: step,
        last_used: Some(now),
        ..authenticator.clone()
    };
    Some(
        Unit::default()
            .given(Precondition::AuthenticatorIs(authenticator.clone()))
            .then(Write::UpdateAuthenticator(used)),
    )
}

fn totp_secret(authenticator: &Authenticator, sealer: &Sealer) -> Option<TotpSecret> {
    if authenticator.kind != AuthenticatorKind::Totp {
        return None;
    }
    let plain = sealer
        .open(&record(authenticator), TOTP, &authenticator.sealed)
        .ok()?;
    TotpSecret::from_bytes(plain.to_vec())
}

fn record(authenticator: &Authenticator) -> Vec<u8> {
    Authenticator::record(&authenticator.tenant, authenticator.user, authenticator.id)
}

/// Adds an authenticator app whose first code was typed: so it works, and the person has it. There is one at a time:
/// earlier ones go.
pub fn add_totp(
    user: &User,
    before: &[Authenticator],
    secret: &TotpSecret,
    typed: &str,
    sealer: &Sealer,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Unit, SecondFactorError> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    let step = secret
        .matching_step(&digits, 0, now)
        .ok_or(SecondFactorError::Wrong)?;
    let mut app = Authenticator {
        id: AuthenticatorId::generate(now, random),
        tenant: user.tenant.clone(),
        user: user.id,
        kind: AuthenticatorKind::Totp,
        name: "Authenticator app".into(),
        lookup: None,
        sealed: Vec::new(),
        counter: step,
        created: now,
        last_used: Some(now),
    };
    app.sealed = sealer
        .seal(&record(&app), TOTP, secret.expose(), random)
        .map_err(|_| SecondFactorError::Over)?;
    let unit = Unit::default().given(Precondition::UserEnabled(user.id));
    let unit = before
        .iter()
        .filter(|one| one.kind == AuthenticatorKind::Totp)
        .fold(unit, |unit, one| {
            unit.given(Precondition::AuthenticatorIs(one.clone()))
                .then(Write::DeleteAuthenticator(one.id))
        });
    Ok(unit.then(Write::InsertAuthenticator(app)))
}

/// A new set of recovery codes in the place of the one before. They are shown once.
#[must_use]
pub fn new_recovery_codes(
    user: &User,
    before: &[Authenticator],
    now: UnixTime,
    random: &dyn Random,
) -> (Vec<Secret>, Unit) {
    let mut unit = Unit::default().given(Precondition::UserEnabled(user.id));
    let old = |one: &&Authenticator| one.kind == AuthenticatorKind::RecoveryCode;
    for one in before.iter().filter(old) {
        // Of two sets that are asked for at once only one is made: else both would open the account.
        unit = unit
            .given(Precondition::AuthenticatorIs(one.clone()))
            .then(Write::DeleteAuthenticator(one.id));
    }
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let text = totp::base32(&random::bytes::<RECOVERY_BYTES>(random)).to_lowercase();
        let lookup = recovery_lookup(&text);
        unit = unit.then(Write::InsertAuthenticator(Authenticator {
            id: AuthenticatorId::generate(now, random),
            tenant: user.tenant.clone(),
            user: user.id,
            kind: AuthenticatorKind::RecoveryCode,
            name: "Recovery code".into(),
            lookup: Some(lookup),
            sealed: Vec::new(),
            counter: 0,
            created: now,
            last_used: None,
        }));
        codes.push(Secret::new(grouped(&text)));
    }
    (codes, unit)
}

/// By what a recovery code is found, however it was typed.
fn recovery_lookup(typed: &str) -> Digest {
    let plain: String = typed
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    Digest::of_parts(&[b"recovery code\0", plain.as_bytes()])
}

/// `abcd-efgh-ijkl-mnop`.
fn grouped(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

#[cfg(test)]
#[path = "second_factor_tests.rs"]
mod tests;
