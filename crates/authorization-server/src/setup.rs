//! One-time links with which people set their own password.

use doorward_records::account::{SetupLink, User};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::UserId;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use crate::page::PageProblem;
use crate::settings::Lifetimes;

/// A new link for a user: the secret that goes into the URL, and the unit that makes it work. Earlier links
/// of the same user stop working.
#[must_use]
pub fn issue(lifetimes: &Lifetimes, user: UserId, now: UnixTime, random: &dyn Random) -> (Secret, Unit) {
    let secret = Secret::generate(random);
    let link = SetupLink {
        token: secret.digest(),
        user,
        expires: now.plus(lifetimes.setup_link),
    };
    (
        secret,
        Unit::default()
            .given(Precondition::UserExists(user))
            .then(Write::InsertSetupLink(link)),
    )
}

/// The user whose password a link sets, if it still works. For the page and again for its answer.
pub fn check(link: Option<&(SetupLink, User)>, now: UnixTime) -> Result<&User, PageProblem> {
    match link {
        Some((link, user)) if now < link.expires && link.user == user.id && !user.disabled => Ok(user),
        _ => Err(PageProblem::SetupLink),
    }
}

/// Sets the password to `password_hash` (from [`crate::password::hash`], after [`crate::password::check`]),
/// uses the link up and signs the user out everywhere.
pub fn decide(
    link: Option<&(SetupLink, User)>,
    password_hash: String,
    now: UnixTime,
) -> Result<Unit, PageProblem> {
    let user = check(link, now)?;
    let token = link.map(|(link, _)| link.token).ok_or(PageProblem::SetupLink)?;
    let unit = Unit::default()
        .given(Precondition::SetupLinkExists(token))
        .given(Precondition::UserEnabled(user.id))
        .then(Write::DeleteSetupLink(token));
    Ok(set_password(unit, user, password_hash))
}

/// Adds to `unit` what a new password means: nobody who knew the old one stays signed in, and nobody who found a link
/// sets another. The account must still be what was loaded, so that this undoes no other change.
#[must_use]
pub fn set_password(unit: Unit, user: &User, password_hash: String) -> Unit {
    let id = user.id;
    let changed = User {
        password_hash: Some(password_hash),
        ..user.clone()
    };
    unit.given(Precondition::UserIs(user.clone()))
        .then(Write::UpdateUser(changed))
        .then(Write::DeleteSessionsOf(id))
        .then(Write::DeleteSetupLinksOf(id))
}

#[cfg(test)]
mod tests {
    use doorward_records::account::Session;
    use doorward_records::model::Tables;
    use doorward_types::random::CountingRandom;

    use super::*;
    use crate::fixture::{self, NOW};

    #[test]
    fn a_link_works_once_in_time_and_signs_out() {
        let (random, lifetimes) = (CountingRandom::default(), Lifetimes::default());
        let user = fixture::user("alice", &[]);
        let session = Session {
            id: Secret::new("s").digest(),
            user: user.id,
            authenticated_at: NOW,
            expires: NOW.plus(lifetimes.session),
            device: None,
            methods: vec!["pwd".into()],
        };
        let mut tables = Tables::new();
        let rows = vec![
            Write::InsertUser(user.clone()),
            Write::InsertSession(session.clone()),
        ];
        tables.apply(&Unit::writes(rows)).unwrap();
        let (earlier, unit) = issue(&lifetimes, user.id, NOW, &random);
        tables.apply(&unit).unwrap();
        let (secret, unit) = issue(&lifetimes, user.id, NOW, &random);
        tables.apply(&unit).unwrap();
        assert_eq!(
            tables.setup_link(earlier.digest()),
            None,
            "a newer link voids the older"
        );

        let link = tables.setup_link(secret.digest());
        assert!(
            check(link.as_ref(), NOW.plus(lifetimes.setup_link)).is_err(),
            "too old"
        );
        assert_eq!(check(link.as_ref(), NOW), Ok(&user));
        let unit = decide(link.as_ref(), "$new".into(), NOW).unwrap();
        tables.apply(&unit).unwrap();
        assert_eq!(
            tables.user(user.id).unwrap().password_hash.as_deref(),
            Some("$new")
        );
        assert_eq!(tables.session(session.id), None);
        assert!(tables.apply(&unit).is_err(), "a second use of the link conflicts");
        let gone = tables.setup_link(secret.digest());
        assert_eq!(
            decide(gone.as_ref(), "$x".into(), NOW),
            Err(PageProblem::SetupLink)
        );
    }

    #[test]
    fn a_password_that_is_set_elsewhere_voids_the_link() {
        let (random, lifetimes) = (CountingRandom::default(), Lifetimes::default());
        let user = fixture::user("alice", &[]);
        for after in [
            set_password(Unit::default(), &user, "$new".into()),
            crate::administer::disable_user(&user, &lifetimes, NOW),
        ] {
            let mut tables = Tables::new();
            tables
                .apply(&Unit::writes(vec![Write::InsertUser(user.clone())]))
                .unwrap();
            let (secret, unit) = issue(&lifetimes, user.id, NOW, &random);
            tables.apply(&unit).unwrap();
            tables.apply(&after).unwrap();
            assert_eq!(tables.setup_link(secret.digest()), None);
        }
    }

    #[test]
    fn a_disabled_account_cannot_use_its_link() {
        let user = User {
            disabled: true,
            ..fixture::user("alice", &[])
        };
        let link = SetupLink {
            token: Secret::new("t").digest(),
            user: user.id,
            expires: NOW.plus(Lifetimes::default().setup_link),
        };
        assert_eq!(
            decide(Some(&(link, user)), "$x".into(), NOW),
            Err(PageProblem::SetupLink)
        );
    }
}
