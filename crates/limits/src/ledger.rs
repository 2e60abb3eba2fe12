//! Who owes how much, for limits on every call: memory that never grows, and nothing that a call waits for.
//!
//! [`crate::Limiter`] is for attempts that cost a hundredth of a second anyway; this is for calls that cost a few
//! millionths. A key is a keyed hash of whatever is counted, so that no name that somebody invents is kept or copied,
//! and it lives in one of few places that the hash chooses. When they are all taken, the one that owes least is
//! forgotten: a forgotten debt lets somebody in, so that a full ledger shuts nobody out, and whoever invents keys
//! pushes out their own (they owe one use each) long before the key that is over its limit. Where a key lives cannot
//! be foretold from outside.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limiter::Retry;
use crate::rate::Rate;

/// Places that one key can be in.
const WAYS: usize = 8;
/// Keys, and then for each the time at which it owes nothing any more.
const SET: usize = 2 * WAYS;
/// Parts with a lock each. A lock is held for some ten nanoseconds, so that this many cores hardly meet.
const SHARDS: usize = 64;

/// What is counted: 64 bits of a hash that nobody outside can compute. Two that collide share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(NonZeroU64);

/// A [`Rate`] as it is reckoned with, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    cost: u64,
    tolerance: u64,
}

impl From<Rate> for Pace {
    fn from(rate: Rate) -> Self {
        let cost = nanos(rate.cost());
        let tolerance = cost.saturating_mul(u64::from(rate.burst().saturating_sub(1)));
        Self { cost, tolerance }
    }
}

/// When each key owes nothing any more ("theoretical arrival time" of the generic cell rate algorithm). Any number of
/// limits can share one, as long as their keys are made of different things.
pub struct Ledger {
    shards: Box<[Shard]>,
    sets: u64,
    secret: RandomState,
}

/// On cache lines of its own. Empty until it is first written to.
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Vec<u64>>);

impl Ledger {
    /// One that remembers about `keys` keys at most, in 16 bytes each. Nothing of it is there before it is used.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let sets = keys.div_ceil(SHARDS * WAYS).max(1);
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            sets: u64::try_from(sets).unwrap_or(u64::MAX),
            secret: RandomState::new(),
        }
    }

    /// The key of something. Say first what kind of thing it is: of equal things come equal keys.
    #[must_use]
    pub fn key(&self, thing: impl Hash) -> Key {
        Key(NonZeroU64::new(self.secret.hash_one(thing)).unwrap_or(NonZeroU64::MIN))
    }

    /// Takes one use of `key`, or says when the next one is possible. A refusal costs nothing. `now` is time since
    /// any moment that stays the same.
    pub fn take(&self, key: Key, pace: Pace, now: Duration) -> Result<(), Retry> {
        let now = nanos(now);
        self.with_set(key, |set| {
            let owed = owed(set, key).max(now);
            pace.admit(owed, now)?;
            owes(set, key, owed.saturating_add(pace.cost));
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// From `now` on, `key` is held for at least `span`; a longer hold stays. For keys that nothing is taken of.
    pub fn hold(&self, key: Key, span: Duration, now: Duration) {
        let until = nanos(now).saturating_add(nanos(span));
        self.with_set(key, |set| owes(set, key, owed(set, key).max(until)));
    }

    /// How much longer `key` is held.
    pub fn held(&self, key: Key, now: Duration) -> Result<(), Retry> {
        let now = nanos(now);
        let wait = self.with_set(key, |set| owed(set, key).saturating_sub(now));
        match wait {
            Some(wait) if wait > 0 => Err(Retry(Duration::from_nanos(wait))),
            _ => Ok(()),
        }
    }

    /// Whether [`Ledger::take`] would be refused now; takes nothing.
    pub fn peek(&self, key: Key, pace: Pace, now: Duration) -> Result<(), Retry> {
        let now = nanos(now);
        self.with_set(key, |set| pace.admit(owed(set, key).max(now), now))
            .unwrap_or(Ok(()))
    }

    /// Gives one use back: another limit was in the way.
    pub fn give_back(&self, key: Key, pace: Pace) {
        self.with_set(key, |set| {
            let (keys, free) = set.split_at_mut(WAYS);
            let known = keys.iter().position(|known| *known == key.0.get());
            if let Some(free) = known.and_then(|at| free.get_mut(at)) {
                *free = free.saturating_sub(pace.cost);
            }
        });
    }

    /// Keys that are remembered, whether they owe anything or not. It looks at every place.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let count = |places: &[u64]| {
            let sets = places.chunks_exact(SET);
            sets.flat_map(|set| set.iter().take(WAYS))
                .filter(|key| **key != 0)
                .count()
        };
        let shards = self.shards.iter();
        shards
            .map(|shard| count(&shard.0.lock().unwrap_or_else(PoisonError::into_inner)))
            .sum()
    }

    /// Keys that can be remembered.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::try_from(self.sets)
            .unwrap_or(usize::MAX)
            .saturating_mul(SHARDS * WAYS)
    }

    fn with_set<T>(&self, key: Key, use_it: impl FnOnce(&mut [u64]) -> T) -> Option<T> {
        let key = key.0.get();
        let shards = u64::try_from(self.shards.len()).unwrap_or(u64::MAX);
        let shard = key.checked_rem(shards).and_then(|at| usize::try_from(at).ok());
        let set = (key / shards.max(1)).checked_rem(self.sets);
        let set = set.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let Shard(places) = shard.and_then(|at| self.shards.get(at))?;
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            let sets = usize::try_from(self.sets).unwrap_or(1);
            *places = vec![0; sets.saturating_mul(SET)];
        }
        places.chunks_exact_mut(SET).nth(set).map(use_it)
    }
}

/// When a key owes nothing any more; zero of one that is not remembered.
fn owed(set: &[u64], key: Key) -> u64 {
    let (keys, free) = set.split_at_checked(WAYS).unwrap_or_default();
    let known = keys.iter().position(|known| *known == key.0.get());
    known.and_then(|at| free.get(at)).copied().unwrap_or(0)
}

/// Remembers when a key owes nothing any more, and forgets another one for it if it must: the one that owes least.
fn owes(set: &mut [u64], key: Key, until: u64) {
    let Some((keys, free)) = set.split_at_mut_checked(WAYS) else {
        return;
    };
    let known = keys.iter().position(|known| *known == key.0.get());
    let least = || free.iter().enumerate().min_by_key(|(_, free)| **free);
    let Some(at) = known.or_else(|| least().map(|(at, _)| at)) else {
        return;
    };
    if let (Some(name), Some(free)) = (keys.get_mut(at), free.get_mut(at)) {
        (*name, *free) = (key.0.get(), until);
    }
}

impl Pace {
    fn admit(self, free: u64, now: u64) -> Result<(), Retry> {
        match free.saturating_sub(now).checked_sub(self.tolerance) {
            Some(wait) if wait > 0 => Err(Retry(Duration::from_nanos(wait))),
            _ => Ok(()),
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
