//! What must no longer be accepted although it has not expired.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use doorward_records::revocation::{Revocation, Revoked};
use doorward_types::id::{ClientId, FamilyId, TokenId, UserId};
use doorward_types::time::{Clock, UnixTime};

use crate::principal::Principal;
use crate::verify::LEEWAY;

/// Knows what was revoked.
pub trait Revocations: Send + Sync + 'static {
    /// Changes after anything was revoked. A verifier that judged a token under this number need not ask
    /// again while it stays the same; it must read the number *before* it asks.
    fn generation(&self) -> u64;

    /// Whether the token behind `principal` was revoked.
    fn is_revoked(&self, principal: &Principal) -> bool;

    /// When the feed was last read to its end, by [`Clock::monotonic`]; `None` if it never was. A verifier
    /// that has heard nothing for too long refuses everything (`503`): a revocation may have been missed.
    fn heard_at(&self) -> Option<Duration>;

    /// Whether nothing was heard for [`MAX_BLINDNESS`].
    fn is_blind(&self, clock: &dyn Clock) -> bool {
        self.heard_at()
            .is_none_or(|heard| clock.monotonic().saturating_sub(heard) > MAX_BLINDNESS)
    }
}

/// How long a verifier goes on without having heard of the revocation feed.
pub const MAX_BLINDNESS: Duration = Duration::from_secs(60);

const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    expires: UnixTime,
}

#[derive(Debug, Default)]
struct Entries {
    families: HashMap<FamilyId, Entry>,
    users: HashMap<UserId, Entry>,
    clients: HashMap<ClientId, Entry>,
    tokens: HashMap<TokenId, Entry>,
    /// Tokens that knew less than this are refused, whoever's they are.
    everything: Option<Entry>,
    sequence: u64,
}

/// The revocation feed in memory: whoever follows the feed calls [`RevocationSet::apply`] with what is new
/// and [`RevocationSet::heard`] after every successful poll, also of an empty one.
#[derive(Debug)]
pub struct RevocationSet {
    entries: RwLock<Entries>,
    generation: AtomicU64,
    /// Milliseconds, or [`NEVER`].
    heard_at: AtomicU64,
}

impl Default for RevocationSet {
    fn default() -> Self {
        Self::new()
    }
}

impl RevocationSet {
    /// An empty set that never heard of the feed: until [`RevocationSet::heard`] is called, verifiers refuse.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: RwLock::default(),
            generation: AtomicU64::new(0),
            heard_at: AtomicU64::new(NEVER),
        }
    }

    /// Adds entries of the feed; applying one twice, or in another order, changes nothing. When this
    /// returns, no verifier accepts what they revoke.
    pub fn apply(&self, revocations: &[Revocation]) {
        if revocations.is_empty() {
            return;
        }
        let mut entries = self.write();
        for revocation in revocations {
            let entry = Entry {
                sequence: revocation.sequence,
                expires: revocation.expires,
            };
            entries.sequence = entries.sequence.max(revocation.sequence);
            match &revocation.revoked {
                Revoked::Family(family) => merge(&mut entries.families, *family, entry),
                Revoked::User(user) => merge(&mut entries.users, *user, entry),
                Revoked::Client(client) => merge(&mut entries.clients, client.clone(), entry),
                Revoked::Token(token) => merge(&mut entries.tokens, *token, entry),
                Revoked::Everything => {
                    let kept = entries.everything.get_or_insert(entry);
                    kept.sequence = kept.sequence.max(entry.sequence);
                    kept.expires = kept.expires.max(entry.expires);
                }
            }
        }
        drop(entries);
        // After the entries: a verifier that reads the new number finds them.
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that the feed was read to its end, `at` [`Clock::monotonic`] before it was read. Never moves
    /// backwards.
    pub fn heard(&self, at: Duration) {
        let at = u64::try_from(at.as_millis()).map_or(NEVER - 1, |at| at.min(NEVER - 1));
        let later = |heard| (heard == NEVER || heard < at).then_some(at);
        let _: Result<u64, u64> = self
            .heard_at
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// The highest sequence number applied so far: where the next poll of the feed starts.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.read().sequence
    }

    /// Forgets entries whose tokens have all expired, leeway included.
    pub fn prune(&self, now: UnixTime) {
        let live = |entry: &Entry| now < entry.expires.plus(LEEWAY);
        let mut entries = self.write();
        entries.families.retain(|_, entry| live(entry));
        entries.users.retain(|_, entry| live(entry));
        entries.clients.retain(|_, entry| live(entry));
        entries.tokens.retain(|_, entry| live(entry));
        entries.everything = entries.everything.filter(|entry| live(entry));
    }

    /// How many entries there are, for metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        let entries = self.read();
        entries.families.len()
            + entries.users.len()
            + entries.clients.len()
            + entries.tokens.len()
            + usize::from(entries.everything.is_some())
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // A poisoned lock means a panic between two inserts of `apply`; every entry made is valid by itself and
    // more of them only refuse more.
    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Revocations for RevocationSet {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn is_revoked(&self, principal: &Principal) -> bool {
        let entries = self.read();
        let later = |entry: Option<&Entry>| {
            entry.is_some_and(|entry| principal.revocation_sequence() < entry.sequence)
        };
        // Neither a chain nor a single token comes back, whatever its token claims to have known; users and clients do.
        principal
            .family()
            .is_some_and(|family| entries.families.contains_key(&family))
            || entries.tokens.contains_key(&principal.token_id())
            || later(entries.everything.as_ref())
            || later(entries.users.get(&principal.subject()))
            || later(entries.clients.get(principal.client_id()))
    }

    fn heard_at(&self) -> Option<Duration> {
        match self.heard_at.load(Ordering::SeqCst) {
            NEVER => None,
            at => Some(Duration::from_millis(at)),
        }
    }
}

/// Keeps the larger of both numbers: an older entry that arrives late must not weaken a newer one.
fn merge<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Entry>, key: K, entry: Entry) {
    let kept = map.entry(key).or_insert(entry);
    kept.sequence = kept.sequence.max(entry.sequence);
    kept.expires = kept.expires.max(entry.expires);
}
