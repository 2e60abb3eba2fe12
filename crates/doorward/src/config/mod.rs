//! Configuration: one TOML file, flags and `DOORWARD_…` variables (flags > environment > file >
//! defaults), read into one [`Config`] that is fully checked.

pub(crate) mod address;
mod check;
mod client_metadata;
pub(crate) mod clients;
pub(crate) mod command;
pub(crate) mod decisions;
mod documents;
pub(crate) mod duration;
mod environment;
pub(crate) mod file;
mod forward;
mod grants;
mod keys;
mod layers;
mod limits;
mod parse;
pub(crate) mod policy;
pub(crate) mod scalar;
pub(crate) mod scopes;
pub(crate) mod secret;
mod server;
mod show;
pub(crate) mod size;
pub(crate) mod source;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use address::{Listen, PublicUrl};
use clients::ConfiguredClient;
pub(crate) use command::Command;
use decisions::{AdminListen, DecisionLog};
use doorward_limits::TrustedProxies;
use doorward_types::digest::Digest;
pub(crate) use environment::Environment;
use file::{ClientFile, ConfigFile, Lifetimes, RegistrationFile, Timeouts};
use layers::Purpose;
use scalar::{Count, Switch};
pub(crate) use server::{Server, Upstream};
pub(crate) use source::ConfigError;

use crate::cli::{ConfigArgs, ServeArgs};
use crate::log::{LogFormat, LogLevel};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag.
    Flag(&'static str),
    /// A variable.
    Environment(&'static str),
    /// The file, at this line.
    File(usize),
    /// Nobody said.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(line) => write!(f, "file, line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// Certificate files.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The certificate chain, PEM.
    pub(crate) certificate: PathBuf,
    /// The private key, PEM.
    pub(crate) key: PathBuf,
}

/// The configuration in effect.
#[derive(Debug)]
pub(crate) struct Config {
    /// The origin people use.
    pub(crate) public_url: Setting<PublicUrl>,
    /// What follows it in the issuer; may be empty.
    pub(crate) issuer_path: String,
    /// Where to listen.
    pub(crate) listen: Setting<Listen>,
    /// The data folder.
    pub(crate) data: Setting<PathBuf>,
    /// What is logged.
    pub(crate) log_level: Setting<LogLevel>,
    /// How it is logged.
    pub(crate) log_format: Setting<LogFormat>,
    /// Origins of browser clients.
    pub(crate) allowed_origins: Vec<String>,
    /// Proxies that are believed.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Most connections at once.
    pub(crate) max_connections: Setting<Option<Count>>,
    /// Most connections at once from one address.
    pub(crate) max_connections_per_address: Setting<Option<Count>>,
    /// Whether commands may start where nothing keeps users apart.
    pub(crate) allow_insecure_shared_uid: Setting<Switch>,
    /// Where metrics are served.
    pub(crate) admin_listen: Setting<AdminListen>,
    /// Where decisions are written.
    decision_log: DecisionLog,
    /// Our own certificate.
    pub(crate) tls: Option<Tls>,
    /// The protected servers; commands other than `serve` may have none.
    pub(crate) servers: Vec<Server>,
    /// How long things live.
    pub(crate) lifetimes: Lifetimes,
    /// How long we wait for others.
    pub(crate) timeouts: Timeouts,
    /// When the keys rotate.
    pub(crate) keys: keys::Keys,
    /// How often somebody may call, where a server does not say.
    limits: limits::LimitsFile,
    /// Who may register.
    pub(crate) registration: RegistrationFile,
    /// Which grants are on.
    grants: grants::GrantsFile,
    /// By what calls are judged beside access rules and scopes.
    pub(crate) policies: policy::Policies,
    /// Which clients may be known by a URL.
    pub(crate) documents: documents::DocumentsFile,
    /// The document of our own client.
    client_metadata: client_metadata::ClientMetadataFile,
    /// Certificate authorities that are believed besides the public ones, PEM.
    pub(crate) outbound_certificates: Option<PathBuf>,
    /// Digest of the initial access token, where one is needed and was read.
    pub(crate) initial_token: Option<Digest>,
    /// The clients that the file defines; none for commands that start nothing.
    pub(crate) clients: Vec<ConfiguredClient>,
    /// The same as they are written.
    client_files: Vec<ClientFile>,
    /// Files that hold secrets.
    secret_files: Vec<PathBuf>,
    /// The file, as named by the person.
    file: Option<PathBuf>,
    /// Lines of the keys that the file set, by key path.
    lines: std::collections::BTreeMap<String, usize>,
}

impl Config {
    /// Reads and checks the configuration for a command that starts nothing: variables of commands behind
    /// servers need not be set.
    pub(crate) fn load(args: &ConfigArgs, environment: &Environment) -> Result<Self, ConfigError> {
        layers::load(args, Purpose::Command, environment)
    }

    /// Reads the configuration to find a running server. A file that is broken by now still says where it is.
    pub(crate) fn load_to_ask(args: &ConfigArgs, environment: &Environment) -> Result<Self, ConfigError> {
        layers::load(args, Purpose::Ask, environment)
    }

    /// Reads and checks the configuration as `serve` does, without its flags.
    pub(crate) fn load_to_check(args: &ConfigArgs, environment: &Environment) -> Result<Self, ConfigError> {
        layers::load(args, Purpose::Check, environment)
    }

    /// Reads and checks the configuration for `serve`, whose flags may name a server.
    pub(crate) fn load_for_serve(args: &ServeArgs, environment: &Environment) -> Result<Self, ConfigError> {
        layers::load(&args.config, Purpose::Serve(args), environment)
    }

    /// The same after the system chose the port.
    #[must_use]
    pub(crate) fn with_bound_port(mut self, port: u16) -> Self {
        if self.listen.value.port() == 0 {
            self.listen.value = self.listen.value.with_port(port);
            if self.public_url.origin == Origin::Default {
                self.public_url.value = PublicUrl::localhost(port);
            }
        }
        self
    }

    /// The same, to ask the servers themselves what they offer: in front of each stands a gateway that nobody else can
    /// reach, with its own data, and nothing is hidden from who asks.
    #[must_use]
    pub(crate) fn for_asking(mut self, data: PathBuf) -> Self {
        // Commands may not read ours all the same.
        self.secret_files
            .push(std::mem::replace(&mut self.data.value, data));
        self.policies = policy::Policies::default();
        self.decision_log.enabled = false;
        for server in &mut self.servers {
            server.allow_insecure_anonymous = true;
            server.allow = Vec::new();
            server.scopes = Vec::new();
        }
        self
    }

    /// The configuration file, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Every check that was weakened, and what that means. All of it is said at every start.
    pub(crate) fn weakened(&self) -> Vec<String> {
        let mut told = Vec::new();
        if self.allow_insecure_shared_uid.value.0 {
            told.push(
                "allow_insecure_shared_uid: commands also start where nothing keeps one user's processes from another user's files"
                    .into(),
            );
        }
        for server in self
            .servers
            .iter()
            .filter(|server| server.allow_insecure_anonymous)
        {
            told.push(format!(
                "allow_insecure_anonymous: server `{}` answers everybody, without a login",
                server.name
            ));
        }
        told
    }
}

/// The JSON Schema of the file.
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(ConfigFile)
}
