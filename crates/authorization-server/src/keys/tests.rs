use doorward_records::model::Tables;
use doorward_types::random::CountingRandom;
use doorward_types::time::UnixTime;

use super::*;
use crate::fixture::NOW;

fn generated(random: &CountingRandom, master: &MasterKey) -> Tables {
    let mut tables = Tables::new();
    for unit in missing(&[], &Tenant::default_tenant(), master, NOW, random).unwrap() {
        tables.apply(&unit).unwrap();
    }
    tables
}

#[test]
fn missing_keys_are_made_once_and_open_again() {
    let random = CountingRandom::default();
    let master = MasterKey::generate(&random);
    let mut tables = generated(&random, &master);
    let stored = tables.keys();
    assert_eq!(stored.len(), 2);
    assert!(
        missing(&stored, &Tenant::default_tenant(), &master, NOW, &random)
            .unwrap()
            .is_empty()
    );
    for unit in missing(&[], &Tenant::default_tenant(), &master, NOW, &random).unwrap() {
        assert!(tables.apply(&unit).is_err(), "another process was first");
    }
    let ring = KeyRing::open(&stored, &master).unwrap();
    assert_eq!(ring.public().keys().len(), 1);
    let row = stored
        .iter()
        .find(|key| key.purpose == KeyPurpose::AccessToken)
        .unwrap();
    assert_eq!(ring.signing().key_id(), &row.id);
    assert_eq!(
        row.public_jwk.as_deref(),
        Some(
            serde_json::json!(ring.signing().public_jwk())
                .to_string()
                .as_str()
        )
    );
}

#[test]
fn keys_do_not_open_under_another_master_key_or_in_another_row() {
    let random = CountingRandom::default();
    let master = MasterKey::generate(&random);
    let stored = generated(&random, &master).keys();
    assert!(matches!(
        KeyRing::open(&stored, &MasterKey::generate(&random)),
        Err(KeyError::Sealed(_))
    ));
    let mut moved = stored.clone();
    moved[0].id = KeyId::new("other");
    assert!(matches!(KeyRing::open(&moved, &master), Err(KeyError::Sealed(_))));
    let mut swapped = stored;
    swapped.iter_mut().for_each(|key| {
        key.purpose = match key.purpose {
            KeyPurpose::AccessToken => KeyPurpose::RefreshToken,
            KeyPurpose::RefreshToken => KeyPurpose::AccessToken,
        };
    });
    assert!(matches!(
        KeyRing::open(&swapped, &master),
        Err(KeyError::Sealed(_))
    ));
    assert!(matches!(KeyRing::open(&[], &master), Err(KeyError::NoActive(_))));
}

#[test]
fn retired_keys_stay_published_and_keep_deriving() {
    let random = CountingRandom::default();
    let master = MasterKey::generate(&random);
    let mut old = generated(&random, &master).keys();
    let before = KeyRing::open(&old, &master).unwrap();
    old.iter_mut().for_each(|key| key.state = KeyState::Retired);
    let later = UnixTime::from_seconds(NOW.seconds() + 1);
    let mut tables = Tables::new();
    tables
        .apply(&Unit::writes(old.into_iter().map(Write::InsertKey).collect()))
        .unwrap();
    for unit in missing(&tables.keys(), &Tenant::default_tenant(), &master, later, &random).unwrap() {
        tables.apply(&unit).unwrap();
    }
    let after = KeyRing::open(&tables.keys(), &master).unwrap();
    assert_eq!(after.public().keys().len(), 2);
    assert_ne!(after.signing().key_id(), before.signing().key_id());
    let family = FamilyId::generate(NOW, &random);
    let token = Secret::new("dwr_x");
    let kid = before.refresh().active();
    assert_ne!(kid, after.refresh().active());
    let successor = before.refresh().successor(kid, family, 1, &token);
    assert!(successor.is_some() && successor == after.refresh().successor(kid, family, 1, &token));
    assert_ne!(
        successor,
        after
            .refresh()
            .successor(after.refresh().active(), family, 1, &token)
    );
    assert_ne!(successor, after.refresh().successor(kid, family, 2, &token));
    assert_eq!(
        after.refresh().successor(&KeyId::new("gone"), family, 1, &token),
        None
    );
}
