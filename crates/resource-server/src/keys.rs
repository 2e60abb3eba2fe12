//! Where the issuer's keys come from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use doorward_jose::JwkSet;
use doorward_types::id::KeyId;

/// A key set at one moment.
#[derive(Debug)]
pub struct KeySnapshot {
    /// Differs whenever the keys differ.
    pub generation: u64,
    /// The keys.
    pub keys: JwkSet,
}

/// Gives the keys that an issuer's tokens are verified with.
pub trait KeySource: Send + Sync + 'static {
    /// The newest keys.
    fn current(&self) -> Arc<KeySnapshot>;

    /// The generation of [`KeySource::current`], without touching the keys: the hot path asks for it at
    /// every call, so that a removed key ends what it signed at once.
    fn generation(&self) -> u64 {
        self.current().generation
    }

    /// Looks for newer keys because a token names `wanted`, which [`KeySource::current`] does not hold. `None` where
    /// there is nothing to wait for: keys that are pushed in, or a source that was asked a moment ago.
    fn renew(&self, wanted: &KeyId) -> Option<Renewal<'_>> {
        let _ = wanted;
        None
    }

    /// Whether there are keys, or were a moment ago. Otherwise a token of an unknown key is nobody's fault.
    fn is_ready(&self) -> bool {
        true
    }
}

/// Ends when newer keys may be there.
pub type Renewal<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl<K: KeySource + ?Sized> KeySource for Arc<K> {
    fn current(&self) -> Arc<KeySnapshot> {
        (**self).current()
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }

    fn renew(&self, wanted: &KeyId) -> Option<Renewal<'_>> {
        (**self).renew(wanted)
    }

    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }
}

/// The keys of an authorization server in the same process: replaced as a whole when they rotate.
#[derive(Debug)]
pub struct LocalKeys {
    snapshot: ArcSwap<KeySnapshot>,
    generations: AtomicU64,
}

impl LocalKeys {
    /// Starts with `keys`.
    #[must_use]
    pub fn new(keys: JwkSet) -> Self {
        let snapshot = ArcSwap::from_pointee(KeySnapshot { generation: 0, keys });
        Self {
            snapshot,
            generations: AtomicU64::new(1),
        }
    }

    /// Replaces all keys. What was verified with the old ones is verified anew at its next use.
    pub fn replace(&self, keys: JwkSet) {
        let generation = self.generations.fetch_add(1, Ordering::SeqCst);
        self.snapshot.store(Arc::new(KeySnapshot { generation, keys }));
    }
}

impl KeySource for LocalKeys {
    fn current(&self) -> Arc<KeySnapshot> {
        self.snapshot.load_full()
    }

    fn generation(&self) -> u64 {
        self.snapshot.load().generation
    }
}
