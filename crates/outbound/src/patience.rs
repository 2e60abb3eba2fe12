//! How often a host, or one document of a host that answers, may fail. Bad results are never kept, so without
//! this everybody who names a broken host could make us knock there as fast as they like.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures in a row that are free.
const BURST: u32 = 10;
/// One more for each of these.
const REFILL: Duration = Duration::from_secs(6);
/// The most hosts and documents that are remembered; a full table forgets those that have been forgiven longest.
const HOSTS: usize = 8192;

/// Failures by host, as a leaky bucket each: the moment at which its failures are forgiven.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<HashMap<String, Duration>>);

impl Patience {
    /// Whether the host may be tried at `now` (any monotonic time).
    pub(crate) fn allows(&self, host: &str, now: Duration) -> bool {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let debt = hosts
            .get(host)
            .map_or(Duration::ZERO, |until| until.saturating_sub(now));
        debt < REFILL * BURST
    }

    /// Notes that it failed at `now`.
    pub(crate) fn failed(&self, host: &str, now: Duration) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, until| *until > now);
            // All of them are in debt: the one that is forgiven first makes room.
            if hosts.len() >= HOSTS
                && let Some(first) = hosts
                    .iter()
                    .min_by_key(|(_, until)| **until)
                    .map(|(h, _)| h.clone())
            {
                hosts.remove(&first);
            }
        }
        let until = hosts.entry(host.to_owned()).or_insert(now);
        *until = (*until).max(now).saturating_add(REFILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rg_12_a_host_that_fails_is_tried_less_often_and_forgiven() {
        let patience = Patience::default();
        let now = Duration::from_secs(100);
        for _ in 0..BURST {
            assert!(patience.allows("a", now));
            patience.failed("a", now);
        }
        assert!(!patience.allows("a", now));
        assert!(patience.allows("b", now));
        assert!(patience.allows("a", now + REFILL));
        patience.failed("a", now + REFILL);
        assert!(!patience.allows("a", now + REFILL));
        assert!(patience.allows("a", now + REFILL * (BURST + 2)));
    }

    #[test]
    fn the_table_is_bounded() {
        let patience = Patience::default();
        for host in 0..HOSTS + 100 {
            patience.failed(&host.to_string(), Duration::ZERO);
        }
        assert_eq!(patience.0.lock().unwrap().len(), HOSTS);
    }
}
