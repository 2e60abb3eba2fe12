//! The promises about clients that authenticate, authenticators, used names, device authorizations, keys in
//! rotation and notes, one check each.

use doorward_records::client::{ClientOrigin, ClientStatus};
use doorward_records::code::CodeState;
use doorward_records::device::DeviceState;
use doorward_records::facts::GrantFilter;
use doorward_records::key::{KeyPurpose, KeyState};
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};

use super::checks::{a_chain, conflicts, done, people_and_clients};
use super::sample::{self, at, client_id, digest, family_id, grant_id, key_id, user_id};
use crate::store::Store;

pub(super) async fn clients_keep_everything_they_have(store: &dyn Store) {
    let full = sample::full_client(0, 0);
    done(store, vec![Write::InsertClient(full.clone())]).await;
    assert_eq!(store.client(&full.id).await.unwrap().as_ref(), Some(&full));
    let unchanged = Unit::default().given(Precondition::ClientIs(full.clone()));
    store.commit(unchanged.clone()).await.unwrap();
    let mut changed = sample::full_client(0, 1);
    changed.created = at(99);
    done(store, vec![Write::UpdateClient(changed.clone())]).await;
    changed.created = full.created;
    assert_eq!(store.client(&full.id).await.unwrap(), Some(changed));
    conflicts(store, unchanged).await;
    let missing = Write::UpdateClient(sample::full_client(1, 0));
    conflicts(store, Unit::writes(vec![missing])).await;
}

pub(super) async fn only_self_service_clients_go_by_themselves(store: &dyn Store) {
    let mut clients: Vec<_> = (0..7).map(sample::client).collect();
    clients[1].origin = ClientOrigin::Operator;
    clients[2].origin = ClientOrigin::Configured;
    clients[3].status = ClientStatus::Disabled;
    clients[4].approved = Some(at(1));
    clients[5].origin = ClientOrigin::MetadataDocument;
    clients[6].origin = ClientOrigin::Confidential;
    for client in &mut clients {
        client.last_used = at(0);
    }
    done(store, clients.into_iter().map(Write::InsertClient).collect()).await;
    // Counted: 0, 5 and 6.
    conflicts(
        store,
        Unit::default().given(Precondition::UngrantedClientsBelow(3)),
    )
    .await;
    store
        .commit(Unit::default().given(Precondition::UngrantedClientsBelow(4)))
        .await
        .unwrap();
    let reap = Write::ReapClients {
        before: at(50),
        limit: 1,
    };
    done(store, vec![reap]).await;
    assert_eq!(store.client(&client_id(0)).await.unwrap(), None);
    let sweep = Write::Sweep {
        now: at(50),
        families_idle_since: at(0),
        families_created_before: at(0),
        clients_ungranted_since: at(50),
        clients_unused_since: at(50),
    };
    done(store, vec![sweep]).await;
    let left = store.clients().await.unwrap();
    let left: Vec<_> = left.into_iter().map(|client| client.id).collect();
    assert_eq!(left, [client_id(4), client_id(3), client_id(2), client_id(1)]);
}

pub(super) async fn a_registration_that_expired_is_swept(store: &dyn Store) {
    let mut client = sample::full_client(0, 0);
    client.origin = ClientOrigin::Confidential;
    client.status = ClientStatus::Approved;
    client.approved = None;
    client.expires = Some(at(40));
    client.last_used = at(39);
    done(store, vec![Write::InsertClient(client)]).await;
    let sweep = |seconds| Write::Sweep {
        now: at(seconds),
        families_idle_since: at(0),
        families_created_before: at(0),
        clients_ungranted_since: at(0),
        clients_unused_since: at(0),
    };
    done(store, vec![sweep(39)]).await;
    assert!(store.client(&client_id(0)).await.unwrap().is_some());
    done(store, vec![sweep(40)]).await;
    assert_eq!(store.client(&client_id(0)).await.unwrap(), None);
}

pub(super) async fn everything_about_a_code_comes_together(store: &dyn Store) {
    a_chain(store).await;
    let grant = sample::grant(0, 0, 0);
    let code = sample::code(0, &grant);
    done(store, vec![Write::InsertCode(code.clone())]).await;
    let facts = store.code_facts(code.code).await.unwrap().unwrap();
    assert_eq!(facts.code, code);
    assert_eq!(facts.client, store.client(&code.client).await.unwrap());
    assert_eq!(facts.user, store.user(code.user).await.unwrap());
    assert_eq!((facts.grant, facts.family), (Some(grant), None));
    let redeemed = Write::SetCodeState {
        code: code.code,
        state: CodeState::Redeemed { family: family_id(0) },
        misses: 0,
    };
    done(store, vec![redeemed]).await;
    let family = store.code_facts(code.code).await.unwrap().unwrap().family;
    assert_eq!(family.map(|family| family.id), Some(family_id(0)));
    assert_eq!(store.code_facts(digest("code", 3)).await.unwrap(), None);
}

pub(super) async fn grants_are_listed_and_undone(store: &dyn Store) {
    a_chain(store).await;
    let (alices, bobs) = (sample::grant(0, 0, 0), sample::grant(1, 1, 1));
    done(
        store,
        vec![
            Write::InsertGrant(bobs.clone()),
            Write::InsertFamily(sample::family(1, &bobs)),
            Write::InsertFamily(sample::family(2, &alices)),
            Write::RevokeFamily(family_id(2)),
            Write::InsertCode(sample::code(0, &alices)),
        ],
    )
    .await;
    let ids = |filter| async {
        let found = store.grants(filter).await.unwrap();
        let ids = |facts: doorward_records::facts::GrantFacts| {
            let families: Vec<_> = facts.families.into_iter().map(|family| family.id).collect();
            (facts.grant.id, families)
        };
        found.into_iter().map(ids).collect::<Vec<_>>()
    };
    let (of_alice, of_bob) = (
        (grant_id(0), vec![family_id(0)]),
        (grant_id(1), vec![family_id(1)]),
    );
    assert_eq!(ids(GrantFilter::All).await, [of_alice.clone(), of_bob.clone()]);
    assert_eq!(ids(GrantFilter::User(user_id(0))).await, [of_alice]);
    assert_eq!(ids(GrantFilter::Client(client_id(1))).await, [of_bob]);
    assert_eq!(store.families_of_user(user_id(0)).await.unwrap().len(), 1);
    // What is undone is exactly what was seen.
    let seen = |families: &[_]| Precondition::LiveFamiliesOfGrantAre(grant_id(0), families.to_vec());
    conflicts(store, Unit::default().given(seen(&[]))).await;
    conflicts(store, Unit::default().given(seen(&[family_id(0), family_id(2)]))).await;
    let undo = Unit::default()
        .given(seen(&[family_id(0)]))
        .then(Write::DeleteGrant(grant_id(0)));
    store.commit(undo).await.unwrap();
    assert_eq!(store.family(family_id(0)).await.unwrap(), None);
    assert_eq!(store.refresh_token(digest("refresh", 0)).await.unwrap(), None);
    assert_eq!(store.code(digest("code", 0)).await.unwrap(), None);
    done(store, vec![Write::DeleteGrantsOf(user_id(1))]).await;
    assert_eq!(store.grants(GrantFilter::All).await.unwrap(), []);
    assert_eq!(store.users().await.unwrap().len(), 2);
}

pub(super) async fn kill_switches_reach_every_chain(store: &dyn Store) {
    a_chain(store).await;
    let (alices, bobs) = (sample::grant(0, 0, 0), sample::grant(1, 1, 0));
    done(
        store,
        vec![
            Write::InsertGrant(bobs.clone()),
            Write::InsertFamily(sample::family(1, &bobs)),
            Write::InsertFamily(sample::family(2, &alices)),
        ],
    )
    .await;
    let live = || async {
        let all = store.grants(GrantFilter::All).await.unwrap();
        all.iter().map(|facts| facts.families.len()).collect::<Vec<_>>()
    };
    assert_eq!(live().await, [2, 1]);
    // Only family 0 has a refresh token, and its successor is derived by key 1.
    done(store, vec![Write::RevokeFamiliesOfKey(key_id(0))]).await;
    assert_eq!(live().await, [2, 1]);
    done(store, vec![Write::RevokeFamiliesOfKey(key_id(1))]).await;
    assert_eq!(live().await, [1, 1]);
    done(store, vec![Write::RevokeFamiliesOfGrant(grant_id(1))]).await;
    assert_eq!(live().await, [1, 0]);
    done(store, vec![Write::RevokeFamiliesOfClient(client_id(1))]).await;
    assert_eq!(live().await, [1, 0]);
    done(store, vec![Write::RevokeFamiliesOfClient(client_id(0))]).await;
    assert_eq!(live().await, [0, 0]);
}

/// R35: what a kill switch writes is in the feed in commit order, whatever it is about.
pub(super) async fn the_feed_names_tokens_and_everything(store: &dyn Store) {
    let token = "0198c0de-0000-7000-8000-000000000000".parse().unwrap();
    let all = [
        Revoked::Token(token),
        Revoked::User(user_id(0)),
        Revoked::Client(client_id(0)),
        Revoked::Family(family_id(0)),
        Revoked::Everything,
    ];
    for revoked in &all {
        let entry = Write::AppendRevocation {
            revoked: revoked.clone(),
            at: at(1),
            expires: at(60),
        };
        done(store, vec![entry]).await;
    }
    let (feed, highest) = store.revocations_after(0).await.unwrap();
    let seen: Vec<_> = feed.into_iter().map(|entry| entry.revoked).collect();
    assert_eq!((seen.as_slice(), highest), (&all[..], 5));
    for id in [client_id(0), client_id(9)] {
        let together = store.client_and_sequence(&id).await.unwrap();
        assert_eq!(together, (store.client(&id).await.unwrap(), 5));
    }
}

pub(super) async fn keys_are_rotated(store: &dyn Store) {
    let signing = |n, state| sample::key(n, KeyPurpose::AccessToken, state);
    let (first, second) = (signing(0, KeyState::Active), signing(1, KeyState::Next));
    done(store, vec![Write::InsertKey(first), Write::InsertKey(second)]).await;
    let third = Write::InsertKey(signing(2, KeyState::Next));
    conflicts(store, Unit::writes(vec![third.clone()])).await;
    // Two active ones cannot be, in whatever order it is tried.
    conflicts(
        store,
        Unit::writes(vec![
            Write::ActivateKey(key_id(1), at(9)),
            Write::RetireKey(key_id(0), at(9)),
        ]),
    )
    .await;
    let rotate = Unit::default()
        .given(Precondition::KeyHasState(key_id(0), KeyState::Active))
        .given(Precondition::KeyHasState(key_id(1), KeyState::Next))
        .then(Write::RetireKey(key_id(0), at(9)))
        .then(Write::ActivateKey(key_id(1), at(9)));
    store.commit(rotate.clone()).await.unwrap();
    conflicts(store, rotate).await;
    conflicts(store, Unit::writes(vec![Write::ActivateKey(key_id(0), at(10))])).await;
    done(store, vec![Write::RetireKey(key_id(0), at(30)), third]).await;
    done(store, vec![Write::ReplaceSealed(key_id(1), vec![9])]).await;
    let keys = store.keys().await.unwrap();
    let seen: Vec<_> = keys
        .iter()
        .map(|key| (key.id.clone(), key.state, key.activated, key.retired))
        .collect();
    let expected = [
        (key_id(2), KeyState::Next, None, None),
        (key_id(1), KeyState::Active, Some(at(9)), None),
        (key_id(0), KeyState::Retired, Some(at(7)), Some(at(9))),
    ];
    assert_eq!(seen, expected);
    assert_eq!(keys[1].sealed, [9]);
    done(
        store,
        vec![Write::DeleteKey(key_id(0)), Write::DeleteKey(key_id(0))],
    )
    .await;
    assert_eq!(store.keys().await.unwrap().len(), 2);
    conflicts(
        store,
        Unit::writes(vec![Write::ReplaceSealed(key_id(0), vec![9])]),
    )
    .await;
}

pub(super) async fn authenticators_belong_to_people(store: &dyn Store) {
    people_and_clients(store).await;
    let (passkey, app) = (sample::authenticator(0, 0), sample::authenticator(1, 0));
    done(
        store,
        vec![
            Write::InsertAuthenticator(passkey.clone()),
            Write::InsertAuthenticator(app.clone()),
            Write::InsertAuthenticator(sample::authenticator(4, 1)),
        ],
    )
    .await;
    assert_eq!(
        store.authenticators_of(user_id(0)).await.unwrap(),
        [passkey.clone(), app]
    );
    let (found, owner) = store
        .authenticator_by_lookup(digest("credential", 0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&found, owner.id), (&passkey, user_id(0)));
    // The same credential for somebody else; a person that is not there.
    let stolen = Write::InsertAuthenticator(sample::authenticator(6, 1));
    conflicts(store, Unit::writes(vec![stolen])).await;
    let nobodys = Write::InsertAuthenticator(sample::authenticator(7, 3));
    conflicts(store, Unit::writes(vec![nobodys])).await;
    // A counter that two sign-ins read at the same time is moved by one of them.
    let mut used = passkey.clone();
    used.counter = 8;
    used.last_used = Some(at(9));
    let sign_in = Unit::default()
        .given(Precondition::AuthenticatorIs(passkey))
        .then(Write::UpdateAuthenticator(used.clone()));
    store.commit(sign_in.clone()).await.unwrap();
    conflicts(store, sign_in).await;
    assert_eq!(store.authenticators().await.unwrap()[0], used);
    done(store, vec![Write::DeleteAuthenticator(used.id)]).await;
    done(store, vec![Write::DeleteAuthenticatorsOf(user_id(0))]).await;
    done(store, vec![Write::DeleteUser(user_id(1))]).await;
    assert_eq!(store.authenticators().await.unwrap(), []);
}

/// A `jti` is used once, also across restarts; it is forgotten when what carried it has expired.
pub(super) async fn a_name_is_used_once(store: &dyn Store) {
    let use_it = Unit::default()
        .given(Precondition::ReplayAbsent(digest("jti", 0)))
        .then(Write::InsertReplay(sample::replay(0)));
    store.commit(use_it.clone()).await.unwrap();
    conflicts(store, use_it.clone()).await;
    conflicts(store, Unit::writes(vec![Write::InsertReplay(sample::replay(0))])).await;
    done(store, vec![Write::EndAll, super::checks::sweep_at(59)]).await;
    assert_eq!(
        store.replay(digest("jti", 0)).await.unwrap(),
        Some(sample::replay(0))
    );
    done(store, vec![super::checks::sweep_at(60)]).await;
    store.commit(use_it).await.unwrap();
}

pub(super) async fn a_device_is_answered_once(store: &dyn Store) {
    people_and_clients(store).await;
    let pending = sample::device_authorization(0, 0, DeviceState::Pending);
    let ask = Unit::default()
        .given(Precondition::UserCodeFree(pending.user_code))
        .given(Precondition::DeviceAuthorizationsBelow(1))
        .then(Write::InsertDeviceAuthorization(pending.clone()));
    store.commit(ask.clone()).await.unwrap();
    conflicts(store, ask).await;
    // Another one with the same user code (numbers 0 and 3 share it).
    let same_code = sample::device_authorization(3, 0, DeviceState::Pending);
    conflicts(
        store,
        Unit::writes(vec![Write::InsertDeviceAuthorization(same_code)]),
    )
    .await;
    assert_eq!(
        store
            .device_authorization_by_user_code(pending.user_code)
            .await
            .unwrap()
            .as_ref(),
        Some(&pending)
    );
    let answered = |state| {
        let mut answered = pending.clone();
        answered.state = state;
        Write::UpdateDeviceAuthorization(answered)
    };
    let approval = |grant| DeviceState::Approved {
        user: user_id(0),
        grant,
        scopes: sample::scopes(1),
        authenticated: Some(sample::at(6)),
    };
    conflicts(store, Unit::writes(vec![answered(approval(grant_id(9)))])).await;
    let approve = Unit::default()
        .given(Precondition::DeviceAuthorizationIs(pending.clone()))
        .then(answered(approval(grant_id(0))));
    store.commit(approve.clone()).await.unwrap();
    conflicts(store, approve).await;
    let redeemed = |n| DeviceState::Redeemed { family: family_id(n) };
    done(store, vec![answered(redeemed(0))]).await;
    for second in [redeemed(1), approval(grant_id(0)), DeviceState::Pending] {
        conflicts(store, Unit::writes(vec![answered(second)])).await;
    }
    let day = 24 * 60 * 60;
    done(store, vec![super::checks::sweep_at(69 + day)]).await;
    let found = store.device_authorization(pending.device_code).await.unwrap();
    assert_eq!(found.map(|found| found.state), Some(redeemed(0)));
    done(store, vec![super::checks::sweep_at(70 + day)]).await;
    assert_eq!(
        store.device_authorization(pending.device_code).await.unwrap(),
        None
    );
}

/// Or a flood of devices from one address would keep everybody's out for a day.
pub(super) async fn ds_05_a_device_that_nobody_answered_makes_room(store: &dyn Store) {
    people_and_clients(store).await;
    let redeemed = DeviceState::Redeemed { family: family_id(0) };
    let rows = [
        sample::device_authorization(0, 0, DeviceState::Pending),
        sample::device_authorization(1, 0, DeviceState::Denied),
        sample::device_authorization(2, 0, redeemed),
    ];
    let insert = rows.iter().cloned().map(Write::InsertDeviceAuthorization);
    done(store, insert.collect()).await;
    let there = async || {
        let mut there = Vec::new();
        for row in &rows {
            let found = store.device_authorization(row.device_code).await.unwrap();
            there.push(found.is_some());
        }
        there
    };
    done(store, vec![super::checks::sweep_at(69)]).await;
    assert_eq!(there().await, [true, true, true]);
    done(store, vec![super::checks::sweep_at(70)]).await;
    assert_eq!(there().await, [false, false, true]);
    let below = |limit| Unit::default().given(Precondition::DeviceAuthorizationsBelow(limit));
    store.commit(below(2)).await.unwrap();
    conflicts(store, below(1)).await;
    done(store, vec![super::checks::sweep_at(70 + 24 * 60 * 60)]).await;
    assert_eq!(there().await, [false, false, false]);
}

pub(super) async fn an_approved_device_goes_with_its_grant(store: &dyn Store) {
    people_and_clients(store).await;
    let approved = DeviceState::Approved {
        user: user_id(0),
        grant: grant_id(0),
        scopes: sample::scopes(1),
        authenticated: Some(sample::at(6)),
    };
    let device = sample::device_authorization(0, 1, approved);
    let waiting = sample::device_authorization(1, 1, DeviceState::Pending);
    done(
        store,
        vec![
            Write::InsertDeviceAuthorization(device.clone()),
            Write::InsertDeviceAuthorization(waiting.clone()),
            Write::DeleteGrant(grant_id(0)),
        ],
    )
    .await;
    assert_eq!(
        store.device_authorization(device.device_code).await.unwrap(),
        None
    );
    assert!(
        store
            .device_authorization(waiting.device_code)
            .await
            .unwrap()
            .is_some()
    );
    done(store, vec![Write::DeleteClient(client_id(1))]).await;
    assert_eq!(
        store.device_authorization(waiting.device_code).await.unwrap(),
        None
    );
}

pub(super) async fn notes_are_compared_and_replaced(store: &dyn Store) {
    let is = |value: Option<&[u8]>| Precondition::MetaIs {
        name: "epoch".into(),
        value: value.map(<[u8]>::to_vec),
    };
    let set = |value: &[u8]| Write::SetMeta {
        name: "epoch".into(),
        value: value.to_vec(),
    };
    assert_eq!(store.meta("epoch").await.unwrap(), None);
    let first = Unit::default().given(is(None)).then(set(b"1"));
    store.commit(first.clone()).await.unwrap();
    conflicts(store, first).await;
    let second = Unit::default().given(is(Some(b"1"))).then(set(b"2"));
    store.commit(second.clone()).await.unwrap();
    conflicts(store, second).await;
    assert_eq!(store.meta("epoch").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.meta("Epoch").await.unwrap(), None);
}

pub(super) async fn everything_that_was_handed_out_ends(store: &dyn Store) {
    a_chain(store).await;
    let grant = sample::grant(0, 0, 0);
    done(
        store,
        vec![
            Write::InsertSession(sample::session(0, 0)),
            Write::InsertSetupLink(sample::setup_link(0, 0)),
            Write::InsertCode(sample::code(0, &grant)),
            Write::InsertDeviceAuthorization(sample::device_authorization(0, 0, DeviceState::Pending)),
            Write::InsertAuthenticator(sample::authenticator(0, 0)),
        ],
    )
    .await;
    done(store, vec![Write::EndAll]).await;
    assert!(store.family(family_id(0)).await.unwrap().unwrap().family.revoked);
    assert_eq!(store.session(digest("session", 0)).await.unwrap(), None);
    assert_eq!(store.setup_link(digest("setup", 0)).await.unwrap(), None);
    assert_eq!(store.code(digest("code", 0)).await.unwrap(), None);
    assert_eq!(
        store.device_authorization(digest("device", 0)).await.unwrap(),
        None
    );
    // People, what they agreed to and how they prove who they are stay.
    assert!(store.grant_by_id(grant_id(0)).await.unwrap().is_some());
    assert_eq!(store.authenticators().await.unwrap().len(), 1);
}
