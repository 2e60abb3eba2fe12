//! Configuration: one TOML file, flags and `DOORWARD_…` variables (flags > environment > file >
//! defaults), read into one [`Config`] that is fully checked.

pub(crate) mod address;
mod check;
pub(crate) mod duration;
pub(crate) mod file;
mod parse;
mod server;
mod show;
pub(crate) mod source;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) use address::{Listen, PublicUrl};
use file::{ConfigFile, Lifetimes, RegistrationFile, Timeouts};
use parse::Parsed;
pub(crate) use server::{Server, Upstream};
pub(crate) use source::ConfigError;
use source::{Place, Problem, Source};

use crate::cli::{ConfigArgs, ServeArgs};
use crate::log::{LogFormat, LogLevel};

/// Reads environment variables; tests hold their own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

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
    /// The origin people use; the issuer.
    pub(crate) public_url: Setting<PublicUrl>,
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
    /// Our own certificate.
    pub(crate) tls: Option<Tls>,
    /// The protected servers; commands other than `serve` may have none.
    pub(crate) servers: Vec<Server>,
    /// How long things live.
    pub(crate) lifetimes: Lifetimes,
    /// How long we wait for others.
    pub(crate) timeouts: Timeouts,
    /// Who may register.
    pub(crate) registration: RegistrationFile,
    /// The file, as named by the person.
    file: Option<PathBuf>,
    /// Lines of the keys that the file set, by key path.
    lines: std::collections::BTreeMap<String, usize>,
}

impl Config {
    /// Reads and checks the configuration for a command that needs no server.
    pub(crate) fn load(args: &ConfigArgs, environment: Environment<'_>) -> Result<Self, ConfigError> {
        load(args, None, environment)
    }

    /// Reads and checks the configuration for `serve`, whose flags may name a server.
    pub(crate) fn load_for_serve(
        args: &ServeArgs,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        load(&args.config, Some(args), environment)
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

    /// The configuration file, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

fn load(
    args: &ConfigArgs,
    serve: Option<&ServeArgs>,
    environment: Environment<'_>,
) -> Result<Config, ConfigError> {
    let variable = environment("DOORWARD_CONFIG").map(PathBuf::from);
    let Some(path) = args.config.clone().or(variable) else {
        return Layers {
            args,
            environment,
            parsed: Parsed::default(),
            source: None,
            folder: None,
        }
        .config(serve);
    };
    let named = Place::Named(path.display().to_string());
    let text = std::fs::read_to_string(&path).map_err(|error| ConfigError {
        source: None,
        problems: vec![
            Problem::new(named, format!("cannot read the configuration file: {error}"))
                .help("give its path with `--config FILE`"),
        ],
    })?;
    let source = Source {
        name: path.display().to_string(),
        text,
    };
    match parse::parse(&source.text) {
        Ok(parsed) => {
            let folder = path.parent().map(Path::to_path_buf);
            Layers {
                args,
                environment,
                parsed,
                source: Some((path, source)),
                folder,
            }
            .config(serve)
        }
        Err(problems) => Err(ConfigError {
            source: Some(source),
            problems,
        }),
    }
}

/// The layers that a value may come from, and the problems found so far.
struct Layers<'a> {
    args: &'a ConfigArgs,
    environment: Environment<'a>,
    parsed: Parsed,
    source: Option<(PathBuf, Source)>,
    folder: Option<PathBuf>,
}

impl Layers<'_> {
    fn config(self, serve: Option<&ServeArgs>) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let config = self.build(serve, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError {
                source: self.source.map(|(_, source)| source),
                problems,
            }),
        }
    }

    fn build(&self, serve: Option<&ServeArgs>, problems: &mut Vec<Problem>) -> Option<Config> {
        let file = &self.parsed.file;
        let listen = self.scalar(
            "listen",
            &self.args.listen,
            &file.listen,
            Listen::Localhost(8080),
            problems,
        );
        let log_level = self.scalar(
            "log_level",
            &self.args.log_level,
            &file.log_level,
            LogLevel::Info,
            problems,
        );
        let log_format = self.scalar(
            "log_format",
            &self.args.log_format,
            &file.log_format,
            LogFormat::Auto,
            problems,
        );
        let data = self.data();
        let public_url = self.public_url(listen.as_ref(), problems);
        let tls = file.tls.as_ref().map(|tls| Tls {
            certificate: self.beside_file(&tls.certificate),
            key: self.beside_file(&tls.key),
        });
        let servers = self.servers(serve, problems);
        check::allowed_origins(&self.parsed, problems);
        check::registration(&self.parsed, problems);
        check::lifetimes(&self.parsed, problems);
        check::timeouts(&self.parsed, problems);
        let (listen, public_url) = (listen?, public_url?);
        self.reachable(&listen, &public_url, problems);
        check::not_our_own_upstream(&self.parsed, &servers, &listen.value, &public_url.value, problems);
        Some(Config {
            public_url,
            listen,
            data,
            log_level: log_level?,
            log_format: log_format?,
            allowed_origins: file.allowed_origins.clone().unwrap_or_default(),
            tls,
            servers,
            lifetimes: Lifetimes::from_file(&file.lifetimes).ok()?,
            timeouts: Timeouts::from_file(file.timeouts),
            registration: file.registration.clone(),
            file: self.source.as_ref().map(|(path, _)| path.clone()),
            lines: self.lines(),
        })
    }

    /// A top-level key by flag, variable, file, default.
    fn scalar<T>(
        &self,
        key: &str,
        flag: &Option<String>,
        file: &Option<String>,
        default: T,
        problems: &mut Vec<Problem>,
    ) -> Option<Setting<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Some((text, origin)) = self.text(key, flag.as_ref(), file.as_ref()) else {
            return Some(Setting {
                value: default,
                origin: Origin::Default,
            });
        };
        match text.parse() {
            Ok(value) => Some(Setting { value, origin }),
            Err(error) => {
                problems.push(Problem::new(
                    self.place(key, &origin),
                    format!("`{text}` is {error}"),
                ));
                None
            }
        }
    }

    fn text(&self, key: &str, flag: Option<&String>, file: Option<&String>) -> Option<(String, Origin)> {
        let (flag_name, variable) = names(key);
        if let Some(text) = flag {
            return Some((text.clone(), Origin::Flag(flag_name)));
        }
        if let Some(text) = (self.environment)(variable) {
            return Some((text, Origin::Environment(variable)));
        }
        file.map(|text| (text.clone(), Origin::File(self.line(key))))
    }

    fn data(&self) -> Setting<PathBuf> {
        if let Some(data) = &self.args.data {
            return Setting {
                value: data.clone(),
                origin: Origin::Flag("--data"),
            };
        }
        if let Some(data) = (self.environment)("DOORWARD_DATA") {
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

    fn servers(&self, serve: Option<&ServeArgs>, problems: &mut Vec<Problem>) -> Vec<Server> {
        let by_flag = serve.and_then(|args| server::from_flags(args, problems));
        let mut servers = server::from_file(&self.parsed, problems);
        match by_flag {
            Some(_) if !self.parsed.file.servers.is_empty() => problems.push(
                Problem::new(
                    self.parsed.place("servers"),
                    "the file names servers, and so do the flags",
                )
                .help("leave out `--upstream` or `--demo`, or put that server into the file"),
            ),
            Some(server) => servers.push(server),
            None => {}
        }
        servers
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
        "log_format" => ("--log-format", "DOORWARD_LOG_FORMAT"),
        _ => ("--log-level", "DOORWARD_LOG"),
    }
}

/// The JSON Schema of the file.
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(ConfigFile)
}
