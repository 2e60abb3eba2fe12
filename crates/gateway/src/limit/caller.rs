//! Who calls, as limits tell them apart.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_limits::{Key, Ledger, Limit, Network, NetworkLimit, PeerAddress, Rate, Retry};
use doorward_resource_server::Principal;
use doorward_types::id::UserId;
use http::request;

/// A user with a client. Callers without a token are told apart by network.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Caller<'a> {
    user: UserId,
    client: &'a str,
    /// Only of callers without a token. Over loopback they are all one.
    network: Option<Network>,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(principal: &'a Principal, head: &request::Parts) -> Self {
        let network = || head.extensions.get::<PeerAddress>().map(|peer| peer.network());
        Self {
            user: principal.subject(),
            client: principal.client_id().as_str(),
            network: principal.is_anonymous().then(network).flatten(),
        }
    }
}

/// A limit on callers. Where they are told apart by network, the networks of an IPv6 site together have a few times what
/// one has: a network is free to whoever has a site.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallerLimit {
    known: Limit,
    unknown: NetworkLimit,
    by_client: bool,
}

impl CallerLimit {
    /// On what one client does for one user.
    pub(super) fn of_clients(ledger: &Ledger, kind: impl Hash, rate: Rate) -> Self {
        Self::new(ledger, kind, rate, true)
    }

    /// On what one user does, with any client.
    pub(super) fn of_users(ledger: &Ledger, kind: impl Hash, rate: Rate) -> Self {
        Self::new(ledger, kind, rate, false)
    }

    fn new(ledger: &Ledger, kind: impl Hash, rate: Rate, by_client: bool) -> Self {
        Self {
            known: Limit::new(ledger, &kind, rate),
            unknown: NetworkLimit::new(ledger, &kind, rate),
            by_client,
        }
    }

    pub(super) const fn rate(&self) -> Rate {
        self.known.rate()
    }

    /// Takes one use of what `caller` may do with `thing`.
    pub(super) fn take(
        &self,
        ledger: &Ledger,
        caller: &Caller<'_>,
        thing: impl Hash + Copy,
        now: Duration,
    ) -> Result<(), Retry> {
        match caller.network {
            Some(network) => self.unknown.take_for(ledger, network, thing, now),
            None => self
                .known
                .take(ledger, (caller.user, self.client(caller), thing), now),
        }
    }

    pub(super) fn give_back(&self, ledger: &Ledger, caller: &Caller<'_>, thing: impl Hash + Copy) {
        match caller.network {
            Some(network) => self.unknown.give_back_for(ledger, network, thing),
            None => self
                .known
                .give_back(ledger, (caller.user, self.client(caller), thing)),
        }
    }

    fn client<'a>(&self, caller: &Caller<'a>) -> Option<&'a str> {
        self.by_client.then_some(caller.client)
    }
}

/// How many streams everybody has.
#[derive(Debug, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<Key, u32>>>);

/// How much more streams the networks of a site have together.
const SITE_FACTOR: u32 = 4;

impl Streams {
    /// Room for one more stream of `caller`, if there are fewer than `most`. `ledger` makes keys, of `server`.
    pub(super) fn open(&self, caller: &Caller<'_>, most: u32, ledger: &Ledger, server: Key) -> Option<Place> {
        let site = caller.network.and_then(Network::site);
        let one = (ledger.key((server, "streams", caller.user, caller.network)), most);
        let site = site.map(|site| {
            let key = ledger.key((server, "streams of a site", site));
            (key, most.saturating_mul(SITE_FACTOR))
        });
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |key: &Key| open.get(key).copied().unwrap_or(0);
        if [Some(one), site]
            .iter()
            .flatten()
            .any(|(key, most)| count(key) >= *most)
        {
            return None;
        }
        let keys = [Some(one.0), site.map(|(key, _)| key)];
        for key in keys.into_iter().flatten() {
            *open.entry(key).or_default() += 1;
        }
        drop(open);
        Some(Place {
            streams: Arc::clone(&self.0),
            keys,
        })
    }
}

/// An open stream's place; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Arc<Mutex<HashMap<Key, u32>>>,
    keys: [Option<Key>; 2],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.keys.into_iter().flatten() {
            // An entry is there as long as it counts somebody.
            if let Some(count) = open.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    open.remove(&key);
                }
            }
        }
    }
}
