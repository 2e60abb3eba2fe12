//! What was verified, and what was found bad.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorward_types::digest::Digest;
use doorward_types::url::ResourceUri;
use quick_cache::sync::Cache;

use crate::bearer::UnverifiedToken;
use crate::verify::TokenRefusal;

/// How many bad tokens are remembered. Few: they are worth nothing to anybody but a flood.
const BAD_TOKENS: usize = 1024;

/// Separates these digests from every other use of SHA-256 in Doorward: a stored digest of a secret can
/// never be looked up here, nor the other way round.
const DOMAIN: &[u8] = b"doorward verified token v1\0";

/// SHA-256 over the whole token and the resource. Never over a part of the token (CVE-2026-35030): what was
/// verified is exactly what was hashed, and for this resource only.
pub(crate) fn key(resource: &ResourceUri, token: UnverifiedToken<'_>) -> Digest {
    let resource = resource.as_str().as_bytes();
    let length = u64::try_from(resource.len()).unwrap_or(u64::MAX).to_be_bytes();
    Digest::of_parts(&[DOMAIN, &length, resource, token.expose().as_bytes()])
}

/// A verified token.
pub(crate) struct Verified<T> {
    pub(crate) bearer: T,
    /// The keys it was verified with.
    pub(crate) keys: u64,
    /// The revocations it was last judged under.
    judged: AtomicU64,
}

impl<T> Verified<T> {
    pub(crate) const fn new(bearer: T, keys: u64, judged: u64) -> Self {
        Self {
            bearer,
            keys,
            judged: AtomicU64::new(judged),
        }
    }

    pub(crate) fn was_judged_under(&self, revocations: u64) -> bool {
        self.judged.load(Ordering::SeqCst) == revocations
    }

    /// `revocations` is the generation that was read before judging; a race with another thread can only
    /// store an older one, and then it is judged once more.
    pub(crate) fn judged_under(&self, revocations: u64) {
        self.judged.store(revocations, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy)]
struct Bad {
    refusal: TokenRefusal,
    keys: u64,
}

/// Both caches, bounded. An entry says under which keys it was made and is void under any others, so a new
/// key set ends both what a removed key signed and the memory of tokens whose key was not known yet.
pub(crate) struct TokenCache<T> {
    verified: Cache<Digest, Arc<Verified<T>>>,
    bad: Cache<Digest, Bad>,
}

impl<T> TokenCache<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            verified: Cache::new(capacity),
            bad: Cache::new(BAD_TOKENS),
        }
    }

    pub(crate) fn verified(&self, key: &Digest, keys: u64) -> Option<Arc<Verified<T>>> {
        self.verified.get(key).filter(|entry| entry.keys == keys)
    }

    pub(crate) fn bad(&self, key: &Digest, keys: u64) -> Option<TokenRefusal> {
        self.bad
            .get(key)
            .filter(|entry| entry.keys == keys)
            .map(|entry| entry.refusal)
    }

    pub(crate) fn remember(&self, key: Digest, verified: Arc<Verified<T>>) {
        self.verified.insert(key, verified);
    }

    pub(crate) fn remember_bad(&self, key: Digest, refusal: TokenRefusal, keys: u64) {
        self.bad.insert(key, Bad { refusal, keys });
    }

    pub(crate) fn forget(&self, key: &Digest) {
        self.verified.remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.verified.len()
    }

    #[cfg(test)]
    pub(crate) fn bad_len(&self) -> usize {
        self.bad.len()
    }
}
