//! Whether the same was refused to the same caller before: what is told once, what ten times, and what is only counted.

use std::time::Duration;

use doorward_limits::{Ledger, Limit, NetworkLimit, PeerAddress, Rate};
use http::header::{AUTHORIZATION, HeaderValue};

use super::{Caller, Kind};
use crate::refuse::Circumstances;

/// The same refusal counts again after a minute.
const ONCE: Rate = Rate::per_minute(1);
/// The same refusal to the same caller, written down one by one. Whoever goes on is only counted: nobody is to wash
/// out of a log of bounded size what they did before.
const OF_ONE: Rate = Rate::per_minute(10);
/// The same for those who have no good token: of one address, and of all together.
const OF_ADDRESS: Rate = Rate::per_minute(60);
const OF_STRANGERS: Rate = Rate::per_minute(600);

/// What is known of a refusal's like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recurrence {
    /// The same was refused to the same caller for the same reason within the last minute.
    pub(crate) repeated: bool,
    /// There were so many like it that this one is only counted.
    pub(crate) too_often: bool,
}

impl Recurrence {
    /// There was none like it.
    pub(crate) const FIRST: Self = Self {
        repeated: false,
        too_often: false,
    };

    /// Whether somebody has to be told at all.
    pub(crate) const fn is_news(self) -> bool {
        !self.repeated && !self.too_often
    }
}

/// Why something was refused: the reason, whether it was what the call acts on that was refused, and the limit that was
/// in the way, if one was.
pub(super) type Why = (&'static str, bool, Option<Kind>);

/// What tells refusals of one server apart.
#[derive(Debug)]
pub(super) struct Recurrences {
    once: Limit,
    of_one: Limit,
    of_address: NetworkLimit,
    of_strangers: Limit,
}

impl Recurrences {
    pub(super) fn new(ledger: &Ledger, server: &str) -> Self {
        Self {
            once: Limit::new(ledger, ("once", server), ONCE),
            of_one: Limit::new(ledger, ("one", server), OF_ONE),
            of_address: NetworkLimit::new(ledger, ("strangers", server), OF_ADDRESS),
            of_strangers: Limit::new(ledger, ("all strangers", server), OF_STRANGERS),
        }
    }

    /// Whether this invented token is not the one of a moment ago.
    pub(super) fn is_new_token(&self, ledger: &Ledger, token: &str, now: Duration) -> bool {
        self.once.take(ledger, ("token", token), now).is_ok()
    }

    /// Takes note of a refusal.
    pub(super) fn of(
        &self,
        ledger: &Ledger,
        why: Why,
        about: &Circumstances<'_>,
        now: Duration,
    ) -> Recurrence {
        let (reason, _, limit) = why;
        let head = about.watch.head();
        if let Some(principal) = &about.principal {
            let caller = Caller::of(principal, head);
            let Objects { asked, named } = Objects::of(why, about);
            return Recurrence {
                repeated: self
                    .once
                    .take(ledger, (caller, asked, reason, limit), now)
                    .is_err(),
                too_often: self
                    .of_one
                    .take(ledger, (caller, named, reason, limit), now)
                    .is_err(),
            };
        }
        // Nobody knows who that is: only where they are, and what they sent instead of a good token.
        let network = head.extensions.get::<PeerAddress>().map(|peer| peer.network());
        let of_address = network.map_or(Ok(()), |network| self.of_address.take(ledger, network, now));
        let of_all = of_address.and_then(|()| self.of_strangers.take(ledger, (), now));
        // What they invent is not remembered any more when there is too much of it: others are remembered here, too.
        let credential = head.headers.get(AUTHORIZATION);
        let credential = credential.filter(|_| limit.is_none() && of_all.is_ok());
        let told = (network, credential.map(HeaderValue::as_bytes), reason, limit);
        Recurrence {
            repeated: self.once.take(ledger, told, now).is_err(),
            too_often: of_all.is_err(),
        }
    }

    /// Takes back the note of a refusal to somebody who is known, of which `noted` was said: they were not told.
    pub(super) fn forget(&self, ledger: &Ledger, why: Why, about: &Circumstances<'_>, noted: Recurrence) {
        let Some(principal) = &about.principal else {
            return;
        };
        let (reason, _, limit) = why;
        let caller = Caller::of(principal, about.watch.head());
        let Objects { asked, named } = Objects::of(why, about);
        if !noted.repeated {
            self.once.give_back(ledger, (caller, asked, reason, limit));
        }
        if !noted.too_often {
            self.of_one.give_back(ledger, (caller, named, reason, limit));
        }
    }
}

/// A method, and the name of what it acts on.
type Object<'a> = (Option<&'a str>, Option<&'a str>);

/// What a refusal was about.
struct Objects<'a> {
    asked: Option<Object<'a>>,
    /// The same where names make a difference: whoever invents some is stopped by `refused` where they are judged.
    named: Option<Object<'a>>,
}

impl<'a> Objects<'a> {
    fn of((_, by_policy, limit): Why, about: &'a Circumstances<'_>) -> Self {
        let asked = match limit {
            // Whatever it was about, the same limit was in the way.
            Some(kind) if kind != Kind::Tool => None,
            _ => about.summary.as_ref().map(|call| (call.method(), call.name())),
        };
        Self {
            asked,
            named: asked.filter(|_| by_policy || limit.is_some()),
        }
    }
}
