//! The configuration file, exactly as it may be written. What is absent stays absent here; `Config`
//! knows the defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::client_metadata::ClientMetadataFile;
use super::decisions::DecisionLogFile;
use super::documents::{DocumentsFile, OutboundFile};
use super::duration::Span;
use super::grants::GrantsFile;
use super::keys::KeysFile;
use super::limits::LimitsFile;
use super::policy::PolicySection;
use super::scopes::{ListsFile, ScopeFile};
use super::secret::SecretFile;
use super::size::Size;

/// Doorward's configuration file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Doorward configuration")]
pub(crate) struct ConfigFile {
    /// The URL under which people and clients reach Doorward: an origin without a path. `https`, or `http` on
    /// a loopback host. Default: `http://localhost:PORT` with the port of `listen`.
    pub(crate) public_url: Option<String>,
    /// A path that makes the issuer, with `public_url` before it (RFC 8414 §3.1), such as `/company`. Default: none,
    /// the issuer is `public_url`.
    #[schemars(regex(pattern = "^(/[A-Za-z0-9._~-]+)+$"))]
    pub(crate) issuer_path: Option<String>,
    /// Where to listen: `IP:PORT`, or `localhost:PORT` for `127.0.0.1` and `[::1]`. Default: `localhost:8080`.
    pub(crate) listen: Option<String>,
    /// The data folder; relative to the folder of this file. Default: `doorward-data` in the working directory.
    pub(crate) data: Option<PathBuf>,
    /// `error`, `warn`, `info`, `debug` or `trace`. Default: `info`.
    pub(crate) log_level: Option<String>,
    /// `human`, `json` or `auto` (human on a terminal). Default: `auto`.
    pub(crate) log_format: Option<String>,
    /// Origins of browser clients that may call the MCP endpoints, the token and the registration endpoint
    /// across origins. Default: none.
    pub(crate) allowed_origins: Option<Vec<String>>,
    /// Addresses and networks (`10.0.0.0/8`) of proxies in front of Doorward that say in `X-Forwarded-For` or
    /// `Forwarded` who a request comes from; nobody else is believed. Each of them must set that header itself.
    /// Default: none.
    pub(crate) trusted_proxies: Option<Vec<String>>,
    /// Connections served at once; further ones get `503`. Default: half of what the limit on open descriptors
    /// leaves, at most 20,000.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: Option<u32>,
    /// Connections at once from one address (IPv6: one /64 network); loopback is exempt, because a proxy that ends
    /// TLS there speaks for everybody, and so are `trusted_proxies`. Default: half of `max_connections`.
    #[schemars(range(min = 1))]
    pub(crate) max_connections_per_address: Option<u32>,
    /// Start commands also where this machine cannot keep the processes of different users apart. Then one
    /// user's process may read what belongs to another one. Default: `false`.
    pub(crate) allow_insecure_shared_uid: Option<bool>,
    /// Where metrics (`/metrics`) are served, without TLS and without a login: `IP:PORT`, `localhost:PORT`, or `off`.
    /// Default: `127.0.0.1:9464`, and nowhere if that is taken.
    pub(crate) admin_listen: Option<String>,
    /// Certificate files, when Doorward ends TLS itself.
    pub(crate) tls: Option<TlsFile>,
    /// The protected MCP servers.
    pub(crate) servers: Vec<ServerFile>,
    /// How long things live.
    pub(crate) lifetimes: LifetimesFile,
    /// How long Doorward waits for others.
    pub(crate) timeouts: TimeoutsFile,
    /// When the keys rotate that sign access tokens and derive refresh tokens.
    pub(crate) keys: KeysFile,
    /// The record of every decision about a call.
    pub(crate) decision_log: DecisionLogFile,
    /// How often somebody may call.
    pub(crate) limits: LimitsFile,
    /// Which clients may register themselves.
    pub(crate) registration: RegistrationFile,
    /// Which grants are on beside the code and refresh grants.
    pub(crate) grants: GrantsFile,
    /// Rules in the Cedar language, on top of `allow` and `scopes`.
    pub(crate) policy: PolicySection,
    /// Clients that are known by the URL of their metadata document.
    pub(crate) client_metadata_documents: DocumentsFile,
    /// The document that describes the company's own client.
    pub(crate) client_metadata: ClientMetadataFile,
    /// How Doorward fetches documents.
    pub(crate) outbound: OutboundFile,
    /// Clients that need not register: they exist as long as the file names them.
    pub(crate) clients: Vec<ClientFile>,
}

impl ConfigFile {
    /// Every secret that it names.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretFile> {
        let clients = self.clients.iter().filter_map(|client| client.secret.as_ref());
        self.registration.token.iter().chain(clients)
    }
}

/// Certificate files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFile {
    /// PEM file with the certificate and its chain; relative to the folder of this file.
    pub(crate) certificate: PathBuf,
    /// PEM file with the private key; relative to the folder of this file.
    pub(crate) key: PathBuf,
}

/// One protected MCP server. Exactly one of `upstream`, `command` and `demo`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerFile {
    /// Its name, which is also its scope if it has no `scopes`: lower-case letters, digits, `-` and `_`.
    pub(crate) name: String,
    /// The path of its MCP endpoint, such as `/files/mcp`; the resource is `public_url` + `path`.
    pub(crate) path: String,
    /// URL of its Streamable HTTP endpoint.
    #[serde(default)]
    pub(crate) upstream: Option<String>,
    /// The program, and each of its arguments, of a server that speaks stdio.
    #[serde(default)]
    pub(crate) command: Option<Vec<String>>,
    /// The built-in demo server.
    #[serde(default)]
    pub(crate) demo: bool,
    /// Who may use it: `user:NAME`, `group:NAME`, and `client:ID` for clients that act for themselves. Default:
    /// every local account, and every such client that an operator added or approved.
    #[serde(default)]
    pub(crate) allow: Option<Vec<String>>,
    /// What each scope opens, by its name: `[servers.scopes."files:read"]`. Whatever no scope names is closed. Default:
    /// one scope, the server's own name, that opens everything.
    #[serde(default)]
    pub(crate) scopes: Option<BTreeMap<String, ScopeFile>>,
    /// What lists of tools, prompts and resources show where `scopes` or a policy restricts: `grantable`, what the
    /// person and the app could be granted, or `granted`, what the token opens now. Default: `grantable`.
    #[serde(default)]
    pub(crate) lists: ListsFile,
    /// Let calls without a token in. What they do is done by nobody in particular. Default: `false`.
    #[serde(default)]
    pub(crate) allow_insecure_anonymous: bool,
    /// Headers of the client that pass to the upstream besides those of MCP. Default: none.
    #[serde(default)]
    pub(crate) forward_headers: Vec<String>,
    /// Variables for the command: `NAME = "value"`, or `NAME = "env:OTHER"` for one of Doorward's own. Besides
    /// these it finds `PATH`, `LANG`, `TZ`, and a `HOME` and `TMPDIR` for each user.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, VariableFile>,
    /// Where the command starts; relative to the folder of this file, which is the default.
    #[serde(default)]
    pub(crate) working_directory: Option<PathBuf>,
    /// How long a process of the command may have nothing to do before it is stopped. Default: `10m`.
    #[serde(default)]
    pub(crate) idle: Option<Span>,
    /// Most processes of one user at once. Default: `8`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(crate) processes_per_user: Option<u32>,
    /// Most processes at once. Default: `64`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(crate) processes: Option<u32>,
    /// Most memory of one process together with its children. Default: `2GiB`.
    #[serde(default)]
    pub(crate) memory: Option<Size>,
    /// Most children of one process. Default: `256`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(crate) max_children: Option<u32>,
    /// Longest message of the command. Default: `16MiB`.
    #[serde(default)]
    pub(crate) max_message: Option<Size>,
    /// How often somebody may call this server; `[limits]` holds for what is left out.
    #[serde(default)]
    pub(crate) limits: LimitsFile,
    /// How long Doorward waits for this server.
    #[serde(default)]
    pub(crate) timeouts: ServerTimeoutsFile,
}

/// A variable of a command.
#[derive(JsonSchema)]
#[serde(transparent)]
pub(crate) struct VariableFile(pub(crate) String);

impl std::fmt::Debug for VariableFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for VariableFile {
    /// An error of serde's own would repeat the value, which may be a secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom(
                "a variable's value must be a string: put it in quotes",
            )),
        }
    }
}

/// How long Doorward waits for one server; `[timeouts]` holds for what is left out.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTimeoutsFile {
    /// For a connection to its `upstream`, TLS included. Default: `upstream_connect` of `[timeouts]`.
    pub(crate) connect: Option<Span>,
    /// For the head of an answer of its `upstream`, or for an answer of its `command`. Default:
    /// `upstream_response` of `[timeouts]`.
    pub(crate) response: Option<Span>,
    /// For the first answer of a process of its `command`; a package that is downloaded first takes its time.
    /// Default: `1m`.
    pub(crate) start: Option<Span>,
}

/// How long Doorward waits for others.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TimeoutsFile {
    /// For a connection to an upstream, TLS included. Default: `2s`.
    pub(crate) upstream_connect: Option<Span>,
    /// For the head of an upstream's answer; a tool that answers in plain JSON works all that time. Default: `5m`.
    pub(crate) upstream_response: Option<Span>,
    /// For the body of a client's request. Default: `25s`.
    pub(crate) request_body: Option<Span>,
}

/// [`TimeoutsFile`] with the defaults filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a connection to an upstream.
    pub(crate) upstream_connect: Span,
    /// For the head of an upstream's answer.
    pub(crate) upstream_response: Span,
    /// For the body of a client's request.
    pub(crate) request_body: Span,
}

impl Timeouts {
    /// Fills in the defaults.
    pub(crate) fn from_file(file: TimeoutsFile) -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            upstream_connect: file.upstream_connect.unwrap_or(seconds(2)),
            upstream_response: file.upstream_response.unwrap_or(seconds(300)),
            request_body: file.request_body.unwrap_or(seconds(25)),
        }
    }

    /// Each key and its value.
    pub(crate) fn entries(&self) -> [(&'static str, Span); 3] {
        [
            ("upstream_connect", self.upstream_connect),
            ("upstream_response", self.upstream_response),
            ("request_body", self.request_body),
        ]
    }
}

/// Which clients may register themselves (RFC 7591).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RegistrationFile {
    /// `known-hosts`: loopback redirects, custom schemes of the list and `https` redirects to known hosts at
    /// once, others after `doorward client approve`. `open`: everybody at once. `token`: whoever sends `token`.
    /// `off`: nobody. Default: `open` when `public_url` is loopback, else `known-hosts`.
    pub(crate) mode: Option<RegistrationMode>,
    /// The initial access token (RFC 7591) of the mode `token`: `file:PATH`, `env:NAME`, or the token itself; at
    /// least 20 characters.
    pub(crate) token: Option<SecretFile>,
    /// Whether clients may register to authenticate: `true` with a secret or with keys of their own, `false` not
    /// at all. Default: with keys, and in the mode `token` with a secret too.
    pub(crate) confidential: Option<bool>,
    /// Hosts to add to the list of known redirect hosts.
    pub(crate) known_hosts: Vec<String>,
    /// Hosts to take off the shipped list.
    pub(crate) unknown_hosts: Vec<String>,
    /// Custom redirect schemes to allow besides the shipped ones and reverse-DNS ones.
    pub(crate) custom_schemes: Vec<String>,
    /// How many clients may be registered that nobody has approved a login for. Default: 10000.
    #[schemars(range(min = 1))]
    pub(crate) quota: Option<u64>,
    /// How many new clients one address (IPv6: one /64 network) may register within ten minutes; all that come
    /// over loopback together 20 times as many. Default: 100.
    #[schemars(range(min = 1))]
    pub(crate) quota_per_address: Option<u32>,
}

/// A client that need not register.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientFile {
    /// Its `client_id`: letters, digits, `.`, `_`, `~`, `-`.
    pub(crate) id: String,
    /// Its name, as people see it. Default: none.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Where it may send people back to: `https`, loopback (any port), or an app's own scheme.
    #[serde(default)]
    pub(crate) redirect_uris: Vec<String>,
    /// `authorization_code`, `refresh_token`, `client_credentials`,
    /// `urn:ietf:params:oauth:grant-type:device_code`. Default: the first two if it has a redirect URI.
    #[serde(default)]
    pub(crate) grant_types: Vec<String>,
    /// Its secret: `file:PATH`, `env:NAME`, or the secret itself; at least 32 characters.
    #[serde(default)]
    pub(crate) secret: Option<SecretFile>,
    /// It sends the secret in the body (`client_secret_post`) and not in a header (`client_secret_basic`). Default:
    /// `false`.
    #[serde(default)]
    pub(crate) secret_in_body: bool,
    /// A file with its public keys, a JWK set; relative to the folder of this file. It then authenticates with
    /// `private_key_jwt`.
    #[serde(default)]
    pub(crate) jwks: Option<PathBuf>,
    /// The `https` URL of its public keys. It then authenticates with `private_key_jwt`.
    #[serde(default)]
    pub(crate) jwks_uri: Option<String>,
    /// Scopes it may ask for. Default: all.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Names of the servers it may get tokens for. Default: all.
    #[serde(default)]
    pub(crate) servers: Option<Vec<String>>,
    /// Names of the servers whose tokens it may introspect (RFC 7662). Default: none.
    #[serde(default)]
    pub(crate) introspect: Vec<String>,
    /// Whether the home page shows its id to everybody. Default: `false`.
    #[serde(default)]
    pub(crate) listed: bool,
}

/// The registration modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RegistrationMode {
    /// By redirect URI.
    KnownHosts,
    /// Everybody.
    Open,
    /// Whoever sends the initial access token.
    Token,
    /// Nobody.
    Off,
}

macro_rules! lifetimes {
    ($($(#[doc = $doc:literal])* $name:ident = $default:literal;)*) => {
        /// How long things live. Durations are written `30s`, `10m`, `12h`, `30d`.
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct LifetimesFile {
            $($(#[doc = $doc])* #[doc = concat!(" Default: `", $default, "`.")] pub(crate) $name: Option<Span>,)*
        }

        /// [`LifetimesFile`] with the defaults filled in.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Lifetimes {
            $($(#[doc = $doc])* pub(crate) $name: Span,)*
        }

        impl Lifetimes {
            /// Fills in the defaults.
            pub(crate) fn from_file(file: &LifetimesFile) -> Result<Self, super::duration::NotADuration> {
                Ok(Self { $($name: match file.$name {
                    Some(span) => span,
                    None => $default.parse()?,
                },)* })
            }

            /// Each key, its value, and whether the file set it.
            pub(crate) fn entries(&self) -> Vec<(&'static str, Span)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

lifetimes! {
    /// An access token.
    access_token = "10m";
    /// An access token of a client that did not register for refresh tokens.
    access_token_without_refresh = "60m";
    /// An authorization code.
    code = "60s";
    /// A chain of refresh tokens that is not used.
    refresh_idle = "30d";
    /// A chain of refresh tokens, however much it is used.
    refresh_absolute = "90d";
    /// How long a rotated refresh token gets the same successor again without counting.
    refresh_repeat = "30s";
    /// How long a rotated refresh token gets the same successor again at most once a day.
    refresh_late_repeat = "10m";
    /// A login that was begun and not finished.
    authorization_request = "10m";
    /// How long a browser may send the same answer to the consent page again.
    consent_repeat = "60s";
    /// A browser's sign-in.
    session = "12h";
    /// A link to set a password.
    setup_link = "24h";
    /// A registration that never led to a consent.
    client_ungranted = "30d";
    /// A registration that is no longer used.
    client_unused = "90d";
    /// A stream from an upstream, give or take 10 %.
    stream = "1h";
}
