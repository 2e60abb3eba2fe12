//! What an administrator does to accounts, as units ([`crate::clients`] has what is done to clients). What ends
//! something ends all of it: the browser sessions, the chains of refresh tokens, and by an entry in the revocation
//! feed every access token that is already out.

use std::time::Duration;

use doorward_records::account::User;
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::{Tenant, UserId};
use doorward_types::random::Random;
use doorward_types::time::UnixTime;

use crate::settings::Lifetimes;

/// The most characters of a user or group name.
pub const MAX_NAME: usize = 64;

/// How long a revocation of a whole user is kept at least. An administrator's command may run
/// with another configuration than the server, or after a lifetime was shortened: it cannot know how long
/// the tokens that are out will last.
const KEPT_AT_LEAST: Duration = Duration::from_hours(90 * 24);

/// Why a name is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing, or more than [`MAX_NAME`] characters.
    #[error("a name has 1 to 64 characters")]
    Length,
    /// A user name with upper-case letters: people type names in any case, so they are kept in one.
    #[error("a user name is written in lower case")]
    UpperCase,
    /// Something that is easily mistaken, or means something elsewhere.
    #[error("a name consists of letters a to z, digits and . _ - + @, and starts with a letter or digit")]
    Character,
}

/// A new account.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its name; [`add_user`] judges it.
    pub username: String,
    /// From [`crate::password::hash`]; `None` if a setup link is to follow.
    pub password_hash: Option<String>,
    /// Its groups, in any order.
    pub groups: Vec<String>,
    /// May administer.
    pub admin: bool,
}

/// Judges a user name.
pub fn check_username(name: &str) -> Result<(), NameProblem> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(NameProblem::UpperCase);
    }
    if name.contains('/') {
        return Err(NameProblem::Character);
    }
    check_group(name)
}

/// Judges a group name: like a user name, upper case and `/` allowed.
pub fn check_group(name: &str) -> Result<(), NameProblem> {
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(NameProblem::Length);
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-+@/".contains(&b);
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && name.bytes().all(good) {
        Ok(())
    } else {
        Err(NameProblem::Character)
    }
}

/// Adds an account. A conflict means that the name is taken.
pub fn add_user(
    new: NewUser,
    tenant: &Tenant,
    now: UnixTime,
    random: &dyn Random,
) -> Result<(User, Unit), NameProblem> {
    check_username(&new.username)?;
    new.groups.iter().try_for_each(|group| check_group(group))?;
    let mut groups = new.groups;
    groups.sort();
    groups.dedup();
    let user = User {
        tenant: tenant.clone(),
        id: UserId::generate(now, random),
        username: new.username,
        password_hash: new.password_hash,
        groups,
        admin: new.admin,
        disabled: false,
        created: now,
    };
    let unit = Unit::default()
        .given(Precondition::UsernameFree(user.username.clone()))
        .then(Write::InsertUser(user.clone()));
    Ok((user, unit))
}

/// Disables an account: nobody signs in, refreshes or calls with it. Enabling it again brings back no
/// session, chain, code, token or setup link from before, and no consent.
#[must_use]
pub fn disable_user(user: &User, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = unchanged(user)
        .then(Write::UpdateUser(User {
            disabled: true,
            ..user.clone()
        }))
        .then(Write::DeleteSessionsOf(user.id))
        .then(Write::DeleteSetupLinksOf(user.id))
        .then(Write::DeleteGrantsOf(user.id));
    revoke(unit, Revoked::User(user.id), lifetimes, now)
}

/// Ends everything that is signed in with an account, which stays as it is (R35): browsers, chains, codes and devices
/// that were approved and have no tokens yet. Its consents go too, so that every app has to be allowed anew by whoever
/// can sign in.
#[must_use]
pub fn revoke_user(user: &User, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = Unit::default()
        .given(Precondition::UserExists(user.id))
        .then(Write::DeleteSessionsOf(user.id))
        .then(Write::DeleteGrantsOf(user.id));
    revoke(unit, Revoked::User(user.id), lifetimes, now)
}

/// Puts an account into the groups `add` and takes it out of `remove`. Tokens carry the groups of the moment at which
/// they were issued: those that are out there are refused from now on, and their apps refresh them with the groups that
/// there are now. A group that was added counts as well: policies can forbid what its members do.
#[must_use]
pub fn change_groups(
    user: &User,
    add: &[String],
    remove: &[String],
    lifetimes: &Lifetimes,
    now: UnixTime,
) -> (User, Unit) {
    let mut groups: Vec<String> = user.groups.iter().chain(add).cloned().collect();
    groups.retain(|group| !remove.contains(group));
    groups.sort();
    groups.dedup();
    let others = user.groups != groups;
    let changed = User {
        groups,
        ..user.clone()
    };
    let unit = unchanged(user).then(Write::UpdateUser(changed.clone()));
    if others {
        return (changed, revoke(unit, Revoked::User(user.id), lifetimes, now));
    }
    (changed, unit)
}

/// Lets a disabled account sign in again.
#[must_use]
pub fn enable_user(user: &User) -> Unit {
    unchanged(user).then(Write::UpdateUser(User {
        disabled: false,
        ..user.clone()
    }))
}

/// Removes an account with everything that belongs to it.
#[must_use]
pub fn remove_user(user: &User, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = Unit::default()
        .given(Precondition::UserExists(user.id))
        .then(Write::DeleteUser(user.id));
    revoke(unit, Revoked::User(user.id), lifetimes, now)
}

fn unchanged(user: &User) -> Unit {
    Unit::default().given(Precondition::UserIs(user.clone()))
}

fn revoke(unit: Unit, revoked: Revoked, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    unit.then(Write::AppendRevocation {
        revoked,
        at: now,
        expires: now.plus(kept(lifetimes)),
    })
}

/// How long what a command revokes is remembered.
#[must_use]
pub fn kept(lifetimes: &Lifetimes) -> Duration {
    lifetimes.revocation().max(KEPT_AT_LEAST)
}

#[cfg(test)]
mod tests {
    use doorward_records::account::Session;
    use doorward_records::client::Client;
    use doorward_records::grant::{Evidence, Family, Grant};
    use doorward_records::model::Tables;
    use doorward_types::digest::Digest;
    use doorward_types::id::{FamilyId, GrantId};
    use doorward_types::random::CountingRandom;

    use super::*;
    use crate::fixture::{self, NOW};

    /// alice with a session, and a chain of hers with a client.
    fn signed_in() -> (Tables, User, Client, FamilyId) {
        let random = CountingRandom::default();
        let (user, client) = (
            fixture::user("alice", &[]),
            fixture::client(&["http://127.0.0.1/cb"]),
        );
        let session = Session {
            id: Digest::of(b"session"),
            user: user.id,
            authenticated_at: NOW,
            expires: NOW.plus(Duration::from_secs(60)),
            device: None,
            methods: vec!["pwd".into()],
        };
        let resource = fixture::settings().servers.swap_remove(0).resource;
        let scopes: doorward_types::scope::ScopeSet = "t:read".parse().unwrap();
        let grant = Grant {
            tenant: Tenant::default_tenant(),
            id: GrantId::generate(NOW, &random),
            user: user.id,
            client: client.id.clone(),
            redirect_host: "127.0.0.1".into(),
            resource: resource.clone(),
            scopes: scopes.clone(),
            evidence: Evidence {
                client_name: None,
                client_metadata: Digest::of(b"metadata"),
                redirect_uri: "http://127.0.0.1/cb".into(),
                offered: scopes.clone(),
                authenticated_at: NOW,
            },
            created: NOW,
            updated: NOW,
        };
        let family = Family {
            tenant: Tenant::default_tenant(),
            id: FamilyId::generate(NOW, &random),
            grant: grant.id,
            user: user.id,
            client: client.id.clone(),
            resource,
            scopes,
            created: NOW,
            last_used: NOW,
            late_repeat: None,
            revoked: false,
            authenticated: Some(NOW),
            trace: None,
            device: None,
        };
        let family_id = family.id;
        let mut tables = Tables::new();
        let writes = vec![
            Write::InsertUser(user.clone()),
            Write::InsertClient(client.clone()),
            Write::InsertSession(session),
            Write::InsertGrant(grant),
            Write::InsertFamily(family),
        ];
        tables.apply(&Unit::writes(writes)).unwrap();
        (tables, user, client, family_id)
    }

    fn revoked(tables: &Tables) -> Vec<Revoked> {
        let (feed, _) = tables.revocations_after(0);
        assert!(feed.iter().all(|entry| entry.expires >= NOW.plus(KEPT_AT_LEAST)));
        feed.into_iter().map(|entry| entry.revoked).collect()
    }

    #[test]
    fn rt_06_disabling_ends_sessions_chains_and_tokens_for_good() {
        let (mut tables, user, _, family) = signed_in();
        let unit = disable_user(&user, &Lifetimes::default(), NOW);
        tables.apply(&unit).unwrap();
        assert!(tables.user(user.id).unwrap().disabled);
        assert_eq!(tables.session(Digest::of(b"session")), None);
        assert_eq!(revoked(&tables), [Revoked::User(user.id)]);
        assert!(
            tables.apply(&unit).is_err(),
            "decided on an account that changed since"
        );
        let disabled = tables.user(user.id).unwrap();
        tables.apply(&enable_user(&disabled)).unwrap();
        assert_eq!(tables.user(user.id), Some(user));
        assert_eq!(tables.family(family), None, "it does not come back");
    }

    #[test]
    fn rt_06_r35_the_kill_switch_of_a_user_ends_everything_but_the_account() {
        let (mut tables, user, _, family) = signed_in();
        let unit = revoke_user(&user, &Lifetimes::default(), NOW);
        tables.apply(&unit).unwrap();
        assert_eq!(tables.user(user.id).as_ref(), Some(&user));
        assert_eq!(tables.session(Digest::of(b"session")), None);
        assert_eq!(tables.family(family), None);
        assert!(
            tables
                .grants(&doorward_records::facts::GrantFilter::User(user.id))
                .is_empty()
        );
        assert_eq!(revoked(&tables), [Revoked::User(user.id)]);
        tables.apply(&unit).unwrap();
        assert_eq!(
            revoked(&tables).len(),
            2,
            "whatever was signed in since ends as well"
        );
    }

    #[test]
    fn rt_06_removing_leaves_only_the_revocation() {
        let (mut tables, user, _, family) = signed_in();
        tables
            .apply(&remove_user(&user, &Lifetimes::default(), NOW))
            .unwrap();
        assert_eq!((tables.user(user.id), tables.family(family)), (None, None));
        assert_eq!(revoked(&tables), [Revoked::User(user.id)]);
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "alice", "alice.b-c_d+e@corp.example", "0day"] {
            assert_eq!(check_username(good), Ok(()), "{good}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for (bad, why) in [
            ("", NameProblem::Length),
            (long.as_str(), NameProblem::Length),
            ("Alice", NameProblem::UpperCase),
            ("al ice", NameProblem::Character),
            ("user:alice", NameProblem::Character),
            ("-rf", NameProblem::Character),
            ("\u{430}lice", NameProblem::Character),
            ("alice\n", NameProblem::Character),
        ] {
            assert_eq!(check_username(bad), Err(why), "{bad:?}");
        }
        assert_eq!(check_username("eng/ops"), Err(NameProblem::Character));
        assert_eq!(check_group("Eng/Backend"), Ok(()));
        assert_eq!(check_group("a,b"), Err(NameProblem::Character));
    }

    #[test]
    fn an_account_is_added_once() {
        let random = CountingRandom::default();
        let new = NewUser {
            username: "alice".into(),
            password_hash: None,
            groups: vec!["ops".into(), "eng".into(), "ops".into()],
            admin: true,
        };
        let (user, unit) = add_user(new, &Tenant::default_tenant(), NOW, &random).unwrap();
        assert_eq!(user.groups, ["eng", "ops"]);
        let mut tables = Tables::new();
        tables.apply(&unit).unwrap();
        assert_eq!(tables.user_by_name("alice"), Some(user));
        assert!(tables.apply(&unit).is_err());
    }
}
