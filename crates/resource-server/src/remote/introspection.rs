//! Asking the authorization server about every token (RFC 7662).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_jose::{JwsError, MAX_TOKEN};
use doorward_outbound::PostForm;
use doorward_types::digest::Digest;
use doorward_types::id::Tenant;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use doorward_types::url::{Issuer, ResourceUri};
use http::HeaderValue;
use quick_cache::sync::Cache;
use url::Url;

use crate::access_token::AccessToken;
use crate::bearer::UnverifiedToken;
use crate::cache;
use crate::statements::introspected;
use crate::verify::{TokenRefusal, TokenVerifier, Verification};

/// How long an answer is believed: a revoked token works no longer than that.
const BELIEVED: Duration = Duration::from_secs(30);

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
pub struct IntrospectionVerifier {
    settings: IntrospectionSettings,
    authorization: Option<HeaderValue>,
    answers: Cache<Digest, Answer>,
}

#[derive(Clone)]
struct Answer {
    verdict: Result<AccessToken, TokenRefusal>,
    until: Duration,
}

impl IntrospectionVerifier {
    /// A verifier that has asked nothing yet.
    #[must_use]
    pub fn new(settings: IntrospectionSettings) -> Self {
        let answers = Cache::new(settings.cache_capacity.max(1));
        let authorization = authorization(&settings.client_id, settings.client_secret.expose());
        Self {
            settings,
            authorization,
            answers,
        }
    }

    async fn judge(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Result<AccessToken, TokenRefusal> {
        let key = cache::key(resource, token);
        let now = self.settings.clock.monotonic();
        self.answers.remove_if(&key, |answer| now >= answer.until);
        let asked = self.answers.get_or_insert_async(&key, async {
            let verdict = match self.ask(resource, token).await {
                // What is unknown is not remembered.
                Err(TokenRefusal::Blind) => return Err(TokenRefusal::Blind),
                verdict => verdict,
            };
            let until = self.settings.clock.monotonic().saturating_add(BELIEVED);
            Ok(Answer { verdict, until })
        });
        let verdict = asked.await?.verdict?;
        // It may have expired since.
        if crate::claims::is_expired(verdict.expires(), self.settings.clock.now()) {
            return Err(TokenRefusal::Expired);
        }
        Ok(verdict)
    }

    async fn ask(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Result<AccessToken, TokenRefusal> {
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
