//! `[client_metadata]`: the document that describes the company's own client, for `connect --client-metadata-url`.

use doorward_types::url::{ResourceUri, is_loopback};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::Config;
use super::parse::Parsed;
use super::show::Shown;
use super::source::Problem;

/// Where the document stands; with `public_url` before it, it is the client's id.
pub(crate) const PATH: &str = "/client-metadata.json";
/// Where `doorward login` and `connect` return to, on any port (RFC 8252 §7.3).
const REDIRECT_URIS: [&str; 3] = [
    "http://127.0.0.1/callback",
    "http://[::1]/callback",
    "http://localhost/callback",
];
/// The longest name; consent pages of others have to show it.
const MAX_NAME: usize = 100;

/// The document that describes the company's own MCP client to authorization servers elsewhere.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientMetadataFile {
    /// Whether it is served, at `/client-metadata.json`. `public_url` must be `https`. Default: `false`.
    pub(crate) enabled: Option<bool>,
    /// What people see when they are asked for consent. Default: `Doorward`.
    pub(crate) client_name: Option<String>,
    /// A page about the client, `https`. Default: none.
    pub(crate) client_uri: Option<String>,
    /// Where the client returns to. Default: `/callback` at the loopback addresses, where `doorward login` and `connect`
    /// listen.
    pub(crate) redirect_uris: Vec<String>,
}

impl ClientMetadataFile {
    fn name(&self) -> &str {
        self.client_name.as_deref().unwrap_or("Doorward")
    }

    fn redirect_uris(&self) -> Vec<&str> {
        if self.redirect_uris.is_empty() {
            return REDIRECT_URIS.to_vec();
        }
        self.redirect_uris.iter().map(String::as_str).collect()
    }
}

/// A document that other servers would refuse is a problem here (G3, G4).
pub(super) fn check(parsed: &Parsed, public_url: Option<&str>, problems: &mut Vec<Problem>) {
    let file = &parsed.file.client_metadata;
    let mut problem = |key: &str, message: String, help: &str| {
        let place = parsed.place(&format!("client_metadata.{key}"));
        problems.push(Problem::new(place, message).help(help));
    };
    let plain = file.enabled == Some(true) && public_url.is_some_and(|url| !url.starts_with("https:"));
    if plain {
        problem(
            "enabled",
            "a client's id is an `https` URL, and `public_url` is not".into(),
            "give Doorward an https address, or leave it out",
        );
    }
    let name = file.name();
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!("`{}` is not a name that can be shown", name.escape_debug());
        problem(
            "client_name",
            message,
            "write up to 100 bytes of text on one line",
        );
    }
    if let Some(uri) = &file.client_uri
        && !Url::parse(uri).is_ok_and(|uri| uri.scheme() == "https")
    {
        let message = format!("`{}` is not an https URL", uri.escape_debug());
        problem("client_uri", message, "write it as `https://example.com/tools`");
    }
    for (index, uri) in file.redirect_uris.iter().enumerate() {
        // `https`, or `http` on this machine, without fragment and user name: what OAuth 2.1 §1.5 and RFC 8252 leave.
        if ResourceUri::parse(uri).is_err() || !Url::parse(uri).is_ok_and(|uri| returns(&uri)) {
            problem(
                &format!("redirect_uris[{index}]"),
                format!("`{}` is not an address to return to", uri.escape_debug()),
                "write an https URL, or `http://127.0.0.1/callback`",
            );
        }
    }
}

fn returns(uri: &Url) -> bool {
    uri.scheme() == "https" || is_loopback(uri)
}

impl Config {
    /// The document (client ID metadata document draft), if it is served.
    pub(crate) fn client_metadata(&self) -> Option<String> {
        let file = &self.client_metadata;
        if file.enabled != Some(true) {
            return None;
        }
        let base = self.public_url.value.as_str().trim_end_matches('/');
        let mut document = json!({
            "client_id": format!("{base}{PATH}"),
            "client_name": file.name(),
            "redirect_uris": file.redirect_uris(),
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        });
        if let (Some(uri), Some(members)) = (&file.client_uri, document.as_object_mut()) {
            members.insert("client_uri".into(), Value::from(uri.as_str()));
        }
        Some(document.to_string())
    }

    pub(super) fn show_client_metadata(&self, lines: &mut Vec<Shown>) {
        let file = &self.client_metadata;
        let mut line = |name: &str, value| {
            lines.push(self.in_file(&format!("client_metadata.{name}"), value));
        };
        line("enabled", json!(file.enabled.unwrap_or(false)));
        line("client_name", json!(file.name()));
        line("client_uri", json!(file.client_uri));
        line("redirect_uris", json!(file.redirect_uris()));
    }
}
