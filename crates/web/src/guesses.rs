//! How often user codes may be typed (RFC 8628 §5.1), and how often devices may ask for one.

use std::sync::Arc;
use std::time::Duration;

use doorward_limits::{Limiter, Network, NetworkLimiter, PeerAddress, Quota, Retry};
use doorward_types::id::UserId;
use doorward_types::time::Clock;

/// Codes that one person, or one address, may type in a minute (EX-06).
const TYPED: u32 = 5;
/// Devices of one address that may ask for codes in a minute.
const ASKED: u32 = 30;
/// Over loopback comes a proxy that speaks for everybody, as long as it is not in `trusted_proxies`.
const ASKED_LOCALLY: u32 = 600;
/// People and addresses that are remembered; one costs about a hundred bytes.
const REMEMBERED: usize = 10_000;

/// Counts both.
pub(crate) struct Guesses {
    people: Limiter<UserId>,
    addresses: NetworkLimiter,
    devices: NetworkLimiter,
    local_devices: Limiter<()>,
}

impl Guesses {
    /// Nobody has typed anything yet.
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let quota = |burst| Quota {
            burst,
            per: Duration::from_mins(1),
            capacity: REMEMBERED,
        };
        Self {
            people: Limiter::new(quota(TYPED), Arc::clone(clock)),
            addresses: NetworkLimiter::new(quota(TYPED), clock),
            devices: NetworkLimiter::new(quota(ASKED), clock),
            local_devices: Limiter::new(quota(ASKED_LOCALLY), Arc::clone(clock)),
        }
    }

    /// Counts a code that `user` typed, or says when the next one can be typed. By person, because a session costs
    /// nothing to renew; by address as well, because one who has many accounts still sits somewhere. The address of a
    /// proxy that nobody trusts is everybody's: there only people are told apart.
    pub(crate) fn typed(&self, user: UserId, peer: Option<PeerAddress>) -> Result<(), Retry> {
        self.people.check(&user)?;
        match somebodys_own(peer) {
            Some(network) => self.addresses.check(&network),
            None => Ok(()),
        }
    }

    /// Counts a device that asks for codes.
    pub(crate) fn asked(&self, peer: Option<PeerAddress>) -> Result<(), Retry> {
        match somebodys_own(peer) {
            Some(network) => self.devices.check(&network),
            None => self.local_devices.check(&()),
        }
    }
}

fn somebodys_own(peer: Option<PeerAddress>) -> Option<Network> {
    peer.map(PeerAddress::network)
        .filter(|network| !network.is_loopback())
}

#[cfg(test)]
mod tests {
    use doorward_types::random::CountingRandom;
    use doorward_types::time::{FixedClock, UnixTime};

    use super::*;

    #[test]
    fn ex_06_five_codes_in_a_minute_by_person_and_by_address() {
        let now = UnixTime::from_seconds(1_800_000_000);
        let clock = Arc::new(FixedClock::new(now));
        let guesses = Guesses::new(&(Arc::clone(&clock) as Arc<dyn Clock>));
        let random = CountingRandom::default();
        let person = || UserId::generate(now, &random);
        let (alice, peer) = (person(), Some(PeerAddress("192.0.2.1".parse().unwrap())));
        let typed = (0..1000).filter(|_| guesses.typed(alice, peer).is_ok()).count();
        assert_eq!(typed, 5);
        let others = (0..1000)
            .filter(|_| guesses.typed(person(), peer).is_ok())
            .count();
        assert_eq!(others, 0, "from the same address with other accounts");
        let elsewhere = Some(PeerAddress("192.0.2.200".parse().unwrap()));
        assert!(
            guesses.typed(alice, elsewhere).is_err(),
            "the same person elsewhere"
        );
        let local = Some(PeerAddress("127.0.0.1".parse().unwrap()));
        let through_a_proxy = (0..20).filter(|_| guesses.typed(person(), local).is_ok()).count();
        assert_eq!(
            through_a_proxy, 20,
            "people behind one proxy do not wait for each other"
        );
        clock.advance(Duration::from_mins(1));
        let later = (0..1000).filter(|_| guesses.typed(alice, peer).is_ok()).count();
        assert_eq!(later, 5);
    }

    #[test]
    fn a_device_asks_a_few_times_and_no_more() {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::new(UnixTime::from_seconds(1_800_000_000)));
        let guesses = Guesses::new(&clock);
        let peer = Some(PeerAddress("2001:db8::1".parse().unwrap()));
        assert_eq!((0..1000).filter(|_| guesses.asked(peer).is_ok()).count(), 30);
        assert_eq!((0..1000).filter(|_| guesses.asked(None).is_ok()).count(), 600);
    }
}
