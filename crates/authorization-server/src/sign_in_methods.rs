//! Changes of how a person signs in. The shell asks for a fresh sign-in ([`crate::login::is_fresh`]) before any of
//! them.

use doorward_records::account::{Session, SetupLink, User};
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::AuthenticatorId;

use crate::administer;
use crate::login::{self, NewSession, SignedIn};
use crate::page::PageProblem;
use crate::settings::Lifetimes;
use crate::setup;

/// Passkeys that one person may have.
pub const MAX_PASSKEYS: usize = 20;

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodProblem {
    /// It is none of this account's, or gone already.
    #[error("nothing of this account has that id")]
    NotThere,
    /// Without it nobody could sign in with the account any more.
    #[error("it is the only way to sign in")]
    Last,
    /// There are [`MAX_PASSKEYS`].
    #[error("there are too many")]
    TooMany,
    /// The account has a second step, which a passkey would take the place of.
    #[error("the second step was not taken")]
    SecondStep,
}

/// Sets a new password. Every browser is signed out, but the one that did it (`before`) goes on under a new session;
/// apps go too if the person wants that. Nobody signed in: the session stays as old as it was, or whoever finds a
/// browser open could keep it fresh by one change after the other.
#[must_use]
pub fn change_password(
    user: &User,
    password_hash: String,
    before: &Session,
    ends_apps: bool,
    lifetimes: &Lifetimes,
    new: NewSession<'_>,
) -> SignedIn {
    let mut unit = setup::set_password(Unit::default(), user, password_hash);
    if ends_apps {
        let revoked = administer::revoke_user(user, lifetimes, new.now);
        unit.preconditions.extend(revoked.preconditions);
        unit.writes.extend(revoked.writes);
    }
    let methods: Vec<&str> = before.methods.iter().map(String::as_str).collect();
    // The old session goes with all the others.
    let mut signed_in = login::start(
        user,
        &methods,
        NewSession {
            previous: None,
            now: before.authenticated_at,
            ..new
        },
    );
    let started = std::mem::take(&mut signed_in.unit);
    unit.preconditions.extend(started.preconditions);
    unit.writes.extend(started.writes);
    signed_in.unit = unit;
    signed_in
}

/// Whether one more passkey may be added.
pub fn check_room(authenticators: &[Authenticator]) -> Result<(), MethodProblem> {
    let passkeys = authenticators.iter().filter(|one| is_passkey(one)).count();
    (passkeys < MAX_PASSKEYS)
        .then_some(())
        .ok_or(MethodProblem::TooMany)
}

/// Removes a passkey, unless nothing else is left to sign in with.
pub fn remove_passkey(
    user: &User,
    authenticators: &[Authenticator],
    id: AuthenticatorId,
) -> Result<Unit, MethodProblem> {
    let mut passkeys = authenticators.iter().filter(|one| is_passkey(one));
    if !passkeys.clone().any(|one| one.id == id) {
        return Err(MethodProblem::NotThere);
    }
    let unit = Unit::default()
        .given(Precondition::UserIs(user.clone()))
        .then(Write::DeleteAuthenticator(id));
    if user.password_hash.is_some() {
        return Ok(unit);
    }
    let other = passkeys.find(|one| one.id != id).ok_or(MethodProblem::Last)?;
    Ok(unit.given(Precondition::AuthenticatorIs(other.clone())))
}

/// Takes the second step away: the app and the recovery codes that stand in for it.
pub fn remove_app(authenticators: &[Authenticator]) -> Result<Unit, MethodProblem> {
    if !crate::second_factor::is_required(authenticators) {
        return Err(MethodProblem::NotThere);
    }
    let second = authenticators.iter().filter(|one| !is_passkey(one));
    let writes = second.map(|one| Write::DeleteAuthenticator(one.id)).collect();
    Ok(Unit::writes(writes))
}

/// What an operator does for somebody who lost them: every second factor and passkey goes, and every browser is
/// signed out, so that whoever found them is out as well. The password stays.
#[must_use]
pub fn reset(user: &User) -> Unit {
    Unit::default()
        .given(Precondition::UserExists(user.id))
        .then(Write::DeleteAuthenticatorsOf(user.id))
        .then(Write::DeleteSessionsOf(user.id))
}

/// Whether a setup link may add a passkey to the account with these authenticators. A link stands for the password
/// alone: if it made a passkey, which signs in by itself, whoever finds it would get past the authenticator app.
pub fn check_set_up(authenticators: &[Authenticator]) -> Result<(), MethodProblem> {
    if crate::second_factor::is_required(authenticators) {
        return Err(MethodProblem::SecondStep);
    }
    check_room(authenticators)
}

/// Uses a setup link up for a passkey (whose unit is `added`) in the place of a password: whoever knew the old
/// password does not get in any more.
pub fn set_up_passkey(link: &(SetupLink, User), added: Unit) -> Result<Unit, PageProblem> {
    let (link, user) = link;
    let changed = User {
        password_hash: None,
        ..user.clone()
    };
    let unit = Unit::default()
        .given(Precondition::SetupLinkExists(link.token))
        .given(Precondition::UserIs(user.clone()))
        .then(Write::DeleteSetupLink(link.token))
        .then(Write::UpdateUser(changed))
        .then(Write::DeleteSessionsOf(user.id));
    Ok(Unit {
        preconditions: [unit.preconditions, added.preconditions].concat(),
        writes: [unit.writes, added.writes].concat(),
    })
}

fn is_passkey(authenticator: &Authenticator) -> bool {
    authenticator.kind == AuthenticatorKind::Passkey
}

#[cfg(test)]
mod tests {
    use doorward_records::model::Tables;
    use doorward_types::id::Tenant;
    use doorward_types::random::CountingRandom;

    use super::*;
    use crate::fixture::{self, NOW};

    fn authenticator(user: &User, kind: AuthenticatorKind, random: &CountingRandom) -> Authenticator {
        Authenticator {
            id: AuthenticatorId::generate(NOW, random),
            tenant: Tenant::default_tenant(),
            user: user.id,
            kind,
            name: "x".into(),
            lookup: None,
            sealed: vec![1],
            counter: 0,
            created: NOW,
            last_used: None,
        }
    }

    fn tables(user: &User, authenticators: &[Authenticator]) -> Tables {
        let mut tables = Tables::new();
        let rows = authenticators.iter().cloned().map(Write::InsertAuthenticator);
        let writes = [Write::InsertUser(user.clone())]
            .into_iter()
            .chain(rows)
            .collect();
        tables.apply(&Unit::writes(writes)).unwrap();
        tables
    }

    #[test]
    fn the_last_way_in_stays() {
        let random = CountingRandom::default();
        let without = fixture::user("alice", &[]);
        let with = User {
            password_hash: Some("$".into()),
            ..without.clone()
        };
        let [one, two, app] = [
            AuthenticatorKind::Passkey,
            AuthenticatorKind::Passkey,
            AuthenticatorKind::Totp,
        ]
        .map(|kind| authenticator(&without, kind, &random));
        let all = [one.clone(), two.clone(), app.clone()];
        assert!(remove_passkey(&with, &all[..1], one.id).is_ok());
        assert_eq!(
            remove_passkey(&without, &all[..1], one.id),
            Err(MethodProblem::Last)
        );
        assert_eq!(remove_passkey(&with, &all, app.id), Err(MethodProblem::NotThere));
        // Two tabs that each remove another one: the second finds the first one's gone.
        let mut tables = tables(&without, &all);
        let (first, second) = (
            remove_passkey(&without, &all, one.id).unwrap(),
            remove_passkey(&without, &all, two.id).unwrap(),
        );
        tables.apply(&first).unwrap();
        assert!(tables.apply(&second).is_err());
    }

    #[test]
    fn the_app_goes_with_its_recovery_codes_and_passkeys_stay() {
        let random = CountingRandom::default();
        let user = fixture::user("alice", &[]);
        let all = [
            AuthenticatorKind::Passkey,
            AuthenticatorKind::Totp,
            AuthenticatorKind::RecoveryCode,
        ]
        .map(|kind| authenticator(&user, kind, &random));
        assert_eq!(check_set_up(&all), Err(MethodProblem::SecondStep));
        assert_eq!(check_set_up(&all[..1]), Ok(()));
        let mut tables = tables(&user, &all);
        tables.apply(&remove_app(&all).unwrap()).unwrap();
        let left = tables.authenticators_of(user.id);
        assert_eq!(left, [all[0].clone()]);
        assert_eq!(remove_app(&left), Err(MethodProblem::NotThere));
        tables.apply(&reset(&user)).unwrap();
        assert_eq!(tables.authenticators_of(user.id), []);
    }

    #[test]
    fn cn_08_a_new_password_leaves_one_new_session() {
        let random = CountingRandom::default();
        let user = User {
            password_hash: Some("$old".into()),
            ..fixture::user("alice", &[])
        };
        let settings = fixture::settings();
        let new = NewSession {
            settings: &settings,
            previous: None,
            device: None,
            now: NOW,
            random: &random,
        };
        let mut tables = tables(&user, &[]);
        let mut sessions = Vec::new();
        for _ in 0..3 {
            let signed_in = login::start(&user, &["pwd"], new);
            tables.apply(&signed_in.unit).unwrap();
            sessions.push(signed_in.session);
        }
        let methods = ["pwd".to_owned(), "otp".to_owned()];
        let before = Session {
            methods: methods.to_vec(),
            ..sessions[1].clone()
        };
        let later = NewSession {
            now: NOW.plus(std::time::Duration::from_secs(200)),
            ..new
        };
        let changed = change_password(&user, "$new".into(), &before, true, &settings.lifetimes, later);
        tables.apply(&changed.unit).unwrap();
        let left = tables.sessions_of(user.id);
        assert_eq!(left, [changed.session]);
        assert_eq!(left[0].methods, methods);
        assert_eq!(left[0].authenticated_at, NOW, "nobody signed in anew");
        assert_eq!(left[0].expires, before.expires);
        assert!(!sessions.contains(&left[0]));
        assert_eq!(tables.revocations_after(0).0.len(), 1);
        let stored = tables.user(user.id).unwrap().password_hash;
        assert_eq!(stored.as_deref(), Some("$new"));
        assert!(tables.apply(&changed.unit).is_err(), "the account changed");
    }
}
