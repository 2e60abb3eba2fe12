//! One limit in a [`Ledger`]: a rate, and what tells its keys from those of others.

use std::hash::Hash;
use std::time::Duration;

use crate::ledger::{Key, Ledger, Pace};
use crate::limiter::Retry;
use crate::networks::SITE_FACTOR;
use crate::peer::Network;
use crate::rate::Rate;

/// How often something of one kind may be done. The kind and the rate are part of every key: as long as both stay, who
/// owed something still owes it under the next configuration, and a limit that was changed begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    rate: Rate,
    pace: Pace,
    kind: Key,
}

impl Limit {
    /// A limit on what `kind` names, which is counted in `ledger`.
    #[must_use]
    pub fn new(ledger: &Ledger, kind: impl Hash, rate: Rate) -> Self {
        Self {
            rate,
            pace: rate.into(),
            kind: ledger.key((kind, rate)),
        }
    }

    /// The rate.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one use of `who`, or says when the next one is possible.
    pub fn take(&self, ledger: &Ledger, who: impl Hash, now: Duration) -> Result<(), Retry> {
        ledger.take(ledger.key((self.kind, who)), self.pace, now)
    }

    /// Whether [`Limit::take`] would be refused now.
    pub fn peek(&self, ledger: &Ledger, who: impl Hash, now: Duration) -> Result<(), Retry> {
        ledger.peek(ledger.key((self.kind, who)), self.pace, now)
    }

    /// Gives one use back.
    pub fn give_back(&self, ledger: &Ledger, who: impl Hash) {
        ledger.give_back(ledger.key((self.kind, who)), self.pace);
    }
}

/// A limit on networks, in which all networks of an IPv6 site together have a few times what one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkLimit {
    network: Limit,
    site: Limit,
}

impl NetworkLimit {
    /// A limit on what `kind` names.
    #[must_use]
    pub fn new(ledger: &Ledger, kind: impl Hash, rate: Rate) -> Self {
        Self {
            network: Limit::new(ledger, (&kind, "network"), rate),
            site: Limit::new(ledger, (&kind, "site"), rate.times(SITE_FACTOR)),
        }
    }

    /// The rate of one network.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.network.rate
    }

    /// Takes one use of `network`, or says when the next one is possible.
    pub fn take(&self, ledger: &Ledger, network: Network, now: Duration) -> Result<(), Retry> {
        self.take_for(ledger, network, (), now)
    }

    /// Takes one use of what `network` may do with `thing`.
    pub fn take_for(
        &self,
        ledger: &Ledger,
        network: Network,
        thing: impl Hash + Copy,
        now: Duration,
    ) -> Result<(), Retry> {
        self.network.take(ledger, (network, thing), now)?;
        let Some(site) = network.site() else {
            return Ok(());
        };
        self.site
            .take(ledger, (site, thing), now)
            .inspect_err(|_| self.network.give_back(ledger, (network, thing)))
    }

    /// Gives one use back.
    pub fn give_back_for(&self, ledger: &Ledger, network: Network, thing: impl Hash + Copy) {
        self.network.give_back(ledger, (network, thing));
        if let Some(site) = network.site() {
            self.site.give_back(ledger, (site, thing));
        }
    }

    /// Whether [`NetworkLimit::take`] would be refused now.
    pub fn peek(&self, ledger: &Ledger, network: Network, now: Duration) -> Result<(), Retry> {
        self.network.peek(ledger, (network, ()), now)?;
        let site = network.site();
        site.map_or(Ok(()), |site| self.site.peek(ledger, (site, ()), now))
    }
}
