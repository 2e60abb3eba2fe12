//! Token chains that were just told that a call needs more scopes than they have.
//!
//! The TypeScript SDK v1 answers such a challenge by refreshing first, without a scope. A refresh gives no more than
//! was granted (RFC 6749 §6), so it meets the same challenge with its new token and gives up, and the person was never
//! asked. Its first refresh after the challenge is therefore answered `interaction_required`: to that SDK, as to
//! others, an error that says nothing against the refresh token, upon which it starts a new authorization with the
//! scopes of the challenge. Nothing is rotated or revoked by it, and who just tries again has new tokens.
//!
//! Nobody else is to meet it: the access token must have a minute left, so that there is no other reason to replace
//! it; the refresh must come soon and name no scope; and it happens once in that time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_types::id::FamilyId;
use doorward_types::time::{Clock, UnixTime};

/// How soon a refresh must come to be taken for the answer to a challenge.
const SOON: Duration = Duration::from_secs(30);
/// Most clients that replace a token before it ends do so when it lives for less time than this. For those that do
/// so earlier [`SOON`] is what keeps them apart, and that it happens once.
const ENDING: Duration = Duration::from_secs(60);
/// Chains that are remembered from one such time; one costs about fifty bytes.
const REMEMBERED: usize = 10_000;

/// Which they are. Cheap to clone; one for the life of the process.
#[derive(Clone)]
pub struct Challenged(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    chains: Mutex<Chains>,
}

/// Those of this time and of the one before: forgetting takes no search.
#[derive(Default)]
struct Chains {
    begun: Duration,
    now: HashMap<FamilyId, Challenge>,
    before: HashMap<FamilyId, Challenge>,
}

#[derive(Clone, Copy)]
struct Challenge {
    at: Duration,
    answered: bool,
}

impl Challenged {
    /// Nobody was told anything yet.
    #[must_use]
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock: Arc::clone(clock),
            chains: Mutex::default(),
        }))
    }

    /// A call with a token of `family`, which ends at `expires`, was told now which scopes it lacks.
    pub fn note(&self, family: FamilyId, expires: UnixTime) {
        if expires < self.0.clock.now().plus(ENDING) {
            return;
        }
        self.with(|chains, at| {
            let is_answered = chains.get(family, at).is_some_and(|challenge| challenge.answered);
            let has_room = chains.now.len() < REMEMBERED || chains.now.contains_key(&family);
            if !is_answered && has_room {
                chains.now.insert(family, Challenge { at, answered: false });
            }
        });
    }

    /// Whether a refresh of `family` that names no scope is to be answered `interaction_required`; the next one is not.
    pub(crate) fn answer(&self, family: FamilyId) -> bool {
        self.with(|chains, at| match chains.get(family, at) {
            Some(challenge) if !challenge.answered => {
                chains.now.insert(family, Challenge { at, answered: true });
                true
            }
            _ => false,
        })
    }

    fn with<R>(&self, act: impl FnOnce(&mut Chains, Duration) -> R) -> R {
        let at = self.0.clock.monotonic();
        let mut chains = self.0.chains.lock().unwrap_or_else(PoisonError::into_inner);
        let age = at.saturating_sub(chains.begun);
        if age >= SOON {
            let last = std::mem::take(&mut chains.now);
            chains.before = if age < SOON * 2 { last } else { HashMap::new() };
            chains.begun = at;
        }
        act(&mut chains, at)
    }
}

impl Chains {
    /// The last one, if it was not too long ago.
    fn get(&self, family: FamilyId, at: Duration) -> Option<Challenge> {
        let found = self.now.get(&family).or_else(|| self.before.get(&family));
        found
            .filter(|challenge| at < challenge.at.saturating_add(SOON))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use doorward_types::random::CountingRandom;
    use doorward_types::time::FixedClock;

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
    const TEN_MINUTES: Duration = Duration::from_mins(10);

    fn challenged() -> (Arc<FixedClock>, Challenged, impl Fn() -> FamilyId) {
        let clock = Arc::new(FixedClock::new(NOW));
        let challenged = Challenged::new(&(Arc::clone(&clock) as Arc<dyn Clock>));
        let random = CountingRandom::default();
        (clock, challenged, move || FamilyId::generate(NOW, &random))
    }

    #[test]
    fn a31_a_refresh_is_answered_once_and_soon_after_the_challenge() {
        let (clock, challenged, family) = challenged();
        let (told, other) = (family(), family());
        assert!(!challenged.answer(told), "nobody was told anything");
        challenged.note(told, NOW.plus(TEN_MINUTES));
        assert!(!challenged.answer(other), "somebody else");
        clock.advance(SOON - Duration::from_millis(1));
        assert!(challenged.answer(told));
        assert!(!challenged.answer(told), "once");
        challenged.note(told, NOW.plus(TEN_MINUTES));
        assert!(!challenged.answer(told), "once in that time");
        clock.advance(SOON);
        challenged.note(told, NOW.plus(TEN_MINUTES));
        assert!(challenged.answer(told));
        challenged.note(other, NOW.plus(TEN_MINUTES));
        clock.advance(SOON);
        assert!(!challenged.answer(other), "too late");
    }

    #[test]
    fn a31_a_token_that_ends_is_replaced_for_that_reason() {
        let (_, challenged, family) = challenged();
        let ending = family();
        challenged.note(ending, NOW.plus(ENDING).minus(Duration::from_millis(1)));
        assert!(!challenged.answer(ending));
        challenged.note(ending, NOW.plus(ENDING));
        assert!(challenged.answer(ending));
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let (clock, challenged, family) = challenged();
        let expires = NOW.plus(TEN_MINUTES);
        let chains: Vec<FamilyId> = (0..=REMEMBERED).map(|_| family()).collect();
        for chain in &chains {
            challenged.note(*chain, expires);
        }
        let answered = chains.iter().filter(|chain| challenged.answer(**chain)).count();
        assert_eq!(answered, REMEMBERED);
        clock.advance(SOON);
        challenged.note(chains[0], expires);
        assert!(challenged.answer(chains[0]));
        clock.advance(SOON * 2);
        challenged.note(chains[1], expires);
        let remembered = challenged.with(|chains, _| chains.now.len() + chains.before.len());
        assert_eq!(remembered, 1);
    }
}
