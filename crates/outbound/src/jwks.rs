//! Key sets of clients (`jwks_uri`, RFC 7591 §2), remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_jose::JwkSet;
use doorward_types::id::KeyId;
use doorward_types::time::Clock;
use url::Url;

use crate::{Destination, Fetch, FetchError};

/// The most keys a client's set may have.
pub const MAX_CLIENT_KEYS: usize = 32;

/// A set is fresh for at least and at most so long, whatever its headers say.
const SHORTEST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// An unknown key causes a fetch at most so often, per set.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// The most sets that are remembered.
const SETS: usize = 4096;

/// Remembers key sets by URL. While a source fails, its last good set stays.
pub struct JwksCache {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    sets: Mutex<HashMap<(String, Destination), Known>>,
}

#[derive(Clone)]
struct Known {
    set: Option<Arc<JwkSet>>,
    fresh_until: Duration,
    tried: Duration,
}

impl JwksCache {
    /// An empty memory over `fetch`.
    #[must_use]
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        Self {
            fetch,
            clock,
            sets: Mutex::default(),
        }
    }

    /// The key set at `url`, which `destination` named. `wanted` is the key id that a signature names: if the
    /// set does not hold it, the set is fetched again, at most every 10 seconds. The last good set is the answer
    /// while the source fails (DS-04: too long, too slow, too many keys are failures like any other).
    pub async fn keys(
        &self,
        url: &str,
        destination: Destination,
        wanted: Option<&KeyId>,
    ) -> Result<Arc<JwkSet>, FetchError> {
        let key = (url.to_owned(), destination);
        let now = self.clock.monotonic();
        let known = self.known(&key);
        if let Some(known) = &known {
            let holds = |set: &Arc<JwkSet>| {
                wanted.is_none_or(|wanted| set.keys().iter().any(|key| key.key_id() == Some(wanted)))
            };
            let fresh = now < known.fresh_until && known.set.as_ref().is_some_and(holds);
            let tried_just_now = now < known.tried.saturating_add(COOL_DOWN);
            match &known.set {
                Some(set) if fresh || tried_just_now => return Ok(Arc::clone(set)),
                None if tried_just_now => return Err(FetchError::CoolingDown),
                _ => {}
            }
        }
        let last_good = known.and_then(|known| known.set);
        let fetched = self.load(url, destination).await;
        let tried = self.clock.monotonic();
        let (set, fresh_for, answer) = match fetched {
            Ok((set, fresh_for)) => {
                let set = Arc::new(set);
                (Some(Arc::clone(&set)), fresh_for, Ok(set))
            }
            Err(error) => {
                let answer = last_good.clone().ok_or(error);
                (last_good, COOL_DOWN, answer)
            }
        };
        let known = Known {
            set,
            fresh_until: tried.saturating_add(fresh_for),
            tried,
        };
        self.remember(key, known);
        answer
    }

    async fn load(&self, url: &str, destination: Destination) -> Result<(JwkSet, Duration), FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::NotHttps)?;
        let fetched = self.fetch.fetch(&url, destination).await?;
        let set = JwkSet::parse(&fetched.body).map_err(|_| FetchError::NotAKeySet)?;
        if set.keys().is_empty() || set.keys().len() > MAX_CLIENT_KEYS {
            return Err(FetchError::NotAKeySet);
        }
        let fresh_for = fetched.fresh_for.unwrap_or_default().clamp(SHORTEST, LONGEST);
        Ok((set, fresh_for))
    }

    fn known(&self, key: &(String, Destination)) -> Option<Known> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.get(key).cloned()
    }

    fn remember(&self, key: (String, Destination), known: Known) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.len() >= SETS && !sets.contains_key(&key) {
            // Those that never gave a set first, then the one that was tried longest ago.
            let oldest = sets
                .iter()
                .min_by_key(|(_, known)| (known.set.is_some(), known.tried))
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                sets.remove(&oldest);
            }
        }
        sets.insert(key, known);
    }
}

#[cfg(test)]
mod tests;
