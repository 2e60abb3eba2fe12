//! A key set that is fetched, and kept fresh.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_jose::JwkSet;
use doorward_outbound::{Destination, Fetch, FetchError};
use doorward_types::id::KeyId;
use doorward_types::time::Clock;
use doorward_types::url::Issuer;
use tokio::sync::watch;
use url::{Position, Url};

use crate::keys::{KeySnapshot, KeySource, LocalKeys, Renewal};
use crate::statements::{jwks_uri, metadata_urls};

/// A set is fresh for at least and at most so long, whatever its headers say.
const SHORTEST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a set is used after it was fresh, while there is no newer one. Without a bound, whoever holds a key that was
/// withdrawn and keeps us from the source would be believed for ever.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// From the beginning of a fetch to that of the next, whoever asks for it.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// The keys of an issuer, fetched when they are first needed.
///
/// One fetch at a time, and at most one in 10 seconds, however many tokens name unknown keys. While the source fails, or
/// gives no usable key, the last good set stays for 24 hours after it was fresh; tokens whose key is in it never wait.
pub struct RemoteKeys(Arc<Inner>);

struct Inner {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    source: Source,
    keys: LocalKeys,
    state: Mutex<State>,
}

enum Source {
    Set(Url),
    Issuer(Issuer),
}

#[derive(Default)]
struct State {
    began: Option<Duration>,
    /// `None` as long as there is no set.
    fresh_until: Option<Duration>,
    kept_until: Option<Duration>,
    flight: Option<watch::Receiver<()>>,
}

impl RemoteKeys {
    /// The keys at `url`, which the operator wrote down.
    #[must_use]
    pub fn at(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>, url: Url) -> Self {
        Self::new(fetch, clock, Source::Set(url))
    }

    /// The keys that the metadata of `issuer` names (RFC 8414, or OpenID Connect Discovery).
    #[must_use]
    pub fn of_issuer(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>, issuer: Issuer) -> Self {
        Self::new(fetch, clock, Source::Issuer(issuer))
    }

    fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>, source: Source) -> Self {
        Self(Arc::new(Inner {
            fetch,
            clock,
            source,
            keys: LocalKeys::new(JwkSet::empty()),
            state: Mutex::default(),
        }))
    }

    /// The fetch that is under way, or a new one if the last began long enough ago. It runs on its own: a request that
    /// goes away does not end it for the others.
    fn fetch(&self) -> Option<watch::Receiver<()>> {
        let now = self.0.clock.monotonic();
        let mut state = self.0.state();
        if let Some(flight) = &state.flight {
            return Some(flight.clone());
        }
        let cooled = |began: Duration| now >= began.saturating_add(COOL_DOWN);
        if !state.began.is_none_or(cooled) {
            return None;
        }
        let (ended, flight) = watch::channel(());
        state.began = Some(now);
        state.flight = Some(flight.clone());
        drop(state);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            inner.renew().await;
            // Those who wait are told by its end.
            drop(ended);
        });
        Some(flight)
    }

    /// Starts a fetch if the set is no longer fresh. Nobody waits for it.
    fn refresh(&self) {
        let stale = {
            let mut state = self.0.state();
            let now = self.0.clock.monotonic();
            let stale = state.flight.is_none() && state.fresh_until.is_some_and(|until| now >= until);
            self.0.give_up_old(&mut state, now);
            stale
        };
        if stale && tokio::runtime::Handle::try_current().is_ok() {
            let _under_way = self.fetch();
        }
    }
}

impl KeySource for RemoteKeys {
    fn current(&self) -> Arc<KeySnapshot> {
        self.0.keys.current()
    }

    fn generation(&self) -> u64 {
        self.refresh();
        self.0.keys.generation()
    }

    fn renew(&self, wanted: &KeyId) -> Option<Renewal<'_>> {
        let current = self.0.keys.current();
        if current.keys.keys().iter().any(|key| key.key_id() == Some(wanted)) {
            return None;
        }
        let mut flight = self.fetch()?;
        Some(Box::pin(async move {
            // `Err` is what is waited for: the sender is gone.
            while flight.changed().await.is_ok() {}
        }))
    }

    fn is_ready(&self) -> bool {
        self.0.state().fresh_until.is_some()
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of a set that could not be renewed for too long.
    fn give_up_old(&self, state: &mut State, now: Duration) {
        if state.kept_until.is_some_and(|until| now >= until) {
            tracing::error!(source = %self.source, "keys: given up, because they could not be renewed for too long");
            (state.fresh_until, state.kept_until) = (None, None);
            self.keys.replace(JwkSet::empty());
        }
    }

    async fn renew(&self) {
        let loaded = self.load().await;
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.flight = None;
        match loaded {
            Ok((keys, fresh_for)) => {
                // The same keys leave what was verified with them verified.
                if self.keys.current().keys != keys {
                    tracing::info!(source = %self.source, keys = keys.keys().len(), "keys: loaded");
                    self.keys.replace(keys);
                }
                let fresh_until = now.saturating_add(fresh_for);
                state.fresh_until = Some(fresh_until);
                state.kept_until = Some(fresh_until.saturating_add(KEPT));
            }
            Err(error) => {
                tracing::warn!(source = %self.source, %error, "keys: not loaded");
                // The last good set is tried to be renewed as soon as that is allowed again.
                state.fresh_until = state.fresh_until.map(|until| until.min(now));
                self.give_up_old(&mut state, now);
            }
        }
    }

    async fn load(&self) -> Result<(JwkSet, Duration), FetchError> {
        let (url, destination) = match &self.source {
            Source::Set(url) => (url.clone(), Destination::Configured),
            Source::Issuer(issuer) => self.discover(issuer).await?,
        };
        let fetched = self.fetch.fetch(&url, destination).await?;
        let keys = JwkSet::parse(&fetched.body).map_err(|_| FetchError::NotAKeySet)?;
        if keys.keys().is_empty() {
            return Err(FetchError::NotAKeySet);
        }
        let fresh_for = fetched.fresh_for.unwrap_or_default().clamp(SHORTEST, LONGEST);
        Ok((keys, fresh_for))
    }

    /// Where the issuer's keys are. The issuer was written down by the operator; what it names on another origin was
    /// not, so only public addresses are dialled there.
    async fn discover(&self, issuer: &Issuer) -> Result<(Url, Destination), FetchError> {
        let mut last = FetchError::NotAKeySet;
        for place in metadata_urls(issuer) {
            let place = Url::parse(&place).map_err(|_| FetchError::NotHttps)?;
            let body = match self.fetch.fetch(&place, Destination::Configured).await {
                Ok(fetched) => fetched.body,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match jwks_uri(&body, issuer) {
                Ok(named) => {
                    let named = Url::parse(&named).map_err(|_| FetchError::NotHttps)?;
                    let same = named[..Position::BeforePath] == place[..Position::BeforePath];
                    let destination = match same {
                        true => Destination::Configured,
                        false => Destination::Named {
                            by_loopback_peer: false,
                        },
                    };
                    return Ok((named, destination));
                }
                Err(problem) => tracing::warn!(%place, %problem, "keys: metadata not used"),
            }
        }
        Err(last)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(url) => f.write_str(&url[..Position::AfterPath]),
            Self::Issuer(issuer) => issuer.fmt(f),
        }
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteKeys({})", self.0.source)
    }
}
