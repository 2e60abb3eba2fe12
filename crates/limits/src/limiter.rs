//! The generic cell rate algorithm (ATM Forum TM 4.1, "virtual scheduling"), keyed, in bounded memory.
//!
//! Of our own rather than a library's because of what surrounds the three lines of arithmetic: a map that cannot
//! grow and that an attacker cannot wash a debt out of, uses that are given back, and a clock that tests hold.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_types::time::Clock;

/// How often something may be done with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Uses at once. At least one.
    pub burst: u32,
    /// The time in which that many uses come back, evenly.
    pub per: Duration,
    /// Keys that are remembered. When there are more, one that owes little is forgotten.
    pub capacity: usize,
}

/// Too often: the next use is possible after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("too many attempts")]
pub struct Retry(pub Duration);

impl Retry {
    /// Whole seconds, rounded up, at least one: the value of `Retry-After` (RFC 9110 §10.2.3).
    #[must_use]
    pub fn seconds(self) -> u64 {
        let whole = self.0.as_secs();
        whole.saturating_add(u64::from(self.0.subsec_nanos() > 0)).max(1)
    }
}

/// Counts uses per key.
pub struct Limiter<K> {
    /// Time that one use costs.
    cost: Duration,
    /// Debt that a key may have before its next use.
    tolerance: Duration,
    capacity: usize,
    clock: Arc<dyn Clock>,
    chance: RandomState,
    debts: Mutex<Debts<K>>,
}

/// When each key owes nothing any more ("theoretical arrival time"). In a vector, so that some can be drawn.
struct Debts<K> {
    index: HashMap<K, usize>,
    entries: Vec<(K, Duration)>,
    drawn: u64,
}

/// Keys among which the one that owes least is forgotten. An attacker who fills the map with new keys (one use
/// each) does not push out the key that they really attack: it owes most.
const DRAWN: usize = 8;

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// A limiter under which every key has its whole quota.
    #[must_use]
    pub fn new(quota: Quota, clock: Arc<dyn Clock>) -> Self {
        let cost = quota.per / quota.burst.max(1);
        Self {
            cost,
            tolerance: cost.saturating_mul(quota.burst.saturating_sub(1)),
            capacity: quota.capacity.max(1),
            clock,
            chance: RandomState::new(),
            debts: Mutex::new(Debts {
                index: HashMap::new(),
                entries: Vec::new(),
                drawn: 0,
            }),
        }
    }

    /// Takes one use of `key`, or says when the next one is possible. A refusal costs nothing.
    pub fn check(&self, key: &K) -> Result<(), Retry> {
        let now = self.clock.monotonic();
        let mut debts = self.lock();
        let free = debts.free_at(key).max(now);
        self.admit(free, now)?;
        let free = free.saturating_add(self.cost);
        if !debts.set(key, free) {
            if debts.entries.len() >= self.capacity {
                debts.forget_one(&self.chance);
            }
            debts.add(key.clone(), free);
        }
        Ok(())
    }

    /// Whether [`Limiter::check`] would be refused now; takes nothing.
    pub fn peek(&self, key: &K) -> Result<(), Retry> {
        let now = self.clock.monotonic();
        let free = self.lock().free_at(key).max(now);
        self.admit(free, now)
    }

    /// Gives one use back: what was taken for an attempt that then turned out to be a right one.
    pub fn give_back(&self, key: &K) {
        let mut debts = self.lock();
        let free = debts.free_at(key).saturating_sub(self.cost);
        debts.set(key, free);
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn admit(&self, free: Duration, now: Duration) -> Result<(), Retry> {
        match free.saturating_sub(now).checked_sub(self.tolerance) {
            Some(wait) if !wait.is_zero() => Err(Retry(wait)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Debts<K>> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Debts<K> {
    /// Zero, long ago, if the key is not known.
    fn free_at(&self, key: &K) -> Duration {
        let entry = self.index.get(key).and_then(|at| self.entries.get(*at));
        entry.map_or(Duration::ZERO, |(_, free)| *free)
    }

    /// Whether the key was there.
    fn set(&mut self, key: &K, free: Duration) -> bool {
        let entry = self.index.get(key).and_then(|at| self.entries.get_mut(*at));
        entry.map(|(_, known)| *known = free).is_some()
    }

    fn add(&mut self, key: K, free: Duration) {
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, free));
    }

    /// Forgets the least indebted of a few that nobody outside can foretell.
    fn forget_one(&mut self, chance: &RandomState) {
        let draws = (0..DRAWN).filter_map(|_| {
            self.drawn = self.drawn.wrapping_add(1);
            let length = u64::try_from(self.entries.len()).ok()?;
            let at = usize::try_from(chance.hash_one(self.drawn).checked_rem(length)?).ok()?;
            self.entries.get(at).map(|(_, free)| (*free, at))
        });
        let Some((_, at)) = draws.min() else {
            return;
        };
        let (key, _) = self.entries.swap_remove(at);
        self.index.remove(&key);
        if let Some((moved, _)) = self.entries.get(at)
            && let Some(place) = self.index.get_mut(moved)
        {
            *place = at;
        }
    }
}

impl<K> std::fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("cost", &self.cost)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use doorward_types::time::{FixedClock, UnixTime};
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limiter(burst: u32, capacity: usize) -> (Limiter<u32>, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::new(UnixTime::EPOCH));
        let quota = Quota {
            burst,
            per: MINUTE,
            capacity,
        };
        (Limiter::new(quota, Arc::clone(&clock) as _), clock)
    }

    #[test]
    fn a_burst_passes_and_comes_back_evenly() {
        let (limiter, clock) = limiter(3, 10);
        for _ in 0..3 {
            assert_eq!(limiter.check(&1), Ok(()));
        }
        assert_eq!(limiter.check(&1), Err(Retry(MINUTE / 3)));
        assert_eq!(limiter.peek(&1), Err(Retry(MINUTE / 3)));
        assert_eq!(limiter.check(&2), Ok(()), "another key is another quota");
        clock.advance(MINUTE / 3);
        assert_eq!(limiter.peek(&1), Ok(()));
        assert_eq!(limiter.check(&1), Ok(()));
        assert!(limiter.check(&1).is_err());
        clock.advance(MINUTE * 100);
        for _ in 0..3 {
            assert_eq!(limiter.check(&1), Ok(()), "never more than the burst");
        }
        assert!(limiter.check(&1).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (limiter, _) = limiter(2, 10);
        for _ in 0..100 {
            assert_eq!(limiter.check(&1), Ok(()));
            limiter.give_back(&1);
        }
        limiter.give_back(&1);
        limiter.give_back(&7);
        for key in [1, 7] {
            assert_eq!(limiter.check(&key), Ok(()));
            assert_eq!(limiter.check(&key), Ok(()));
            assert!(limiter.check(&key).is_err(), "giving back saves nothing up");
        }
    }

    #[test]
    fn a_stepped_wall_clock_gives_nothing() {
        let (limiter, clock) = limiter(1, 10);
        limiter.check(&1).unwrap();
        clock.set(UnixTime::from_seconds(1_000_000));
        assert!(limiter.check(&1).is_err());
    }

    #[test]
    fn ds_10_memory_is_bounded_and_the_attacked_key_is_not_washed_out() {
        let (limiter, _) = limiter(10, 1000);
        while limiter.check(&0).is_ok() {}
        for other in 1..100_000 {
            limiter.check(&other).unwrap();
        }
        assert_eq!(limiter.len(), 1000);
        assert!(limiter.check(&0).is_err());
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        for (wait, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(Retry(Duration::from_millis(wait)).seconds(), seconds, "{wait}");
        }
    }

    proptest! {
        #[test]
        fn in_no_window_more_than_the_quota(waits in prop::collection::vec(0_u64..5000, 1..200), burst in 1_u32..8) {
            let (limiter, clock) = limiter(burst, 10);
            let mut passed = 0_u32;
            for wait in &waits {
                clock.advance(Duration::from_millis(*wait));
                passed += u32::from(limiter.check(&1).is_ok());
            }
            let elapsed = clock.monotonic().as_millis();
            let allowed = u128::from(burst) + elapsed * u128::from(burst) / MINUTE.as_millis() + 1;
            prop_assert!(u128::from(passed) <= allowed, "{passed} of {allowed}");
        }

        #[test]
        fn the_index_agrees_with_the_entries(keys in prop::collection::vec(0_u32..64, 1..300)) {
            let (limiter, _) = limiter(4, 16);
            for key in keys {
                let _refused_or_not = limiter.check(&key);
            }
            let debts = limiter.lock();
            prop_assert_eq!(debts.index.len(), debts.entries.len());
            for (at, (key, _)) in debts.entries.iter().enumerate() {
                prop_assert_eq!(debts.index.get(key), Some(&at));
            }
        }
    }
}
