use std::collections::HashSet;

use doorward_types::id::{Tenant, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::time::UnixTime;

use super::*;
use crate::revocation::Revoked;
use crate::unit::{Precondition, Write};

fn user(name: &str, random: &CountingRandom) -> User {
    User {
        tenant: Tenant::default_tenant(),
        id: UserId::generate(UnixTime::EPOCH, random),
        username: name.into(),
        password_hash: None,
        groups: Vec::new(),
        admin: false,
        disabled: false,
        created: UnixTime::EPOCH,
    }
}

#[test]
fn a_failing_write_undoes_the_ones_before() {
    let random = CountingRandom::default();
    let (first, second) = (user("alice", &random), user("alice", &random));
    let mut tables = Tables::new();
    let unit = Unit::writes(vec![Write::InsertUser(first), Write::InsertUser(second)]);
    assert_eq!(tables.apply(&unit), Err(Conflict));
    assert_eq!(tables, Tables::new());
}

#[test]
fn preconditions_are_judged_before_any_write() {
    let random = CountingRandom::default();
    let alice = user("alice", &random);
    let mut tables = Tables::new();
    let unit = Unit::default()
        .given(Precondition::UsernameFree("alice".into()))
        .then(Write::InsertUser(alice.clone()));
    assert_eq!(
        tables.apply(&unit),
        Ok(Applied {
            revocation_sequence: 0
        })
    );
    assert_eq!(tables.user_by_name("alice"), Some(alice));
    assert_eq!(tables.apply(&unit), Err(Conflict));
}

#[test]
fn states_that_hold_the_same_rows_are_one_state() {
    let random = CountingRandom::default();
    let (alice, bob) = (user("alice", &random), user("bob", &random));
    let mut seen = HashSet::new();
    for order in [[&alice, &bob], [&bob, &alice]] {
        let mut tables = Tables::new();
        for user in order {
            tables
                .apply(&Unit::writes(vec![Write::InsertUser(user.clone())]))
                .unwrap();
        }
        seen.insert(tables);
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn revocation_numbers_are_never_given_out_twice() {
    let random = CountingRandom::default();
    let revoke = Write::AppendRevocation {
        revoked: Revoked::User(UserId::generate(UnixTime::EPOCH, &random)),
        at: UnixTime::EPOCH,
        expires: UnixTime::from_seconds(1),
    };
    let sweep = Write::Sweep {
        now: UnixTime::from_seconds(1),
        families_idle_since: UnixTime::EPOCH,
        families_created_before: UnixTime::EPOCH,
        clients_ungranted_since: UnixTime::EPOCH,
        clients_unused_since: UnixTime::EPOCH,
    };
    let mut tables = Tables::new();
    tables.apply(&Unit::writes(vec![revoke.clone(), sweep])).unwrap();
    assert_eq!(tables.revocations_after(0), (Vec::new(), 1));
    assert_eq!(
        tables.apply(&Unit::writes(vec![revoke])),
        Ok(Applied {
            revocation_sequence: 2
        })
    );
}
