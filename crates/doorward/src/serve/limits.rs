//! How many connections are served at once, in total and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::config::scalar::Count;

/// Descriptors that are kept for the database, the log, listening sockets and the runtime.
const RESERVE: u64 = 40;
/// Descriptors that one connection may need: its own, and one to an upstream.
const PER_CONNECTION: u64 = 2;
/// Connections by default, however many descriptors there are: each costs memory too.
const DEFAULT: usize = 20_000;
/// Fewer would lock everybody out.
const FEWEST: usize = 4;
/// Requests at once that one address always has: as many as one HTTP/2 connection, unless that is more than half.
const SHARE: usize = 128;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// In total.
    pub(crate) connections: usize,
    /// From one address (for IPv6: from one /64, which is what one host gets). Loopback is exempt: there a
    /// proxy that ends TLS speaks for everybody.
    pub(crate) per_address: usize,
    /// Requests that are being answered, each perhaps with a connection to an upstream, and with some kilobytes.
    /// Only HTTP/2 can have more of them than connections.
    pub(crate) requests: usize,
}

impl Caps {
    /// What the configuration asks for.
    pub(crate) fn of(config: &Config, descriptors: u64) -> Self {
        let number = |count: Option<Count>| count.map(|count| usize::try_from(count.0).unwrap_or(usize::MAX));
        let all = number(config.max_connections.value);
        Self::new(all, number(config.max_connections_per_address.value), descriptors)
    }

    /// What was asked for, as far as `descriptors` (how many this process may open) suffice. Default: what
    /// the descriptors allow, at most 20,000; half of that from one address.
    pub(crate) fn new(connections: Option<usize>, per_address: Option<usize>, descriptors: u64) -> Self {
        let possible = descriptors.saturating_sub(RESERVE) / PER_CONNECTION;
        let possible = usize::try_from(possible).unwrap_or(usize::MAX).max(FEWEST);
        if let Some(wanted) = connections
            && wanted > possible
        {
            tracing::warn!(
                max_connections = wanted,
                possible,
                "`max_connections` needs more descriptors than this process may open: raise its limit \
                 (LimitNOFILE, ulimit -n) to twice as many"
            );
        }
        let connections = connections.unwrap_or(DEFAULT).clamp(1, possible);
        Self {
            connections,
            per_address: per_address.unwrap_or(connections.div_ceil(2)).max(1),
            requests: connections.saturating_mul(2).max(2 * SHARE).min(possible),
        }
    }

    /// Of `requests`, those of one address: the same part of all that it may have of the connections. Without
    /// this a few connections of HTTP/2 would take what thousands of HTTP/1 may not.
    fn requests_per_address(self) -> usize {
        let least = SHARE.min(self.requests.div_ceil(2));
        let part = self.requests as u128 * self.per_address as u128 / self.connections.max(1) as u128;
        usize::try_from(part)
            .unwrap_or(usize::MAX)
            .clamp(least, self.requests)
    }
}

/// Raises the limit on open descriptors to what is allowed and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit on descriptors stays");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many as there may be are open.
    Total,
    /// As many as there may be from its address are open.
    Address,
}

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open: Mutex<Open>,
    requests: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, Address>,
}

#[derive(Debug, Default)]
struct Address {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

/// Asks for room for the requests of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    admission: Arc<Admission>,
    /// Those of its address, if that is counted.
    from_there: Option<Arc<AtomicUsize>>,
}

impl Asker {
    /// Room for a request, if there is any.
    pub(crate) fn answer(&self, caps: Caps) -> Option<Answering> {
        let before = self.admission.requests.fetch_add(1, Ordering::Relaxed);
        let from_there = self.from_there.as_ref();
        let own_before = from_there.map_or(0, |requests| requests.fetch_add(1, Ordering::Relaxed));
        let answering = Answering(self.clone());
        (before < caps.requests && own_before < caps.requests_per_address()).then_some(answering)
    }
}

/// A request that is being answered; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Answering(Asker);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.admission.requests.fetch_sub(1, Ordering::Relaxed);
        if let Some(from_there) = &self.0.from_there {
            from_there.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    asker: Asker,
    counted: Option<IpAddr>,
}

impl Place {
    /// Who asks for room for this connection's requests.
    pub(crate) fn asker(&self) -> Asker {
        self.asker.clone()
    }
}

impl Admission {
    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// A place for a connection from `peer`, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr, caps: Caps) -> Result<Place, Refused> {
        let counted = counted(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= caps.connections {
            return Err(Refused::Total);
        }
        let mut from_there = None;
        if let Some(address) = counted {
            let address = open.by_address.entry(address).or_default();
            if address.connections >= caps.per_address {
                return Err(Refused::Address);
            }
            address.connections += 1;
            from_there = Some(Arc::clone(&address.requests));
        }
        open.total += 1;
        drop(open);
        let admission = Arc::clone(self);
        Ok(Place {
            asker: Asker {
                admission,
                from_there,
            },
            counted,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.asker.admission.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(address) = self.counted
            && let Some(from_there) = open.by_address.get_mut(&address)
        {
            from_there.connections = from_there.connections.saturating_sub(1);
            if from_there.connections == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// What a peer is counted by; nothing for loopback.
fn counted(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        peer if peer.is_loopback() => None,
        IpAddr::V4(peer) => Some(IpAddr::V4(peer)),
        IpAddr::V6(peer) => Some(IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ft_18_limits_leave_descriptors_for_everything_else() {
        let limits = |connections, per_address, descriptors| {
            let Caps {
                connections,
                per_address,
                ..
            } = Caps::new(connections, per_address, descriptors);
            (connections, per_address)
        };
        assert_eq!(limits(None, None, 64), (12, 6));
        assert_eq!(limits(None, None, 1024), (492, 246));
        assert_eq!(limits(None, None, 1 << 20), (DEFAULT, DEFAULT / 2));
        assert_eq!(limits(None, None, u64::MAX), (DEFAULT, DEFAULT / 2));
        assert_eq!(limits(None, None, 0), (FEWEST, 2));
        assert_eq!(limits(Some(50_000), Some(7), 1 << 20), (50_000, 7));
        assert_eq!(limits(Some(50_000), None, 1024), (492, 246));
        assert_eq!(limits(Some(1), None, 1024), (1, 1));
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let admission = Arc::new(Admission::default());
        let caps = Caps {
            connections: 3,
            per_address: 2,
            requests: 1,
        };
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let (first, second) = (
            admission.admit(one, caps).unwrap(),
            admission.admit(one, caps).unwrap(),
        );
        assert_eq!(admission.admit(one, caps).unwrap_err(), Refused::Address);
        // The same host in its IPv6 spelling.
        assert_eq!(
            admission
                .admit("::ffff:192.0.2.1".parse().unwrap(), caps)
                .unwrap_err(),
            Refused::Address
        );
        let other = admission.admit("192.0.2.2".parse().unwrap(), caps).unwrap();
        assert_eq!(
            admission.admit("192.0.2.3".parse().unwrap(), caps).unwrap_err(),
            Refused::Total
        );
        drop(first);
        drop(admission.admit(one, caps).unwrap());
        drop((second, other));
        assert!(admission.open.lock().unwrap().by_address.is_empty());
        assert_eq!(admission.open.lock().unwrap().total, 0);
    }

    #[test]
    fn requests_are_counted_and_given_back() {
        let admission = Arc::new(Admission::default());
        let caps = Caps {
            connections: 9,
            per_address: 9,
            requests: 2,
        };
        let place = admission.admit("::1".parse().unwrap(), caps).unwrap();
        let asker = place.asker();
        let first = asker.answer(caps).unwrap();
        let _second = asker.answer(caps).unwrap();
        assert!(asker.answer(caps).is_none() && asker.answer(caps).is_none());
        drop(first);
        assert!(asker.answer(caps).is_some());
    }

    #[test]
    fn ds_06_ft_18_the_requests_of_one_address_leave_room_for_others() {
        let admission = Arc::new(Admission::default());
        let caps = Caps::new(None, None, 1024);
        let place = |address: &str| admission.admit(address.parse().unwrap(), caps).unwrap();
        let (first, second, other) = (place("192.0.2.1"), place("::ffff:192.0.2.1"), place("192.0.2.2"));
        let ask = |place: &Place| place.asker().answer(caps);
        let mut taken: Vec<_> = std::iter::from_fn(|| ask(&first)).collect();
        assert_eq!(taken.len(), caps.requests / 2);
        assert!(ask(&second).is_none(), "the same address");
        assert!(ask(&other).is_some() && ask(&place("::1")).is_some());
        taken.pop();
        assert!(ask(&second).is_some());
        drop((taken, first, second, other));
        assert_eq!(admission.requests.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_address_may_ask_for_its_part_and_at_least_for_one_connection_of_http2() {
        let most = |connections, per_address, descriptors| {
            Caps::new(connections, per_address, descriptors).requests_per_address()
        };
        assert_eq!(most(None, None, 64), 6);
        assert_eq!(most(None, None, 1 << 20), DEFAULT, "memory has an end, too");
        assert_eq!(
            most(Some(300), Some(300), 1024),
            492,
            "a proxy that speaks for everybody"
        );
        assert_eq!(most(Some(20_000), Some(1), 100_000), SHARE);
        assert_eq!(most(Some(1), Some(9), 0), FEWEST);
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer_and_loopback_is_none() {
        let address = |text: &str| counted(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2:3::4"), address("2001:db8:1:2::9"));
        assert_ne!(address("2001:db8:1:2::9"), address("2001:db8:1:3::9"));
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(address(loopback), None, "{loopback}");
        }
    }
}
