//! From a configuration to an authority: what is verified how, and which login this process runs.

use std::sync::Arc;

use doorward_client::http::Http;
use doorward_local_login::network::Network;
use doorward_local_login::store::Store;
use doorward_outbound::{Fetcher, FetcherParts, GuardedClient, SystemResolver, TlsRoots};
use doorward_policy::Pattern;
use doorward_resource_server::remote::{IntrospectionSettings, IntrospectionVerifier, RemoteKeys};
use doorward_resource_server::{Rfc9068Settings, Rfc9068Verifier, TokenVerifier};
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use doorward_types::url::{Issuer, ResourceUri};
use url::Url;

use crate::authority::{LocalAuthority, Login};
use crate::discovery::{Known, Wanted, described};
use crate::github::GitHubTokens;
use crate::own_login::{OwnLogin, OwnLoginParts};
use crate::providers::{Corrected, Provider};
use crate::settings::{AuthorizationServer, Hand, Protects, Settings, ToolScopes};
use crate::verify::{Aloud, ByIssuers, Verify};

/// Verified tokens that are remembered: one person has few.
const REMEMBERED: usize = 64;

/// What one server is configured to ask for, and how.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The name of the server: the end of its resource if none is given.
    pub name: String,
    /// Authorization servers by issuer.
    pub issuers: Vec<String>,
    /// Instead: one that is known by name,
    pub provider: Option<&'static Provider>,
    /// at another address than usual,
    pub provider_url: Option<Url>,
    /// with another API.
    pub api_url: Option<Url>,
    /// The endpoints of a server without metadata.
    pub authorization_endpoint: Option<Url>,
    /// The endpoints of a server without metadata.
    pub token_endpoint: Option<Url>,
    /// Where opaque tokens are asked about.
    pub introspection_endpoint: Option<Url>,
    /// The client that logs in, and that asks about tokens.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// The resource that tokens must be for.
    pub resource: Option<Url>,
    /// What calls need.
    pub scopes: ScopeSet,
    /// Tools that need something else.
    pub tools: Vec<ToolScopes>,
    /// Tools that need nothing.
    pub public_tools: Vec<Pattern>,
    /// What else is protected.
    pub protects: Protects,
    /// What the server behind gets.
    pub hand: Hand,
    /// A token of the environment.
    pub token: Option<Secret>,
    /// The label of the person.
    pub user: String,
    /// Whether this process runs logins.
    pub logs_in: bool,
    /// The port of the redirect URI.
    pub callback_port: Option<u16>,
}

/// What an authority works with.
pub struct Machine {
    /// The network.
    pub client: GuardedClient,
    /// Whose certificates are believed.
    pub roots: TlsRoots,
    /// Where tokens of logins are kept; none if nothing can be kept.
    pub store: Option<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Where a line for the person at the terminal goes.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// An issuer or resource is not one.
    #[error("`{text}` cannot be used: {why}")]
    Url {
        /// As it was written.
        text: String,
        /// Why.
        why: String,
    },
    /// Introspection is asked as somebody.
    #[error(
        "--introspection-endpoint needs --client-id and --client-secret-file: whoever asks about tokens has to say who it is"
    )]
    IntrospectionNeedsClient,
    /// Opaque tokens without anybody to ask.
    #[error(
        "endpoints without metadata say nothing about keys: give --introspection-endpoint, --issuer with metadata, or --provider, so that tokens can be verified"
    )]
    NothingVerifies,
}

/// An authority, and what it finds out in the background.
pub struct Composed {
    /// Who says whether a call may pass.
    pub authority: Arc<LocalAuthority>,
    /// Looks for the metadata of the authorization servers, once, then every hour. Run it beside the wrapper; it ends by being
    /// dropped.
    pub upkeep: Upkeep,
}

/// See [`Composed::upkeep`].
pub struct Upkeep {
    authority: Arc<LocalAuthority>,
    /// In the order of the settings' authorization servers.
    known: Vec<Arc<Known>>,
    settings: Settings,
}

/// Puts an authority together. Nothing is sent yet.
///
/// # Errors
/// [`ComposeError`].
pub fn compose(configuration: &Configuration, machine: Machine) -> Result<Composed, ComposeError> {
    let servers = servers(configuration)?;
    let first = servers.first().ok_or(ComposeError::NothingVerifies)?;
    let resource = match &configuration.resource {
        Some(resource) => resource.clone(),
        None => below(&first.issuer, &configuration.name)?,
    };
    let settings = Settings {
        resource: resource.to_string(),
        authorization_servers: servers.clone(),
        scopes: configuration.scopes.clone(),
        tools: configuration.tools.clone(),
        public_tools: configuration.public_tools.clone(),
        protects: configuration.protects,
        hand: configuration.hand.clone(),
    };
    let asked: Vec<&str> = servers.iter().map(|server| server.issuer.as_str()).collect();
    let verify: Arc<dyn Verify> = Arc::new(Aloud::new(
        verifier(configuration, &machine, &servers, &resource)?,
        asked.join(" and "),
        Arc::clone(&machine.say),
    ));
    let network = Network::new(machine.client.clone(), resource.clone());
    let http: Arc<dyn Http> = match configuration.provider {
        Some(provider) => Arc::new(Corrected::new(Arc::new(network), provider)),
        None => Arc::new(network),
    };
    let wanted = Wanted {
        resource,
        scopes: settings.scopes_supported(),
    };
    let known: Vec<Arc<Known>> = servers
        .iter()
        .map(|server| {
            let clock = Arc::clone(&machine.clock);
            Known::new(Arc::clone(&http), wanted.clone(), server.clone(), clock)
        })
        .collect();
    let login: Option<Arc<OwnLogin>> = match (machine.store, known.first()) {
        (Some(store), Some(known)) if configuration.logs_in => Some(OwnLogin::new(OwnLoginParts {
            name: configuration.name.clone(),
            user: configuration.user.clone(),
            wanted,
            scopes: configuration.scopes.clone(),
            known: Arc::clone(known),
            verify: Arc::clone(&verify),
            provider: configuration.provider,
            client_id: configuration.client_id.clone(),
            client_secret: configuration.client_secret.clone(),
            callback_port: configuration.callback_port,
            http,
            store,
            clock: Arc::clone(&machine.clock),
            random: Arc::clone(&machine.random),
            say: Arc::clone(&machine.say),
        })),
        _ => None,
    };
    let authority = Arc::new(LocalAuthority::new(
        Arc::new(settings.clone()),
        verify,
        configuration.token.clone(),
        login.clone().map(|login| login as Arc<dyn Login>),
    ));
    if let Some(login) = &login {
        login.tell_when_done(&authority);
    }
    let upkeep = Upkeep {
        authority: Arc::clone(&authority),
        known,
        settings,
    };
    Ok(Composed { authority, upkeep })
}

impl Upkeep {
    /// Never ends.
    pub async fn run(mut self) {
        const HOUR: std::time::Duration = std::time::Duration::from_hours(1);
        const RETRY: std::time::Duration = std::time::Duration::from_secs(5);
        let mut retry = RETRY;
        loop {
            if self.look().await {
                retry = RETRY;
                tokio::time::sleep(HOUR).await;
            } else {
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(HOUR);
            }
        }
    }

    /// Asks every server that has no endpoints of its own in the configuration. Whether all answered.
    async fn look(&mut self) -> bool {
        let (mut complete, mut changed) = (true, false);
        for (server, known) in self.settings.authorization_servers.iter_mut().zip(&self.known) {
            // Why not is in the log.
            let Ok(found) = known.renewed().await else {
                complete = false;
                continue;
            };
            let described = described(known.configured(), &found.authorization_server);
            changed |= described != *server;
            *server = described;
        }
        if changed {
            self.authority.update(self.settings.clone());
        }
        complete
    }
}

fn servers(configuration: &Configuration) -> Result<Vec<AuthorizationServer>, ComposeError> {
    let mut servers: Vec<AuthorizationServer> = match configuration.provider {
        Some(provider) => vec![
            provider
                .authorization_server(configuration.provider_url.as_ref())
                .map_err(|error| unusable(provider.base, &error))?,
        ],
        None => configuration
            .issuers
            .iter()
            .map(AuthorizationServer::of_issuer)
            .collect(),
    };
    if let (Some(authorization), Some(token)) = (
        &configuration.authorization_endpoint,
        &configuration.token_endpoint,
    ) {
        if servers.is_empty() {
            // Without an issuer, the origin of the endpoint is what tokens and registrations are bound to.
            servers.push(AuthorizationServer::of_issuer(
                authorization.origin().ascii_serialization(),
            ));
        }
        if let Some(server) = servers.first_mut() {
            server.authorization_endpoint = Some(authorization.to_string());
            server.token_endpoint = Some(token.to_string());
        }
    }
    let scopes = crate::settings::names(&configuration.scopes);
    for server in &mut servers {
        server.scopes_supported.clone_from(&scopes);
        // A client that needs a secret is nobody else's.
        if configuration.client_secret.is_none() {
            server.client_id.clone_from(&configuration.client_id);
        }
    }
    Ok(servers)
}

fn below(issuer: &str, name: &str) -> Result<Url, ComposeError> {
    // Whatever two names have in common afterwards, they had before: one resource is one server.
    let safe: String = name
        .bytes()
        .map(|byte| match byte {
            b'@' | b'/' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let text = format!("{}/stdio/{safe}", issuer.trim_end_matches('/'));
    Url::parse(&text).map_err(|error| unusable(issuer, &error))
}

fn unusable(text: &str, why: &dyn std::fmt::Display) -> ComposeError {
    ComposeError::Url {
        text: text.to_owned(),
        why: why.to_string(),
    }
}

fn verifier(
    configuration: &Configuration,
    machine: &Machine,
    servers: &[AuthorizationServer],
    resource: &Url,
) -> Result<Arc<dyn Verify>, ComposeError> {
    if let Some(provider) = configuration.provider {
        let api = match (&configuration.api_url, &configuration.provider_url) {
            (Some(api), _) => api.clone(),
            (None, Some(base)) => below_api(base)?,
            (None, None) => Url::parse(provider.api).map_err(|error| unusable(provider.api, &error))?,
        };
        let tokens = GitHubTokens::new(machine.client.clone(), &api, Arc::clone(&machine.clock));
        let tokens = tokens.map_err(|error| unusable(api.as_str(), &error))?;
        return Ok(match (&configuration.client_id, &configuration.client_secret) {
            (Some(id), Some(secret)) => Arc::new(
                tokens
                    .of_app(&api, id, secret)
                    .map_err(|error| unusable(id, &error))?,
            ),
            _ => Arc::new(tokens),
        });
    }
    let fetcher = Arc::new(Fetcher::new(FetcherParts {
        roots: machine.roots.clone(),
        resolver: Arc::new(SystemResolver),
        clock: Arc::clone(&machine.clock),
    }));
    let mut verifiers: Vec<Arc<dyn TokenVerifier>> = Vec::new();
    for server in servers {
        let issuer = Issuer::parse(&server.issuer).map_err(|error| unusable(&server.issuer, &error))?;
        // Endpoints that are written down beside an issuer do not say that it has no metadata, which lead to its keys.
        let has_metadata = server.authorization_endpoint.is_none()
            || (configuration.introspection_endpoint.is_none() && !configuration.issuers.is_empty());
        if has_metadata {
            let keys = RemoteKeys::of_issuer(fetcher.clone(), Arc::clone(&machine.clock), issuer.clone());
            verifiers.push(Arc::new(Rfc9068Verifier::new(Rfc9068Settings {
                issuer: issuer.clone(),
                tenant: None,
                keys: Arc::new(keys),
                clock: Arc::clone(&machine.clock),
                cache_capacity: REMEMBERED,
            })));
        }
        let Some(endpoint) = &configuration.introspection_endpoint else {
            continue;
        };
        let (Some(id), Some(secret)) = (&configuration.client_id, &configuration.client_secret) else {
            return Err(ComposeError::IntrospectionNeedsClient);
        };
        verifiers.push(Arc::new(IntrospectionVerifier::new(IntrospectionSettings {
            endpoint: endpoint.clone(),
            client_id: id.clone(),
            client_secret: secret.clone(),
            issuer,
            tenant: None,
            asker: fetcher.clone(),
            clock: Arc::clone(&machine.clock),
            cache_capacity: REMEMBERED,
        })));
    }
    if verifiers.is_empty() {
        return Err(ComposeError::NothingVerifies);
    }
    let resource =
        ResourceUri::parse(resource.as_str()).map_err(|error| unusable(resource.as_str(), &error))?;
    Ok(Arc::new(ByIssuers::new(resource, verifiers)))
}

fn below_api(base: &Url) -> Result<Url, ComposeError> {
    let text = format!("{}/api/v3", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| unusable(base.as_str(), &error))
}

#[cfg(test)]
mod tests;
