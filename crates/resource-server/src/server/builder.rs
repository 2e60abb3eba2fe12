//! All settings of a resource server in one place (R24).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(feature = "remote")]
use std::time::Duration;

use bytes::Bytes;
use doorward_policy::{AccessRule, ListMode, NoFurtherPolicy, Policy, ProtectedServer, ScopeTable};
use doorward_types::id::{ServerName, Tenant};
use doorward_types::scope::{NotAScope, ScopeSet};
use doorward_types::time::{Clock, SystemClock};
use doorward_types::url::{Issuer, ResourceUri, UrlError};

use super::{Inner, ResourceServer, Table};
use crate::challenge::Challenges;
use crate::generic::{Rfc9068Settings, Rfc9068Verifier};
use crate::keys::KeySource;
use crate::metadata::{ResourceMetadata, WELL_KNOWN, metadata_path, metadata_url, path};
#[cfg(feature = "remote")]
use crate::remote::{Introspection, RemoteSettings};
use crate::verify::TokenVerifier;

/// How many verified tokens are remembered unless told otherwise.
const REMEMBERED: usize = 10_000;
/// The longest message that is read for a scope table unless told otherwise.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// How long such a message may take to arrive unless told otherwise.
#[cfg(feature = "remote")]
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no resource server.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The resource identifier.
    #[error("the resource `{0}` is no resource identifier: {1}")]
    Resource(String, #[source] UrlError),
    /// The issuer.
    #[error("the issuer `{0}` is no issuer identifier: {1}")]
    Issuer(String, #[source] UrlError),
    /// No issuer was named: clients would not know where to log in.
    #[error("name the authorization server: `.issuer(\"https://…\")`")]
    NoIssuer,
    /// The required scopes.
    #[error("`{0}` are no scopes separated by single spaces: {1}")]
    Scopes(String, #[source] NotAScope),
    /// The documentation link.
    #[error("the documentation link `{0}` is no https URL")]
    Documentation(String),
    /// A policy has the last word on what a scope table lets through, and there is none: nobody would ask it.
    #[error("a policy judges the calls that a scope table lets through: add `.scope_table(…)`")]
    PolicyWithoutTable,
    /// Where MCP is served.
    #[error("`{0}` is no path of an MCP endpoint: begin with `/`, without a query")]
    McpPath(String),
    /// Nothing to verify tokens with.
    #[error("say how tokens are verified: `.keys(…)`, `.verifier(…)`, or the feature `remote`")]
    NoVerifier,
    /// The metadata document cannot be written.
    #[error("the metadata document cannot be written")]
    Metadata(#[source] serde_json::Error),
    /// What is fetched cannot be.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(#[from] crate::remote::RemoteError),
}

/// Where verdicts come from.
#[derive(Default)]
enum Source {
    /// The keys that the issuer's metadata names.
    #[default]
    Unsaid,
    Keys(Arc<dyn KeySource>),
    Verifier(Arc<dyn TokenVerifier>),
    #[cfg(feature = "remote")]
    Jwks(String),
    #[cfg(feature = "remote")]
    Introspection(Introspection),
}

/// The settings of a [`ResourceServer`]. Only `issuer` is required, with the feature `remote`; without it also where the
/// keys come from.
#[must_use = "`build` makes the resource server"]
pub struct ResourceServerBuilder {
    resource: String,
    issuer: Option<String>,
    required: String,
    name: Option<String>,
    documentation: Option<String>,
    versions: Vec<String>,
    only: bool,
    tenant: Option<Tenant>,
    table: Option<ScopeTable>,
    policy: Option<Arc<dyn Policy>>,
    allow: AccessRule,
    mcp_paths: Option<Vec<String>>,
    source: Source,
    clock: Arc<dyn Clock>,
    remembered: usize,
    body_limit: usize,
    #[cfg(feature = "remote")]
    body_timeout: Duration,
    #[cfg(feature = "remote")]
    remote: RemoteSettings,
}

impl ResourceServerBuilder {
    pub(super) fn new(resource: String) -> Self {
        Self {
            resource,
            issuer: None,
            required: String::new(),
            name: None,
            documentation: None,
            versions: Vec::new(),
            only: false,
            tenant: None,
            table: None,
            policy: None,
            allow: AccessRule::everyone(),
            mcp_paths: None,
            source: Source::default(),
            clock: Arc::new(SystemClock),
            remembered: REMEMBERED,
            body_limit: BODY_LIMIT,
            #[cfg(feature = "remote")]
            body_timeout: BODY_TIMEOUT,
            #[cfg(feature = "remote")]
            remote: RemoteSettings::default(),
        }
    }

    /// The authorization server whose tokens are taken, by its issuer identifier (RFC 8414 §2), byte for byte.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Scopes, separated by spaces, that everything under [`ResourceServer::layer`] needs. [`ResourceServer::require`]
    /// has a rule of its own instead.
    pub fn required_scopes(mut self, scopes: impl Into<String>) -> Self {
        self.required = scopes.into();
        self
    }

    /// What single tools, prompts, resources and methods need. Handshakes and lists need none of it, and what no scope
    /// names is refused.
    pub fn scope_table(mut self, table: ScopeTable) -> Self {
        self.table = Some(table);
        self
    }

    /// Rules that have the last word on what a scope table lets through. Without a table there is no resource server.
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Where MCP is served, if that is not the resource's own path: behind a proxy that rewrites paths, or where the
    /// resource is a whole host. Messages are judged by a scope table at these paths, and every other path under
    /// [`ResourceServer::layer`] is closed then.
    pub fn mcp_paths<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.mcp_paths = Some(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Who may enter at all, with whatever token, under [`ResourceServer::layer`] and [`ResourceServer::require`].
    /// `user:` names a token's subject.
    pub fn allow(mut self, rule: AccessRule) -> Self {
        self.allow = rule;
        self
    }

    /// A name for people. Otherwise it is the resource's host and path.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where people read about this server (`resource_documentation`, RFC 9728 §2): an `https` URL.
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// The MCP revisions that the server speaks, for the metadata document.
    pub fn protocol_versions<S: Into<String>>(mut self, versions: impl IntoIterator<Item = S>) -> Self {
        self.versions = versions.into_iter().map(Into::into).collect();
        self
    }

    /// Also serves the metadata document without the resource's path behind the well-known one. Only where this is the
    /// one resource of its host: another one's clients would be led astray.
    pub const fn only_resource_of_host(mut self) -> Self {
        self.only = true;
        self
    }

    /// The tenant whose tokens are taken, where the issuer has several: the claim `tenant` must name it. Holds for keys
    /// and introspection; a verifier of your own judges tenants itself.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(Tenant::new(tenant));
        self
    }

    /// Verifies tokens with these keys of the issuer.
    pub fn keys(mut self, keys: impl KeySource) -> Self {
        self.source = Source::Keys(Arc::new(keys));
        self
    }

    /// Verifies tokens in a way of your own.
    pub fn verifier(mut self, verifier: impl TokenVerifier) -> Self {
        self.source = Source::Verifier(Arc::new(verifier));
        self
    }

    /// Takes the issuer's keys from the JWK set at this URL, instead of asking the issuer's metadata for it.
    #[cfg(feature = "remote")]
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.source = Source::Jwks(url.into());
        self
    }

    /// Asks the issuer about every token (RFC 7662) instead of verifying a signature: for opaque tokens, and where a
    /// revocation must be known within seconds.
    #[cfg(feature = "remote")]
    pub fn introspection(mut self, introspection: Introspection) -> Self {
        self.source = Source::Introspection(introspection);
        self
    }

    /// Certificates, as PEM text, that are believed besides the public authorities when the issuer is asked.
    #[cfg(feature = "remote")]
    pub fn certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.remote.certificates = pem.into();
        self
    }

    /// The time, for tests. Otherwise it is the machine's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How many verified tokens are remembered (otherwise 10,000): each takes about one to two KiB.
    pub const fn remembered_tokens(mut self, tokens: usize) -> Self {
        self.remembered = tokens;
        self
    }

    /// The longest message in bytes that is read for a scope table (otherwise 4 MiB).
    pub const fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How long a message may take to arrive that is read for a scope table (otherwise 30 seconds). Without the feature
    /// `remote` there is no clock to hold against it: then the server in front sets the limit. A tokio runtime under the
    /// layer needs its timers (`enable_time`).
    #[cfg(feature = "remote")]
    pub const fn body_timeout(mut self, time: Duration) -> Self {
        self.body_timeout = time;
        self
    }

    /// The resource server. It fetches nothing yet: the issuer need not run.
    pub fn build(mut self) -> Result<ResourceServer, BuildError> {
        let resource = ResourceUri::parse(&self.resource)
            .map_err(|error| BuildError::Resource(self.resource.clone(), error))?;
        let issuer = self.issuer.as_ref().ok_or(BuildError::NoIssuer)?;
        let issuer = Issuer::parse(issuer).map_err(|error| BuildError::Issuer(issuer.clone(), error))?;
        let required: ScopeSet = self
            .required
            .parse()
            .map_err(|error| BuildError::Scopes(self.required.clone(), error))?;
        let defaults = self
            .table
            .as_ref()
            .map_or_else(ScopeSet::empty, ScopeTable::defaults);
        let defaults = defaults.union(&required);
        let document = self.document(&resource, &issuer, &defaults)?;
        let mut metadata_paths = vec![metadata_path(&resource)];
        if self.only {
            metadata_paths.push(WELL_KNOWN.to_owned());
        }
        let mcp_paths = self.paths_of(&resource)?;
        let source = std::mem::take(&mut self.source);
        let verifier = self.judge_of(source, &issuer)?;
        if self.table.is_none() && self.policy.is_some() {
            return Err(BuildError::PolicyWithoutTable);
        }
        let table = self.table.map(|scopes| Table {
            server: ProtectedServer {
                name: ServerName::new(resource.as_str()),
                path: String::new(),
                resource: resource.clone(),
                scopes,
                allow: self.allow.clone(),
                lists: ListMode::default(),
            },
            policy: self.policy.unwrap_or_else(|| Arc::new(NoFurtherPolicy)),
        });
        Ok(ResourceServer(Arc::new(Inner {
            challenges: Challenges::new(&metadata_url(&resource), &defaults),
            metadata_paths,
            document,
            required: required.into(),
            allow: self.allow,
            verifier,
            table,
            mcp_paths,
            misplaced: AtomicBool::new(false),
            clock: self.clock,
            body_limit: self.body_limit,
            #[cfg(feature = "remote")]
            body_timeout: self.body_timeout,
            resource,
        })))
    }

    fn judge_of(&self, source: Source, issuer: &Issuer) -> Result<Arc<dyn TokenVerifier>, BuildError> {
        let keys: Arc<dyn KeySource> = match source {
            Source::Keys(keys) => keys,
            Source::Verifier(verifier) => return Ok(verifier),
            #[cfg(not(feature = "remote"))]
            Source::Unsaid => return Err(BuildError::NoVerifier),
            #[cfg(feature = "remote")]
            Source::Unsaid => self.remote.discovered_keys(issuer, &self.clock)?,
            #[cfg(feature = "remote")]
            Source::Jwks(url) => self.remote.keys_at(&url, &self.clock)?,
            #[cfg(feature = "remote")]
            Source::Introspection(introspection) => {
                let tenant = self.tenant.clone();
                let asked =
                    self.remote
                        .introspecting(introspection, issuer, tenant, &self.clock, self.remembered);
                return Ok(asked?);
            }
        };
        Ok(Arc::new(Rfc9068Verifier::new(Rfc9068Settings {
            issuer: issuer.clone(),
            tenant: self.tenant.clone(),
            keys,
            clock: Arc::clone(&self.clock),
            cache_capacity: self.remembered,
        })))
    }

    /// Where MCP is served, without a slash at the end.
    fn paths_of(&self, resource: &ResourceUri) -> Result<Vec<String>, BuildError> {
        let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
        let Some(paths) = &self.mcp_paths else {
            return Ok(vec![trimmed(path(resource))]);
        };
        let unusable = |path: &&String| !path.starts_with('/') || path.contains(['?', '#']);
        if let Some(path) = paths.iter().find(unusable) {
            return Err(BuildError::McpPath(path.clone()));
        }
        if paths.is_empty() {
            return Err(BuildError::McpPath(String::new()));
        }
        Ok(paths.iter().map(|path| trimmed(path)).collect())
    }

    fn document(
        &self,
        resource: &ResourceUri,
        issuer: &Issuer,
        scopes: &ScopeSet,
    ) -> Result<Bytes, BuildError> {
        let named = self.name.clone().unwrap_or_else(|| {
            let text = resource.as_str();
            text.split_once("://").map_or(text, |(_, rest)| rest).to_owned()
        });
        let mut document = ResourceMetadata::new(resource.clone(), issuer.clone(), scopes.clone(), named);
        if let Some(url) = &self.documentation {
            // The rules for a resource identifier are those for a link that a client may show.
            if ResourceUri::parse(url.split('#').next().unwrap_or_default()).is_err() {
                return Err(BuildError::Documentation(url.clone()));
            }
            document.resource_documentation = Some(url.clone());
        }
        document
            .mcp_protocol_versions_supported
            .clone_from(&self.versions);
        serde_json::to_vec(&document)
            .map(Bytes::from)
            .map_err(BuildError::Metadata)
    }
}
