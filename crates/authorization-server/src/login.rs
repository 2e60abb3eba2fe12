//! Signing in with a local account.

use doorward_records::account::{Session, User};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use crate::password::PasswordProof;
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

/// Decides a sign-in. `user` is the account with the typed name, loaded *after* the password was verified;
/// `proof` is what [`crate::password::verify`] gave; `previous` is the digest of the session cookie that the
/// browser sent, which is dead from now on: a session id from before the sign-in is never kept (CN-08).
pub fn decide(
    settings: &Settings,
    user: Option<&User>,
    proof: Option<PasswordProof>,
    previous: Option<Digest>,
    now: UnixTime,
    random: &dyn Random,
) -> Result<SignedIn, NotSignedIn> {
    let (Some(user), Some(proof)) = (user, proof) else {
        return Err(NotSignedIn);
    };
    if user.disabled || !proof.is_for(user.password_hash.as_deref()) {
        return Err(NotSignedIn);
    }
    let cookie = Secret::generate(random);
    let session = Session {
        id: cookie.digest(),
        user: user.id,
        authenticated_at: now,
        expires: now.plus(settings.lifetimes.session),
        device: None,
        methods: vec!["pwd".into()],
    };
    let mut unit = Unit::default()
        .given(Precondition::UserEnabled(user.id))
        .then(Write::InsertSession(session.clone()));
    if let Some(previous) = previous {
        unit = unit.then(Write::DeleteSession(previous));
    }
    Ok(SignedIn {
        unit,
        session,
        cookie,
        user: user.clone(),
    })
}

/// The session of a cookie, if it still stands: not expired, its user not disabled.
#[must_use]
pub fn current(session: Option<(Session, User)>, now: UnixTime) -> Option<(Session, User)> {
    session.filter(|(session, user)| now < session.expires && !user.disabled && session.user == user.id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorward_records::model::Tables;
    use doorward_types::random::CountingRandom;

    use super::*;
    use crate::fixture::{self, NOW};
    use crate::password;

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
            let refused = decide(&settings, user, proof, None, NOW, &random);
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
        let first = decide(&settings, Some(&user), proof, None, NOW, &random).unwrap();
        tables.apply(&first.unit).unwrap();
        let second = decide(
            &settings,
            Some(&user),
            proof,
            Some(first.session.id),
            NOW,
            &random,
        )
        .unwrap();
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
