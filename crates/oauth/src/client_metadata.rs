//! Client ID metadata documents: a client id that is a URL, and what stands there
//! (draft-ietf-oauth-client-id-metadata-document, MCP 2026-07-28 client registration).

mod id;

pub use id::{ClientIdUrl, ClientIdUrlError, MAX_CLIENT_ID, is_url};

use doorward_jose::parse_object;
use doorward_types::scope::ScopeSet;
use serde_json::{Map, Value};
use url::Url;

use crate::redirect::{RedirectError, RedirectUri};

/// The most redirect URIs of a document.
pub const MAX_REDIRECT_URIS: usize = 32;
/// The longest text of a document that is kept, in bytes.
const MAX_TEXT: usize = 1000;
/// The longest inline key set, in bytes.
const MAX_KEYS: usize = 16 * 1024;

/// The grants that a document can ask for; others are left out.
const GRANTS: [&str; 3] = [
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:device_code",
];

/// Members that hold a secret that everybody could read there (draft section 4.1).
const SECRETS: [&str; 3] = [
    "client_secret",
    "client_secret_expires_at",
    "registration_access_token",
];

/// Members of a private or symmetric JWK (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a document is not the metadata of the client that named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not one JSON object in which every key occurs once.
    #[error("it is not a JSON object with unique keys")]
    NotAnObject,
    /// `client_id` is not the document's own URL, byte for byte (G6).
    #[error("its client_id is not its own address")]
    OtherClient,
    /// It holds a secret.
    #[error("it holds a secret, which everybody can read there")]
    Secret,
    /// It holds a private or symmetric key.
    #[error("it holds a private key, which everybody can read there")]
    PrivateKey,
    /// A required member is missing: `client_id`, `client_name`, `redirect_uris` (MCP client registration).
    #[error("a required member is missing: {0}")]
    Missing(&'static str),
    /// A member of the wrong type, too long, or not what it has to be.
    #[error("a member is malformed: {0}")]
    Member(&'static str),
    /// None, or too many redirect URIs.
    #[error("it has to list between 1 and 32 redirect_uris")]
    RedirectCount,
    /// A redirect URI that may not be registered (S4, S8).
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// An authentication method with a shared secret, or one that we do not know.
    #[error("its token_endpoint_auth_method is neither none nor private_key_jwt")]
    AuthMethod,
    /// `private_key_jwt` without exactly one of `jwks` and `jwks_uri`.
    #[error("private_key_jwt needs either jwks or jwks_uri")]
    Keys,
    /// `authorization_code` or `code` is missing.
    #[error("its grant_types and response_types do not allow the authorization code flow")]
    Grants,
    /// Tokens bound to a key cannot be issued, and unbound ones would break the client's promise.
    #[error("dpop_bound_access_tokens is not supported")]
    Dpop,
}

/// How a client of a document authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// `private_key_jwt` with the keys that the document holds: JSON text of a JWK set without private keys.
    Keys(String),
    /// `private_key_jwt` with the keys that are found there: an https URL.
    KeysAt(String),
}

/// A document that describes the client whose id led to it, reduced to what we honour. Logos and policies are
/// dropped unread, and never fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadataDocument {
    /// `client_name`; anybody can choose any name.
    pub client_name: String,
    /// `client_uri`, an http or https URL.
    pub client_uri: Option<String>,
    /// `redirect_uris`.
    pub redirect_uris: Vec<RedirectUri>,
    /// `grant_types` that we know, in our order.
    pub grant_types: Vec<String>,
    /// `application_type`: `native` or `web`.
    pub application_type: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `software_id`.
    pub software_id: Option<String>,
    /// `token_endpoint_auth_method` with its keys.
    pub authentication: Authentication,
    /// `token_endpoint_auth_signing_alg`.
    pub signing_alg: Option<String>,
}

impl ClientMetadataDocument {
    /// Judges the document that stands at `url`. `custom_schemes` are allowed in redirect URIs as in a
    /// registration.
    pub fn parse(url: &ClientIdUrl, body: &[u8], custom_schemes: &[String]) -> Result<Self, DocumentError> {
        let object = parse_object(body).map_err(|_| DocumentError::NotAnObject)?;
        if text(&object, "client_id", usize::MAX)?.ok_or(DocumentError::Missing("client_id"))? != url.as_str()
        {
            return Err(DocumentError::OtherClient);
        }
        if SECRETS.iter().any(|name| object.contains_key(*name)) {
            return Err(DocumentError::Secret);
        }
        if object.get("dpop_bound_access_tokens").is_some_and(truthy) {
            return Err(DocumentError::Dpop);
        }
        let client_name = text(&object, "client_name", MAX_TEXT)?
            .filter(|name| !name.trim().is_empty())
            .ok_or(DocumentError::Missing("client_name"))?;
        Ok(Self {
            client_name,
            client_uri: client_uri(&object)?,
            redirect_uris: redirect_uris(&object, custom_schemes)?,
            grant_types: grant_types(&object)?,
            application_type: application_type(&object)?,
            scope: scope(&object)?,
            software_id: text(&object, "software_id", MAX_TEXT)?,
            authentication: authentication(&object)?,
            signing_alg: text(&object, "token_endpoint_auth_signing_alg", 32)?,
        })
    }
}

/// A string member. `null` is the same as absent, as RFC 7591 §2 clients write it.
fn text(
    object: &Map<String, Value>,
    name: &'static str,
    longest: usize,
) -> Result<Option<String>, DocumentError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= longest => Ok(Some(text.clone())),
        Some(_) => Err(DocumentError::Member(name)),
    }
}

/// An array of strings.
fn texts(object: &Map<String, Value>, name: &'static str) -> Result<Option<Vec<String>>, DocumentError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or(DocumentError::Member(name)),
        Some(_) => Err(DocumentError::Member(name)),
    }
}

/// What is not clearly a no is a yes.
fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Bool(false) | Value::Null)
}

fn client_uri(object: &Map<String, Value>) -> Result<Option<String>, DocumentError> {
    let uri = text(object, "client_uri", MAX_TEXT)?.filter(|uri| !uri.is_empty());
    // It may become a link: no `javascript:` (RG-03).
    let web = |uri: &String| Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    if uri.as_ref().is_none_or(web) {
        Ok(uri)
    } else {
        Err(DocumentError::Member("client_uri"))
    }
}

fn redirect_uris(
    object: &Map<String, Value>,
    custom_schemes: &[String],
) -> Result<Vec<RedirectUri>, DocumentError> {
    let listed = texts(object, "redirect_uris")?.ok_or(DocumentError::Missing("redirect_uris"))?;
    if listed.is_empty() || listed.len() > MAX_REDIRECT_URIS {
        return Err(DocumentError::RedirectCount);
    }
    let parse = |uri: &String| RedirectUri::parse(uri, custom_schemes).map_err(DocumentError::from);
    listed.iter().map(parse).collect()
}

fn grant_types(object: &Map<String, Value>) -> Result<Vec<String>, DocumentError> {
    let asked = texts(object, "grant_types")?.unwrap_or_else(|| vec!["authorization_code".into()]);
    let known: Vec<String> = GRANTS
        .iter()
        .filter(|grant| asked.iter().any(|asked| asked == *grant))
        .map(|&grant| grant.into())
        .collect();
    let code = |types: Vec<String>| types.iter().any(|kind| kind == "code");
    let responds = texts(object, "response_types")?.is_none_or(code);
    if responds && known.iter().any(|grant| grant == "authorization_code") {
        Ok(known)
    } else {
        Err(DocumentError::Grants)
    }
}

fn application_type(object: &Map<String, Value>) -> Result<Option<String>, DocumentError> {
    let kind = text(object, "application_type", MAX_TEXT)?;
    match kind.as_deref() {
        None | Some("native" | "web") => Ok(kind),
        Some(_) => Err(DocumentError::Member("application_type")),
    }
}

fn scope(object: &Map<String, Value>) -> Result<Option<String>, DocumentError> {
    let scope = text(object, "scope", MAX_TEXT)?;
    if scope
        .as_ref()
        .is_none_or(|scope| scope.parse::<ScopeSet>().is_ok())
    {
        Ok(scope)
    } else {
        Err(DocumentError::Member("scope"))
    }
}

/// RFC 7591 §2 would read a missing method as `client_secret_basic`, which no document can have; here it is a
/// public client.
fn authentication(object: &Map<String, Value>) -> Result<Authentication, DocumentError> {
    let keys = inline_keys(object)?;
    let keys_at = text(object, "jwks_uri", MAX_CLIENT_ID)?;
    match text(object, "token_endpoint_auth_method", MAX_TEXT)?.as_deref() {
        None | Some("none") => Ok(Authentication::None),
        Some("private_key_jwt") => match (keys, keys_at) {
            (Some(keys), None) => Ok(Authentication::Keys(keys)),
            (None, Some(url)) if is_key_address(&url) => Ok(Authentication::KeysAt(url)),
            (None, Some(_)) => Err(DocumentError::Member("jwks_uri")),
            _ => Err(DocumentError::Keys),
        },
        Some(_) => Err(DocumentError::AuthMethod),
    }
}

/// The text of `jwks`. A private key in it is refused even if nobody would use the set: its owner has lost it.
fn inline_keys(object: &Map<String, Value>) -> Result<Option<String>, DocumentError> {
    let set = match object.get("jwks") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(set)) => set,
        Some(_) => return Err(DocumentError::Member("jwks")),
    };
    let Some(Value::Array(keys)) = set.get("keys") else {
        return Err(DocumentError::Member("jwks"));
    };
    for key in keys {
        let key = key.as_object().ok_or(DocumentError::Member("jwks"))?;
        let symmetric = key.get("kty").and_then(Value::as_str) == Some("oct");
        if symmetric || PRIVATE_MEMBERS.iter().any(|name| key.contains_key(*name)) {
            return Err(DocumentError::PrivateKey);
        }
    }
    let text = Value::Object(set.clone()).to_string();
    if text.len() > MAX_KEYS {
        return Err(DocumentError::Member("jwks"));
    }
    Ok(Some(text))
}

/// What is kept is the text, so it has to be one that every reader takes for the same address: `https:/host`, which
/// some complete and others refuse, is none.
fn is_key_address(text: &str) -> bool {
    let plain = text.bytes().all(|b| matches!(b, 0x21..=0x7e)) && !text.contains(['\\', '#']);
    plain
        && text.starts_with("https://")
        && !text.starts_with("https:///")
        && Url::parse(text).is_ok_and(|url| {
            url.scheme() == "https"
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

#[cfg(test)]
mod tests;
