//! POST `/register`: dynamic registration of public clients (RFC 7591).
//!
//! A client's id is a digest of its metadata, so registering again gives the same client and costs nothing.
//! New rows are limited: when the limit is reached, clients that nobody ever approved make room, but none
//! younger than an hour; if that does not help, the answer is `429`.

use std::time::Duration;

use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::redirect::{RedirectError, RedirectKind, RedirectUri};
use doorward_oauth::register::{RegistrationRequest, RegistrationResponse};
use doorward_oauth::requirement::{self, Requirement};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::ClientId;
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;

use crate::client::content_id;
use crate::settings::{RegistrationMode, RegistrationPolicy, Settings};

/// The longest registration request, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// The most redirect URIs of a client.
pub const MAX_REDIRECT_URIS: usize = 32;
/// The longest other text of a client, in bytes.
const MAX_TEXT: usize = 1000;
/// How many old clients make room at once.
const ROOM: u64 = 100;

/// Why a registration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationRefusal {
    /// Registration is off.
    #[error("registration is off here: ask the operator for a client_id")]
    Off,
    /// Longer than [`MAX_BODY`].
    #[error("the registration is too large")]
    TooLarge,
    /// Not a JSON object with members of the right types, or with repeated members.
    #[error("the body is not client metadata: a JSON object as in RFC 7591 section 2")]
    NotMetadata,
    /// No redirect URI, or too many.
    #[error("list between 1 and 32 redirect_uris")]
    RedirectCount,
    /// A redirect URI that may not be registered.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// An authentication method with a key of the client's own: answering `none` would drop a protection
    /// that it has.
    #[error("only public clients can register: token_endpoint_auth_method must be none")]
    AuthMethod,
    /// `authorization_code` or `code` is missing.
    #[error("grant_types must hold authorization_code and response_types must hold code")]
    Grants,
    /// Neither `native` nor `web`.
    #[error("application_type must be native or web")]
    ApplicationType,
    /// Tokens bound to a key cannot be issued yet, and unbound ones would break the client's promise.
    #[error("dpop_bound_access_tokens is not supported")]
    Dpop,
    /// A text that is too long, or no scope list, or a `client_uri` that is no web address.
    #[error("a member is malformed or too long: {0}")]
    Member(&'static str),
    /// Too many clients that nobody approved: answer `429` with `Retry-After`.
    #[error("too many registrations: try again later")]
    Full,
}

impl RegistrationRefusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Off => 403,
            Self::TooLarge => 413,
            Self::Full => 429,
            _ => 400,
        }
    }

    /// How long to wait, for `Retry-After`.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full => Some(Duration::from_mins(10)),
            _ => None,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::Off => ErrorCode::AccessDenied,
            Self::RedirectCount | Self::Redirect(_) => ErrorCode::InvalidRedirectUri,
            Self::Full => ErrorCode::TemporarilyUnavailable,
            _ => ErrorCode::InvalidClientMetadata,
        };
        ErrorBody::new(code, self.to_string())
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::Redirect(_) => requirement::REDIRECT_SECURE,
            Self::Off | Self::Full => requirement::REGISTRATION_POLICY,
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// A valid registration. Load [`Registration::client_id`], then [`decide`].
#[derive(Clone, Debug)]
pub struct Registration {
    id: ClientId,
    metadata: ClientMetadata,
    status: ClientStatus,
    /// As they were sent, ports included.
    redirect_uris: Vec<String>,
}

impl Registration {
    /// The id it gets: the same for the same metadata.
    #[must_use]
    pub fn client_id(&self) -> &ClientId {
        &self.id
    }
}

/// Reads and judges a registration request.
pub fn parse(settings: &Settings, body: &[u8]) -> Result<Registration, RegistrationRefusal> {
    let policy = &settings.registration;
    if policy.mode == RegistrationMode::Off {
        return Err(RegistrationRefusal::Off);
    }
    if body.len() > MAX_BODY {
        return Err(RegistrationRefusal::TooLarge);
    }
    let request: RegistrationRequest =
        serde_json::from_slice(body).map_err(|_| RegistrationRefusal::NotMetadata)?;
    let sent = request.redirect_uris.clone().unwrap_or_default();
    if sent.is_empty() || sent.len() > MAX_REDIRECT_URIS {
        return Err(RegistrationRefusal::RedirectCount);
    }
    let redirects: Vec<RedirectUri> = sent
        .iter()
        .map(|uri| RedirectUri::parse(uri, &policy.custom_schemes))
        .collect::<Result<_, _>>()?;
    let metadata = metadata(request, &redirects)?;
    Ok(Registration {
        id: content_id(&settings.tenant, &metadata),
        status: status(policy, &redirects),
        metadata,
        redirect_uris: sent,
    })
}

/// What we honour of a request, in the one form that its id is computed from.
fn metadata(
    request: RegistrationRequest,
    redirects: &[RedirectUri],
) -> Result<ClientMetadata, RegistrationRefusal> {
    // Left out means `client_secret_basic` in RFC 7591 §2, and libraries send it or `client_secret_post` as
    // their default. We replace it, as §3.2.1 allows, and say so: the client gets no secret to send.
    let replaced = |method| matches!(method, "none" | "client_secret_basic" | "client_secret_post");
    if !request.token_endpoint_auth_method.as_deref().is_none_or(replaced) {
        return Err(RegistrationRefusal::AuthMethod);
    }
    let asked = request
        .grant_types
        .unwrap_or_else(|| vec!["authorization_code".into()]);
    let grants = ["authorization_code", "refresh_token"];
    let grant_types: Vec<String> = grants
        .iter()
        .filter(|grant| asked.iter().any(|asked| asked == *grant))
        .map(|&grant| grant.into())
        .collect();
    let code = |types: &Vec<String>| types.iter().any(|kind| kind == "code");
    if grant_types.first().map(String::as_str) != Some("authorization_code")
        || !request.response_types.as_ref().is_none_or(code)
    {
        return Err(RegistrationRefusal::Grants);
    }
    if request
        .application_type
        .as_deref()
        .is_some_and(|kind| !matches!(kind, "native" | "web"))
    {
        return Err(RegistrationRefusal::ApplicationType);
    }
    if request.dpop_bound_access_tokens == Some(true) {
        return Err(RegistrationRefusal::Dpop);
    }
    let mut redirect_uris: Vec<String> = redirects.iter().map(|uri| uri.registered().into()).collect();
    redirect_uris.sort_unstable();
    redirect_uris.dedup();
    let metadata = ClientMetadata {
        client_name: request.client_name,
        client_uri: request.client_uri.filter(|uri| !uri.is_empty()),
        redirect_uris,
        grant_types,
        response_types: vec!["code".into()],
        token_endpoint_auth_method: "none".into(),
        application_type: request.application_type,
        scope: request.scope,
        software_id: request.software_id,
        dpop_bound_access_tokens: false,
    };
    check_texts(&metadata)?;
    Ok(metadata)
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

/// Approved at once, or waiting for the operator: one unknown web host is enough to wait.
fn status(policy: &RegistrationPolicy, redirects: &[RedirectUri]) -> ClientStatus {
    let known = |uri: &RedirectUri| match uri.kind() {
        RedirectKind::Loopback | RedirectKind::CustomScheme(_) => true,
        RedirectKind::Web(host) => policy.known_hosts.contains(host),
    };
    if policy.mode == RegistrationMode::Open || redirects.iter().all(known) {
        ClientStatus::Approved
    } else {
        ClientStatus::Pending
    }
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commit the unit, then answer `201` with the response.
    Register {
        /// To be committed.
        unit: Unit,
        /// The answer.
        response: Box<RegistrationResponse>,
    },
    /// The limit is reached: commit the unit (a conflict is fine), load again and [`decide`] with one more
    /// conflict.
    MakeRoom(Unit),
}

/// Decides a registration. `existing` is the client under [`Registration::client_id`].
///
/// `conflicts` counts the rounds so far: 0 at first, one more after every commit that conflicted and after
/// every [`Step::MakeRoom`]. Load again before each round: after a conflict the client may exist.
pub fn decide(
    settings: &Settings,
    registration: &Registration,
    existing: Option<&Client>,
    conflicts: u32,
    now: UnixTime,
) -> Result<Step, RegistrationRefusal> {
    if let Some(existing) = existing.filter(|client| client.id == registration.id) {
        return Ok(again(registration, existing, now));
    }
    let policy = &settings.registration;
    match conflicts {
        0 | 2 => Ok(insert(settings, registration, now)),
        1 => Ok(Step::MakeRoom(Unit::writes(vec![Write::ReapClients {
            before: now.minus(policy.ungranted_minimum),
            limit: ROOM,
        }]))),
        _ => Err(RegistrationRefusal::Full),
    }
}

fn insert(settings: &Settings, registration: &Registration, now: UnixTime) -> Step {
    let client = Client {
        tenant: settings.tenant.clone(),
        id: registration.id.clone(),
        origin: ClientOrigin::Dynamic,
        status: registration.status,
        metadata: registration.metadata.clone(),
        created: now,
        last_used: now,
    };
    let response = Box::new(response(registration, now));
    let unit = Unit::default()
        .given(Precondition::ClientAbsent(client.id.clone()))
        .given(Precondition::UngrantedClientsBelow(
            settings.registration.ungranted_limit,
        ))
        .then(Write::InsertClient(client));
    Step::Register { unit, response }
}

/// The same client again: noted as used, and approved if the policy has come to approve it meanwhile.
fn again(registration: &Registration, existing: &Client, now: UnixTime) -> Step {
    let id = &existing.id;
    let mut unit = Unit::default()
        .given(Precondition::ClientExists(id.clone()))
        .then(Write::TouchClient(id.clone(), now));
    if existing.status == ClientStatus::Pending && registration.status == ClientStatus::Approved {
        unit = unit.then(Write::SetClientStatus(id.clone(), ClientStatus::Approved));
    }
    Step::Register {
        unit,
        response: Box::new(response(registration, existing.created)),
    }
}

fn response(registration: &Registration, created: UnixTime) -> RegistrationResponse {
    let metadata = &registration.metadata;
    RegistrationResponse {
        client_id: registration.id.as_str().into(),
        client_id_issued_at: created.seconds(),
        redirect_uris: registration.redirect_uris.clone(),
        grant_types: metadata.grant_types.clone(),
        response_types: metadata.response_types.clone(),
        token_endpoint_auth_method: metadata.token_endpoint_auth_method.clone(),
        client_name: metadata.client_name.clone(),
        client_uri: metadata.client_uri.clone(),
        application_type: metadata.application_type.clone(),
        scope: metadata.scope.clone(),
        software_id: metadata.software_id.clone(),
    }
}

#[cfg(test)]
mod tests;
