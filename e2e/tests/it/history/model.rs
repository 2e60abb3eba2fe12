//! The reference model: what any sequence of answers may look like, whenever the server was killed.
//!
//! Every request gets a number when it is sent and another when its answer arrived whole (or never). Of two
//! requests, one is *before* the other when its answer came before the other was sent; else they are concurrent
//! and may have happened in either order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To approve: gives a code.
    Approve,
    /// To redeem a code.
    Redeem { code: String },
    /// To rotate a refresh token.
    Refresh { token: String },
    /// To let a call pass.
    Call { access: String, chain: String },
    /// To end the chain of a refresh token.
    Revoke { chain: String },
    /// To register a client.
    Register { name: String },
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Nothing, or half of something: nobody knows what became of it.
    Nothing,
    /// Not now.
    Unavailable,
    /// No: `invalid_grant` or 401.
    Refused,
    /// A code.
    Code(String),
    /// Tokens of a chain.
    Tokens { chain: String, refresh: String },
    /// Done.
    Done,
    /// Registered under this id.
    Client(String),
    /// What must never be said here.
    Other(String),
}

/// One request with its answer.
#[derive(Clone, Debug)]
struct Entry {
    sent: u64,
    answered: u64,
    asked: Asked,
    answer: Answered,
}

/// Everything that was asked and answered.
#[derive(Debug, Default)]
pub(super) struct Record {
    clock: AtomicU64,
    entries: Mutex<Vec<Entry>>,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Sent(u64);

impl Record {
    pub(super) fn send(&self) -> Sent {
        Sent(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    pub(super) fn answer(&self, sent: &Sent, asked: Asked, answer: Answered) {
        let answered = match answer {
            Answered::Nothing => u64::MAX,
            _ => self.clock.fetch_add(1, Ordering::SeqCst),
        };
        self.entries.lock().unwrap().push(Entry {
            sent: sent.0,
            answered,
            asked,
            answer,
        });
    }

    pub(super) fn asked(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    pub(super) fn judge(&self) -> Verdict {
        let entries = self.entries.lock().unwrap();
        let mut verdict = Verdict::default();
        verdict.count(&entries);
        verdict.forbidden(&entries);
        verdict.one_chain_per_code(&entries);
        verdict.one_successor_per_token(&entries);
        verdict.revoked_stays_revoked(&entries);
        verdict.nobody_is_locked_out(&entries);
        verdict.clients_persist(&entries);
        verdict
    }
}

/// What the model says.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) violations: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Verdict {
    fn violation(&mut self, what: &str, entry: &Entry) {
        self.violations.push(format!("{what}: {entry:?}"));
    }

    fn count(&mut self, entries: &[Entry]) {
        for entry in entries {
            let what = match (&entry.asked, &entry.answer) {
                (_, Answered::Nothing) => "not answered",
                (_, Answered::Unavailable) => "unavailable",
                (Asked::Approve, _) => "approved",
                (Asked::Redeem { .. }, Answered::Tokens { .. }) => "redeemed",
                (Asked::Refresh { .. }, Answered::Tokens { .. }) => "refreshed",
                (Asked::Call { .. }, Answered::Done) => "called",
                (Asked::Revoke { .. }, Answered::Done) => "revoked",
                (Asked::Register { .. }, _) => "registered",
                _ => "refused",
            };
            *self.counts.entry(what).or_default() += 1;
        }
    }

    /// Every kind of thing happened, or the run proves nothing.
    pub(super) fn assert_it_says_something(&self) {
        for what in [
            "not answered",
            "approved",
            "redeemed",
            "refreshed",
            "called",
            "revoked",
            "registered",
        ] {
            assert!(
                self.counts.get(what).is_some_and(|&count| count > 0),
                "{what}: {self}"
            );
        }
    }

    fn forbidden(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Answered::Other(_) = entry.answer {
                self.violation("an answer that is none of those it may be", entry);
            }
        }
    }

    /// I1: of all presentations of a code one at most is answered with tokens.
    fn one_chain_per_code(&mut self, entries: &[Entry]) {
        let mut chains: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in entries {
            if let (Asked::Redeem { code }, Answered::Tokens { chain, .. }) = (&entry.asked, &entry.answer)
                && chains.insert(code, chain).is_some()
            {
                self.violation("I1: a code was redeemed twice", entry);
            }
        }
    }

    /// I1 and I4: however often a token is presented, the chain never forks. Within its grace a token leads to
    /// its successor or, if that was used, to the head; so what a chain gave out lies on one line.
    fn one_successor_per_token(&mut self, entries: &[Entry]) {
        // First answers name the successors: a token whose successor was never presented has exactly one.
        let mut presented: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in entries {
            if let Asked::Refresh { token } = &entry.asked {
                let first = presented.entry(token).or_insert(entry.sent);
                *first = (*first).min(entry.sent);
            }
        }
        let mut unused: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in entries {
            if let (Asked::Refresh { token }, Answered::Tokens { refresh, .. }) =
                (&entry.asked, &entry.answer)
            {
                if token == refresh {
                    self.violation("a token is its own successor", entry);
                }
                // The answer names the head as of some moment while it was asked. If that head was not
                // presented before the answer came, every other answer for the token up to then is the same.
                if presented
                    .get(refresh.as_str())
                    .is_none_or(|&first| first > entry.answered)
                    && let Some(other) = unused.insert(token, refresh)
                    && other != refresh
                    && presented.get(other).is_none_or(|&first| first > entry.answered)
                {
                    self.violation("I1: two successors of one token", entry);
                }
            }
        }
        let mut chain_of: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in entries {
            if let Answered::Tokens { chain, refresh } = &entry.answer
                && let Some(other) = chain_of.insert(refresh, chain)
                && other != chain
            {
                self.violation("I1: a token of two chains", entry);
            }
        }
    }

    /// I3: after a revocation was acknowledged nothing of the chain is good for anything.
    fn revoked_stays_revoked(&mut self, entries: &[Entry]) {
        let mut revoked: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in entries {
            if let (Asked::Revoke { chain }, Answered::Done) = (&entry.asked, &entry.answer) {
                let first = revoked.entry(chain).or_insert(entry.answered);
                *first = (*first).min(entry.answered);
            }
        }
        for entry in entries {
            let chain = match (&entry.asked, &entry.answer) {
                (Asked::Call { chain, .. }, Answered::Done)
                | (Asked::Refresh { .. }, Answered::Tokens { chain, .. }) => chain,
                _ => continue,
            };
            if revoked.get(chain.as_str()).is_some_and(|&at| at < entry.sent) {
                self.violation("I3: revoked, and yet good for something", entry);
            }
        }
    }

    /// I2 and I4: as long as nobody asked to end a chain (by revoking it, or by presenting its code again) its
    /// tokens are never refused.
    fn nobody_is_locked_out(&mut self, entries: &[Entry]) {
        let mut ended: BTreeMap<&str, u64> = BTreeMap::new();
        let mut redeems: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        let mut chain_of_token: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in entries {
            match &entry.asked {
                Asked::Revoke { chain } => {
                    let first = ended.entry(chain).or_insert(entry.sent);
                    *first = (*first).min(entry.sent);
                }
                Asked::Redeem { code } => redeems.entry(code).or_default().push(entry),
                _ => {}
            }
            if let Answered::Tokens { chain, refresh } = &entry.answer {
                chain_of_token.insert(refresh, chain);
            }
        }
        for presentations in redeems.values() {
            let chain = presentations.iter().find_map(|entry| match &entry.answer {
                Answered::Tokens { chain, .. } => Some(chain.as_str()),
                _ => None,
            });
            // Any second presentation ends it; of several the first that could have been the second.
            let mut sent: Vec<u64> = presentations.iter().map(|entry| entry.sent).collect();
            sent.sort_unstable();
            if let (Some(chain), [_, _, ..]) = (chain, sent.as_slice()) {
                let first = ended.entry(chain).or_insert(sent[0]);
                *first = (*first).min(sent[0]);
            }
        }
        for entry in entries.iter().filter(|entry| entry.answer == Answered::Refused) {
            let chain = match &entry.asked {
                Asked::Call { chain, .. } => Some(chain.as_str()),
                Asked::Refresh { token } => chain_of_token.get(token.as_str()).copied(),
                _ => None,
            };
            if let Some(chain) = chain
                && ended.get(chain).is_none_or(|&at| at > entry.answered)
            {
                self.violation("I2: locked out", entry);
            }
        }
    }

    /// I3: the same metadata always give the same client.
    fn clients_persist(&mut self, entries: &[Entry]) {
        let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in entries {
            if let (Asked::Register { name }, Answered::Client(id)) = (&entry.asked, &entry.answer)
                && let Some(other) = ids.insert(name, id)
                && other != id
            {
                self.violation("I3: another client for the same registration", entry);
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (what, count)) in self.counts.iter().enumerate() {
            write!(f, "{}{what} {count}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The model finds what it is there for.
#[test]
fn the_model_finds_each_violation() {
    let found = |story: &[(Asked, Answered)]| {
        let record = Record::default();
        for (asked, answer) in story {
            record.answer(&record.send(), asked.clone(), answer.clone());
        }
        record.judge().violations
    };
    let redeem = || Asked::Redeem { code: "c".into() };
    let refresh = |token: &str| Asked::Refresh { token: token.into() };
    let tokens = |chain: &str, refresh: &str| Answered::Tokens {
        chain: chain.into(),
        refresh: refresh.into(),
    };
    let call = || Asked::Call {
        access: "a".into(),
        chain: "f".into(),
    };
    let revoke = || Asked::Revoke { chain: "f".into() };
    let register = || Asked::Register { name: "n".into() };
    let client = |id: &str| Answered::Client(id.into());
    assert!(
        found(&[
            (redeem(), tokens("f", "r0")),
            (refresh("r0"), tokens("f", "r1")),
            (call(), Answered::Done)
        ])
        .is_empty()
    );
    assert!(
        found(&[
            (redeem(), tokens("f", "r0")),
            (revoke(), Answered::Nothing),
            (call(), Answered::Refused)
        ])
        .is_empty()
    );
    for (story, what) in [
        (
            vec![(redeem(), tokens("f", "r0")), (redeem(), tokens("g", "s0"))],
            "redeemed twice",
        ),
        (
            vec![
                (refresh("r0"), tokens("f", "r1")),
                (refresh("r0"), tokens("f", "r2")),
            ],
            "two successors",
        ),
        (
            vec![
                (refresh("r0"), tokens("f", "r1")),
                (refresh("s0"), tokens("g", "r1")),
            ],
            "two chains",
        ),
        (
            vec![(revoke(), Answered::Done), (call(), Answered::Done)],
            "revoked, and yet",
        ),
        (
            vec![(revoke(), Answered::Done), (refresh("r"), tokens("f", "r1"))],
            "revoked, and yet",
        ),
        (vec![(call(), Answered::Refused)], "locked out"),
        (
            vec![(redeem(), tokens("f", "r0")), (refresh("r0"), Answered::Refused)],
            "locked out",
        ),
        (
            vec![(call(), Answered::Refused), (revoke(), Answered::Done)],
            "locked out",
        ),
        (
            vec![(register(), client("a")), (register(), client("b"))],
            "another client",
        ),
        (vec![(call(), Answered::Other("500".into()))], "none of those"),
    ] {
        let violations = found(&story);
        assert!(
            violations.iter().any(|violation| violation.contains(what)),
            "{what}: {violations:?}"
        );
    }
}
