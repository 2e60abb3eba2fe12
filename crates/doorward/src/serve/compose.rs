//! From configuration and data folder to a gateway and the web router: what stays, and what every configuration
//! makes anew.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use doorward_authorization_server::settings::{
    Lifetimes, ListedClient, RegistrationMode, RegistrationPolicy, Settings,
};
use doorward_demo::Demo;
use doorward_gateway as gateway;
use doorward_policy::{AccessRule, ProtectedServer, ScopeTable};
use doorward_process::{Confinement, Supervisor};
use doorward_recorder::decisions::{DecisionLog, ServerFacts};
use doorward_recorder::{self as recorder, Recorder};
use doorward_resource_server::{FirstSeen, JwtVerifier, JwtVerifierSettings, RevocationSet};
use doorward_seal::{MasterKey, Purpose, Sealer};
use doorward_storage::{DataFolder, Store};
use doorward_types::id::{ServerName, Tenant};
use doorward_types::url::{Issuer, ResourceUri};
use doorward_web::{Challenged, PasswordPool, Throttles, WebParts, WebState};

use super::Sources;
use super::children::Children;
use super::front::Serving;
use super::keys::KeyKeeper;
use super::metrics::Metrics;
use super::observe::{self, Observed};
use super::outbound;
use super::revocation::{FollowedStore, Follower};
use crate::config::clients::{ConfiguredClient, custom_schemes};
use crate::config::file::RegistrationMode as ConfiguredMode;
use crate::config::scopes::ConfiguredScope;
use crate::config::{Config, Server, Upstream};
use crate::error::CommandError;

/// Verified tokens that are remembered: those of a hundred thousand callers at once. One takes half a kilobyte to one,
/// and what is not remembered costs a signature check at every call.
const TOKEN_CACHE: usize = 1 << 17;
/// Sign-ins that may wait while passwords of others are checked.
const PASSWORD_QUEUE: usize = 64;

/// What stays the same however often the configuration is read again.
pub(crate) struct Foundation {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) keys: Arc<KeyKeeper>,
    pub(crate) revocations: Arc<RevocationSet>,
    pub(crate) supervisor: Arc<Supervisor>,
    sources: Sources,
    data: PathBuf,
    master_key: Arc<MasterKey>,
    verifier: Arc<JwtVerifier>,
    session_sealer: Arc<Sealer>,
    passwords: PasswordPool,
    pub(crate) recorder: Recorder,
    pub(crate) decisions: DecisionLog,
    pub(crate) metrics: Arc<Metrics>,
    throttles: Throttles,
    challenged: Challenged,
    meters: Arc<gateway::Meters>,
}

/// What a configuration makes of it.
pub(crate) struct Composition {
    pub(crate) serving: Serving,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) servers: Vec<RunningServer>,
}

/// A protected server, and what a later configuration can take over of it.
#[derive(Clone)]
pub(crate) struct RunningServer {
    definition: Server,
    rules: gateway::Rules,
    /// Of its processes, if it is a command.
    confinement: Confinement,
    upstream: gateway::Upstream,
    standing: Arc<gateway::Standing>,
    /// Of those that it replaced, as long as they still answer somebody.
    replaced: Vec<Weak<gateway::Standing>>,
}

impl RunningServer {
    /// Whether its processes (and what it remembers) can go on behind `next`.
    fn continues_as(&self, next: &Server, confinement: &Confinement) -> bool {
        let ours = &self.definition;
        let unchanged = (&ours.name, &ours.path, &ours.upstream) == (&next.name, &next.path, &next.upstream);
        let same_limits =
            next.command().is_none() || (ours.response, &self.confinement) == (next.response, confinement);
        unchanged && same_limits
    }

    /// Whether clients take it for the same server.
    fn is_known_as(&self, other: &Server) -> bool {
        (&self.definition.name, &self.definition.path) == (&other.name, &other.path)
    }

    /// The open streams of those that it replaced, and its own.
    fn all_replaced(&self) -> Vec<Weak<gateway::Standing>> {
        let open = self
            .replaced
            .iter()
            .filter(|standing| standing.strong_count() > 0);
        open.cloned().chain([Arc::downgrade(&self.standing)]).collect()
    }

    /// Tells its open streams, and those of what it replaced, what became of it under `next`.
    fn succeeded_by(&self, next: &[RunningServer]) {
        let replaced = || self.replaced.iter().filter_map(Weak::upgrade);
        let Some(next) = next.iter().find(|server| server.is_known_as(&self.definition)) else {
            replaced().for_each(|standing| standing.remove());
            return self.standing.remove();
        };
        let rules = next.rules.clone();
        let anonymous = next.definition.allow_insecure_anonymous;
        replaced().for_each(|standing| standing.replace(rules.clone(), anonymous));
        if Arc::ptr_eq(&self.standing, &next.standing) {
            self.standing.admit(rules, anonymous);
        } else {
            self.standing.replace(rules, anonymous);
        }
    }
}

/// Tells the open streams of `before` what a new configuration says about them. To be called when no request
/// is let in under the old one any more.
pub(crate) fn succeed(before: &[RunningServer], next: &[RunningServer]) {
    for server in before {
        server.succeeded_by(next);
    }
}

impl Foundation {
    /// Lays it. When this returns, every revocation is known.
    pub(crate) async fn lay(
        config: &Config,
        folder: &DataFolder,
        sources: &Sources,
    ) -> Result<Self, CommandError> {
        let database: Arc<dyn Store> = folder.store();
        let unreadable = |error: doorward_storage::LoadError| {
            CommandError::failed("the database cannot be read").because(&error)
        };
        let (master, database_of_keys) = (Arc::clone(folder.master_key()), Arc::clone(&database));
        let keys = Arc::new(KeyKeeper::start(database_of_keys, master, sources.clone()).await?);
        let revocations = Arc::new(RevocationSet::new());
        let clock = Arc::clone(&sources.clock);
        let follower = Follower::start(Arc::clone(&database), Arc::clone(&revocations), clock);
        let follower = Arc::new(follower.await.map_err(unreadable)?);
        let store: Arc<dyn Store> = Arc::new(FollowedStore {
            inner: Arc::clone(&database),
            follower: Arc::clone(&follower),
        });
        let (clock, random) = (Arc::clone(&sources.clock), Arc::clone(&sources.random));
        let recorder = Recorder::start(folder.path(), recorder::Limits::default(), clock, random)
            .map_err(|error| CommandError::failed("cannot start").because(&error))?;
        let decisions = DecisionLog::start(config.decision_log(), Arc::clone(&sources.clock))
            .map_err(|error| CommandError::failed("cannot start").because(&error))?;
        let metrics = Arc::new(Metrics::new());
        let verifier = JwtVerifier::new(JwtVerifierSettings {
            issuer: issuer(config)?,
            tenant: Tenant::default_tenant(),
            keys: Arc::clone(&keys.verifying) as _,
            revocations: Arc::clone(&revocations) as _,
            clock: Arc::clone(&sources.clock),
            cache_capacity: TOKEN_CACHE,
        })
        .telling(first_use(&recorder, &metrics));
        let supervisor = Supervisor::new()
            .map_err(|error| CommandError::failed("commands cannot be started").because(&error))?;
        Ok(Self {
            store,
            follower,
            revocations,
            supervisor,
            sources: sources.clone(),
            data: config.data.value.clone(),
            master_key: Arc::clone(folder.master_key()),
            keys,
            verifier: Arc::new(verifier),
            session_sealer: Arc::new(Sealer::new(folder.master_key(), Purpose::McpSession)),
            passwords: PasswordPool::new(cores(), PASSWORD_QUEUE),
            recorder,
            decisions,
            metrics,
            throttles: Throttles::new(&sources.clock),
            challenged: Challenged::new(&sources.clock),
            meters: Arc::new(gateway::Meters::new(Arc::clone(&sources.clock))),
        })
    }

    /// Builds what a configuration describes on it, with what can go on of the servers `before`.
    pub(crate) fn compose(
        &self,
        config: &Config,
        before: &[RunningServer],
    ) -> Result<Composition, CommandError> {
        let settings = settings(config)?;
        let lifetimes = settings.lifetimes;
        let policy = config.policies.policy();
        let servers = config
            .servers
            .iter()
            .zip(&settings.servers)
            .map(|(server, protected)| {
                let rules = gateway::Rules::new(Arc::new(protected.clone()), Arc::clone(&policy));
                self.server(server, rules, config, before)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let gateway = self.data_plane(config, &settings, policy, &servers)?;
        let web = doorward_web::router(WebState::new(WebParts {
            settings,
            public_url: url::Url::parse(config.public_url.value.as_str())
                .map_err(|error| CommandError::usage("`public_url` is not a URL").because(&error))?,
            allowed_origins: config.allowed_origins.clone(),
            store: Arc::clone(&self.store),
            keys: Arc::clone(&self.keys.ring),
            master_key: Arc::clone(&self.master_key),
            clock: Arc::clone(&self.sources.clock),
            random: Arc::clone(&self.sources.random),
            passwords: self.passwords.clone(),
            verifier: Arc::clone(&self.verifier) as _,
            fetch: outbound::fetcher(config, &self.sources.clock)?,
            client_metadata: config.client_metadata(),
            recorder: self.recorder.clone(),
            throttles: self.throttles.clone(),
            challenged: self.challenged.clone(),
        }));
        Ok(Composition {
            serving: Serving {
                gateway,
                web,
                trusted_proxies: config.trusted_proxies.clone(),
            },
            lifetimes,
            servers,
        })
    }

    fn server(
        &self,
        server: &Server,
        rules: gateway::Rules,
        config: &Config,
        before: &[RunningServer],
    ) -> Result<RunningServer, CommandError> {
        let confinement = Confinement {
            hidden: config.hidden_from_commands(),
            own: Vec::new(),
            allow_insecure_shared_uid: config.allow_insecure_shared_uid.value.0,
        };
        let unusable =
            |error: &dyn std::error::Error| CommandError::usage("a server cannot be used").because(error);
        let kept = before
            .iter()
            .find(|known| known.continues_as(server, &confinement));
        if let Some(known) = kept {
            return Ok(RunningServer {
                definition: server.clone(),
                rules,
                ..known.clone()
            });
        }
        let upstream = match &server.upstream {
            Upstream::Demo => gateway::Upstream::in_process(Demo::new()),
            Upstream::Http(url) => gateway::Upstream::http(url.as_str()).map_err(|error| unusable(&error))?,
            Upstream::Command(command) => {
                let supervisor = Arc::clone(&self.supervisor);
                let confinement = confinement.clone();
                let children = Children::new(supervisor, &server.name, command, &self.data, confinement);
                let limits = gateway::StdioSettings {
                    start_timeout: command.start.0,
                    answer_timeout: server.response.0,
                    idle: command.idle.0,
                    per_user: count(command.processes_per_user),
                    total: count(command.processes),
                    ..gateway::StdioSettings::default()
                };
                let random = Arc::clone(&self.sources.random);
                gateway::Upstream::stdio(ServerName::new(&server.name), Arc::new(children), limits, random)
            }
        };
        Ok(RunningServer {
            standing: gateway::Standing::new(),
            replaced: before
                .iter()
                .find(|known| known.is_known_as(server))
                .map(RunningServer::all_replaced)
                .unwrap_or_default(),
            definition: server.clone(),
            rules,
            confinement,
            upstream,
        })
    }

    /// Who is told what the gateway of a configuration decides.
    fn observer(&self, config: &Config, settings: &Settings) -> Observed {
        let issuer = settings.issuer.as_str();
        let metadata = format!(
            "{}/.well-known/oauth-authorization-server{}",
            config.public_url.value, config.issuer_path
        );
        let servers = config.servers.iter().zip(&settings.servers);
        let servers = servers.map(|(server, protected)| {
            let transport = match &server.upstream {
                Upstream::Demo => gateway::Transport::InProcess,
                Upstream::Http(_) => gateway::Transport::Http,
                Upstream::Command(_) => gateway::Transport::Stdio,
            };
            let (name, resource) = (protected.name.to_string(), protected.resource.as_str());
            // Only what the operator wrote: a name that callers choose may be anything.
            let tools = protected.scopes.entries().iter().flat_map(|entry| &entry.tools);
            let tools = tools
                .filter(|pattern| pattern.is_exact())
                .map(|pattern| pattern.as_str());
            let server = observe::Server {
                facts: ServerFacts::new(&name, resource, transport.as_str(), issuer, &metadata),
                metrics: self.metrics.server(&name, tools),
            };
            (protected.name.clone(), server)
        });
        Observed {
            log: self.decisions.clone(),
            challenged: self.challenged.clone(),
            servers: servers.collect(),
        }
    }

    fn data_plane(
        &self,
        config: &Config,
        settings: &Settings,
        policy: Arc<dyn doorward_policy::Policy>,
        servers: &[RunningServer],
    ) -> Result<gateway::Gateway, CommandError> {
        let parts = gateway::Parts {
            verifier: Arc::clone(&self.verifier) as _,
            revocations: Arc::clone(&self.revocations) as _,
            policy,
            sealer: Arc::clone(&self.session_sealer),
            clock: Arc::clone(&self.sources.clock),
            random: Arc::clone(&self.sources.random),
            recorder: self.recorder.clone(),
            meters: Arc::clone(&self.meters),
            observer: Arc::new(self.observer(config, settings)),
        };
        let servers = servers.iter().zip(&settings.servers).map(|(server, protected)| {
            let definition = &server.definition;
            gateway::Server {
                anonymous: definition.allow_insecure_anonymous,
                forward_headers: definition.forward_headers.clone(),
                connect_timeout: Some(definition.connect.0),
                head_timeout: Some(definition.response.0),
                limits: definition.limits.clone(),
                standing: Arc::clone(&server.standing),
                ..gateway::Server::new(Arc::new(protected.clone()), server.upstream.clone())
            }
        });
        let settings = gateway::Settings {
            allowed_origins: config.allowed_origins.clone(),
            body_timeout: config.timeouts.request_body.0,
            connect_timeout: config.timeouts.upstream_connect.0,
            head_timeout: config.timeouts.upstream_response.0,
            stream_lifetime: config.lifetimes.stream.0,
            ..gateway::Settings::new(config.public_url.value.as_str(), settings.issuer.clone())
        };
        gateway::Gateway::new(&settings, servers.collect(), parts)
            .map_err(|error| CommandError::usage("a server cannot be used").because(&error))
    }
}

/// The first call with a token is a step of the login that it came from.
fn first_use(recorder: &Recorder, metrics: &Arc<Metrics>) -> FirstSeen {
    let (recorder, metrics) = (recorder.clone(), Arc::clone(metrics));
    Box::new(move |principal| {
        metrics.token_verified();
        let (token, family) = (*principal.token_id().as_uuid(), principal.family());
        let path = url::Url::parse(principal.resource().as_str());
        let mut fields = vec![
            ("client", principal.client_id().to_string()),
            ("scopes", principal.scopes().to_string()),
            ("token", token.to_string()),
            ("user", principal.subject().to_string()),
        ];
        fields.extend(family.map(|family| ("family", family.to_string())));
        let issued = family.map_or(token, |family| *family.as_uuid());
        recorder.first_use(issued, path.as_ref().map_or("/", url::Url::path), fields);
    })
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn settings(config: &Config) -> Result<Settings, CommandError> {
    let public_url = config.public_url.value.as_str();
    Ok(Settings {
        issuer: issuer(config)?,
        tenant: Tenant::default_tenant(),
        servers: config
            .servers
            .iter()
            .map(|server| protected(public_url, server))
            .collect::<Result<_, _>>()?,
        lifetimes: lifetimes(config),
        registration: registration(config),
        grants: config.grants(),
        client_metadata_documents: config.document_policy(),
    })
}

fn issuer(config: &Config) -> Result<Issuer, CommandError> {
    Issuer::parse(&format!("{}{}", config.public_url.value, config.issuer_path))
        .map_err(|error| CommandError::usage("`public_url` cannot be an issuer").because(&error))
}

/// A server, as the rules see it.
pub(crate) fn protected(public_url: &str, server: &Server) -> Result<ProtectedServer, CommandError> {
    let unusable = |error: &dyn std::error::Error| {
        CommandError::usage(format!("server `{}` cannot be used", server.name)).because(error)
    };
    Ok(ProtectedServer {
        name: ServerName::new(&server.name),
        path: server.path.clone(),
        resource: ResourceUri::parse(&format!("{public_url}{}", server.path))
            .map_err(|error| unusable(&error))?,
        scopes: scope_table(server).map_err(|error| unusable(&*error))?,
        lists: server.lists.mode(),
        // The configuration has no empty list: none was written.
        allow: match &*server.allow {
            [] => AccessRule::everyone(),
            named => AccessRule::parse(named).map_err(|error| unusable(&error))?,
        },
    })
}

/// What the scopes of a server open; without a table one scope, its name, opens everything.
fn scope_table(server: &Server) -> Result<ScopeTable, Box<dyn std::error::Error>> {
    if server.scopes.is_empty() {
        let description = format!("Use every tool, prompt and resource of {}", server.name);
        return Ok(ScopeTable::whole(server.name.parse()?, description));
    }
    let entries = server.scopes.iter().map(ConfiguredScope::entry);
    let entries = entries
        .collect::<Option<_>>()
        .ok_or("its scopes cannot be read")?;
    Ok(ScopeTable::new(entries)?)
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
        key_rotation: config.keys.rotate_every.0,
        key_publication: config.keys.publish_before.0,
    }
}

/// Who may register.
pub(crate) fn registration(config: &Config) -> RegistrationPolicy {
    let mode = match config.registration_mode() {
        ConfiguredMode::KnownHosts => RegistrationMode::KnownHosts,
        ConfiguredMode::Open => RegistrationMode::Open,
        ConfiguredMode::Token => RegistrationMode::Token,
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
    let schemes: BTreeSet<String> = custom_schemes(ours).into_iter().collect();
    let defaults = RegistrationPolicy::new(mode);
    let listed = config.clients.iter().filter(|entry| entry.listed);
    let listed = listed.map(|ConfiguredClient { client, .. }| ListedClient {
        id: client.id.as_str().into(),
        name: client
            .metadata
            .client_name
            .clone()
            .unwrap_or_else(|| client.id.to_string()),
    });
    RegistrationPolicy {
        known_hosts: known.into_iter().collect(),
        custom_schemes: schemes.into_iter().collect(),
        ungranted_limit: config.registration_quota(),
        per_address: ours.quota_per_address.unwrap_or(defaults.per_address),
        initial_token: config.initial_token,
        confidential: ours.confidential,
        listed: listed.collect(),
        ..defaults
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
