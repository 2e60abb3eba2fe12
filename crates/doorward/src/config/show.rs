//! `config show`: every value in effect and where it came from.

use serde_json::{Value, json};

use super::file::RegistrationMode;
use super::secret::SecretFile;
use super::{Command, Config, Origin, Upstream};

/// One line of `config show`.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Key path, such as `servers[0].path`.
    pub(crate) key: String,
    /// The value.
    pub(crate) value: Value,
    /// Where it came from.
    pub(crate) origin: String,
}

impl Config {
    /// Every value in effect, in the order of the documentation. Nothing here is a secret: those are in the
    /// data folder and in the files that the configuration names, and of a command's variables only the names
    /// are shown.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let top = |key: &str, value: String, origin: &Origin| Shown {
            key: key.into(),
            value: value.into(),
            origin: origin.to_string(),
        };
        let mut lines = vec![
            top(
                "public_url",
                self.public_url.value.to_string(),
                &self.public_url.origin,
            ),
            self.in_file("issuer_path", json!(self.issuer_path)),
            top("listen", self.listen.value.to_string(), &self.listen.origin),
            top("data", self.data.value.display().to_string(), &self.data.origin),
            top(
                "log_level",
                self.log_level.value.to_string(),
                &self.log_level.origin,
            ),
            top(
                "log_format",
                self.log_format.value.to_string(),
                &self.log_format.origin,
            ),
            self.in_file("allowed_origins", json!(self.allowed_origins)),
            self.in_file("trusted_proxies", json!(self.trusted_proxies.to_string_list())),
            Shown {
                key: "max_connections".into(),
                value: json!(self.max_connections.value.map(|count| count.0)),
                origin: self.max_connections.origin.to_string(),
            },
            Shown {
                key: "max_connections_per_address".into(),
                value: json!(self.max_connections_per_address.value.map(|count| count.0)),
                origin: self.max_connections_per_address.origin.to_string(),
            },
            Shown {
                key: "allow_insecure_shared_uid".into(),
                value: json!(self.allow_insecure_shared_uid.value.0),
                origin: self.allow_insecure_shared_uid.origin.to_string(),
            },
        ];
        lines.push(top(
            "admin_listen",
            self.admin_listen.value.to_string(),
            &self.admin_listen.origin,
        ));
        if let Some(tls) = &self.tls {
            lines.push(self.in_file("tls.certificate", json!(tls.certificate)));
            lines.push(self.in_file("tls.key", json!(tls.key)));
        }
        self.show_servers(&mut lines);
        for (key, span) in self.lifetimes.entries() {
            lines.push(self.in_file(&format!("lifetimes.{key}"), json!(span.to_string())));
        }
        for (key, span) in self.keys.entries() {
            lines.push(self.in_file(&format!("keys.{key}"), json!(span.to_string())));
        }
        for (key, span) in self.timeouts.entries() {
            lines.push(self.in_file(&format!("timeouts.{key}"), json!(span.to_string())));
        }
        self.show_decision_log(&mut lines);
        self.show_limits(&mut lines);
        lines.push(self.in_file("registration.mode", json!(self.registration_mode().name())));
        let policy = crate::serve::registration(self);
        lines.push(self.in_file("registration.known_hosts", json!(policy.known_hosts)));
        lines.push(self.in_file(
            "registration.unknown_hosts",
            json!(self.registration.unknown_hosts),
        ));
        lines.push(self.in_file("registration.custom_schemes", json!(policy.custom_schemes)));
        lines.push(self.in_file("registration.quota", json!(self.registration_quota())));
        lines.push(self.in_file("registration.quota_per_address", json!(policy.per_address)));
        let token = self.registration.token.as_ref().map(SecretFile::shown);
        lines.push(self.in_file("registration.token", json!(token)));
        lines.push(self.in_file("registration.confidential", json!(self.registration.confidential)));
        self.show_grants(&mut lines);
        self.show_policy(&mut lines);
        self.show_documents(&mut lines);
        self.show_client_metadata(&mut lines);
        self.show_clients(&mut lines);
        lines
    }

    /// The registration mode in effect: `open` is the default only where nobody else can reach us.
    pub(crate) fn registration_mode(&self) -> RegistrationMode {
        let default = if self.public_url.value.is_loopback() {
            RegistrationMode::Open
        } else {
            RegistrationMode::KnownHosts
        };
        self.registration.mode.unwrap_or(default)
    }

    /// How many clients without a grant there may be.
    pub(crate) fn registration_quota(&self) -> u64 {
        self.registration.quota.unwrap_or(10_000)
    }

    fn show_clients(&self, lines: &mut Vec<Shown>) {
        for (index, client) in self.client_files.iter().enumerate() {
            let mut line = |name: &str, value: Value| {
                lines.push(self.in_file(&format!("clients[{index}].{name}"), value));
            };
            line("id", json!(client.id));
            line("name", json!(client.name));
            line("redirect_uris", json!(client.redirect_uris));
            line("grant_types", json!(client.grant_types));
            line("secret", json!(client.secret.as_ref().map(SecretFile::shown)));
            line("secret_in_body", json!(client.secret_in_body));
            line("jwks", json!(client.jwks));
            line("jwks_uri", json!(client.jwks_uri));
            line("scopes", json!(client.scopes));
            line("servers", json!(client.servers));
            line("introspect", json!(client.introspect));
            line("listed", json!(client.listed));
        }
    }

    fn show_servers(&self, lines: &mut Vec<Shown>) {
        for (index, server) in self.servers.iter().enumerate() {
            let key = |name: &str| format!("servers[{index}].{name}");
            lines.push(self.in_file(&key("name"), json!(server.name)));
            lines.push(self.in_file(&key("path"), json!(server.path)));
            lines.push(match &server.upstream {
                Upstream::Demo => self.in_file(&key("demo"), json!(true)),
                Upstream::Http(url) => self.in_file(&key("upstream"), json!(without_query(url))),
                Upstream::Command(command) => {
                    let words = std::iter::once(&command.program).chain(&command.arguments);
                    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
                    self.in_file(&key("command"), json!(words))
                }
            });
            lines.push(self.in_file(&key("allow"), json!(server.allow)));
            self.show_scopes(server, &key, lines);
            let anonymous = json!(server.allow_insecure_anonymous);
            lines.push(self.in_file(&key("allow_insecure_anonymous"), anonymous));
            let names: Vec<&str> = server
                .forward_headers
                .iter()
                .map(http::HeaderName::as_str)
                .collect();
            lines.push(self.in_file(&key("forward_headers"), json!(names)));
            if let Some(command) = server.command() {
                self.show_command(command, &key, lines);
            } else {
                let value = json!(server.connect.to_string());
                lines.push(self.inherited(&key("timeouts.connect"), "timeouts.upstream_connect", value));
            }
            let value = json!(server.response.to_string());
            lines.push(self.inherited(&key("timeouts.response"), "timeouts.upstream_response", value));
            self.show_limits_of(&server.limits, index, lines);
        }
    }

    fn show_command(&self, command: &Command, key: &dyn Fn(&str) -> String, lines: &mut Vec<Shown>) {
        let mut line = |name: &str, value: Value| lines.push(self.in_file(&key(name), value));
        for (name, variable) in &command.environment {
            line(&format!("env.{name}"), json!(variable.shown()));
        }
        line("working_directory", json!(command.working_directory));
        line("idle", json!(command.idle.to_string()));
        line("processes_per_user", json!(command.processes_per_user));
        line("processes", json!(command.processes));
        line("memory", json!(command.memory.to_string()));
        line("max_children", json!(command.max_children));
        line("max_message", json!(command.max_message.to_string()));
        line("timeouts.start", json!(command.start.to_string()));
    }

    /// A key of a server for which a key of all servers stands in.
    pub(super) fn inherited(&self, key: &str, from: &str, value: Value) -> Shown {
        let own = self.lines.contains_key(key);
        let origin = self.in_file(if own { key } else { from }, Value::Null).origin;
        let key = key.into();
        Shown { key, value, origin }
    }

    pub(super) fn in_file(&self, key: &str, value: Value) -> Shown {
        let origin = self
            .lines
            .get(key)
            .map_or(Origin::Default, |line| Origin::File(*line));
        Shown {
            key: key.into(),
            value,
            origin: origin.to_string(),
        }
    }
}

/// People put keys into queries.
fn without_query(url: &url::Url) -> String {
    match url.as_str().split_once('?') {
        Some((before, _)) => format!("{before}?…"),
        None => url.as_str().to_owned(),
    }
}

impl RegistrationMode {
    /// As it is written in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KnownHosts => "known-hosts",
            Self::Open => "open",
            Self::Token => "token",
            Self::Off => "off",
        }
    }
}
