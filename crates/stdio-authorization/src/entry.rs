//! What the protocol says about authorization: the entry of the server, the mark of a tool, the data of an error.

use serde_json::{Map, Value, json};

use doorward_types::scope::ScopeSet;

use crate::settings::{Settings, names};

/// The key of the extension: in `capabilities`, and in the `_meta` of tools.
pub const EXTENSION: &str = "io.doorward/authorization";

/// The key of a request's `_meta` under which a client hands over an access token.
pub const TOKEN: &str = "io.doorward/token";

/// The entry in `capabilities.experimental` (legacy) or `capabilities.extensions` (2026-07-28).
pub(crate) fn capability(settings: &Settings) -> Value {
    json!({
        "type": "oauth2",
        "required": true,
        "resource": settings.resource,
        "scopes_supported": names(&settings.scopes_supported()),
        "authorization_servers": settings.authorization_servers,
    })
}

/// What a refusal says besides the data of the settings.
pub(crate) struct Refused<'a> {
    /// What the call needs.
    pub(crate) scopes: &'a ScopeSet,
    /// `invalid_token` or `insufficient_scope` (RFC 6750 §3.1); nothing if no token came.
    pub(crate) error: Option<&'a str>,
    /// Where this process itself starts a login, if it can.
    pub(crate) login_url: Option<&'a str>,
}

/// The `data` of an authorization error. Clients dispatch on `authorization.type`, never on the code.
pub(crate) fn data(settings: &Settings, refused: &Refused<'_>) -> Value {
    let mut authorization = Map::new();
    let mut set = |key: &str, value: Value| authorization.insert(key.to_owned(), value);
    set("type", json!("oauth2"));
    set("resource", json!(settings.resource));
    set("scopes", json!(names(refused.scopes)));
    if let Some(error) = refused.error {
        set("error", json!(error));
    }
    if let Some(first) = settings.authorization_servers.first() {
        if let Some(url) = &first.authorization_endpoint {
            set("authorization_url", json!(url));
        }
        if let Some(url) = &first.token_endpoint {
            set("token_url", json!(url));
        }
    }
    set("grant_type", json!("authorization_code"));
    set("code_challenge_method", json!("S256"));
    set("authorization_servers", json!(settings.authorization_servers));
    if let Some(url) = refused.login_url {
        set("login_url", json!(url));
    }
    json!({ "authorization": authorization })
}
