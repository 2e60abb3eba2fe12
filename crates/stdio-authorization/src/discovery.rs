//! What is known of an authorization server: from the configuration, or from its own metadata (RFC 8414, OpenID Connect Discovery).

use doorward_client::discover::{Discovered, FindServer, FoundResource, ServerChoice};
use doorward_client::error::Error;
use doorward_client::http::Http;
use doorward_client::machine::drive;
use doorward_client::named_url::UrlPolicy;
use doorward_client::resource_metadata::ResourceMetadata;
use doorward_client::server_metadata::{ServerMetadata, Source};
use doorward_types::scope::ScopeSet;
use url::Url;

use crate::settings::{AuthorizationServer, names};

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
        scopes_supported: metadata.scopes_supported.as_ref().map(names).unwrap_or_default(),
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
