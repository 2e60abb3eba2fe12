//! Signing in with a local account.

use std::time::Duration;

use doorward_records::account::{Session, User};
use doorward_records::authenticator::Authenticator;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use crate::password::PasswordProof;
use crate::second_factor::{self, HalfSignedIn};
use crate::settings::Settings;

/// Somebody signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// To be committed before the cookie is set.
    pub unit: Unit,
    /// The new session.
    pub session: Session,
    /// The value of the new session cookie.
    pub cookie: Secret,
    /// Who it is.
    pub user: User,
}

/// Nobody signed in. One answer for unknown, wrong, disabled and not yet set up: a difference would tell
/// who has an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The user name or the password is not right.")]
pub struct NotSignedIn;

/// What a new session is made of, besides whose it is.
#[derive(Clone, Copy)]
pub struct NewSession<'a> {
    /// For its lifetime.
    pub settings: &'a Settings,
    /// Digest of the session cookie that the browser sent, which is dead from now on: a session id from before the
    /// sign-in is never kept (CN-08).
    pub previous: Option<Digest>,
    /// What the browser says it is.
    pub device: Option<&'a str>,
    /// The present.
    pub now: UnixTime,
    /// Where the cookie comes from.
    pub random: &'a dyn Random,
}

/// How far a right password leads.
#[derive(Clone, Debug)]
pub enum Step {
    /// All the way.
    Done(Box<SignedIn>),
    /// To the second factor.
    SecondFactor(HalfSignedIn),
}

/// How long after a sign-in the account may be changed without another one.
pub const FRESH: Duration = Duration::from_mins(5);

/// Whether the person proved who they are a moment ago.
#[must_use]
pub fn is_fresh(session: &Session, now: UnixTime) -> bool {
    now < session.authenticated_at.plus(FRESH)
}

/// Starts a session for somebody who proved who they are with `methods` (RFC 8176).
pub(crate) fn start(user: &User, methods: &[&str], new: NewSession<'_>) -> SignedIn {
    let cookie = Secret::generate(new.random);
    let session = Session {
        id: cookie.digest(),
        user: user.id,
        authenticated_at: new.now,
        expires: new.now.plus(new.settings.lifetimes.session),
        device: new.device.map(Into::into),
        methods: methods.iter().map(|&method| method.into()).collect(),
    };
    let mut unit = Unit::default()
        .given(Precondition::UserEnabled(user.id))
        .then(Write::InsertSession(session.clone()));
    if let Some(previous) = new.previous {
        unit = unit.then(Write::DeleteSession(previous));
    }
    SignedIn {
        unit,
        session,
        cookie,
        user: user.clone(),
    }
}

/// Decides a sign-in. `user` is the account with the typed name and `authenticators` are its own, loaded *after*
/// the password was verified; `proof` is what [`crate::password::verify`] gave; `prelogin` is the cookie of the
/// browser, to which the second step is bound.
pub fn decide(
    user: Option<&User>,
    authenticators: &[Authenticator],
    proof: Option<PasswordProof>,
    prelogin: &Secret,
    new: NewSession<'_>,
) -> Result<Step, NotSignedIn> {
    let (Some(user), Some(proof)) = (user, proof) else {
        return Err(NotSignedIn);
    };
    if user.disabled || !proof.is_for(user.password_hash.as_deref()) {
        return Err(NotSignedIn);
    }
    if second_factor::is_required(authenticators) {
        return Ok(Step::SecondFactor(HalfSignedIn::new(user, prelogin, new.now)));
    }
    let mut signed_in = start(user, &["pwd"], new);
    // A password or a second factor that is set meanwhile is asked for.
    signed_in.unit = signed_in.unit.given(Precondition::UserIs(user.clone()));
    Ok(Step::Done(Box::new(signed_in)))
}

/// The session of a cookie, if it still stands: not expired, its user not disabled.
#[must_use]
pub fn current(session: Option<(Session, User)>, now: UnixTime) -> Option<(Session, User)> {
    session.filter(|(session, user)| now < session.expires && !user.disabled && session.user == user.id)
}

#[cfg(test)]
mod tests {
    use doorward_records::model::Tables;
    use doorward_types::random::CountingRandom;

    use super::*;
    use crate::fixture::{self, NOW};
    use crate::password;

    fn new<'a>(
        settings: &'a Settings,
        previous: Option<Digest>,
        random: &'a CountingRandom,
    ) -> NewSession<'a> {
        NewSession {
            settings,
            previous,
            device: Some("Firefox on Linux"),
            now: NOW,
            random,
        }
    }

    #[test]
    fn a_sign_in_is_fresh_for_five_minutes() {
        let random = CountingRandom::default();
        let settings = fixture::settings();
        let session = start(&account(&random), &["pwd"], new(&settings, None, &random)).session;
        assert_eq!(session.device.as_deref(), Some("Firefox on Linux"));
        assert!(is_fresh(&session, NOW.plus(FRESH - Duration::from_secs(1))));
        assert!(!is_fresh(&session, NOW.plus(FRESH)));
    }

    fn account(random: &CountingRandom) -> User {
        let password_hash = Some(password::hash(&Secret::new("correct horse"), random).unwrap());
        User {
            password_hash,
            ..fixture::user("alice", &[])
        }
    }

    #[test]
    fn unknown_wrong_disabled_and_changed_get_one_answer() {
        let random = CountingRandom::default();
        let settings = fixture::settings();
        let user = account(&random);
        let prelogin = Secret::new("prelogin");
        let stored = user.password_hash.as_deref();
        let right = password::verify(stored, &Secret::new("correct horse"));
        let disabled = User {
            disabled: true,
            ..user.clone()
        };
        let changed = User {
            password_hash: Some("$other".into()),
            ..user.clone()
        };
        let fresh = User {
            password_hash: None,
            ..user.clone()
        };
        for (user, proof) in [
            (None, None),
            (None, right),
            (Some(&user), None),
            (Some(&disabled), right),
            (Some(&changed), right),
            (Some(&fresh), right),
        ] {
            let refused = decide(user, &[], proof, &prelogin, new(&settings, None, &random));
            assert_eq!(refused.map(|_| ()), Err(NotSignedIn));
        }
    }

    #[test]
    fn cn_08_the_session_id_is_new_and_the_old_one_dead() {
        let random = CountingRandom::default();
        let settings = fixture::settings();
        let user = account(&random);
        let mut tables = Tables::new();
        tables
            .apply(&Unit::writes(vec![Write::InsertUser(user.clone())]))
            .unwrap();
        let proof = password::verify(user.password_hash.as_deref(), &Secret::new("correct horse"));
        let sign_in = |previous| {
            let new = new(&settings, previous, &random);
            match decide(Some(&user), &[], proof, &Secret::new("prelogin"), new).unwrap() {
                Step::Done(signed_in) => signed_in,
                Step::SecondFactor(_) => panic!("there is none"),
            }
        };
        let first = sign_in(None);
        assert_eq!(first.session.methods, ["pwd"]);
        tables.apply(&first.unit).unwrap();
        let second = sign_in(Some(first.session.id));
        tables.apply(&second.unit).unwrap();
        assert_ne!(first.session.id, second.session.id);
        assert_eq!(tables.session(first.session.id), None);
        let loaded = tables.session(second.cookie.digest());
        assert!(current(loaded.clone(), NOW).is_some());
        assert_eq!(current(loaded, NOW.plus(settings.lifetimes.session)), None);
        let later = NOW.plus(Duration::from_secs(1));
        let off = tables
            .session(second.session.id)
            .map(|(s, u)| (s, User { disabled: true, ..u }));
        assert_eq!(current(off, later), None);
    }
}
