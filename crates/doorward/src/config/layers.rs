//! From flags, variables, file and defaults to one [`Config`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::command::Surroundings;
use super::file::{Lifetimes, Timeouts};
use super::parse::{self, Parsed};
use super::scalar::Switch;
use super::source::{ConfigError, Place, Problem, Source};
use super::{
    Config, Environment, Listen, Origin, PublicUrl, Server, Setting, Tls, address, check, client_metadata,
    clients, decisions, documents, keys, limits, policy, server,
};
use crate::cli::{ConfigArgs, ServeArgs};
use crate::log::{LogFormat, LogLevel};

/// What the configuration is read for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// A command that starts nothing.
    Command,
    /// To ask a running server, which may have been started before the file was broken.
    Ask,
    /// To tell everything that is wrong with it.
    Check,
    /// To serve, with these flags.
    Serve(&'a ServeArgs),
}

/// Reads and checks the configuration.
pub(super) fn load(
    args: &ConfigArgs,
    purpose: Purpose<'_>,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    let variable = environment.get("DOORWARD_CONFIG").map(PathBuf::from);
    let Some(path) = args.config.clone().or(variable) else {
        return Layers {
            args,
            purpose,
            environment,
            parsed: Parsed::default(),
            source: None,
            folder: None,
        }
        .config();
    };
    let named = Place::Named(path.display().to_string());
    let text = std::fs::read_to_string(&path).map_err(|error| ConfigError {
        source: None,
        problems: vec![
            Problem::new(named, format!("cannot read the configuration file: {error}"))
                .help("give its path with `--config FILE`"),
        ],
    })?;
    let load = |text: String| load_text(args, purpose, environment, &path, text);
    match purpose {
        Purpose::Ask => load(text.clone()).or_else(|error| load(whereabouts(&text)).map_err(|_| error)),
        Purpose::Command | Purpose::Check | Purpose::Serve(_) => load(text),
    }
}

fn load_text(
    args: &ConfigArgs,
    purpose: Purpose<'_>,
    environment: &Environment,
    path: &Path,
    text: String,
) -> Result<Config, ConfigError> {
    let source = Source {
        name: path.display().to_string(),
        text,
    };
    match parse::parse(&source.text) {
        Ok(parsed) => Layers {
            args,
            purpose,
            environment,
            parsed,
            source: Some((path.to_path_buf(), source)),
            folder: path.parent().map(Path::to_path_buf),
        }
        .config(),
        Err(problems) => Err(ConfigError {
            source: Some(source),
            problems,
        }),
    }
}

/// What a file that cannot be used still says about where the server is; nothing if it is no TOML.
fn whereabouts(text: &str) -> String {
    let mut table: toml::Table = text.parse().unwrap_or_default();
    table.retain(|key, _| matches!(key, "listen" | "public_url" | "tls"));
    table.to_string()
}

/// The layers that a value may come from, and the problems found so far.
struct Layers<'a> {
    args: &'a ConfigArgs,
    purpose: Purpose<'a>,
    environment: &'a Environment,
    parsed: Parsed,
    source: Option<(PathBuf, Source)>,
    folder: Option<PathBuf>,
}

impl Layers<'_> {
    fn config(self) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        self.environment.unknown(&mut problems);
        let config = self.build(&mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError {
                source: self.source.map(|(_, source)| source),
                problems,
            }),
        }
    }

    fn build(&self, problems: &mut Vec<Problem>) -> Option<Config> {
        let (args, file) = (self.args, &self.parsed.file);
        let localhost = Listen::Localhost(8080);
        let listen = self.scalar("listen", &args.listen, &file.listen, localhost, problems);
        let (flag, written) = (&args.log_level, &file.log_level);
        let log_level = self.scalar("log_level", flag, written, LogLevel::Info, problems);
        let (flag, written) = (&args.log_format, &file.log_format);
        let log_format = self.scalar("log_format", flag, written, LogFormat::Auto, problems);
        let serve = match self.purpose {
            Purpose::Serve(args) => Some(args),
            Purpose::Command | Purpose::Ask | Purpose::Check => None,
        };
        let flag = &serve.and_then(|args| args.max_connections.as_ref());
        let written = &file.max_connections;
        let max_connections = self.optional("max_connections", flag, written, problems);
        let flag = &serve.and_then(|args| args.max_connections_per_address.as_ref());
        let written = &file.max_connections_per_address;
        let key = "max_connections_per_address";
        let max_connections_per_address = self.optional(key, flag, written, problems);
        let flag = serve.and_then(|args| args.allow_insecure_shared_uid.then_some("true"));
        let (key, written) = ("allow_insecure_shared_uid", &file.allow_insecure_shared_uid);
        let allow_insecure_shared_uid = self.scalar(key, &flag, written, Switch(false), problems);
        let flag = &serve.and_then(|args| args.admin_listen.as_ref());
        let (written, default) = (&file.admin_listen, decisions::AdminListen::default());
        let admin_listen = self.scalar("admin_listen", flag, written, default, problems);
        let data = self.data();
        let public_url = self.public_url(listen.as_ref(), problems);
        let tls = file.tls.as_ref().map(|tls| Tls {
            certificate: self.beside_file(&tls.certificate),
            key: self.beside_file(&tls.key),
        });
        let servers = self.servers(&data.value, problems);
        check::allowed_origins(&self.parsed, problems);
        let trusted_proxies = check::trusted_proxies(&self.parsed, problems);
        let issuer_path = check::issuer_path(&self.parsed, &servers, problems);
        check::registration(&self.parsed, problems);
        documents::check(&self.parsed, problems);
        let public = public_url.as_ref().map(|url| url.value.as_str());
        client_metadata::check(&self.parsed, public, problems);
        decisions::check(&self.parsed, problems);
        check::lifetimes(&self.parsed, problems);
        check::timeouts(&self.parsed, problems);
        keys::check(&self.parsed, problems);
        limits::check(&self.parsed, problems);
        let folder = self.folder.as_deref().unwrap_or(Path::new("."));
        let around = self.around(folder, &data.value);
        let initial_token = clients::initial_token(&self.parsed, &around, problems);
        let clients = clients::from_file(&self.parsed, &around, &servers, problems);
        let (listen, public_url) = (listen?, public_url?);
        self.reachable(&listen, &public_url, problems);
        check::not_our_own_upstream(&self.parsed, &servers, &listen.value, &public_url.value, problems);
        let strict = matches!(self.purpose, Purpose::Check | Purpose::Serve(_));
        let policies = policy::from_file(&self.parsed, folder, strict, &servers, problems);
        let config = Config {
            public_url,
            issuer_path,
            listen,
            admin_listen: admin_listen?,
            decision_log: decisions::DecisionLog::new(&file.decision_log, self.decision_log(&data.value)),
            data,
            log_level: log_level?,
            log_format: log_format?,
            allowed_origins: file.allowed_origins.clone().unwrap_or_default(),
            trusted_proxies,
            max_connections: max_connections?,
            max_connections_per_address: max_connections_per_address?,
            allow_insecure_shared_uid: allow_insecure_shared_uid?,
            tls,
            servers,
            lifetimes: Lifetimes::from_file(&file.lifetimes).ok()?,
            timeouts: Timeouts::from_file(file.timeouts),
            keys: keys::Keys::from_file(file.keys),
            limits: file.limits.clone(),
            registration: file.registration.clone(),
            grants: file.grants,
            policies,
            documents: file.client_metadata_documents.clone(),
            client_metadata: file.client_metadata.clone(),
            outbound_certificates: file
                .outbound
                .certificates
                .as_deref()
                .map(|path| self.beside_file(path)),
            initial_token,
            clients,
            client_files: file.clients.clone(),
            secret_files: file.secrets().filter_map(|secret| secret.file(folder)).collect(),
            file: self.source.as_ref().map(|(path, _)| path.clone()),
            lines: self.lines(),
        };
        let per_address = &config.max_connections_per_address.origin;
        let place = || self.place("max_connections_per_address", per_address);
        check::limits(&config, place, problems);
        Some(config)
    }

    /// A top-level key by flag, variable, file, default.
    fn scalar<T>(
        &self,
        key: &str,
        flag: &Option<impl ToString>,
        file: &Option<impl ToString>,
        default: T,
        problems: &mut Vec<Problem>,
    ) -> Option<Setting<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Setting { value, origin } = self.optional(key, flag, file, problems)?;
        let value = value.unwrap_or(default);
        Some(Setting { value, origin })
    }

    /// A top-level key by flag, variable or file.
    fn optional<T>(
        &self,
        key: &str,
        flag: &Option<impl ToString>,
        file: &Option<impl ToString>,
        problems: &mut Vec<Problem>,
    ) -> Option<Setting<Option<T>>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Some((text, origin)) = self.text(key, flag.as_ref(), file.as_ref()) else {
            return Some(Setting {
                value: None,
                origin: Origin::Default,
            });
        };
        match text.parse() {
            Ok(value) => Some(Setting {
                value: Some(value),
                origin,
            }),
            Err(error) => {
                let message = format!("`{}` is {error}", text.escape_debug());
                problems.push(Problem::new(self.place(key, &origin), message));
                None
            }
        }
    }

    fn text(
        &self,
        key: &str,
        flag: Option<&impl ToString>,
        file: Option<&impl ToString>,
    ) -> Option<(String, Origin)> {
        let (flag_name, variable) = names(key);
        if let Some(text) = flag {
            return Some((text.to_string(), Origin::Flag(flag_name)));
        }
        if let Some(text) = self.environment.get(variable) {
            return Some((text.to_owned(), Origin::Environment(variable)));
        }
        file.map(|text| (text.to_string(), Origin::File(self.line(key))))
    }

    fn data(&self) -> Setting<PathBuf> {
        if let Some(data) = &self.args.data {
            return Setting {
                value: data.clone(),
                origin: Origin::Flag("--data"),
            };
        }
        if let Some(data) = self.environment.get("DOORWARD_DATA") {
            return Setting {
                value: data.into(),
                origin: Origin::Environment("DOORWARD_DATA"),
            };
        }
        match &self.parsed.file.data {
            Some(data) => Setting {
                value: self.beside_file(data),
                origin: Origin::File(self.line("data")),
            },
            None => Setting {
                value: "doorward-data".into(),
                origin: Origin::Default,
            },
        }
    }

    fn decision_log(&self, data: &Path) -> PathBuf {
        match &self.parsed.file.decision_log.file {
            Some(file) => self.beside_file(file),
            None => data.join("decisions.jsonl"),
        }
    }

    fn public_url(
        &self,
        listen: Option<&Setting<Listen>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Setting<PublicUrl>> {
        let file = &self.parsed.file;
        let Some((text, origin)) = self.text(
            "public_url",
            self.args.public_url.as_ref(),
            file.public_url.as_ref(),
        ) else {
            let listen = listen?;
            if listen.value.is_loopback() && file.tls.is_none() {
                let value = PublicUrl::localhost(listen.value.port());
                return Some(Setting {
                    value,
                    origin: Origin::Default,
                });
            }
            let place = self.place("listen", &listen.origin);
            let problem = Problem::new(
                place,
                "`public_url` is missing: under which URL do people reach this server?",
            );
            problems.push(
                problem
                    .help("set it to an `https` origin such as `public_url = \"https://mcp.example.com\"`"),
            );
            return None;
        };
        match PublicUrl::parse(&text) {
            Ok(value) => Some(Setting { value, origin }),
            Err(error) => {
                let problem = Problem::new(self.place("public_url", &origin), error.to_string());
                problems.push(match error {
                    address::PublicUrlError::NotCanonical(_) => {
                        problem.help("a server's `path` is a key of its own, under `[[servers]]`")
                    }
                    address::PublicUrlError::Insecure => {
                        problem.help("end TLS in front of Doorward, or give it certificate files in `[tls]`")
                    }
                    address::PublicUrlError::NotAbsolute => problem,
                });
                None
            }
        }
    }

    /// Plain `http` is served on loopback only.
    fn reachable(
        &self,
        listen: &Setting<Listen>,
        public_url: &Setting<PublicUrl>,
        problems: &mut Vec<Problem>,
    ) {
        let tls = self.parsed.file.tls.is_some();
        if tls && !public_url.value.is_https() {
            let place = self.place("public_url", &public_url.origin);
            problems.push(Problem::new(place, "with `[tls]`, `public_url` must be `https`"));
        }
        if !tls && !listen.value.is_loopback() {
            let message = format!(
                "plain `http` is served on loopback only, and `{}` is not loopback",
                listen.value
            );
            problems.push(
                Problem::new(self.place("listen", &listen.origin), message)
                    .help("give certificate files in `[tls]`, or listen on `localhost:PORT` behind a proxy that ends TLS"),
            );
        }
    }

    fn servers(&self, data: &Path, problems: &mut Vec<Problem>) -> Vec<Server> {
        let timeouts = Timeouts::from_file(self.parsed.file.timeouts);
        let folder = self.folder.as_deref().unwrap_or(Path::new("."));
        let mut around = self.around(folder, data);
        let mut servers = server::from_file(&self.parsed, &timeouts, &around, problems);
        let Purpose::Serve(args) = self.purpose else {
            return servers;
        };
        around.folder = Path::new(".");
        match server::from_flags(args, &timeouts, &self.parsed.file.limits, &around, problems) {
            Some(_) if !self.parsed.file.servers.is_empty() => problems.push(
                Problem::new(
                    self.parsed.place("servers"),
                    "the file names servers, and so do the flags",
                )
                .help("leave out `--upstream`, `--demo` or the command after `--`, or put that server into the file"),
            ),
            Some(server) => servers.push(server),
            None => {}
        }
        servers
    }

    /// What commands and secrets are read with: only what starts something needs variables and secrets.
    fn around<'b>(&'b self, folder: &'b Path, data: &'b Path) -> Surroundings<'b> {
        let strict = matches!(self.purpose, Purpose::Check | Purpose::Serve(_));
        Surroundings {
            environment: strict.then_some(self.environment),
            folder,
            data,
        }
    }

    fn place(&self, key: &str, origin: &Origin) -> Place {
        match origin {
            Origin::Flag(name) => Place::Named(format!("flag {name}")),
            Origin::Environment(name) => Place::Named(format!("environment variable {name}")),
            Origin::File(_) => self.parsed.place(key),
            Origin::Default => Place::Nowhere,
        }
    }

    fn beside_file(&self, path: &Path) -> PathBuf {
        self.folder
            .as_ref()
            .map_or_else(|| path.to_path_buf(), |folder| folder.join(path))
    }

    fn line(&self, key: &str) -> usize {
        match (self.parsed.span(key), &self.source) {
            (Some(span), Some((_, source))) => source.position(span.start).0,
            _ => 0,
        }
    }

    fn lines(&self) -> std::collections::BTreeMap<String, usize> {
        self.parsed
            .keys()
            .map(|key| (key.to_owned(), self.line(key)))
            .collect()
    }
}

/// The flag and the variable of a scalar top-level key.
fn names(key: &str) -> (&'static str, &'static str) {
    match key {
        "public_url" => ("--public-url", "DOORWARD_PUBLIC_URL"),
        "listen" => ("--listen", "DOORWARD_LISTEN"),
        "data" => ("--data", "DOORWARD_DATA"),
        "admin_listen" => ("--admin-listen", "DOORWARD_ADMIN_LISTEN"),
        "log_format" => ("--log-format", "DOORWARD_LOG_FORMAT"),
        "max_connections" => ("--max-connections", "DOORWARD_MAX_CONNECTIONS"),
        "max_connections_per_address" => (
            "--max-connections-per-address",
            "DOORWARD_MAX_CONNECTIONS_PER_ADDRESS",
        ),
        "allow_insecure_shared_uid" => (
            "--allow-insecure-shared-uid",
            "DOORWARD_ALLOW_INSECURE_SHARED_UID",
        ),
        _ => ("--log-level", "DOORWARD_LOG"),
    }
}
