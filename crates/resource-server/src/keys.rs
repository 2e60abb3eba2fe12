//! Where the issuer's keys come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use doorward_jose::JwkSet;

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
