//! Promises about codes and the chains of refresh tokens that grow out of them.

use std::sync::Arc;

use doorward_records::code::CodeState;
use doorward_records::facts::LATER_LINKS;
use doorward_records::{Precondition, Unit, Write};

use super::checks::{a_chain, conflicts, done, people_and_clients};
use super::sample::{self, at, digest, family_id};
use crate::store::{CommitError, Store};

fn redemption(family: u64) -> Unit {
    let code = digest("code", 0);
    let state = CodeState::Redeemed {
        family: family_id(family),
    };
    Unit::default()
        .given(Precondition::CodeIs {
            code,
            state: CodeState::Open,
            misses: 0,
        })
        .then(Write::SetCodeState {
            code,
            state,
            misses: 0,
        })
        .then(Write::InsertFamily(sample::family(
            family,
            &sample::grant(0, 0, 0),
        )))
        .then(Write::InsertRefreshToken(sample::refresh_token(
            family, family, 0,
        )))
}

pub(super) async fn a_code_is_redeemed_once(store: &dyn Store) {
    people_and_clients(store).await;
    let code = sample::code(0, &sample::grant(0, 0, 0));
    done(store, vec![Write::InsertCode(code.clone())]).await;
    assert_eq!(store.code(code.code).await.unwrap().as_ref(), Some(&code));
    store.commit(redemption(0)).await.unwrap();
    conflicts(store, redemption(1)).await;
    // Even a caller that forgot its precondition cannot bring a code back, or give it a second chain.
    for state in [
        CodeState::Open,
        CodeState::Void,
        CodeState::Redeemed { family: family_id(1) },
    ] {
        let write = Write::SetCodeState {
            code: code.code,
            state,
            misses: 0,
        };
        conflicts(store, Unit::writes(vec![write])).await;
    }
    let redeemed = CodeState::Redeemed { family: family_id(0) };
    assert_eq!(store.code(code.code).await.unwrap().unwrap().state, redeemed);
}

pub(super) async fn one_of_many_redemptions_wins(store: Arc<dyn Store>) {
    people_and_clients(&*store).await;
    done(
        &*store,
        vec![Write::InsertCode(sample::code(0, &sample::grant(0, 0, 0)))],
    )
    .await;
    let won = race(&store, (0..50).map(redemption).collect()).await;
    let CodeState::Redeemed { family } = store.code(digest("code", 0)).await.unwrap().unwrap().state else {
        panic!("the code is not redeemed")
    };
    assert_eq!(won.map(family_id), Some(family));
    for n in 0..50 {
        assert_eq!(
            store.family(family_id(n)).await.unwrap().is_some(),
            family_id(n) == family,
            "{n}"
        );
    }
}

/// Commits all at once; at most one may win, the others must be conflicts. Says which won.
async fn race(store: &Arc<dyn Store>, units: Vec<Unit>) -> Option<u64> {
    let racers: Vec<_> = (0..)
        .zip(units)
        .map(|(n, unit)| {
            let store = Arc::clone(store);
            tokio::spawn(async move { (n, store.commit(unit).await) })
        })
        .collect();
    let mut won = None;
    for racer in racers {
        match racer.await.unwrap() {
            (n, Ok(_)) => assert_eq!(won.replace(n), None, "two won"),
            (_, Err(CommitError::Conflict)) => {}
            (n, Err(other)) => panic!("{n}: {other}"),
        }
    }
    won
}

fn rotation(n: u64) -> Unit {
    let token = digest("refresh", 0);
    Unit::default()
        .given(Precondition::FamilyLive(family_id(0)))
        .given(Precondition::RefreshTokenRotatedIs(token, None))
        .then(Write::SetRefreshTokenRotated(token, at(30)))
        .then(Write::InsertRefreshToken(sample::refresh_token(n, 0, 1)))
        .then(Write::TouchFamily(family_id(0), at(30)))
}

pub(super) async fn a_chain_is_seen_whole(store: &dyn Store) {
    a_chain(store).await;
    let head = store.refresh_token(digest("refresh", 0)).await.unwrap().unwrap();
    assert_eq!(
        (head.token, head.later),
        (sample::refresh_token(0, 0, 0), Vec::new())
    );
    store.commit(rotation(1)).await.unwrap();
    let rotate = Write::SetRefreshTokenRotated(digest("refresh", 1), at(40));
    let third = Write::InsertRefreshToken(sample::refresh_token(2, 0, 2));
    done(store, vec![rotate.clone(), third]).await;
    let facts = store.refresh_token(digest("refresh", 0)).await.unwrap().unwrap();
    assert_eq!(facts.token.rotated, Some(at(30)));
    let later: Vec<_> = facts
        .later
        .iter()
        .map(|token| (token.counter, token.rotated))
        .collect();
    assert_eq!(later, [(1, Some(at(40))), (2, None)]);
    assert_eq!(facts.family.family.last_used, at(30));
    assert_eq!(facts.family.grant, Some(sample::grant(0, 0, 0)));
    assert_eq!(facts.family.user, Some(sample::user(0, "alice")));
    assert_eq!(facts.family.client, Some(sample::client(0)));
    conflicts(store, Unit::writes(vec![rotate])).await;
    let same_place = Write::InsertRefreshToken(sample::refresh_token(9, 0, 2));
    conflicts(store, Unit::writes(vec![same_place])).await;
    let late = Unit::default()
        .given(Precondition::FamilyLateRepeatIs(family_id(0), None))
        .then(Write::SetFamilyLateRepeat(family_id(0), at(41)));
    store.commit(late.clone()).await.unwrap();
    conflicts(store, late).await;
    done(store, vec![Write::RevokeFamily(family_id(0))]).await;
    assert!(store.family(family_id(0)).await.unwrap().unwrap().family.revoked);
    conflicts(
        store,
        Unit::default().given(Precondition::FamilyLive(family_id(0))),
    )
    .await;
}

/// Presenting an ancient token must not cost what its whole chain weighs.
pub(super) async fn a_long_chain_is_cut(store: &dyn Store) {
    a_chain(store).await;
    let limit = u64::from(LATER_LINKS);
    let links = (1..=limit + 5).map(|n| Write::InsertRefreshToken(sample::refresh_token(n, 0, n)));
    done(store, links.collect()).await;
    let facts = store.refresh_token(digest("refresh", 0)).await.unwrap().unwrap();
    let counters: Vec<u64> = facts.later.iter().map(|token| token.counter).collect();
    assert_eq!(counters, (1..=limit).collect::<Vec<_>>());
}

pub(super) async fn one_of_many_rotations_wins(store: Arc<dyn Store>) {
    a_chain(&*store).await;
    let won = race(&store, (1..33).map(rotation).collect()).await;
    let chain = store.refresh_token(digest("refresh", 0)).await.unwrap().unwrap();
    assert_eq!(chain.later.len(), 1);
    assert_eq!(
        won.map(|n| digest("refresh", n + 1)),
        chain.later.first().map(|token| token.token)
    );
}
