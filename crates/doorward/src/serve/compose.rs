//! From configuration and data folder to a gateway and the web router.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use doorward_authorization_server::keys::{self, KeyRing};
use doorward_authorization_server::settings::{Lifetimes, RegistrationMode, RegistrationPolicy, Settings};
use doorward_demo::Demo;
use doorward_gateway as gateway;
use doorward_policy::{AccessRule, NoFurtherPolicy, ProtectedServer, ScopeDescription};
use doorward_resource_server::{JwtVerifier, JwtVerifierSettings, LocalKeys, RevocationSet};
use doorward_seal::{MasterKey, Purpose, Sealer};
use doorward_storage::{CommitError, DataFolder, Store};
use doorward_types::id::{ServerName, Tenant};
use doorward_types::url::{Issuer, ResourceUri};
use doorward_web::{PasswordPool, WebParts, WebState};

use super::Sources;
use super::revocation::{FollowedStore, Follower};
use super::upkeep::Upkeep;
use crate::config::file::RegistrationMode as ConfiguredMode;
use crate::config::{Config, Server, Upstream};
use crate::error::CommandError;

/// Verified tokens that are remembered; one costs about a kilobyte.
const TOKEN_CACHE: usize = 20_000;
/// Sign-ins that may wait while passwords of others are checked.
const PASSWORD_QUEUE: usize = 64;

/// Everything that `serve` runs.
pub(crate) struct Composition {
    pub(crate) gateway: gateway::Gateway,
    pub(crate) web: axum::Router,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) upkeep: Upkeep,
}

/// Puts it together. When this returns, every revocation is known.
pub(crate) async fn compose(
    config: &Config,
    folder: &DataFolder,
    sources: &Sources,
) -> Result<Composition, CommandError> {
    let database: Arc<dyn Store> = folder.store();
    let unreadable = |error: doorward_storage::LoadError| {
        CommandError::failed("the database cannot be read").because(&error)
    };
    let keys = key_ring(&*database, folder.master_key(), sources).await?;
    let revocations = Arc::new(RevocationSet::new());
    let clock = Arc::clone(&sources.clock);
    let follower = Follower::start(Arc::clone(&database), Arc::clone(&revocations), clock);
    let follower = Arc::new(follower.await.map_err(unreadable)?);
    let store: Arc<dyn Store> = Arc::new(FollowedStore {
        inner: Arc::clone(&database),
        follower: Arc::clone(&follower),
    });

    let settings = settings(config)?;
    let upkeep = Upkeep {
        store: Arc::clone(&store),
        revocations: Arc::clone(&revocations),
        lifetimes: settings.lifetimes,
        clock: Arc::clone(&sources.clock),
    };
    let gateway = data_plane(config, folder, &settings, &keys, revocations, sources)?;
    let web = doorward_web::router(WebState::new(WebParts {
        settings,
        public_url: url::Url::parse(config.public_url.value.as_str())
            .map_err(|error| CommandError::usage("`public_url` is not a URL").because(&error))?,
        allowed_origins: config.allowed_origins.clone(),
        store: Arc::clone(&store),
        keys: Arc::new(ArcSwap::from_pointee(keys)),
        master_key: Arc::clone(folder.master_key()),
        clock: Arc::clone(&sources.clock),
        random: Arc::clone(&sources.random),
        passwords: PasswordPool::new(cores(), PASSWORD_QUEUE),
    }));
    Ok(Composition {
        gateway,
        web,
        store,
        follower,
        upkeep,
    })
}

/// Opens the keys; makes them at the first start.
async fn key_ring(store: &dyn Store, master: &MasterKey, sources: &Sources) -> Result<KeyRing, CommandError> {
    let failed =
        |error: &dyn std::error::Error| CommandError::failed("the keys cannot be used").because(error);
    let tenant = Tenant::default_tenant();
    let stored = store.keys().await.map_err(|error| failed(&error))?;
    let missing = keys::missing(&stored, &tenant, master, sources.clock.now(), &*sources.random);
    for unit in missing.map_err(|error| failed(&error))? {
        match store.commit(unit).await {
            // Another process made the key first, which is as good.
            Ok(_) | Err(CommitError::Conflict) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    let stored = store.keys().await.map_err(|error| failed(&error))?;
    KeyRing::open(&stored, master).map_err(|error| {
        failed(&error).hint(
            "put doorward.db and master.key back from one backup: with other keys every token would be void",
        )
    })
}

fn data_plane(
    config: &Config,
    folder: &DataFolder,
    settings: &Settings,
    keys: &KeyRing,
    revocations: Arc<RevocationSet>,
    sources: &Sources,
) -> Result<gateway::Gateway, CommandError> {
    let verifier = JwtVerifier::new(JwtVerifierSettings {
        issuer: settings.issuer.clone(),
        tenant: settings.tenant.clone(),
        keys: Arc::new(LocalKeys::new(keys.public().clone())),
        revocations: Arc::clone(&revocations) as _,
        clock: Arc::clone(&sources.clock),
        cache_capacity: TOKEN_CACHE,
    });
    let parts = gateway::Parts {
        verifier: Arc::new(verifier),
        revocations,
        policy: Arc::new(NoFurtherPolicy),
        sealer: Arc::new(Sealer::new(folder.master_key(), Purpose::McpSession)),
        clock: Arc::clone(&sources.clock),
        random: Arc::clone(&sources.random),
    };
    let unusable =
        |error: gateway::GatewayError| CommandError::usage("a server cannot be used").because(&error);
    let mut servers = Vec::new();
    for (server, protected) in config.servers.iter().zip(&settings.servers) {
        let upstream = match &server.upstream {
            Upstream::Demo => gateway::Upstream::in_process(Demo::new()),
            Upstream::Http(url) => gateway::Upstream::http(url.as_str()).map_err(unusable)?,
            Upstream::Command(_) => {
                return Err(CommandError::usage("stdio upstreams come in a later release"));
            }
        };
        servers.push(gateway::Server {
            anonymous: server.allow_insecure_anonymous,
            forward_headers: server.forward_headers.clone(),
            connect_timeout: Some(server.connect.0),
            head_timeout: Some(server.response.0),
            ..gateway::Server::new(Arc::new(protected.clone()), upstream)
        });
    }
    let settings = gateway::Settings {
        allowed_origins: config.allowed_origins.clone(),
        body_timeout: config.timeouts.request_body.0,
        connect_timeout: config.timeouts.upstream_connect.0,
        head_timeout: config.timeouts.upstream_response.0,
        stream_lifetime: config.lifetimes.stream.0,
        ..gateway::Settings::new(config.public_url.value.as_str(), settings.issuer.clone())
    };
    gateway::Gateway::new(&settings, servers, parts).map_err(unusable)
}

fn settings(config: &Config) -> Result<Settings, CommandError> {
    let public_url = config.public_url.value.as_str();
    let issuer = Issuer::parse(public_url)
        .map_err(|error| CommandError::usage("`public_url` cannot be an issuer").because(&error))?;
    Ok(Settings {
        issuer,
        tenant: Tenant::default_tenant(),
        servers: config
            .servers
            .iter()
            .map(|server| protected(public_url, server))
            .collect::<Result<_, _>>()?,
        lifetimes: lifetimes(config),
        registration: registration(config),
    })
}

fn protected(public_url: &str, server: &Server) -> Result<ProtectedServer, CommandError> {
    let unusable = |error: &dyn std::error::Error| {
        CommandError::usage(format!("server `{}` cannot be used", server.name)).because(error)
    };
    Ok(ProtectedServer {
        name: ServerName::new(&server.name),
        path: server.path.clone(),
        resource: ResourceUri::parse(&format!("{public_url}{}", server.path))
            .map_err(|error| unusable(&error))?,
        scopes: vec![ScopeDescription {
            scope: server.name.parse().map_err(|error| unusable(&error))?,
            description: format!("Use every tool, prompt and resource of {}", server.name),
        }],
        allow: AccessRule::parse(&server.allow).map_err(|error| unusable(&error))?,
    })
}

/// The lifetimes that the rules of the authorization server know.
pub(crate) fn lifetimes(config: &Config) -> Lifetimes {
    let ours = &config.lifetimes;
    Lifetimes {
        access_token: ours.access_token.0,
        access_token_without_refresh: ours.access_token_without_refresh.0,
        code: ours.code.0,
        authorization_request: ours.authorization_request.0,
        consent_repeat: ours.consent_repeat.0,
        refresh_idle: ours.refresh_idle.0,
        refresh_absolute: ours.refresh_absolute.0,
        refresh_repeat: ours.refresh_repeat.0,
        refresh_late_repeat: ours.refresh_late_repeat.0,
        session: ours.session.0,
        setup_link: ours.setup_link.0,
        client_ungranted: ours.client_ungranted.0,
        client_unused: ours.client_unused.0,
    }
}

/// Who may register.
pub(crate) fn registration(config: &Config) -> RegistrationPolicy {
    let mode = match config.registration_mode() {
        ConfiguredMode::KnownHosts => RegistrationMode::KnownHosts,
        ConfiguredMode::Open => RegistrationMode::Open,
        ConfiguredMode::Off => RegistrationMode::Off,
    };
    let shipped = RegistrationPolicy::new(mode);
    let ours = &config.registration;
    let known: BTreeSet<String> = shipped
        .known_hosts
        .into_iter()
        .filter(|host| !ours.unknown_hosts.contains(host))
        .chain(ours.known_hosts.iter().cloned())
        .collect();
    let schemes: BTreeSet<String> = shipped
        .custom_schemes
        .into_iter()
        .chain(ours.custom_schemes.iter().cloned())
        .collect();
    RegistrationPolicy {
        known_hosts: known.into_iter().collect(),
        custom_schemes: schemes.into_iter().collect(),
        ungranted_limit: config.registration_quota(),
        ..RegistrationPolicy::new(mode)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
