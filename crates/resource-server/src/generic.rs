//! RFC 9068 access tokens of any issuer.

use std::fmt;
use std::sync::Arc;

use doorward_jose::{JwsError, MAX_TOKEN, UnverifiedJws};
use doorward_types::id::{KeyId, Tenant};
use doorward_types::time::{Clock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};

use crate::access_token::AccessToken;
use crate::bearer::UnverifiedToken;
use crate::cache::{self, TokenCache, Verified};
use crate::claims::{is_expired, read_generic};
use crate::keys::KeySource;
use crate::verify::{LEEWAY, TokenRefusal, TokenVerifier, Verification};

/// What a [`Rfc9068Verifier`] trusts and asks.
pub struct Rfc9068Settings {
    /// The one issuer, compared byte for byte.
    pub issuer: Issuer,
    /// The one tenant of that issuer, if it has several: the claim `tenant` must name it.
    pub tenant: Option<Tenant>,
    /// The issuer's keys.
    pub keys: Arc<dyn KeySource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many verified tokens are remembered.
    pub cache_capacity: usize,
}

impl fmt::Debug for Rfc9068Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rfc9068Settings")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Verifies access tokens of any issuer that follows RFC 9068: `typ` is `at+jwt`, `aud` is exactly the resource, and
/// every claim that the RFC requires is there. A token is good until it expires: who has to know of a revocation
/// earlier asks the issuer (introspection).
pub struct Rfc9068Verifier {
    settings: Rfc9068Settings,
    cache: TokenCache<AccessToken>,
}

impl fmt::Debug for Rfc9068Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rfc9068Verifier").field(&self.settings).finish()
    }
}

impl Rfc9068Verifier {
    /// A verifier that has seen nothing yet.
    #[must_use]
    pub fn new(settings: Rfc9068Settings) -> Self {
        let cache = TokenCache::new(settings.cache_capacity.max(1));
        Self { settings, cache }
    }

    /// Judges with the keys that are there.
    pub fn judge(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Result<AccessToken, TokenRefusal> {
        // Before hashing: what it costs to refuse must not grow with what is sent.
        if token.expose().len() > MAX_TOKEN {
            return Err(JwsError::TooLong.into());
        }
        let now = self.settings.clock.now();
        let generation = self.settings.keys.generation();
        let key = cache::key(resource, token);
        if let Some(verified) = self.cache.verified(&key, generation) {
            let verdict = judge_again(&verified.bearer, now);
            if verdict == Err(TokenRefusal::Expired) {
                self.cache.forget(&key);
            }
            return verdict;
        }
        if let Some(refusal) = self.cache.bad(&key, generation) {
            return Err(refusal);
        }
        let snapshot = self.settings.keys.current();
        match self.judge_unseen(resource, token, &snapshot.keys, now) {
            Ok(bearer) => {
                let verified = Arc::new(Verified::new(bearer.clone(), snapshot.generation, 0));
                self.cache.remember(key, verified);
                Ok(bearer)
            }
            Err(refusal) => {
                if refusal.is_final() {
                    self.cache.remember_bad(key, refusal, snapshot.generation);
                }
                Err(refusal)
            }
        }
    }

    fn judge_unseen(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
        keys: &doorward_jose::JwkSet,
        now: UnixTime,
    ) -> Result<AccessToken, TokenRefusal> {
        let verified = UnverifiedJws::parse(token.expose())?.verify_with(keys)?;
        let facts = read_generic(&verified, &self.settings.issuer, resource)?;
        if self.settings.tenant.is_some() && self.settings.tenant != facts.tenant {
            return Err(TokenRefusal::WrongTenant);
        }
        token.accept(facts, resource, now)
    }

    /// The key to look for, if newer keys could change the verdict. A token that does not even claim to be of this
    /// issuer makes us fetch nothing.
    fn wanted(&self, token: UnverifiedToken<'_>) -> Option<KeyId> {
        let token = UnverifiedJws::parse(token.expose()).ok()?;
        let ours = token.issuer() == Some(self.settings.issuer.as_str());
        ours.then(|| token.key_id().cloned())?
    }

    /// An unknown key says nothing about a token as long as no key is known.
    fn seen(&self, verdict: Result<AccessToken, TokenRefusal>) -> Result<AccessToken, TokenRefusal> {
        match verdict {
            Err(TokenRefusal::UnknownKey) if !self.settings.keys.is_ready() => Err(TokenRefusal::Blind),
            verdict => verdict,
        }
    }
}

/// What can have changed about a token since it was verified.
fn judge_again(token: &AccessToken, now: UnixTime) -> Result<AccessToken, TokenRefusal> {
    if is_expired(token.expires(), now) {
        return Err(TokenRefusal::Expired);
    }
    if token.issued().is_some_and(|issued| issued > now.plus(LEEWAY)) {
        return Err(TokenRefusal::NotYetValid);
    }
    Ok(token.clone())
}

impl TokenVerifier for Rfc9068Verifier {
    fn verify<'a>(&'a self, resource: &'a ResourceUri, token: UnverifiedToken<'a>) -> Verification<'a> {
        let verdict = self.judge(resource, token);
        if verdict == Err(TokenRefusal::UnknownKey)
            && let Some(wanted) = self.wanted(token)
            && let Some(renewal) = self.settings.keys.renew(&wanted)
        {
            return Verification::awaited(async move {
                renewal.await;
                self.seen(self.judge(resource, token))
            });
        }
        Verification::known(self.seen(verdict))
    }
}
