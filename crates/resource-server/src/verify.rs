//! Verification: from a token to whom it speaks for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use doorward_jose::{ClaimError, JwsError, MAX_TOKEN, UnverifiedJws, VerifyError};
use doorward_types::digest::Digest;
use doorward_types::id::Tenant;
use doorward_types::time::{Clock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};
use http::StatusCode;

use crate::access_token::AccessToken;
use crate::bearer::UnverifiedToken;
use crate::cache::{self, TokenCache, Verified};
use crate::claims::{check_lifetime, is_expired, read};
use crate::keys::KeySource;
use crate::principal::Principal;
use crate::revocation::Revocations;

/// How far the issuer's clock and ours may be apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Why a token may not enter. The text is for the `error_description` of the challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not a compact JWS that we read (RFC 7515, RFC 8725).
    #[error("the access token is not valid: {0}")]
    Malformed(#[from] JwsError),
    /// Signed with a key we do not know, or with another algorithm than the key's; or it names no key.
    #[error("the access token was not signed with a key of this server")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the signature of the access token is not valid")]
    BadSignature,
    /// `typ` is not `at+jwt` (RFC 9068 §4).
    #[error("this is not an access token")]
    WrongType,
    /// It has claims of an OpenID Connect ID token.
    #[error("an ID token is not an access token")]
    IdToken,
    /// `iss` is another (RFC 9068 §4).
    #[error("the access token is from another issuer")]
    WrongIssuer,
    /// `aud` is not exactly this resource (RFC 8707 §2, RFC 9068 §4).
    #[error("the access token is for another resource")]
    WrongAudience,
    /// `tenant` is another.
    #[error("the access token is for another tenant")]
    WrongTenant,
    /// `cnf`: it is bound to a key and must not be taken from a bearer (RFC 9449 §7.2).
    #[error("the access token is bound to a key and cannot be used as a bearer token")]
    SenderConstrained,
    /// A required claim is not there.
    #[error("the access token lacks the claim {0}")]
    MissingClaim(&'static str),
    /// A claim has the wrong type or form.
    #[error("the claim {0} of the access token is not valid")]
    BadClaim(&'static str),
    /// `exp` is over, leeway included.
    #[error("the access token has expired")]
    Expired,
    /// `iat` or `nbf` lies in the future, beyond leeway.
    #[error("the access token is not valid yet")]
    NotYetValid,
    /// It, its user or its client was revoked.
    #[error("the access token was revoked")]
    Revoked,
    /// The authorization server says that it does not work, and nothing more (RFC 7662 §2.2).
    #[error("the authorization server says that the access token does not work")]
    Inactive,
    /// Nothing can be said about the token: nothing was heard of revocations for [`crate::MAX_BLINDNESS`], or the
    /// authorization server gives neither keys nor answers. Not a `401`, because logging in again would not help.
    #[error("access tokens cannot be checked at the moment: try again shortly")]
    Blind,
}

impl TokenRefusal {
    /// `401`, or `503` when the fault is ours.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Blind => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// A stable word for metrics and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::WrongType => "wrong_type",
            Self::IdToken => "id_token",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::WrongTenant => "wrong_tenant",
            Self::SenderConstrained => "sender_constrained",
            Self::MissingClaim(_) => "missing_claim",
            Self::BadClaim(_) => "bad_claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::Inactive => "inactive",
            Self::Blind => "blind",
        }
    }

    /// Whether the same token will be refused again as long as the keys stay the same: what depends on the
    /// time or on revocations is judged anew each time.
    pub(crate) const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Expired | Self::NotYetValid | Self::Revoked | Self::Inactive | Self::Blind
        )
    }
}

impl From<ClaimError> for TokenRefusal {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Missing(name) => Self::MissingClaim(name),
            ClaimError::WrongType(name) => Self::BadClaim(name),
        }
    }
}

impl From<VerifyError> for TokenRefusal {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::NoKeyId | VerifyError::UnknownKey | VerifyError::AlgorithmMismatch => {
                Self::UnknownKey
            }
            VerifyError::BadSignature => Self::BadSignature,
        }
    }
}

/// May this token enter? Verifiers give an [`AccessToken`]; the one for Doorward's own tokens ([`JwtVerifier`]) an
/// `Arc<`[`Principal`]`>`.
///
/// A verifier of your own ends with [`UnverifiedToken::accept`], after it has made sure that whoever issued the token
/// says what it hands over.
pub trait TokenVerifier<T = AccessToken>: Send + Sync + 'static {
    /// Judges `token` for `resource`, and for nothing else. Await the result.
    fn verify<'a>(&'a self, resource: &'a ResourceUri, token: UnverifiedToken<'a>) -> Verification<'a, T>;

    /// What is remembered of `token`, good or bad, and judged as [`TokenVerifier::verify`] would now, without work that
    /// somebody who invents tokens could ask for. `None` if nothing is, and from verifiers that remember nothing.
    fn recall(&self, resource: &ResourceUri, token: UnverifiedToken<'_>) -> Option<Result<T, TokenRefusal>> {
        let _ = (resource, token);
        None
    }
}

type Verdict<T> = Result<T, TokenRefusal>;

/// A verdict, or the way to it. A plain boxed future would cost an allocation at every call, also where the
/// verdict is known at once; this costs one only where there is something to wait for.
pub struct Verification<'a, T = AccessToken>(State<'a, T>);

enum State<'a, T> {
    Known(Option<Verdict<T>>),
    Awaited(Pin<Box<dyn Future<Output = Verdict<T>> + Send + 'a>>),
}

impl<'a, T> Verification<'a, T> {
    /// The verdict is known.
    #[must_use]
    pub const fn known(verdict: Result<T, TokenRefusal>) -> Self {
        Self(State::Known(Some(verdict)))
    }

    /// The verdict has to be waited for.
    #[must_use]
    pub fn awaited(verdict: impl Future<Output = Result<T, TokenRefusal>> + Send + 'a) -> Self {
        Self(State::Awaited(Box::pin(verdict)))
    }
}

// Nothing in it is pinned in place: the awaited future has a box of its own.
impl<T> Unpin for Verification<'_, T> {}

impl<T> Future for Verification<'_, T> {
    type Output = Verdict<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict<T>> {
        match &mut self.0 {
            // Nobody may poll after the end; if somebody does, no verdict is the safe answer.
            State::Known(verdict) => verdict.take().map_or(Poll::Pending, Poll::Ready),
            State::Awaited(future) => future.as_mut().poll(context),
        }
    }
}

impl<T> fmt::Debug for Verification<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification").finish_non_exhaustive()
    }
}

/// What a [`JwtVerifier`] trusts and asks.
pub struct JwtVerifierSettings {
    /// The one issuer, compared byte for byte.
    pub issuer: Issuer,
    /// The tenant whose tokens these are.
    pub tenant: Tenant,
    /// The issuer's keys.
    pub keys: Arc<dyn KeySource>,
    /// What was revoked.
    pub revocations: Arc<dyn Revocations>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many verified tokens are remembered.
    pub cache_capacity: usize,
}

impl fmt::Debug for JwtVerifierSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifierSettings")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Verifies RFC 9068 access tokens of one issuer.
pub struct JwtVerifier {
    settings: JwtVerifierSettings,
    cache: TokenCache<Arc<Principal>>,
    first_seen: Option<FirstSeen>,
}

/// Is told of every token that is accepted for the first time, with whom it speaks for.
pub type FirstSeen = Box<dyn Fn(&Principal) + Send + Sync>;

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl JwtVerifier {
    /// A verifier that has seen nothing yet.
    #[must_use]
    pub fn new(settings: JwtVerifierSettings) -> Self {
        let cache = TokenCache::new(settings.cache_capacity.max(1));
        Self {
            settings,
            cache,
            first_seen: None,
        }
    }

    /// Tells `first_seen` of tokens that are accepted and were not remembered. What is remembered costs nothing more.
    #[must_use]
    pub fn telling(mut self, first_seen: FirstSeen) -> Self {
        self.first_seen = Some(first_seen);
        self
    }

    /// [`TokenVerifier::verify`] without a future: nothing here has to be waited for.
    pub fn judge(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Result<Arc<Principal>, TokenRefusal> {
        // Before hashing: what it costs to refuse must not grow with what is sent.
        if token.expose().len() > MAX_TOKEN {
            return Err(JwsError::TooLong.into());
        }
        let now = self.settings.clock.now();
        let key = cache::key(resource, token);
        if let Some(verdict) = self.judge_remembered(&key, now) {
            return verdict;
        }
        let snapshot = self.settings.keys.current();
        let judged = self.settings.revocations.generation();
        match self.judge_unseen(resource, token, &snapshot.keys, now) {
            Ok(principal) => {
                if let Some(first_seen) = &self.first_seen {
                    first_seen(&principal);
                }
                let verified = Arc::new(Verified::new(principal, snapshot.generation, judged));
                self.cache.remember(key, Arc::clone(&verified));
                Ok(Arc::clone(&verified.bearer))
            }
            Err(refusal) => {
                if refusal.is_final() {
                    self.cache.remember_bad(key, refusal, snapshot.generation);
                }
                Err(refusal)
            }
        }
    }

    fn judge_remembered(&self, key: &Digest, now: UnixTime) -> Option<Result<Arc<Principal>, TokenRefusal>> {
        let keys = self.settings.keys.generation();
        let Some(verified) = self.cache.verified(key, keys) else {
            return self.cache.bad(key, keys).map(Err);
        };
        let verdict = self.judge_again(&verified, now);
        if matches!(verdict, Err(TokenRefusal::Expired | TokenRefusal::Revoked)) {
            self.cache.forget(key);
        }
        Some(verdict)
    }

    /// How many verified tokens are remembered now, for metrics.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// What can have changed about a token since its signature was verified.
    fn judge_again(&self, verified: &Verified<Arc<Principal>>, now: UnixTime) -> Verdict<Arc<Principal>> {
        if is_expired(verified.bearer.expires(), now) {
            return Err(TokenRefusal::Expired);
        }
        // It was minted under a clock that turned out to be ahead (FT-10).
        if verified.bearer.issued() > now.plus(LEEWAY) {
            return Err(TokenRefusal::NotYetValid);
        }
        // Read before asking, see `Revocations::generation`.
        let generation = self.settings.revocations.generation();
        if !verified.was_judged_under(generation) {
            if self.settings.revocations.is_revoked(&verified.bearer) {
                return Err(TokenRefusal::Revoked);
            }
            verified.judged_under(generation);
        }
        self.check_sight()?;
        Ok(Arc::clone(&verified.bearer))
    }

    fn judge_unseen(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
        keys: &doorward_jose::JwkSet,
        now: UnixTime,
    ) -> Verdict<Arc<Principal>> {
        let token = UnverifiedJws::parse(token.expose())?.verify_with(keys)?;
        let (facts, not_before) = read(&token, &self.settings.issuer, &self.settings.tenant, resource)?;
        check_lifetime(Some(facts.issued), facts.expires, not_before, now)?;
        let principal = Principal::verified(facts);
        if self.settings.revocations.is_revoked(&principal) {
            return Err(TokenRefusal::Revoked);
        }
        self.check_sight()?;
        Ok(Arc::new(principal))
    }

    fn check_sight(&self) -> Result<(), TokenRefusal> {
        if self.settings.revocations.is_blind(&*self.settings.clock) {
            return Err(TokenRefusal::Blind);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn bad_remembered(&self) -> usize {
        self.cache.bad_len()
    }
}

impl TokenVerifier<Arc<Principal>> for JwtVerifier {
    fn verify<'a>(
        &'a self,
        resource: &'a ResourceUri,
        token: UnverifiedToken<'a>,
    ) -> Verification<'a, Arc<Principal>> {
        Verification::known(self.judge(resource, token))
    }

    fn recall(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Option<Result<Arc<Principal>, TokenRefusal>> {
        if token.expose().len() > MAX_TOKEN {
            return Some(Err(JwsError::TooLong.into()));
        }
        self.judge_remembered(&cache::key(resource, token), self.settings.clock.now())
    }
}
