//! What is known of an authorization server: from the configuration, or from its own metadata (RFC 8414, OpenID Connect Discovery).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_client::discover::{Discovered, FindServer, FoundResource, ServerChoice};
use doorward_client::error::Error;
use doorward_client::http::Http;
use doorward_client::machine::drive;
use doorward_client::named_url::UrlPolicy;
use doorward_client::resource_metadata::ResourceMetadata;
use doorward_client::server_metadata::{ServerMetadata, Source};
use doorward_types::scope::ScopeSet;
use doorward_types::time::Clock;
use url::Url;

use crate::settings::{AuthorizationServer, names};

/// So long what was found is taken: a server may move its endpoints.
const FRESH: Duration = Duration::from_mins(15);
/// So long nobody asks a server again that did not answer.
const QUIET: Duration = Duration::from_secs(10);
/// So long a call waits for metadata.
const CALL: Duration = Duration::from_secs(3);
/// So long a person does, and whoever has nothing else to do.
const PERSON: Duration = Duration::from_secs(45);

/// Why an authorization server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// An address of the configuration.
    #[error("`{url}` is not used: {why}")]
    Address {
        /// As it was written.
        url: String,
        /// Why.
        why: String,
    },
    /// Its metadata.
    #[error("{0}")]
    Metadata(#[source] Box<Error>),
}

impl From<Error> for DiscoveryError {
    fn from(error: Error) -> Self {
        Self::Metadata(Box::new(error))
    }
}

/// The resource as a URL, and what tokens for it are asked with.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The resource.
    pub resource: Url,
    /// What is asked for if no call says otherwise.
    pub scopes: ScopeSet,
}

/// Everything that a login at `server` needs to know: what the configuration says, or what the metadata of its issuer says.
///
/// # Errors
/// [`DiscoveryError`].
pub async fn discover(
    http: &dyn Http,
    wanted: &Wanted,
    server: &AuthorizationServer,
) -> Result<Discovered, DiscoveryError> {
    match (&server.authorization_endpoint, &server.token_endpoint) {
        (Some(authorization), Some(token)) => configured(wanted, server, authorization, token),
        _ => fetched(http, wanted, server).await,
    }
}

fn configured(
    wanted: &Wanted,
    server: &AuthorizationServer,
    authorization: &str,
    token: &str,
) -> Result<Discovered, DiscoveryError> {
    let optional = |text: &Option<String>| text.as_deref().map(judged).transpose();
    Ok(Discovered {
        server: wanted.resource.clone(),
        resource: wanted.resource.to_string(),
        sign_on: None,
        resource_metadata: None,
        authorization_server: ServerMetadata {
            issuer: server.issuer.clone(),
            authorization_endpoint: Some(judged(authorization)?),
            token_endpoint: judged(token)?,
            registration_endpoint: optional(&server.registration_endpoint)?,
            revocation_endpoint: optional(&server.revocation_endpoint)?,
            device_authorization_endpoint: optional(&server.device_authorization_endpoint)?,
            scopes_supported: None,
            response_types_supported: Some(server.response_types_supported.clone()),
            grant_types_supported: Some(server.grant_types_supported.clone()),
            code_challenge_methods_supported: Some(server.code_challenge_methods_supported.clone()),
            token_endpoint_auth_methods_supported: Some(server.token_endpoint_auth_methods_supported.clone()),
            token_endpoint_auth_signing_alg_values_supported: None,
            revocation_endpoint_auth_methods_supported: None,
            authorization_response_iss_parameter_supported: false,
            client_id_metadata_document_supported: false,
            dpop_signing_alg_values_supported: None,
            authorization_grant_profiles_supported: None,
            source: Source::Configured,
        },
    })
}

async fn fetched(
    http: &dyn Http,
    wanted: &Wanted,
    server: &AuthorizationServer,
) -> Result<Discovered, DiscoveryError> {
    let found = FoundResource::Metadata(Box::new(ResourceMetadata {
        url: wanted.resource.clone(),
        resource: wanted.resource.to_string(),
        authorization_servers: vec![server.issuer.clone()],
        scopes_supported: Some(wanted.scopes.clone()).filter(|scopes| !scopes.is_empty()),
        resource_name: None,
        dpop_bound_access_tokens_required: false,
        dpop_signing_alg_values_supported: None,
    }));
    let choice = ServerChoice {
        code_flow: true,
        ..ServerChoice::default()
    };
    let mut finding = FindServer::new(&wanted.resource, found, choice, &UrlPolicy::strict());
    Ok(drive(&mut finding, http).await?)
}

fn judged(text: &str) -> Result<Url, DiscoveryError> {
    UrlPolicy::strict()
        .judge(text)
        .map_err(|why| DiscoveryError::Address {
            url: text.to_owned(),
            why: why.to_string(),
        })
}

/// What the protocol says of a server whose metadata was read.
#[must_use]
pub fn described(server: &AuthorizationServer, metadata: &ServerMetadata) -> AuthorizationServer {
    let text = |url: &Option<Url>| url.as_ref().map(Url::to_string);
    let or =
        |listed: &Option<Vec<String>>, before: &[String]| listed.clone().unwrap_or_else(|| before.to_vec());
    AuthorizationServer {
        issuer: server.issuer.clone(),
        authorization_endpoint: text(&metadata.authorization_endpoint),
        token_endpoint: Some(metadata.token_endpoint.to_string()),
        registration_endpoint: text(&metadata.registration_endpoint),
        revocation_endpoint: text(&metadata.revocation_endpoint),
        device_authorization_endpoint: text(&metadata.device_authorization_endpoint),
        scopes_supported: metadata
            .scopes_supported
            .as_ref()
            .map_or_else(|| server.scopes_supported.clone(), names),
        response_types_supported: or(
            &metadata.response_types_supported,
            &server.response_types_supported,
        ),
        grant_types_supported: or(&metadata.grant_types_supported, &server.grant_types_supported),
        code_challenge_methods_supported: or(
            &metadata.code_challenge_methods_supported,
            &server.code_challenge_methods_supported,
        ),
        token_endpoint_auth_methods_supported: or(
            &metadata.token_endpoint_auth_methods_supported,
            &server.token_endpoint_auth_methods_supported,
        ),
        client_id: server.client_id.clone(),
    }
}

/// What is known of one authorization server by now, for everybody in this process who needs to know it.
pub(crate) struct Known {
    http: Arc<dyn Http>,
    wanted: Wanted,
    /// As it is configured: what was found never takes the place of looking.
    server: AuthorizationServer,
    clock: Arc<dyn Clock>,
    memory: Mutex<Memory>,
    /// One asks at a time.
    one: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Memory {
    /// With when it was found.
    found: Option<(Discovered, Duration)>,
    /// Something that it says did not work.
    doubted: bool,
    /// Why there was no answer, and when.
    failed: Option<(String, Duration)>,
}

impl Known {
    pub(crate) fn new(
        http: Arc<dyn Http>,
        wanted: Wanted,
        server: AuthorizationServer,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            http,
            wanted,
            server,
            clock,
            memory: Mutex::default(),
            one: tokio::sync::Mutex::default(),
        })
    }

    /// The server as it is configured.
    pub(crate) const fn configured(&self) -> &AuthorizationServer {
        &self.server
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn age(&self, when: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(when)
    }

    /// For a call, which does not wait long: what was found, also if it is old and there is nothing newer to be had.
    pub(crate) async fn for_call(self: &Arc<Self>) -> Result<Discovered, String> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let outcome = match self.failed() {
            Some(why) => Err(why),
            None => self.look(CALL).await,
        };
        outcome.or_else(|why| self.memory().found.clone().map(|(found, _)| found).ok_or(why))
    }

    /// For a login: what was found lately, if nothing speaks against it.
    pub(crate) async fn for_login(self: &Arc<Self>) -> Result<Discovered, String> {
        match self.fresh() {
            Some(fresh) => Ok(fresh),
            None => self.renewed().await,
        }
    }

    /// Asks, whatever is known.
    pub(crate) async fn renewed(self: &Arc<Self>) -> Result<Discovered, String> {
        self.look(PERSON).await
    }

    /// Something did not work: the next one asks again.
    pub(crate) fn doubt(&self) {
        self.memory().doubted = true;
    }

    fn fresh(&self) -> Option<Discovered> {
        let memory = self.memory();
        let (found, when) = memory.found.as_ref()?;
        (!memory.doubted && self.age(*when) < FRESH).then(|| found.clone())
    }

    fn failed(&self) -> Option<String> {
        let memory = self.memory();
        let (why, when) = memory.failed.as_ref()?;
        (self.age(*when) < QUIET).then(|| why.clone())
    }

    /// Asks, and goes on asking also if nobody waits any more: the next one has the answer then.
    async fn look(self: &Arc<Self>, patience: Duration) -> Result<Discovered, String> {
        let this = Arc::clone(self);
        let since = self.clock.monotonic();
        let asking = tokio::spawn(async move { this.ask(since).await });
        match tokio::time::timeout(patience, asking).await {
            Ok(asked) => asked.unwrap_or_else(|error| Err(error.to_string())),
            Err(_) => Err(self.note_failure("it has not answered yet".to_owned())),
        }
    }

    fn note_failure(&self, why: String) -> String {
        self.memory().failed = Some((why.clone(), self.clock.monotonic()));
        why
    }

    async fn ask(&self, since: Duration) -> Result<Discovered, String> {
        let _one = self.one.lock().await;
        // Somebody else has asked while this one waited.
        if let Some((found, when)) = &self.memory().found
            && *when > since
        {
            return Ok(found.clone());
        }
        let found = discover(self.http.as_ref(), &self.wanted, &self.server).await;
        let found = found.map_err(|error| {
            let why = error.to_string();
            tracing::warn!(
                issuer = self.server.issuer,
                why,
                "stdio: no metadata of the authorization server"
            );
            self.note_failure(why)
        })?;
        *self.memory() = Memory {
            found: Some((found.clone(), self.clock.monotonic())),
            ..Memory::default()
        };
        Ok(found)
    }
}

#[cfg(test)]
pub(crate) mod tests;
