//! POST `/register`: dynamic registration (RFC 7591).
//!
//! A public client's id is a digest of its metadata, so registering again gives the same client and costs
//! nothing. A client that authenticates gets an id of its own and a token with which it manages its
//! registration ([`manage`]). New rows are limited: when the limit is reached, clients that nobody ever
//! approved make room, but none younger than an hour; if that does not help, the answer is `429`.

pub mod manage;
mod metadata;

use std::time::Duration;

use doorward_jose::parse_object;
use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::redirect::RedirectError;
use doorward_oauth::register::RegistrationResponse;
use doorward_oauth::requirement::{self, Requirement};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::ClientId;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::content_id;
use crate::settings::{RegistrationMode, Settings};

pub use metadata::KeyProblem;
pub(crate) use metadata::{key_address, key_set};

/// The longest registration request, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// The most redirect URIs of a client.
pub const MAX_REDIRECT_URIS: usize = 32;
/// How exactly the last use of a client is known: whoever registers it in a loop makes no more writes than this.
const TOUCHED: Duration = Duration::from_mins(5);
/// How many old clients make room at once.
const ROOM: u64 = 100;

/// Why a registration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationRefusal {
    /// Registration is off.
    #[error(
        "registration is off here: use a client_id from the home page of this server, or ask its operator for one"
    )]
    Off,
    /// No initial access token was sent where one is needed (RFC 7591 §3).
    #[error("registration needs an initial access token: ask the operator for it, or for a client_id")]
    TokenMissing,
    /// Another one was sent.
    #[error("the initial access token is not the one of this server: ask the operator for it")]
    TokenWrong,
    /// Too many registrations from one address within a short time; wait this long.
    #[error("too many registrations from your address: try again later")]
    TooMany(Duration),
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
    /// An authentication method that the policy does not give, and that `none` cannot stand in for.
    #[error(
        "this token_endpoint_auth_method cannot be registered here: use none, or ask the operator for a client_id"
    )]
    AuthMethod,
    /// The keys that it wants to authenticate with cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyProblem),
    /// No grant type that the client could have.
    #[error(
        "grant_types must hold authorization_code, with response_types holding code, or client_credentials for a client that authenticates"
    )]
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
    /// An operator switched this client off.
    #[error("this client is switched off here: only the operator of this server can switch it on again")]
    Disabled,
    /// Too many clients that nobody approved: answer `429` with `Retry-After`.
    #[error("too many registrations: try again later")]
    Full,
}

impl RegistrationRefusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TokenMissing | Self::TokenWrong => 401,
            Self::Off | Self::Disabled => 403,
            Self::TooLarge => 413,
            Self::Full | Self::TooMany(_) => 429,
            _ => 400,
        }
    }

    /// How long to wait, for `Retry-After`.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full => Some(Duration::from_mins(10)),
            Self::TooMany(wait) => Some(*wait),
            _ => None,
        }
    }

    /// The challenge that goes with `401` (RFC 6750 §3: no error code if nothing was sent).
    #[must_use]
    pub const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::TokenMissing => Some("Bearer realm=\"register\""),
            Self::TokenWrong => Some("Bearer realm=\"register\", error=\"invalid_token\""),
            _ => None,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::TokenMissing | Self::TokenWrong => ErrorCode::InvalidToken,
            Self::Off | Self::Disabled => ErrorCode::AccessDenied,
            Self::RedirectCount | Self::Redirect(_) => ErrorCode::InvalidRedirectUri,
            Self::Full | Self::TooMany(_) => ErrorCode::TemporarilyUnavailable,
            _ => ErrorCode::InvalidClientMetadata,
        };
        ErrorBody::new(code, self.to_string())
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::Redirect(_) => requirement::REDIRECT_SECURE,
            Self::Off
            | Self::TokenMissing
            | Self::TokenWrong
            | Self::TooMany(_)
            | Self::Disabled
            | Self::AuthMethod
            | Self::Full => requirement::REGISTRATION_POLICY,
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// A valid registration. Load [`Registration::client_id`], then [`decide`].
#[derive(Clone, Debug)]
pub struct Registration {
    id: Option<ClientId>,
    metadata: ClientMetadata,
    status: ClientStatus,
    /// As they were sent, ports included.
    redirect_uris: Vec<String>,
}

impl Registration {
    /// The id of a public client: the same for the same metadata. One that authenticates has none before
    /// [`decide`] makes one.
    #[must_use]
    pub const fn client_id(&self) -> Option<&ClientId> {
        self.id.as_ref()
    }
}

/// Reads and judges a registration request. `bearer` is the token of its `Authorization` header, if it has
/// one.
pub fn parse(
    settings: &Settings,
    bearer: Option<&Secret>,
    body: &[u8],
) -> Result<Registration, RegistrationRefusal> {
    let policy = &settings.registration;
    match policy.mode {
        RegistrationMode::Off => return Err(RegistrationRefusal::Off),
        RegistrationMode::Token => {
            let shown = bearer.ok_or(RegistrationRefusal::TokenMissing)?.digest();
            if policy.initial_token != Some(shown) {
                return Err(RegistrationRefusal::TokenWrong);
            }
        }
        RegistrationMode::KnownHosts | RegistrationMode::Open => {}
    }
    let judged = metadata::judge(settings, read(body)?, None)?;
    let public = judged.metadata.token_endpoint_auth_method == "none";
    Ok(Registration {
        id: public.then(|| content_id(&settings.tenant, &judged.metadata)),
        status: judged.status,
        metadata: judged.metadata,
        redirect_uris: judged.redirect_uris,
    })
}

/// Reads a body as `T`: one JSON object with unique keys, members that nobody uses included, so that no two readers
/// of it can see two different registrations.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RegistrationRefusal> {
    if body.len() > MAX_BODY {
        return Err(RegistrationRefusal::TooLarge);
    }
    let object = parse_object(body).map_err(|_| RegistrationRefusal::NotMetadata)?;
    serde_json::from_value(Value::Object(object)).map_err(|_| RegistrationRefusal::NotMetadata)
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commit the unit (unless it is empty), then answer `201` with the response.
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
    random: &dyn Random,
) -> Result<Step, RegistrationRefusal> {
    if let Some(existing) = existing.filter(|client| Some(&client.id) == registration.client_id()) {
        return again(registration, existing, now);
    }
    let policy = &settings.registration;
    match conflicts {
        0 | 2 => Ok(insert(settings, registration, now, random)),
        1 => Ok(Step::MakeRoom(Unit::writes(vec![Write::ReapClients {
            before: now.minus(policy.ungranted_minimum),
            limit: ROOM,
        }]))),
        _ => Err(RegistrationRefusal::Full),
    }
}

fn insert(settings: &Settings, registration: &Registration, now: UnixTime, random: &dyn Random) -> Step {
    let metadata = registration.metadata.clone();
    let (client, issued) = match &registration.id {
        Some(id) => {
            let client = Client::new(id.clone(), ClientOrigin::Dynamic, metadata, now);
            (client, Issued::default())
        }
        None => confidential(metadata, now, random),
    };
    let client = Client {
        tenant: settings.tenant.clone(),
        status: registration.status,
        ..client
    };
    let mut response = response(&client, registration.redirect_uris.clone());
    issued.tell(settings, &client, &mut response);
    let unit = Unit::default()
        .given(Precondition::ClientAbsent(client.id.clone()))
        .given(Precondition::UngrantedClientsBelow(
            settings.registration.ungranted_limit,
        ))
        .then(Write::InsertClient(client));
    Step::Register {
        unit,
        response: Box::new(response),
    }
}

/// What is told once and kept as a digest.
#[derive(Default)]
struct Issued {
    secret: Option<Secret>,
    management: Option<Secret>,
}

impl Issued {
    fn tell(self, settings: &Settings, client: &Client, response: &mut RegistrationResponse) {
        response.client_secret_expires_at = client.secret.map(|_| 0);
        response.client_secret = self.secret;
        response.registration_client_uri = self
            .management
            .as_ref()
            .map(|_| manage::address(settings, &client.id));
        response.registration_access_token = self.management;
    }
}

/// A client that authenticates: another one with every registration, because its secrets are its own.
fn confidential(metadata: ClientMetadata, now: UnixTime, random: &dyn Random) -> (Client, Issued) {
    let id = ClientId::new(Secret::generate_with_prefix("dcc_", random).expose());
    let management = Secret::generate_with_prefix("dwm_", random);
    let secret = has_secret(&metadata).then(|| new_secret(random));
    let client = Client {
        secret: secret.as_ref().map(Secret::digest),
        registration_token: Some(management.digest()),
        ..Client::new(id, ClientOrigin::Confidential, metadata, now)
    };
    let management = Some(management);
    (client, Issued { secret, management })
}

fn has_secret(metadata: &ClientMetadata) -> bool {
    metadata.token_endpoint_auth_method.starts_with("client_secret_")
}

/// A secret for a client: 256 bits, with a mark by which scanners know what leaked.
pub(crate) fn new_secret(random: &dyn Random) -> Secret {
    Secret::generate_with_prefix("dws_", random)
}

/// The same client again: noted as used, and approved if the policy has come to approve it meanwhile. What
/// an operator switched off stays off, however often it asks.
fn again(registration: &Registration, existing: &Client, now: UnixTime) -> Result<Step, RegistrationRefusal> {
    if existing.status == ClientStatus::Disabled {
        return Err(RegistrationRefusal::Disabled);
    }
    let id = &existing.id;
    let approve = existing.status == ClientStatus::Pending && registration.status == ClientStatus::Approved;
    let mut unit = Unit::default();
    if approve || now.since(existing.last_used) >= TOUCHED {
        unit = unit
            .given(Precondition::ClientHasStatus(id.clone(), existing.status))
            .then(Write::TouchClient(id.clone(), now));
    }
    if approve {
        unit = unit.then(Write::SetClientStatus(id.clone(), ClientStatus::Approved));
    }
    Ok(Step::Register {
        unit,
        response: Box::new(response(existing, registration.redirect_uris.clone())),
    })
}

/// What a client is told of its registration, without secrets.
fn response(client: &Client, redirect_uris: Vec<String>) -> RegistrationResponse {
    let metadata = &client.metadata;
    RegistrationResponse {
        client_id: client.id.as_str().into(),
        client_id_issued_at: client.created.seconds(),
        client_secret: None,
        client_secret_expires_at: None,
        registration_access_token: None,
        registration_client_uri: None,
        redirect_uris,
        grant_types: metadata.grant_types.clone(),
        response_types: metadata.response_types.clone(),
        token_endpoint_auth_method: metadata.token_endpoint_auth_method.clone(),
        token_endpoint_auth_signing_alg: metadata.token_endpoint_auth_signing_alg.clone(),
        client_name: metadata.client_name.clone(),
        client_uri: metadata.client_uri.clone(),
        application_type: metadata.application_type.clone(),
        scope: metadata.scope.clone(),
        software_id: metadata.software_id.clone(),
        jwks: metadata
            .jwks
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok()),
        jwks_uri: metadata.jwks_uri.clone(),
    }
}

#[cfg(test)]
mod tests;
