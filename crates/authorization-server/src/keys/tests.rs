use std::time::Duration;

use doorward_records::model::Tables;
use doorward_types::random::CountingRandom;
use doorward_types::time::UnixTime;

use super::*;
use crate::fixture::NOW;
use crate::settings::Lifetimes;

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

fn lifetimes() -> Lifetimes {
    Lifetimes {
        key_rotation: Duration::from_hours(90 * 24),
        key_publication: Duration::from_mins(10),
        ..Lifetimes::default()
    }
}

struct Rotating {
    random: CountingRandom,
    master: MasterKey,
    tables: Tables,
}

impl Rotating {
    fn start() -> Self {
        let random = CountingRandom::default();
        let master = MasterKey::generate(&random);
        let tables = generated(&random, &master);
        Self {
            random,
            master,
            tables,
        }
    }

    /// Makes every step that is due at `now`.
    fn run(&mut self, now: UnixTime) -> Vec<(Step, KeyPurpose)> {
        let mut steps = Vec::new();
        let tenant = Tenant::default_tenant();
        while let Some(step) = due(
            &self.tables.keys(),
            &lifetimes(),
            &tenant,
            &self.master,
            now,
            &self.random,
        )
        .unwrap()
        {
            self.tables.apply(&step.unit).unwrap();
            assert!(self.tables.apply(&step.unit).is_err(), "made once");
            steps.push((step.step, step.purpose));
            assert!(steps.len() < 20, "{steps:?}");
        }
        steps
    }

    fn ring(&self) -> KeyRing {
        KeyRing::open(&self.tables.keys(), &self.master).unwrap()
    }

    fn published(&self) -> Vec<KeyId> {
        let ring = self.ring();
        let keys = ring.public().keys().iter();
        keys.filter_map(|key| key.key_id().cloned()).collect()
    }
}

#[test]
fn ft_05_a_key_is_published_before_it_signs_and_until_what_it_signed_has_expired() {
    use KeyPurpose::{AccessToken, RefreshToken};
    let mut keys = Rotating::start();
    let first = keys.ring().signing().key_id().clone();
    let minutes = |n: u64| NOW.plus(Duration::from_mins(n));
    let rotation = 90 * 24 * 60;
    assert_eq!(keys.run(minutes(rotation - 11)), []);
    let published = keys.run(minutes(rotation - 10));
    assert_eq!(
        published,
        [(Step::Publish, AccessToken), (Step::Publish, RefreshToken)]
    );
    assert_eq!(*keys.ring().signing().key_id(), first, "it does not sign yet");
    assert_eq!(keys.published().len(), 2);
    assert_eq!(keys.run(minutes(rotation - 1)), []);
    let activated = keys.run(minutes(rotation));
    assert_eq!(
        activated,
        [(Step::Activate, AccessToken), (Step::Activate, RefreshToken)]
    );
    let second = keys.ring().signing().key_id().clone();
    assert_ne!(second, first);
    assert!(
        keys.published().contains(&first),
        "its tokens are still out there"
    );
    assert_eq!(keys.run(minutes(rotation + 119)), []);
    let forgotten = keys.run(minutes(rotation + 120));
    assert_eq!(forgotten, [(Step::Forget, AccessToken)]);
    assert_eq!(keys.published(), [second]);
    // What derives refresh tokens is kept as long as a chain lives: until the end of the next rotation here.
    let purposes = |keys: &Rotating| {
        keys.tables
            .keys()
            .iter()
            .filter(|k| k.purpose == RefreshToken)
            .count()
    };
    assert_eq!(purposes(&keys), 2);
    keys.run(minutes(2 * rotation + 24 * 60));
    assert_eq!(
        purposes(&keys),
        2,
        "the next one, and the one that it will replace"
    );
}

#[test]
fn a_rotation_that_stopped_half_way_goes_on() {
    let mut keys = Rotating::start();
    // Somebody published a key and went away.
    let tenant = Tenant::default_tenant();
    let steps = rotate(&keys.tables.keys(), &tenant, &keys.master, NOW, &keys.random).unwrap();
    assert_eq!(steps.len(), 2);
    keys.tables.apply(&steps[0].unit).unwrap();
    assert_eq!(keys.run(NOW.plus(Duration::from_mins(9))), []);
    let later = keys.run(NOW.plus(Duration::from_mins(10)));
    assert_eq!(later, [(Step::Activate, KeyPurpose::AccessToken)]);
    // An active key that is gone is replaced by the next one without waiting.
    let steps = rotate(&keys.tables.keys(), &tenant, &keys.master, NOW, &keys.random).unwrap();
    keys.tables.apply(&steps[0].unit).unwrap();
    let active = keys.ring().signing().key_id().clone();
    keys.tables
        .apply(&Unit::writes(vec![Write::DeleteKey(active)]))
        .unwrap();
    let purpose = steps[0].purpose;
    assert!(keys.run(NOW).contains(&(Step::Activate, purpose)));
}

#[test]
fn a_clock_that_goes_back_rotates_nothing() {
    let mut keys = Rotating::start();
    keys.run(NOW.plus(Duration::from_hours(90 * 24)));
    let before = keys.tables.keys();
    assert_eq!(keys.run(UnixTime::EPOCH), []);
    assert_eq!(keys.tables.keys(), before);
}

#[test]
fn switching_at_once_uses_the_key_that_was_published() {
    let mut keys = Rotating::start();
    assert_eq!(switch(&keys.tables.keys(), NOW), []);
    let tenant = Tenant::default_tenant();
    for step in rotate(&keys.tables.keys(), &tenant, &keys.master, NOW, &keys.random).unwrap() {
        keys.tables.apply(&step.unit).unwrap();
    }
    let again = rotate(&keys.tables.keys(), &tenant, &keys.master, NOW, &keys.random).unwrap();
    assert_eq!(again, [], "one next key at a time");
    let published = keys.published();
    for step in switch(&keys.tables.keys(), NOW) {
        keys.tables.apply(&step.unit).unwrap();
    }
    assert_eq!(keys.published(), published);
    let retired = keys
        .tables
        .keys()
        .iter()
        .filter(|k| k.state == KeyState::Retired)
        .count();
    assert_eq!(retired, 2);
}

#[test]
fn a_revoked_key_is_gone_at_once_and_replaced_if_it_was_in_use() {
    let mut keys = Rotating::start();
    let tenant = Tenant::default_tenant();
    let active = keys.ring().signing().key_id().clone();
    let stored = keys.tables.keys();
    let step = revoke(&stored, &active, &tenant, &keys.master, NOW, &keys.random)
        .unwrap()
        .unwrap();
    keys.tables.apply(&step.unit).unwrap();
    assert!(!keys.published().contains(&active));
    let second = keys.ring().signing().key_id().clone();
    assert_ne!(second, active);
    // The next key takes the place if there is one.
    for step in rotate(&keys.tables.keys(), &tenant, &keys.master, NOW, &keys.random).unwrap() {
        keys.tables.apply(&step.unit).unwrap();
    }
    let stored = keys.tables.keys();
    let step = revoke(&stored, &second, &tenant, &keys.master, NOW, &keys.random)
        .unwrap()
        .unwrap();
    keys.tables.apply(&step.unit).unwrap();
    assert_eq!(keys.published(), [keys.ring().signing().key_id().clone()]);
    let missing = revoke(
        &keys.tables.keys(),
        &active,
        &tenant,
        &keys.master,
        NOW,
        &keys.random,
    );
    assert_eq!(missing.unwrap(), Err(NoSuchKey));
}

/// Whoever had the key may have followed a chain with it: no access token is trusted on its word.
#[test]
fn a_revoked_key_of_refresh_tokens_ends_access_tokens_too() {
    use doorward_records::revocation::Revoked;

    let mut keys = Rotating::start();
    let tenant = Tenant::default_tenant();
    let active = keys.ring().refresh().active().clone();
    let step = revoke(
        &keys.tables.keys(),
        &active,
        &tenant,
        &keys.master,
        NOW,
        &keys.random,
    )
    .unwrap()
    .unwrap();
    keys.tables.apply(&step.unit).unwrap();
    assert_ne!(*keys.ring().refresh().active(), active);
    let (feed, _) = keys.tables.revocations_after(0);
    let feed: Vec<_> = feed.into_iter().map(|entry| entry.revoked).collect();
    assert_eq!(feed, [Revoked::Everything]);
}

#[test]
fn everything_at_rest_moves_to_another_master_key() {
    use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
    use doorward_types::id::AuthenticatorId;

    let mut keys = Rotating::start();
    let user = crate::fixture::user("alice", &[]);
    let sealer = Sealer::new(&keys.master, Purpose::Authenticator);
    let authenticator = |kind, associated: &[u8]| {
        let (tenant, id) = (
            Tenant::default_tenant(),
            AuthenticatorId::generate(NOW, &keys.random),
        );
        let record = Authenticator::record(&tenant, user.id, id);
        Authenticator {
            id,
            tenant,
            user: user.id,
            kind,
            name: "a".into(),
            lookup: None,
            sealed: sealer.seal(&record, associated, b"secret", &keys.random).unwrap(),
            counter: 7,
            created: NOW,
            last_used: None,
        }
    };
    let mut code = authenticator(AuthenticatorKind::RecoveryCode, b"");
    code.sealed = Vec::new();
    let rows = [
        authenticator(AuthenticatorKind::Totp, crate::second_factor::TOTP),
        authenticator(AuthenticatorKind::Passkey, crate::passkey::ASSOCIATED),
        code,
    ];
    let mut writes = vec![Write::InsertUser(user.clone())];
    writes.extend(rows.iter().cloned().map(Write::InsertAuthenticator));
    keys.tables.apply(&Unit::writes(writes)).unwrap();

    let (before, new) = (keys.ring(), MasterKey::generate(&keys.random));
    let stored = keys.tables.authenticators();
    let unit = reseal(&keys.tables.keys(), &stored, &keys.master, &new, &keys.random).unwrap();
    keys.tables.apply(&unit).unwrap();
    assert!(matches!(
        KeyRing::open(&keys.tables.keys(), &keys.master),
        Err(KeyError::Sealed(OpenError::UnknownKey))
    ));
    let after = KeyRing::open(&keys.tables.keys(), &new).unwrap();
    assert_eq!(after.signing().key_id(), before.signing().key_id());
    let sealer = Sealer::new(&new, Purpose::Authenticator);
    for row in keys.tables.authenticators() {
        let associated = match row.kind {
            AuthenticatorKind::Totp => crate::second_factor::TOTP,
            AuthenticatorKind::Passkey => crate::passkey::ASSOCIATED,
            AuthenticatorKind::RecoveryCode => {
                assert!(row.sealed.is_empty());
                continue;
            }
        };
        let record = Authenticator::record(&row.tenant, row.user, row.id);
        assert_eq!(
            sealer.open(&record, associated, &row.sealed).unwrap().as_slice(),
            b"secret"
        );
        assert_eq!(row.counter, 7);
    }
    // Under a foreign master key nothing is touched.
    assert!(reseal(&keys.tables.keys(), &[], &keys.master, &new, &keys.random).is_err());
}
