//! Uses per network, and per IPv6 site: a network is free to whoever has a site.

use std::sync::Arc;

use doorward_types::time::Clock;

use crate::limiter::{Limiter, Quota, Retry};
use crate::peer::Network;

/// How much more an IPv6 site (a /48) may use than one network. It can also be a whole company, or a part of a mobile
/// provider.
pub(crate) const SITE_FACTOR: u32 = 4;

/// A [`Limiter`] of networks in which all networks of an IPv6 site together have a few times the quota of one.
#[derive(Debug)]
pub struct NetworkLimiter {
    networks: Limiter<Network>,
    sites: Limiter<Network>,
}

impl NetworkLimiter {
    /// A limiter under which every network has its whole quota.
    #[must_use]
    pub fn new(quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let of_site = Quota {
            burst: quota.burst.saturating_mul(SITE_FACTOR),
            ..quota
        };
        Self {
            networks: Limiter::new(quota, Arc::clone(clock)),
            sites: Limiter::new(of_site, Arc::clone(clock)),
        }
    }

    /// Takes one use of `network`, or says when the next one is possible. A refusal costs nothing.
    pub fn check(&self, network: &Network) -> Result<(), Retry> {
        self.networks.check(network)?;
        let site = network.site().map_or(Ok(()), |site| self.sites.check(&site));
        site.inspect_err(|_| self.networks.give_back(network))
    }

    /// Gives one use back.
    pub fn give_back(&self, network: &Network) {
        self.networks.give_back(network);
        if let Some(site) = network.site() {
            self.sites.give_back(&site);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use doorward_types::time::{FixedClock, UnixTime};

    use super::*;

    #[test]
    fn ds_10_the_networks_of_a_site_share() {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::new(UnixTime::EPOCH));
        let quota = Quota {
            burst: 5,
            per: Duration::from_secs(60),
            capacity: 100_000,
        };
        let limiter = NetworkLimiter::new(quota, &clock);
        let v6 = |n: u128| Network::of(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (n << 64)).into());
        let let_in = (0..10_000).filter(|n| limiter.check(&v6(*n)).is_ok()).count();
        assert_eq!(let_in, 20);
        assert_eq!((0..9).filter(|_| limiter.check(&v6(1 << 16)).is_ok()).count(), 5);
        limiter.give_back(&v6(3));
        assert!(limiter.check(&v6(4)).is_ok() && limiter.check(&v6(4)).is_err());
        for n in 0..100 {
            assert!(limiter.check(&Network::of(Ipv4Addr::from_bits(n).into())).is_ok());
        }
    }
}
