//! The promises that other crates build on, one check each.

use doorward_records::client::ClientStatus;
use doorward_records::decision::Answer;
use doorward_records::key::{KeyPurpose, KeyState};
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};

use super::sample::{self, at, client_id, digest, family_id, grant_id, user_id};
use crate::store::{CommitError, Store};

/// Applies writes that must succeed.
pub(super) async fn done(store: &dyn Store, writes: Vec<Write>) -> u64 {
    store
        .commit(Unit::writes(writes))
        .await
        .unwrap()
        .revocation_sequence
}

/// Applies a unit that must be a conflict.
pub(super) async fn conflicts(store: &dyn Store, unit: Unit) {
    match store.commit(unit.clone()).await {
        Err(CommitError::Conflict) => {}
        other => panic!("expected a conflict, got {other:?} for {unit:?}"),
    }
}

/// alice (0) and bob (1), clients 0 and 1, and grant 0 of alice to client 0.
pub(super) async fn people_and_clients(store: &dyn Store) {
    done(
        store,
        vec![
            Write::InsertUser(sample::user(0, "alice")),
            Write::InsertUser(sample::user(1, "bob")),
            Write::InsertClient(sample::client(0)),
            Write::InsertClient(sample::client(1)),
            Write::InsertGrant(sample::grant(0, 0, 0)),
        ],
    )
    .await;
}

/// Family 0 under grant 0, with the first refresh token of its chain.
pub(super) async fn a_chain(store: &dyn Store) {
    people_and_clients(store).await;
    let family = sample::family(0, &sample::grant(0, 0, 0));
    let token = sample::refresh_token(0, 0, 0);
    done(
        store,
        vec![Write::InsertFamily(family), Write::InsertRefreshToken(token)],
    )
    .await;
}

pub(super) async fn users_are_found_by_id_and_name(store: &dyn Store) {
    let (alice, bob) = (sample::user(0, "alice"), sample::user(1, "bob"));
    done(
        store,
        vec![Write::InsertUser(bob.clone()), Write::InsertUser(alice.clone())],
    )
    .await;
    assert_eq!(store.user(alice.id).await.unwrap().as_ref(), Some(&alice));
    assert_eq!(store.user_by_name("bob").await.unwrap().as_ref(), Some(&bob));
    assert_eq!(store.user_by_name("Bob").await.unwrap(), None);
    assert_eq!(store.user_by_name("' OR 1=1 --").await.unwrap(), None);
    assert_eq!(store.users().await.unwrap(), [alice.clone(), bob.clone()]);
    conflicts(
        store,
        Unit::writes(vec![Write::InsertUser(sample::user(2, "alice"))]),
    )
    .await;
    conflicts(
        store,
        Unit::writes(vec![Write::UpdateUser(sample::user(1, "alice"))]),
    )
    .await;
    conflicts(
        store,
        Unit::writes(vec![Write::UpdateUser(sample::user(7, "carol"))]),
    )
    .await;
    let mut changed = alice.clone();
    changed.disabled = true;
    changed.groups = vec!["eng".into()];
    changed.created = at(9999);
    done(store, vec![Write::UpdateUser(changed.clone())]).await;
    changed.created = alice.created;
    assert_eq!(store.user(alice.id).await.unwrap(), Some(changed));
    conflicts(store, Unit::default().given(Precondition::UserIs(alice.clone()))).await;
    conflicts(store, Unit::default().given(Precondition::UserEnabled(alice.id))).await;
}

pub(super) async fn removing_a_user_removes_everything_of_theirs(store: &dyn Store) {
    a_chain(store).await;
    let grant = sample::grant(0, 0, 0);
    done(
        store,
        vec![
            Write::InsertSession(sample::session(0, 0)),
            Write::InsertSetupLink(sample::setup_link(0, 0)),
            Write::InsertCode(sample::code(0, &grant)),
        ],
    )
    .await;
    done(store, vec![Write::DeleteUser(user_id(0))]).await;
    assert_eq!(store.user(user_id(0)).await.unwrap(), None);
    assert_eq!(store.session(digest("session", 0)).await.unwrap(), None);
    assert_eq!(store.setup_link(digest("setup", 0)).await.unwrap(), None);
    assert_eq!(store.grant_by_id(grant_id(0)).await.unwrap(), None);
    assert_eq!(store.code(digest("code", 0)).await.unwrap(), None);
    assert_eq!(store.family(family_id(0)).await.unwrap(), None);
    assert_eq!(store.refresh_token(digest("refresh", 0)).await.unwrap(), None);
    assert_eq!(store.users().await.unwrap().len(), 1);
    assert_eq!(store.clients().await.unwrap().len(), 2);
    done(store, vec![Write::DeleteUser(user_id(0))]).await;
    conflicts(store, Unit::writes(vec![Write::InsertGrant(grant)])).await;
}

pub(super) async fn a_setup_link_voids_the_one_before(store: &dyn Store) {
    people_and_clients(store).await;
    let (first, second) = (sample::setup_link(0, 0), sample::setup_link(1, 0));
    done(store, vec![Write::InsertSetupLink(first.clone())]).await;
    done(store, vec![Write::InsertSetupLink(second.clone())]).await;
    assert_eq!(store.setup_link(first.token).await.unwrap(), None);
    let (found, user) = store.setup_link(second.token).await.unwrap().unwrap();
    assert_eq!((found, user.username.as_str()), (second.clone(), "alice"));
    let use_up = Unit::default()
        .given(Precondition::SetupLinkExists(second.token))
        .then(Write::DeleteSetupLink(second.token));
    store.commit(use_up.clone()).await.unwrap();
    conflicts(store, use_up).await;
    let others = sample::setup_link(2, 1);
    done(
        store,
        vec![
            Write::InsertSetupLink(first.clone()),
            Write::InsertSetupLink(others.clone()),
            Write::DeleteSetupLinksOf(user_id(0)),
        ],
    )
    .await;
    assert_eq!(store.setup_link(first.token).await.unwrap(), None);
    assert!(store.setup_link(others.token).await.unwrap().is_some());
}

pub(super) async fn sessions_end(store: &dyn Store) {
    people_and_clients(store).await;
    let sessions = [
        sample::session(0, 0),
        sample::session(1, 0),
        sample::session(2, 1),
    ];
    done(
        store,
        sessions.iter().cloned().map(Write::InsertSession).collect(),
    )
    .await;
    let (found, user) = store.session(digest("session", 0)).await.unwrap().unwrap();
    assert_eq!((found, user.id), (sample::session(0, 0), user_id(0)));
    done(store, vec![Write::DeleteSession(digest("session", 0))]).await;
    assert_eq!(store.session(digest("session", 0)).await.unwrap(), None);
    done(store, vec![Write::DeleteSessionsOf(user_id(0))]).await;
    assert_eq!(store.session(digest("session", 1)).await.unwrap(), None);
    assert!(store.session(digest("session", 2)).await.unwrap().is_some());
    conflicts(
        store,
        Unit::default().given(Precondition::SessionExists(digest("session", 1))),
    )
    .await;
}

pub(super) async fn clients_are_listed_newest_first(store: &dyn Store) {
    let clients = [sample::client(0), sample::client(1), sample::client(2)];
    done(store, clients.iter().cloned().map(Write::InsertClient).collect()).await;
    let ids: Vec<_> = store
        .clients()
        .await
        .unwrap()
        .into_iter()
        .map(|client| client.id)
        .collect();
    assert_eq!(ids, [client_id(2), client_id(1), client_id(0)]);
    assert_eq!(
        store.client(&client_id(1)).await.unwrap(),
        Some(sample::client(1))
    );
    let unapproved = Precondition::ClientHasStatus(client_id(2), ClientStatus::Pending);
    let approve = Unit::default()
        .given(unapproved)
        .then(Write::SetClientStatus(client_id(2), ClientStatus::Approved))
        .then(Write::TouchClient(client_id(2), at(77)));
    store.commit(approve.clone()).await.unwrap();
    let approved = store.client(&client_id(2)).await.unwrap().unwrap();
    assert_eq!(
        (approved.status, approved.last_used),
        (ClientStatus::Approved, at(77))
    );
    conflicts(store, approve).await;
    conflicts(store, Unit::writes(vec![Write::InsertClient(sample::client(1))])).await;
}

pub(super) async fn room_is_made_for_clients(store: &dyn Store) {
    people_and_clients(store).await;
    done(
        store,
        (2..6).map(|n| Write::InsertClient(sample::client(n))).collect(),
    )
    .await;
    // Five without a consent record: 1 to 5; client 0 has one and is the least used of all.
    conflicts(
        store,
        Unit::default().given(Precondition::UngrantedClientsBelow(5)),
    )
    .await;
    store
        .commit(Unit::default().given(Precondition::UngrantedClientsBelow(6)))
        .await
        .unwrap();
    done(
        store,
        vec![Write::ReapClients {
            before: at(4),
            limit: 2,
        }],
    )
    .await;
    assert_eq!(store.client(&client_id(1)).await.unwrap(), None);
    assert_eq!(store.client(&client_id(2)).await.unwrap(), None);
    assert!(store.client(&client_id(3)).await.unwrap().is_some());
    done(
        store,
        vec![Write::ReapClients {
            before: at(4),
            limit: 2,
        }],
    )
    .await;
    let left: Vec<_> = store
        .clients()
        .await
        .unwrap()
        .into_iter()
        .map(|client| client.id)
        .collect();
    assert_eq!(left, [client_id(5), client_id(4), client_id(0)]);
}

pub(super) async fn a_consent_page_is_answered_once(store: &dyn Store) {
    let approved = Answer::Approved {
        scopes: sample::scopes(2),
        code: digest("code", 0),
    };
    let first = sample::decision(0, approved);
    let answer = Unit::default()
        .given(Precondition::DecisionAbsent(first.nonce))
        .then(Write::InsertDecision(first.clone()));
    store.commit(answer.clone()).await.unwrap();
    assert_eq!(store.decision(first.nonce).await.unwrap().as_ref(), Some(&first));
    conflicts(store, answer).await;
    conflicts(store, Unit::writes(vec![Write::InsertDecision(first.clone())])).await;
    let mut again = first.clone();
    again.answer = Answer::Approved {
        scopes: sample::scopes(2),
        code: digest("code", 1),
    };
    let repeat = Unit::default()
        .given(Precondition::DecisionIs(first.clone()))
        .then(Write::UpdateDecision(again.clone()));
    store.commit(repeat.clone()).await.unwrap();
    assert_eq!(store.decision(first.nonce).await.unwrap(), Some(again));
    conflicts(store, repeat).await;
    let denied = sample::decision(1, Answer::Denied);
    done(store, vec![Write::InsertDecision(denied.clone())]).await;
    assert_eq!(store.decision(denied.nonce).await.unwrap(), Some(denied));
}

pub(super) async fn consent_records_are_unique(store: &dyn Store) {
    people_and_clients(store).await;
    let grant = sample::grant(0, 0, 0);
    let found = store
        .grant(grant.user, &grant.client, &grant.redirect_host, &grant.resource)
        .await;
    assert_eq!(found.unwrap().as_ref(), Some(&grant));
    let other_host = store
        .grant(grant.user, &grant.client, "c0.test", &grant.resource)
        .await;
    assert_eq!(other_host.unwrap(), None);
    // The same combination under another id; then the same for another person.
    conflicts(
        store,
        Unit::default().given(Precondition::GrantAbsent(sample::grant(2, 0, 0))),
    )
    .await;
    conflicts(
        store,
        Unit::writes(vec![Write::InsertGrant(sample::grant(2, 0, 0))]),
    )
    .await;
    done(store, vec![Write::InsertGrant(sample::grant(2, 1, 0))]).await;
    assert_eq!(store.grants_of_client(&client_id(0)).await.unwrap().len(), 2);
    let mut wider = grant.clone();
    wider.scopes = sample::scopes(2);
    wider.updated = at(50);
    done(store, vec![Write::UpdateGrant(wider.clone())]).await;
    assert_eq!(store.grant_by_id(grant.id).await.unwrap(), Some(wider));
    done(store, vec![Write::DeleteClient(client_id(0))]).await;
    assert_eq!(store.grants_of_client(&client_id(0)).await.unwrap(), []);
}

pub(super) async fn revocations_are_numbered_in_order(store: &dyn Store) {
    let revoke = |revoked, expires| Write::AppendRevocation {
        revoked,
        at: at(1),
        expires: at(expires),
    };
    assert_eq!(store.revocations_after(0).await.unwrap(), (Vec::new(), 0));
    let first = vec![
        revoke(Revoked::User(user_id(0)), 10),
        revoke(Revoked::Client(client_id(1)), 99),
    ];
    assert_eq!(done(store, first).await, 2);
    // A number that was given to a unit that was not applied may or may not be skipped; it is not known.
    let failing = vec![
        revoke(Revoked::User(user_id(1)), 99),
        Write::RetireKey(sample::key_id(9), at(1)),
    ];
    conflicts(store, Unit::writes(failing)).await;
    let third = done(store, vec![revoke(Revoked::Family(family_id(7)), 99)]).await;
    assert!(third > 2);
    assert_eq!(
        done(store, vec![Write::TouchClient(client_id(5), at(1))]).await,
        third
    );
    let (feed, highest) = store.revocations_after(0).await.unwrap();
    assert_eq!(highest, third);
    let expected = [
        (1, Revoked::User(user_id(0))),
        (2, Revoked::Client(client_id(1))),
        (third, Revoked::Family(family_id(7))),
    ];
    let seen: Vec<_> = feed
        .into_iter()
        .map(|entry| (entry.sequence, entry.revoked))
        .collect();
    assert_eq!(seen, expected);
    let (feed, _) = store.revocations_after(2).await.unwrap();
    assert_eq!(feed.len(), 1);
    done(store, vec![sweep_at(100)]).await;
    assert_eq!(store.revocations_after(0).await.unwrap(), (Vec::new(), third));
    assert!(done(store, vec![revoke(Revoked::User(user_id(0)), 200)]).await > third);
}

/// A sweep that only removes what expired by itself.
pub(super) fn sweep_at(seconds: i64) -> Write {
    Write::Sweep {
        now: at(seconds),
        families_idle_since: at(-1_000_000),
        families_created_before: at(-1_000_000),
        clients_ungranted_since: at(-1_000_000),
        clients_unused_since: at(-1_000_000),
    }
}

pub(super) async fn one_key_is_active(store: &dyn Store) {
    let first = sample::key(0, KeyPurpose::AccessToken, KeyState::Active);
    let second = sample::key(1, KeyPurpose::AccessToken, KeyState::Active);
    let add = |key: &doorward_records::key::StoredKey| {
        Unit::default()
            .given(Precondition::NoActiveKeyLike(key.clone()))
            .then(Write::InsertKey(key.clone()))
    };
    store.commit(add(&first)).await.unwrap();
    conflicts(store, add(&second)).await;
    conflicts(store, Unit::writes(vec![Write::InsertKey(second.clone())])).await;
    let other_purpose = sample::key(2, KeyPurpose::RefreshToken, KeyState::Active);
    store.commit(add(&other_purpose)).await.unwrap();
    done(
        store,
        vec![
            Write::RetireKey(first.id.clone(), at(8)),
            Write::InsertKey(second.clone()),
        ],
    )
    .await;
    let mut retired = first;
    retired.state = KeyState::Retired;
    retired.retired = Some(at(8));
    assert_eq!(store.keys().await.unwrap(), [other_purpose, second, retired]);
}

pub(super) async fn a_unit_is_applied_whole_or_not_at_all(store: &dyn Store) {
    people_and_clients(store).await;
    let family = sample::family(0, &sample::grant(0, 0, 0));
    let unit = Unit::writes(vec![
        Write::InsertFamily(family),
        Write::DeleteUser(user_id(1)),
        Write::InsertUser(sample::user(0, "alice")),
    ]);
    conflicts(store, unit).await;
    assert_eq!(store.family(family_id(0)).await.unwrap(), None);
    assert!(store.user(user_id(1)).await.unwrap().is_some());
    // A precondition is judged on what was there, not on what the same unit writes.
    let unit = Unit::default()
        .then(Write::InsertSession(sample::session(0, 0)))
        .given(Precondition::SessionExists(digest("session", 0)));
    conflicts(store, unit).await;
    assert_eq!(store.session(digest("session", 0)).await.unwrap(), None);
}

pub(super) async fn the_version_changes_with_every_commit(store: &dyn Store) {
    let before = store.version().await.unwrap();
    assert_eq!(store.version().await.unwrap(), before);
    done(store, vec![Write::InsertClient(sample::client(0))]).await;
    let after = store.version().await.unwrap();
    assert_ne!(after, before);
    assert_eq!(store.version().await.unwrap(), after);
}

pub(super) async fn sweeping_keeps_what_lives(store: &dyn Store) {
    a_chain(store).await;
    let grant = sample::grant(0, 0, 0);
    let mut short = sample::session(0, 0);
    short.expires = at(50);
    let long = sample::session(1, 0);
    done(
        store,
        vec![
            Write::InsertSession(short),
            Write::InsertSession(long),
            Write::InsertCode(sample::code(0, &grant)),
            Write::InsertDecision(sample::decision(0, Answer::Denied)),
        ],
    )
    .await;
    done(store, vec![sweep_at(50)]).await;
    assert_eq!(
        store.session(digest("session", 0)).await.unwrap(),
        None,
        "ends when it says"
    );
    assert!(store.session(digest("session", 1)).await.unwrap().is_some());
    let day = 24 * 60 * 60;
    done(store, vec![sweep_at(69 + day)]).await;
    assert!(
        store.code(digest("code", 0)).await.unwrap().is_some(),
        "a late replay is recognised"
    );
    assert_eq!(store.decision(digest("nonce", 0)).await.unwrap(), None);
    done(store, vec![sweep_at(70 + day)]).await;
    assert_eq!(store.code(digest("code", 0)).await.unwrap(), None);
    assert!(store.refresh_token(digest("refresh", 0)).await.unwrap().is_some());
    done(store, vec![Write::RevokeFamily(family_id(0))]).await;
    done(store, vec![sweep_at(20 + day)]).await;
    assert!(
        store.family(family_id(0)).await.unwrap().is_some(),
        "a day after its last use"
    );
    done(store, vec![sweep_at(21 + day)]).await;
    assert_eq!(store.refresh_token(digest("refresh", 0)).await.unwrap(), None);
    let other = sample::family(1, &grant);
    let token = sample::refresh_token(1, 1, 0);
    done(
        store,
        vec![Write::InsertFamily(other), Write::InsertRefreshToken(token)],
    )
    .await;
    let idle = Write::Sweep {
        now: at(0),
        families_idle_since: at(21),
        families_created_before: at(0),
        clients_ungranted_since: at(2),
        clients_unused_since: at(0),
    };
    done(store, vec![idle]).await;
    assert_eq!(store.refresh_token(digest("refresh", 1)).await.unwrap(), None);
    assert!(
        store.client(&client_id(0)).await.unwrap().is_some(),
        "has a consent record"
    );
    assert_eq!(store.client(&client_id(1)).await.unwrap(), None, "has none");
}
