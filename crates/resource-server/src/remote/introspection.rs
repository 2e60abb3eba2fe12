//! Asking the authorization server about every token (RFC 7662).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_jose::{JwsError, MAX_TOKEN, UnverifiedJws};
use doorward_outbound::PostForm;
use doorward_types::digest::Digest;
use doorward_types::id::Tenant;
use doorward_types::secret::Secret;
use doorward_types::time::{Clock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};
use http::HeaderValue;
use quick_cache::sync::Cache;
use url::Url;

use crate::access_token::AccessToken;
use crate::bearer::UnverifiedToken;
use crate::cache;
use crate::claims::is_expired;
use crate::statements::introspected;
use crate::verify::{TokenRefusal, TokenVerifier, Verification};

use super::asking::{Flights, Lane, Turn, Verdict};

/// How long an answer is believed: a revoked token works no longer than that.
const BELIEVED: Duration = Duration::from_secs(30);
/// How many bad tokens are remembered, apart from the good ones: whoever invents tokens pushes out only other bad ones.
const BAD_TOKENS: usize = 1024;
/// Questions at once about tokens that were good before, and how many of those wait. Together with those about unseen
/// tokens no more than the places that the fetcher has for one host, so that no question waits there.
const KNOWN_AT_ONCE: usize = 5;
const KNOWN_WAITING: usize = 1024;
/// The same for tokens that were not seen before.
const UNSEEN_AT_ONCE: usize = 3;
const UNSEEN_WAITING: usize = 64;

/// Where and as whom to ask.
#[derive(Clone)]
pub struct Introspection {
    pub(crate) endpoint: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
}

impl Introspection {
    /// The introspection endpoint, and the client that this server is registered as there
    /// (`client_secret_basic`, RFC 6749 §2.3.1).
    #[must_use]
    pub fn new(
        endpoint: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            client_id: client_id.into(),
            client_secret: Secret::new(client_secret),
        }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// What an [`IntrospectionVerifier`] works with.
pub struct IntrospectionSettings {
    /// The introspection endpoint.
    pub endpoint: Url,
    /// As whom it is asked.
    pub client_id: String,
    /// With this secret.
    pub client_secret: Secret,
    /// Whose tokens these are.
    pub issuer: Issuer,
    /// The one tenant of that issuer, if it has several.
    pub tenant: Option<Tenant>,
    /// What asks.
    pub asker: Arc<dyn PostForm>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many answers are remembered.
    pub cache_capacity: usize,
}

/// Judges tokens by asking the authorization server. An answer is believed for 30 seconds, and questions about one token
/// at one time are one question. Without an answer no token enters (`503`).
///
/// Few questions are asked at once. Tokens that were good when they were last asked about have places of their own, so that
/// a flood of invented ones keeps none of them out; of the others, those that find too many waiting are refused at once
/// (`503`). A JWT that names another issuer, or says that it has expired, is refused without a question.
pub struct IntrospectionVerifier {
    settings: IntrospectionSettings,
    authorization: Option<HeaderValue>,
    good: Cache<Digest, Good>,
    bad: Cache<Digest, Bad>,
    flights: Flights,
    known: Lane,
    unseen: Lane,
}

/// A token that worked when it was last asked about, however long ago that was.
#[derive(Clone)]
struct Good {
    token: AccessToken,
    until: Duration,
}

#[derive(Clone, Copy)]
struct Bad {
    refusal: TokenRefusal,
    until: Duration,
}

impl IntrospectionVerifier {
    /// A verifier that has asked nothing yet.
    #[must_use]
    pub fn new(settings: IntrospectionSettings) -> Self {
        let good = Cache::new(settings.cache_capacity.max(1));
        let authorization = authorization(&settings.client_id, settings.client_secret.expose());
        Self {
            settings,
            authorization,
            good,
            bad: Cache::new(BAD_TOKENS),
            flights: Flights::default(),
            known: Lane::new(KNOWN_AT_ONCE, KNOWN_WAITING),
            unseen: Lane::new(UNSEEN_AT_ONCE, UNSEEN_WAITING),
        }
    }

    async fn judge(&self, resource: &ResourceUri, token: UnverifiedToken<'_>) -> Verdict {
        let key = cache::key(resource, token);
        loop {
            if let Some(verdict) = self.remembered(&key) {
                return verdict;
            }
            match self.flights.turn(&key) {
                Turn::Ask(flight) => {
                    // It may have landed between the two looks.
                    let verdict = match self.remembered(&key) {
                        Some(verdict) => verdict,
                        None => self.ask_in_turn(resource, token, key).await,
                    };
                    flight.land(&verdict);
                    return verdict;
                }
                Turn::Wait(waiting) => {
                    if let Some(verdict) = waiting.answer().await {
                        return verdict;
                    }
                }
            }
        }
    }

    /// What was answered, as long as that is believed.
    fn remembered(&self, key: &Digest) -> Option<Verdict> {
        let now = self.settings.clock.monotonic();
        if let Some(good) = self.good.get(key) {
            // It may have expired since.
            if is_expired(good.token.expires(), self.settings.clock.now()) {
                self.good.remove(key);
                return Some(Err(TokenRefusal::Expired));
            }
            return (now < good.until).then_some(Ok(good.token));
        }
        let bad = self.bad.get(key).filter(|bad| now < bad.until);
        bad.map(|bad| Err(bad.refusal))
    }

    async fn ask_in_turn(&self, resource: &ResourceUri, token: UnverifiedToken<'_>, key: Digest) -> Verdict {
        let known = self.good.peek(&key).is_some();
        if !known && let Some(refusal) = self.says_itself(token) {
            return Err(refusal);
        }
        let lane = if known { &self.known } else { &self.unseen };
        let Some(_place) = lane.place().await else {
            tracing::debug!(issuer = %self.settings.issuer, known, "introspection: too many tokens to ask about");
            return Err(TokenRefusal::Blind);
        };
        // From the asking on: an answer that takes its time may be as old as that.
        let until = self.settings.clock.monotonic().saturating_add(BELIEVED);
        let verdict = self.ask(resource, token).await;
        match &verdict {
            Ok(token) => {
                let token = token.clone();
                self.good.insert(key, Good { token, until });
            }
            // What is unknown is not remembered.
            Err(TokenRefusal::Blind) => {}
            Err(refusal) => {
                self.good.remove(&key);
                let refusal = *refusal;
                self.bad.insert(key, Bad { refusal, until });
            }
        }
        verdict
    }

    /// What a JWT says against itself. Nobody is asked about it: our issuer need not see the tokens of others, nor be
    /// made to answer for what has expired.
    fn says_itself(&self, token: UnverifiedToken<'_>) -> Option<TokenRefusal> {
        let token = UnverifiedJws::parse(token.expose()).ok()?;
        if token
            .issuer()
            .is_some_and(|named| named != self.settings.issuer.as_str())
        {
            return Some(TokenRefusal::WrongIssuer);
        }
        let expires = UnixTime::from_seconds(token.expires()?);
        is_expired(expires, self.settings.clock.now()).then_some(TokenRefusal::Expired)
    }

    async fn ask(&self, resource: &ResourceUri, token: UnverifiedToken<'_>) -> Verdict {
        let settings = &self.settings;
        let authorization = self.authorization.clone().ok_or(TokenRefusal::Blind)?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token.expose())
            .append_pair("token_type_hint", "access_token")
            .finish();
        let answer = settings
            .asker
            .post_form(&settings.endpoint, authorization, form)
            .await;
        let answer = answer.map_err(|error| {
            tracing::warn!(issuer = %settings.issuer, %error, "introspection: no answer");
            TokenRefusal::Blind
        })?;
        let facts = introspected(&answer.body, &settings.issuer, resource)?;
        if settings.tenant.is_some() && settings.tenant != facts.tenant {
            return Err(TokenRefusal::WrongTenant);
        }
        token.accept(facts, resource, settings.clock.now())
    }
}

/// `Basic`, each part form-encoded before (RFC 6749 §2.3.1). `None` cannot be: Base64 is header text.
fn authorization(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encode = |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = format!("{}:{}", encode(client_id), encode(secret));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl TokenVerifier for IntrospectionVerifier {
    fn verify<'a>(&'a self, resource: &'a ResourceUri, token: UnverifiedToken<'a>) -> Verification<'a> {
        if token.expose().len() > MAX_TOKEN {
            return Verification::known(Err(JwsError::TooLong.into()));
        }
        Verification::awaited(self.judge(resource, token))
    }
}

impl fmt::Debug for IntrospectionVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionVerifier")
            .field("issuer", &self.settings.issuer)
            .finish_non_exhaustive()
    }
}
