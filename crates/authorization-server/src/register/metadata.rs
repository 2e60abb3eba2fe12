//! From a registration request to what we honour of it, for public and confidential clients alike.

use doorward_jose::{Algorithm, Jwk, JwkError, JwkSet};
use doorward_oauth::redirect::{RedirectKind, RedirectUri};
use doorward_oauth::register::RegistrationRequest;
use doorward_records::client::{ClientMetadata, ClientStatus};
use doorward_types::scope::ScopeSet;
use serde_json::Value;

use super::{MAX_REDIRECT_URIS, RegistrationRefusal};
use crate::settings::{Grants, RegistrationMode, RegistrationPolicy, Settings};

/// The longest other text of a client, in bytes.
const MAX_TEXT: usize = 1000;
/// The longest key set of a client, in bytes.
const MAX_KEYS: usize = 32 * 1024;

/// Grant types a client can register; a request's others are left out of the answer.
const GRANTS: [&str; 4] = ["authorization_code", "refresh_token", CLIENT_CREDENTIALS, DEVICE];
const CLIENT_CREDENTIALS: &str = "client_credentials";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A request, judged.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// What we honour of it, in the one form that a public client's id is computed from.
    pub(super) metadata: ClientMetadata,
    /// Approved at once, or waiting for the operator.
    pub(super) status: ClientStatus,
    /// As they were sent, ports included.
    pub(super) redirect_uris: Vec<String>,
}

/// Judges a request. `existing` is the authentication method of the registration that it replaces, if any.
pub(super) fn judge(
    settings: &Settings,
    request: RegistrationRequest,
    existing: Option<&str>,
) -> Result<Judged, RegistrationRefusal> {
    let policy = &settings.registration;
    let sent = request.redirect_uris.clone().unwrap_or_default();
    if sent.len() > MAX_REDIRECT_URIS {
        return Err(RegistrationRefusal::RedirectCount);
    }
    let redirects: Vec<RedirectUri> = sent
        .iter()
        .map(|uri| RedirectUri::parse(uri, &policy.custom_schemes))
        .collect::<Result<_, _>>()?;
    let metadata = metadata(settings, request, &redirects, existing)?;
    // An update comes with the client's own token and not with the operator's: that one was for what it was
    // shown with.
    let mode = match policy.mode {
        RegistrationMode::Token if existing.is_some() => RegistrationMode::KnownHosts,
        mode => mode,
    };
    Ok(Judged {
        status: status(policy, mode, &metadata, &redirects),
        metadata,
        redirect_uris: sent,
    })
}

fn metadata(
    settings: &Settings,
    request: RegistrationRequest,
    redirects: &[RedirectUri],
    existing: Option<&str>,
) -> Result<ClientMetadata, RegistrationRefusal> {
    let method = method(
        &settings.registration,
        request.token_endpoint_auth_method.as_deref(),
        existing,
    )?;
    let grant_types = grant_types(settings.grants, request.grant_types.as_deref(), method)?;
    let with_code = grant_types.iter().any(|grant| grant == "authorization_code");
    let asks_for_code = |types: &Vec<String>| types.iter().any(|kind| kind == "code");
    if with_code && !request.response_types.as_ref().is_none_or(asks_for_code) {
        return Err(RegistrationRefusal::Grants);
    }
    if with_code && redirects.is_empty() {
        return Err(RegistrationRefusal::RedirectCount);
    }
    let kind = request.application_type.as_deref();
    if kind.is_some_and(|kind| !matches!(kind, "native" | "web")) {
        return Err(RegistrationRefusal::ApplicationType);
    }
    if request.dpop_bound_access_tokens == Some(true) {
        return Err(RegistrationRefusal::Dpop);
    }
    let keys = if method == "private_key_jwt" {
        keys(&request)?
    } else {
        Keys::default()
    };
    let mut redirect_uris: Vec<String> = redirects.iter().map(|uri| uri.registered().into()).collect();
    redirect_uris.sort_unstable();
    redirect_uris.dedup();
    let metadata = ClientMetadata {
        client_name: request.client_name,
        client_uri: request.client_uri.filter(|uri| !uri.is_empty()),
        redirect_uris,
        grant_types,
        response_types: with_code.then(|| "code".to_owned()).into_iter().collect(),
        token_endpoint_auth_method: method.into(),
        application_type: request.application_type,
        scope: request.scope,
        software_id: request.software_id,
        dpop_bound_access_tokens: false,
        jwks: keys.jwks,
        jwks_uri: keys.jwks_uri,
        token_endpoint_auth_signing_alg: keys.algorithm,
    };
    check_texts(&metadata)?;
    Ok(metadata)
}

/// How the client will authenticate.
///
/// Left out means `client_secret_basic` in RFC 7591 §2, and libraries send it or `client_secret_post` as
/// their default. Where the policy gives no secrets we replace it by `none`, as §3.2.1 allows, and say so:
/// the client gets no secret to send. Nobody asks for `private_key_jwt` by accident: it is never replaced.
fn method(
    policy: &RegistrationPolicy,
    asked: Option<&str>,
    existing: Option<&str>,
) -> Result<&'static str, RegistrationRefusal> {
    match (asked.or(existing), existing.is_some()) {
        // A registration that authenticates does not stop to: its people allowed it as such.
        (None | Some("none"), true) => Err(RegistrationRefusal::AuthMethod),
        (None | Some("none"), false) => Ok("none"),
        (Some("client_secret_basic"), _) if policy.gives_secrets() => Ok("client_secret_basic"),
        (Some("client_secret_post"), _) if policy.gives_secrets() => Ok("client_secret_post"),
        (Some("client_secret_basic" | "client_secret_post"), false) => Ok("none"),
        (Some("private_key_jwt"), _) if policy.accepts_keys() => Ok("private_key_jwt"),
        _ => Err(RegistrationRefusal::AuthMethod),
    }
}

/// The grants among the asked ones that this client can have.
fn grant_types(
    on: Grants,
    asked: Option<&[String]>,
    method: &str,
) -> Result<Vec<String>, RegistrationRefusal> {
    let Some(asked) = asked else {
        return Ok(vec!["authorization_code".into()]);
    };
    let granted: Vec<String> = GRANTS
        .into_iter()
        .filter(|grant| asked.iter().any(|asked| asked == grant))
        // A token for whoever knows a public id would be a token for everybody (RFC 6749 §4.4).
        .filter(|grant| *grant != CLIENT_CREDENTIALS || (on.client_credentials && method != "none"))
        // Clients list it on the off chance: the id of one that did must not depend on it while it is off.
        .filter(|grant| *grant != DEVICE || on.device)
        .map(str::to_owned)
        .collect();
    // A refresh token needs another grant to come from.
    if granted.iter().all(|grant| grant == "refresh_token") {
        return Err(RegistrationRefusal::Grants);
    }
    Ok(granted)
}

#[derive(Default)]
struct Keys {
    jwks: Option<String>,
    jwks_uri: Option<String>,
    algorithm: Option<String>,
}

fn keys(request: &RegistrationRequest) -> Result<Keys, RegistrationRefusal> {
    let algorithm = request.token_endpoint_auth_signing_alg.clone();
    if algorithm
        .as_deref()
        .is_some_and(|name| Algorithm::from_name(name).is_none())
    {
        return Err(RegistrationRefusal::Keys(KeyProblem::Algorithm));
    }
    let (jwks, jwks_uri) = match (&request.jwks, &request.jwks_uri) {
        (Some(jwks), None) => (Some(key_set(jwks)?), None),
        (None, Some(Value::String(uri))) => (None, Some(key_address(uri)?)),
        _ => return Err(RegistrationRefusal::Keys(KeyProblem::Count)),
    };
    Ok(Keys {
        jwks,
        jwks_uri,
        algorithm,
    })
}

/// What is wrong with a client's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Neither, or both (RFC 7591 §2).
    #[error("private_key_jwt needs exactly one of jwks and jwks_uri")]
    Count,
    /// No JWK set, or none of its keys can verify a signature.
    #[error(
        "jwks holds no usable public key: EC P-256 (ES256), OKP Ed25519 (EdDSA) or RSA from 2048 bits (RS256)"
    )]
    NoKey,
    /// Whoever sent it has lost that key.
    #[error(
        "jwks holds a private key: it has left your hands, so make a new one and register only the public half"
    )]
    Private,
    /// Not an https URL without user name and fragment.
    #[error("jwks_uri must be an https URL without user name and fragment")]
    Address,
    /// An algorithm that is not verified here.
    #[error("token_endpoint_auth_signing_alg must be ES256, EdDSA or RS256")]
    Algorithm,
}

/// A key set as it is stored: the JSON text of exactly what was judged.
pub(crate) fn key_set(jwks: &Value) -> Result<String, KeyProblem> {
    let text = jwks.to_string();
    let entries = jwks
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(KeyProblem::NoKey)?;
    let private =
        |entry: &Value| matches!(Jwk::parse(entry.to_string().as_bytes()), Err(JwkError::NotPublic));
    if entries.iter().any(private) {
        return Err(KeyProblem::Private);
    }
    match JwkSet::parse(text.as_bytes()) {
        Ok(set) if !set.keys().is_empty() && text.len() <= MAX_KEYS => Ok(text),
        _ => Err(KeyProblem::NoKey),
    }
}

/// Where keys are: fetched when the client first authenticates, and by the address guard only.
pub(crate) fn key_address(uri: &str) -> Result<String, KeyProblem> {
    let url = url::Url::parse(uri).map_err(|_| KeyProblem::Address)?;
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && url.as_str().len() <= MAX_TEXT;
    if plain {
        Ok(url.into())
    } else {
        Err(KeyProblem::Address)
    }
}

fn check_texts(metadata: &ClientMetadata) -> Result<(), RegistrationRefusal> {
    for (name, text) in [
        ("client_name", &metadata.client_name),
        ("client_uri", &metadata.client_uri),
        ("scope", &metadata.scope),
        ("software_id", &metadata.software_id),
    ] {
        if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(RegistrationRefusal::Member(name));
        }
    }
    // It becomes a link on the consent page: no `javascript:` (CVE-2026-32112's kind).
    let web = |uri: &String| url::Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    if !metadata.client_uri.as_ref().is_none_or(web) {
        return Err(RegistrationRefusal::Member("client_uri"));
    }
    if metadata
        .scope
        .as_ref()
        .is_some_and(|scope| scope.parse::<ScopeSet>().is_err())
    {
        return Err(RegistrationRefusal::Member("scope"));
    }
    Ok(())
}

/// Approved at once, or waiting for the operator: one unknown web host is enough to wait, and so is a grant
/// that asks no person. Whoever shows the operator's token has been asked already.
fn status(
    policy: &RegistrationPolicy,
    mode: RegistrationMode,
    metadata: &ClientMetadata,
    redirects: &[RedirectUri],
) -> ClientStatus {
    let known = |uri: &RedirectUri| match uri.kind() {
        RedirectKind::Loopback | RedirectKind::CustomScheme(_) => true,
        RedirectKind::Web(host) => policy.known_hosts.contains(host),
    };
    let approved = match mode {
        RegistrationMode::Token => true,
        RegistrationMode::Open => !metadata.registered(CLIENT_CREDENTIALS),
        RegistrationMode::KnownHosts | RegistrationMode::Off => {
            !metadata.registered(CLIENT_CREDENTIALS) && redirects.iter().all(known)
        }
    };
    if approved {
        ClientStatus::Approved
    } else {
        ClientStatus::Pending
    }
}
