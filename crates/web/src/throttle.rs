//! How often somebody may try to sign in, so that guessing is hopeless and the owner is never locked out.
//!
//! A password or code is only looked at by an attempt that one of these lanes lets in:
//!
//! 1. The *known browser*: somebody signed in to this account there before, which its sealed cookie says. Nobody
//!    else can use that lane up.
//! 2. The *own lane* of a network (one IPv4 address, one IPv6 /64) for this account. Attackers at other addresses
//!    cannot use it up, however many they are. An IPv6 /48, which one customer has all to themselves, has room for
//!    four of them.
//! 3. The *shared lane* of the account, for whoever has mistyped more often than that.
//!
//! Besides, a network has a number of failed attempts over all accounts. A right password gives back what it
//! took, and so does an attempt that storage did not let end: nothing was learned from it, and after an outage
//! nobody is told to wait. The lanes are keyed by the name that was typed, so a name that nobody has is throttled like any other.

use std::sync::Arc;
use std::time::Duration;

use doorward_limits::{Limiter, Network, NetworkLimiter, Quota, Retry};
use doorward_types::digest::Digest;
use doorward_types::time::Clock;

const TEN_MINUTES: Duration = Duration::from_mins(10);

/// Attempts of one browser in which the owner signed in before.
const KNOWN_BROWSER: Quota = Quota {
    burst: 10,
    per: TEN_MINUTES,
    capacity: 20_000,
};
/// Attempts of one network at one account.
const OWN: Quota = Quota {
    burst: 5,
    per: TEN_MINUTES,
    capacity: 50_000,
};
/// Attempts at one account beyond that, by everybody together.
const SHARED: Quota = Quota {
    burst: 10,
    per: TEN_MINUTES,
    capacity: 20_000,
};
/// Failed attempts of one network at all accounts: an office behind one address mistypes as well. An IPv6 site has
/// four times as many.
const NETWORK: Quota = Quota {
    burst: 60,
    per: TEN_MINUTES,
    capacity: 50_000,
};
/// Attempts of one IPv6 site (a /48) at one account. To hire one costs nothing, and it has 65,536 networks, each with
/// a lane of its own.
const OWN_SITE: Quota = Quota {
    burst: 20,
    per: TEN_MINUTES,
    capacity: 50_000,
};
/// Second factors after a right password. A code of six digits is guessed at once in 300,000 times; so many tries
/// take years.
const CODES: Quota = Quota {
    burst: 5,
    per: Duration::from_hours(1),
    capacity: 20_000,
};

/// What an attempt is counted by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    /// Digest of the name that was typed, or of the account.
    pub(crate) account: Digest,
    /// The id of the browser, if somebody signed in to this account there before.
    pub(crate) known_browser: Option<Digest>,
    /// Where it comes from; `None` for loopback, where everybody may come through one proxy.
    pub(crate) network: Option<Network>,
}

/// All of it. Cheap to clone; one for the life of the process, however often the configuration is read.
#[derive(Clone, Debug)]
pub struct Throttles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known_browser: Limiter<(Digest, Digest)>,
    own: Limiter<(Digest, Option<Network>)>,
    shared: Limiter<Digest>,
    network: NetworkLimiter,
    own_site: Limiter<(Digest, Network)>,
    codes: Limiter<(Digest, Option<Digest>)>,
}

/// An attempt that may be made. Forgotten, it counts as a failed one.
#[derive(Debug)]
pub(crate) struct Attempt {
    throttles: Throttles,
    who: Who,
    lane: Lane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    KnownBrowser(Digest),
    Own,
    Shared,
}

impl Throttles {
    /// Everybody begins with everything.
    #[must_use]
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            known_browser: Limiter::new(KNOWN_BROWSER, Arc::clone(clock)),
            own: Limiter::new(OWN, Arc::clone(clock)),
            shared: Limiter::new(SHARED, Arc::clone(clock)),
            network: NetworkLimiter::new(NETWORK, clock),
            own_site: Limiter::new(OWN_SITE, Arc::clone(clock)),
            codes: Limiter::new(CODES, Arc::clone(clock)),
        }))
    }

    /// Lets an attempt at a password in, or says when to come back.
    pub(crate) fn admit(&self, who: Who) -> Result<Attempt, Retry> {
        let attempt = |lane| Attempt {
            throttles: self.clone(),
            who,
            lane,
        };
        if let Some(browser) = who.known_browser
            && self.0.known_browser.check(&(who.account, browser)).is_ok()
        {
            return Ok(attempt(Lane::KnownBrowser(browser)));
        }
        if let Some(network) = &who.network {
            self.0.network.check(network)?;
        }
        let Err(own) = self.0.admit_own(who) else {
            return Ok(attempt(Lane::Own));
        };
        self.0
            .shared
            .check(&who.account)
            .map_err(|shared| own.min(shared))?;
        Ok(attempt(Lane::Shared))
    }

    /// Lets an attempt at a second factor in. A browser in which the owner signed in before has a lane of its own,
    /// so that somebody who knows the password cannot shut the owner out. A right one, and one that could not be
    /// judged, is given back by [`Throttles::give_code_back`].
    pub(crate) fn admit_code(&self, who: Who) -> Result<(), Retry> {
        self.0.codes.check(&(who.account, who.known_browser))
    }

    /// The second factor was right, or storage failed before anybody was told whether it was.
    pub(crate) fn give_code_back(&self, who: Who) {
        self.0.codes.give_back(&(who.account, who.known_browser));
    }
}

impl Inner {
    fn admit_own(&self, who: Who) -> Result<(), Retry> {
        let own = (who.account, who.network);
        self.own.check(&own)?;
        let site = who.network.and_then(Network::site);
        let site = site.map_or(Ok(()), |site| self.own_site.check(&(who.account, site)));
        site.inspect_err(|_| self.own.give_back(&own))
    }
}

impl Attempt {
    /// Whether it came from a browser in which the owner signed in before.
    pub(crate) const fn is_from_known_browser(&self) -> bool {
        matches!(self.lane, Lane::KnownBrowser(_))
    }

    /// The password was right, or storage failed before anybody was told whether it was.
    pub(crate) fn give_back(self) {
        let inner = &self.throttles.0;
        match self.lane {
            Lane::KnownBrowser(browser) => {
                inner.known_browser.give_back(&(self.who.account, browser));
                return;
            }
            Lane::Own => {
                inner.own.give_back(&(self.who.account, self.who.network));
                if let Some(site) = self.who.network.and_then(Network::site) {
                    inner.own_site.give_back(&(self.who.account, site));
                }
            }
            Lane::Shared => inner.shared.give_back(&self.who.account),
        }
        if let Some(network) = &self.who.network {
            inner.network.give_back(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use doorward_types::time::{FixedClock, UnixTime};

    use super::*;

    fn throttles() -> (Throttles, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::new(UnixTime::EPOCH));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        (Throttles::new(&shared), clock)
    }

    fn network(n: u32) -> Option<Network> {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
        Some(Network::of(address.into()))
    }

    fn who(name: &str, network: Option<Network>) -> Who {
        Who {
            account: Digest::of(name.as_bytes()),
            known_browser: None,
            network,
        }
    }

    #[test]
    fn ds_10_attackers_at_many_addresses_leave_the_owner_a_lane() {
        let (throttles, _) = throttles();
        let mut let_in = 0;
        for n in 0..10_000 {
            let_in += u32::from(throttles.admit(who("alice", network(n % 100))).is_ok());
        }
        assert_eq!(let_in, 100 * OWN.burst + SHARED.burst);
        let owner = throttles.admit(who("alice", network(100_000))).unwrap();
        owner.give_back();
        assert!(throttles.admit(who("alice", network(1))).is_err());
    }

    #[test]
    fn ds_10_a_known_browser_has_its_own_lane_everywhere() {
        let (throttles, clock) = throttles();
        while throttles.admit(who("alice", None)).is_ok() {}
        let at_home = Who {
            known_browser: Some(Digest::of(b"browser")),
            ..who("alice", None)
        };
        for _ in 0..KNOWN_BROWSER.burst * 3 {
            let attempt = throttles.admit(at_home).unwrap();
            assert!(attempt.is_from_known_browser());
            attempt.give_back();
        }
        for _ in 0..KNOWN_BROWSER.burst {
            assert!(throttles.admit(at_home).is_ok());
        }
        let retry = throttles.admit(at_home).unwrap_err();
        assert!(retry.0 <= Duration::from_mins(1), "{retry:?}");
        clock.advance(retry.0);
        assert!(throttles.admit(at_home).is_ok());
    }

    #[test]
    fn ds_10_names_that_nobody_has_are_throttled_alike() {
        let (throttles, _) = throttles();
        let pattern = |name: &str| -> Vec<_> {
            (0..50)
                .map(|n| throttles.admit(who(name, network(n % 3))).map(|_| ()))
                .collect()
        };
        assert_eq!(pattern("alice"), pattern("nobody"));
    }

    #[test]
    fn one_network_cannot_try_every_account() {
        let (throttles, _) = throttles();
        let let_in = (0..1000).filter(|n| throttles.admit(who(&format!("user{n}"), network(1))).is_ok());
        assert_eq!(let_in.count(), 60);
        assert!(throttles.admit(who("alice", network(2))).is_ok());
    }

    #[test]
    fn ds_10_an_ipv6_site_is_not_65536_attackers() {
        let (throttles, _) = throttles();
        let at = |n: u128| {
            let bits = 0x2001_0db8_0000_u128 << 80 | n << 64;
            Some(Network::of(std::net::Ipv6Addr::from_bits(bits | 1).into()))
        };
        let let_in = (0..10_000).filter(|n| throttles.admit(who("alice", at(*n))).is_ok());
        assert_eq!(let_in.count(), (OWN_SITE.burst + SHARED.burst) as usize);
        let let_in = (0..10_000).filter(|n| throttles.admit(who(&format!("user{n}"), at(*n))).is_ok());
        assert!(let_in.count() < NETWORK.burst as usize * 4 + 1);
        // The owner at another one, and right passwords, lose nothing.
        for _ in 0..1000 {
            throttles.admit(who("alice", at(1 << 16))).unwrap().give_back();
        }
    }

    #[test]
    fn right_passwords_use_nothing_up() {
        let (throttles, _) = throttles();
        for _ in 0..1000 {
            throttles.admit(who("alice", network(1))).unwrap().give_back();
        }
    }

    #[test]
    fn codes_are_few_and_the_known_browser_has_its_own() {
        let (throttles, _) = throttles();
        let attacker = who("alice", network(1));
        for _ in 0..100 {
            assert_eq!(throttles.admit_code(attacker), Ok(()));
            throttles.give_code_back(attacker);
        }
        for _ in 0..CODES.burst {
            assert_eq!(throttles.admit_code(attacker), Ok(()));
        }
        assert!(throttles.admit_code(who("alice", network(2))).is_err());
        let owner = Who {
            known_browser: Some(Digest::of(b"browser")),
            ..attacker
        };
        assert_eq!(throttles.admit_code(owner), Ok(()));
    }
}
