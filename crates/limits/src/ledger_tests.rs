use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::limit::{Limit, NetworkLimit};
use crate::peer::Network;

fn pace(text: &str) -> Pace {
    text.parse::<Rate>().unwrap().into()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_burst_passes_and_comes_back_evenly() {
    let ledger = Ledger::new(100);
    let (one, other, pace) = (ledger.key(1), ledger.key(2), pace("60/m burst 3"));
    for _ in 0..3 {
        assert_eq!(ledger.take(one, pace, at(0)), Ok(()));
    }
    assert_eq!(ledger.take(one, pace, at(0)), Err(Retry(at(1000))));
    assert_eq!(ledger.peek(one, pace, at(400)), Err(Retry(at(600))));
    assert_eq!(
        ledger.take(other, pace, at(0)),
        Ok(()),
        "another key is another quota"
    );
    assert_eq!(ledger.take(one, pace, at(1000)), Ok(()));
    assert_eq!(ledger.take(one, pace, at(1000)), Err(Retry(at(1000))));
    ledger.give_back(one, pace);
    assert_eq!(ledger.take(one, pace, at(1000)), Ok(()));
    ledger.give_back(ledger.key(3), pace);
    for _ in 0..3 {
        assert_eq!(
            ledger.take(one, pace, at(1_000_000)),
            Ok(()),
            "never more than the burst"
        );
    }
    assert!(ledger.take(one, pace, at(1_000_000)).is_err());
}

#[test]
fn what_is_held_is_held_for_the_longest_time_that_was_asked_for() {
    let ledger = Ledger::new(100);
    let (one, other) = (ledger.key(1), ledger.key(2));
    assert_eq!(ledger.held(one, at(0)), Ok(()));
    ledger.hold(one, at(1000), at(0));
    ledger.hold(one, at(200), at(500));
    assert_eq!(ledger.held(one, at(700)), Err(Retry(at(300))));
    assert_eq!(ledger.held(other, at(700)), Ok(()));
    assert_eq!(ledger.held(one, at(1000)), Ok(()));
    ledger.hold(one, at(1000), at(1500));
    assert_eq!(ledger.held(one, at(2000)), Err(Retry(at(500))));
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let ledger = Ledger::new(100);
    let (key, pace) = (ledger.key(1), pace("1/m"));
    assert_eq!(ledger.take(key, pace, at(100_000)), Ok(()));
    assert!(ledger.take(key, pace, at(0)).is_err());
    assert!(ledger.take(key, pace, at(159_999)).is_err());
    assert_eq!(ledger.take(key, pace, at(160_000)), Ok(()));
}

#[test]
fn r34_memory_is_bounded_and_the_attacked_keys_are_not_washed_out() {
    let ledger = Ledger::new(4096);
    let pace = pace("100/m");
    let heavy: Vec<Key> = (0..20).map(|n| ledger.key(("heavy", n))).collect();
    for key in &heavy {
        while ledger.take(*key, pace, at(0)).is_ok() {}
    }
    for invented in 0..200_000 {
        let key = ledger.key(("invented", invented));
        assert_eq!(
            ledger.take(key, pace, at(0)),
            Ok(()),
            "a full ledger shuts nobody out"
        );
    }
    assert_eq!(ledger.capacity(), 4096);
    assert!(ledger.remembered() <= ledger.capacity());
    assert!(
        ledger.remembered() > ledger.capacity() * 9 / 10,
        "all of it is used"
    );
    for key in &heavy {
        assert!(ledger.take(*key, pace, at(0)).is_err());
    }
}

#[test]
fn nothing_is_there_before_it_is_used() {
    let ledger = Ledger::new(1 << 20);
    assert!(
        ledger
            .shards
            .iter()
            .all(|shard| shard.0.lock().unwrap().is_empty())
    );
    ledger.take(ledger.key(1), pace("1/m"), at(0)).unwrap();
    let used = ledger
        .shards
        .iter()
        .filter(|shard| !shard.0.lock().unwrap().is_empty());
    assert_eq!(used.count(), 1);
    assert_eq!(ledger.remembered(), 1);
}

#[test]
fn a_limit_that_stays_keeps_its_debts_and_one_that_changes_begins_anew() {
    let ledger = Ledger::new(100);
    let rate = |text: &str| text.parse::<Rate>().unwrap();
    let before = Limit::new(&ledger, ("server", "calls"), rate("2/m"));
    while before.take(&ledger, "alice", at(0)).is_ok() {}
    let same = Limit::new(&ledger, ("server", "calls"), rate("2/m burst 2"));
    assert_eq!(before, same);
    assert!(same.take(&ledger, "alice", at(0)).is_err());
    assert!(same.take(&ledger, "bob", at(0)).is_ok());
    for other in [
        Limit::new(&ledger, ("server", "calls"), rate("3/m")),
        Limit::new(&ledger, ("server", "calls"), rate("2/m burst 3")),
        Limit::new(&ledger, ("server", "tools"), rate("2/m")),
        Limit::new(&ledger, ("other", "calls"), rate("2/m")),
    ] {
        assert!(other.take(&ledger, "alice", at(0)).is_ok(), "{other:?}");
    }
}

#[test]
fn ds_10_the_networks_of_a_site_share() {
    let ledger = Ledger::new(100_000);
    let limit = NetworkLimit::new(&ledger, "tokens", "5/m".parse().unwrap());
    let v6 = |n: u128| Network::of(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (n << 64)).into());
    let let_in = (0..10_000)
        .filter(|n| limit.take(&ledger, v6(*n), at(0)).is_ok())
        .count();
    assert_eq!(let_in, 20);
    assert!(limit.peek(&ledger, v6(77), at(0)).is_err());
    let elsewhere = v6(1 << 16);
    let let_in = (0..9)
        .filter(|_| limit.take(&ledger, elsewhere, at(0)).is_ok())
        .count();
    assert_eq!(let_in, 5);
    for n in 0..100 {
        let v4 = Network::of(Ipv4Addr::from_bits(n).into());
        assert!(limit.take(&ledger, v4, at(0)).is_ok());
    }
}

proptest! {
    #[test]
    fn in_no_window_more_than_the_quota(
        waits in prop::collection::vec(0_u64..5000, 1..200), uses in 1_u32..100, burst in 1_u32..8,
    ) {
        let ledger = Ledger::new(100);
        let rate: Rate = format!("{uses}/m burst {burst}").parse().unwrap();
        let (mut now, mut passed) = (0, 0_u128);
        for wait in waits {
            now += wait;
            passed += u128::from(ledger.take(ledger.key(1), rate.into(), at(now)).is_ok());
        }
        let allowed = u128::from(burst) + at(now).as_nanos() / rate.cost().as_nanos();
        prop_assert!(passed <= allowed, "{passed} of {allowed}");
    }

    /// As long as it is not full it decides as one that remembers everything.
    #[test]
    fn it_agrees_with_a_plain_map(uses in prop::collection::vec((0_u32..6, 0_u64..400, any::<bool>()), 1..300)) {
        let ledger = Ledger::new(1 << 16);
        let pace = pace("120/m burst 4");
        let (mut now, mut model) = (0, HashMap::<u32, u64>::new());
        for (who, wait, gives_back) in uses {
            now += wait;
            let key = ledger.key(who);
            let time = at(now).as_nanos() as u64;
            let free = model.get(&who).copied().unwrap_or(0).max(time);
            let expected = free - time <= pace.tolerance;
            prop_assert_eq!(ledger.peek(key, pace, at(now)).is_ok(), expected);
            prop_assert_eq!(ledger.take(key, pace, at(now)).is_ok(), expected);
            if expected {
                model.insert(who, free + pace.cost);
                if gives_back {
                    ledger.give_back(key, pace);
                    model.insert(who, free);
                }
            }
        }
    }
}
