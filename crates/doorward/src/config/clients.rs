//! `[[clients]]`: clients that the configuration file defines.

use doorward_authorization_server::clients::{self, Credential, Definition, MIN_SECRET};
use doorward_authorization_server::settings::{RegistrationMode, RegistrationPolicy};
use doorward_records::client::{Client, ClientOrigin};
use doorward_types::digest::Digest;

use super::command::Surroundings;
use super::file::{ClientFile, ConfigFile, RegistrationFile};
use super::parse::Parsed;
use super::server::Server;
use super::source::{Place, Problem};

/// The fewest characters of an initial access token.
const MIN_TOKEN: usize = 20;
/// The largest file of keys, in bytes.
const MAX_KEYS: u64 = 64 * 1024;

/// A client that the file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredClient {
    /// The row that it becomes.
    pub(crate) client: Client,
    /// Whether everybody may know its id.
    pub(crate) listed: bool,
}

/// The clients of the file; none for commands that start nothing, which read no secret.
pub(super) fn from_file(
    parsed: &Parsed,
    around: &Surroundings<'_>,
    servers: &[Server],
    problems: &mut Vec<Problem>,
) -> Vec<ConfiguredClient> {
    if around.environment.is_none() {
        return Vec::new();
    }
    let entries = &parsed.file.clients;
    let schemes = custom_schemes(&parsed.file.registration);
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = |key: &str| parsed.place(&format!("clients[{index}].{key}"));
        let earlier = entries.get(..index).unwrap_or_default();
        if earlier.iter().any(|other| other.id == entry.id) {
            problems.push(Problem::new(
                at("id"),
                format!("two clients have the id `{}`", entry.id.escape_debug()),
            ));
        }
        for (key, named) in [
            ("servers", entry.servers.as_deref()),
            ("introspect", Some(&*entry.introspect)),
        ] {
            check_servers(key, named.unwrap_or_default(), servers, &at, problems);
        }
        if entry.servers.as_ref().is_some_and(Vec::is_empty) {
            problems.push(
                Problem::new(at("servers"), "`servers` names no server")
                    .help("leave it out to allow every server, or remove the client"),
            );
        }
        let before = problems.len();
        let credential = credential(entry, around, &at, problems);
        let Some(credential) = credential.filter(|_| problems.len() == before) else {
            continue;
        };
        match clients::judge(&definition(entry, credential), ClientOrigin::Configured, &schemes) {
            Ok(client) => found.push(ConfiguredClient {
                client,
                listed: entry.listed,
            }),
            Err(problem) => problems.push(Problem::new(at("id"), format!("this client: {problem}"))),
        }
    }
    found
}

fn definition(entry: &ClientFile, credential: Credential) -> Definition {
    Definition {
        id: entry.id.clone(),
        name: entry.name.clone(),
        redirect_uris: entry.redirect_uris.clone(),
        grant_types: entry.grant_types.clone(),
        credential,
        scope: (!entry.scopes.is_empty()).then(|| entry.scopes.join(" ")),
        servers: entry.servers.clone(),
        introspects: entry.introspect.clone(),
    }
}

fn credential(
    entry: &ClientFile,
    around: &Surroundings<'_>,
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) -> Option<Credential> {
    match (&entry.secret, &entry.jwks, &entry.jwks_uri) {
        (None, None, None) => Some(Credential::None),
        (Some(secret), None, None) => {
            let secret = secret.read(MIN_SECRET, around, || at("secret"), problems)?;
            Some(if entry.secret_in_body {
                Credential::SecretInBody(secret.digest())
            } else {
                Credential::Secret(secret.digest())
            })
        }
        (None, Some(file), None) => match keys(&around.folder.join(file)) {
            Ok(keys) => Some(Credential::Keys(keys)),
            Err(message) => {
                let problem = Problem::new(at("jwks"), message);
                problems.push(problem.help("write a JWK set into it: `{\"keys\": [ … ]}` with public keys"));
                None
            }
        },
        (None, None, Some(uri)) => Some(Credential::KeysAt(uri.clone())),
        _ => {
            let message = "`secret`, `jwks` and `jwks_uri` exclude each other";
            problems.push(
                Problem::new(at("id"), message).help("keep the one that the client authenticates with"),
            );
            None
        }
    }
}

/// The JSON of a file of keys.
pub(crate) fn keys(path: &std::path::Path) -> Result<serde_json::Value, String> {
    let unreadable = |error: std::io::Error| format!("the file of keys cannot be read: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_KEYS {
        return Err("the file of keys is too large".into());
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    serde_json::from_slice(&text).map_err(|_| "the file of keys is not JSON".into())
}

fn check_servers(
    key: &str,
    named: &[String],
    servers: &[Server],
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    for (index, name) in named.iter().enumerate() {
        if !servers.iter().any(|server| server.name == *name) {
            let place = at(&format!("{key}[{index}]"));
            let known: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
            let problem = Problem::new(place, format!("there is no server `{}`", name.escape_debug()));
            problems.push(problem.help(format!("known are: {}", known.join(", "))));
        }
    }
}

/// Custom schemes of redirect URIs: the shipped ones and those of the file.
pub(crate) fn custom_schemes(registration: &RegistrationFile) -> Vec<String> {
    let shipped = RegistrationPolicy::new(RegistrationMode::KnownHosts).custom_schemes;
    shipped
        .into_iter()
        .chain(registration.custom_schemes.iter().cloned())
        .collect()
}

/// The digest of the initial access token, which the mode `token` needs and no other mode has.
pub(super) fn initial_token(
    parsed: &Parsed,
    around: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Digest> {
    let ConfigFile { registration, .. } = &parsed.file;
    let at = || parsed.place("registration.token");
    match (&registration.token, registration.mode) {
        (Some(token), Some(super::file::RegistrationMode::Token)) => {
            let token = token.read(MIN_TOKEN, around, at, problems)?;
            Some(token.digest())
        }
        (None, Some(super::file::RegistrationMode::Token)) => {
            let place = parsed.place("registration.mode");
            problems.push(
                Problem::new(place, "the mode `token` needs `token`")
                    .help("set `token = \"file:PATH\"` or `token = \"env:NAME\"` in `[registration]`"),
            );
            None
        }
        (Some(_), _) => {
            let problem = Problem::new(at(), "`token` is for the mode `token` only");
            problems.push(problem.help("set `mode = \"token\"`, or leave `token` out"));
            None
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests;
