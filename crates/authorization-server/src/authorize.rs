//! GET `/authorize`: from a query string to a request that waits for a person (RFC 6749 §4.1.1).
//!
//! It only reads: it can be repeated, without cookies, and burns nothing. A problem with the client or the
//! redirect URI is a page, because there is nobody to trust with an answer; every other problem goes back
//! to the client with `error`, `state` and `iss`.

use doorward_oauth::authorize::{AuthorizationRequest, Location};
use doorward_oauth::error::ErrorCode;
use doorward_oauth::form::Form;
use doorward_oauth::pkce::{self, CodeChallenge};
use doorward_oauth::redirect;
use doorward_oauth::requirement::{self, Requirement};
use doorward_policy::ProtectedServer;
use doorward_records::account::Session;
use doorward_records::client::{Client, ClientStatus};
use doorward_types::digest::Digest;
use doorward_types::id::ClientId;
use doorward_types::random::{self, Random};
use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

use crate::client::{first_asked, has_redirect, may_use, metadata_digest, within_limit};
use crate::page::{PageProblem, Refusal};
use crate::pending::{PendingRequest, UnjudgedRequest};
use crate::settings::Settings;

/// The longest `state` that is sent back, in bytes.
pub const MAX_STATE: usize = 4096;

/// Scopes that other servers know and that mean nothing here: accepted, ignored, never listed.
const IGNORED_SCOPES: [&str; 2] = ["offline_access", "openid"];

/// Whether a scope is accepted and ignored.
pub(crate) fn is_ignored(scope: &Scope) -> bool {
    IGNORED_SCOPES.contains(&scope.as_str())
}

/// A request that was read. Load [`Request::client_id`], then [`decide`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    client: ClientId,
    message: AuthorizationRequest,
}

impl Request {
    /// The client to load.
    #[must_use]
    pub fn client_id(&self) -> &ClientId {
        &self.client
    }
}

/// The browser that sent the request.
#[derive(Clone, Debug)]
pub struct Browser {
    /// Digest of its pre-login cookie: the one it sent, or the one that the answer sets.
    pub prelogin: Digest,
    /// Its session, if it is signed in.
    pub session: Option<Session>,
}

/// Why a request goes back to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("this client did not register for authorization codes: its operator can add authorization_code")]
    NotForCodes,
    #[error("a parameter was sent more than once")]
    Repeated,
    #[error("request objects are not supported: send plain parameters")]
    RequestObject,
    #[error("request_uri is not supported: send plain parameters")]
    RequestUri,
    #[error("response_type is missing: send response_type=code")]
    MissingResponseType,
    #[error("only response_type=code is supported")]
    ResponseType,
    #[error("only response_mode=query is supported")]
    ResponseMode,
    #[error("code_challenge is missing: PKCE with S256 is required (RFC 7636)")]
    MissingChallenge,
    #[error("only code_challenge_method=S256 is supported (RFC 7636)")]
    ChallengeMethod,
    #[error("code_challenge is not an S256 challenge of 43 base64url characters (RFC 7636)")]
    Challenge,
    #[error("resource must name one MCP server of this site exactly once (RFC 8707)")]
    Resource,
    #[error("scope is malformed (RFC 6749 section 3.3)")]
    Scope,
    #[error("this client cannot be granted this scope: its operator limited what it may ask for")]
    BeyondClient,
    #[error("prompt=none cannot be combined")]
    Prompt,
    #[error("nobody is signed in and prompt=none forbids to ask")]
    LoginRequired,
    #[error("consent is always asked for and prompt=none forbids to ask")]
    ConsentRequired,
}

impl Problem {
    const fn code(self) -> ErrorCode {
        match self {
            Self::RequestObject => ErrorCode::RequestNotSupported,
            Self::RequestUri => ErrorCode::RequestUriNotSupported,
            Self::ResponseType => ErrorCode::UnsupportedResponseType,
            Self::NotForCodes => ErrorCode::UnauthorizedClient,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::Scope | Self::BeyondClient => ErrorCode::InvalidScope,
            Self::LoginRequired => ErrorCode::LoginRequired,
            Self::ConsentRequired => ErrorCode::ConsentRequired,
            Self::Repeated
            | Self::MissingResponseType
            | Self::ResponseMode
            | Self::MissingChallenge
            | Self::ChallengeMethod
            | Self::Challenge
            | Self::Prompt => ErrorCode::InvalidRequest,
        }
    }

    const fn requirement(self) -> Requirement {
        match self {
            Self::MissingChallenge | Self::ChallengeMethod | Self::Challenge => requirement::PKCE_REQUIRED,
            Self::Resource => requirement::ONE_RESOURCE,
            Self::Scope | Self::BeyondClient => requirement::SCOPE_GRANTED,
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// Reads the query string of `/authorize`.
pub fn parse(query: &str) -> Result<Request, PageProblem> {
    let message = AuthorizationRequest::read(&Form::parse(query.as_bytes())?);
    if message.ambiguous_client {
        return Err(PageProblem::AmbiguousClient);
    }
    let client = message
        .client_id
        .clone()
        .map(ClientId::new)
        .ok_or(PageProblem::MissingClient)?;
    Ok(Request { client, message })
}

/// Judges a request. `client` is what [`Request::client_id`] names, if it exists.
///
/// The result is bound to `browser`, and to its session unless the client asks for a new sign-in
/// (`prompt=login` or `select_account`): show the consent page if [`PendingRequest::session`] is set, else the
/// login page.
pub fn decide(
    settings: &Settings,
    request: &Request,
    client: Option<&Client>,
    browser: &Browser,
    now: UnixTime,
    random: &dyn Random,
) -> Result<PendingRequest, Refusal> {
    let message = &request.message;
    let client = client
        .filter(|client| client.id == request.client)
        .ok_or(PageProblem::UnknownClient)?;
    match client.status {
        ClientStatus::Approved => {}
        ClientStatus::Pending => return Err(PageProblem::ClientPending(client.id.clone()).into()),
        ClientStatus::Disabled => return Err(PageProblem::ClientDisabled.into()),
    }
    let redirect_uri = redirect_uri(client, message)?;
    if message
        .state
        .as_ref()
        .is_some_and(|state| state.len() > MAX_STATE)
    {
        return Err(PageProblem::StateTooLong.into());
    }
    let judged = judge(settings, message, client, browser).map_err(|problem| {
        let (error, state) = (problem.code(), message.state.as_deref());
        let location =
            Location::with_error(redirect_uri, error, &problem.to_string(), state, &settings.issuer);
        Refusal::Redirect {
            location,
            error,
            requirement: problem.requirement(),
        }
    })?;
    let pending = PendingRequest {
        nonce: Digest::from_bytes(random::bytes(random)),
        issued: now,
        client: client.id.clone(),
        client_metadata: metadata_digest(&client.metadata),
        redirect_uri: redirect_uri.into(),
        resource: judged.server.resource.clone(),
        offered: judged.offered,
        state: message.state.clone(),
        code_challenge: judged.challenge,
        prelogin: browser.prelogin,
        session: None,
        user: None,
        trace: None,
    };
    Ok(match &browser.session {
        Some(session) if !judged.sign_in_again => pending.signed_in(session),
        _ => pending,
    })
}

/// Judges a request that waited for its client's document until somebody signed in. It keeps its age.
pub fn decide_after_sign_in(
    settings: &Settings,
    waiting: &UnjudgedRequest,
    client: Option<&Client>,
    session: &Session,
    now: UnixTime,
    random: &dyn Random,
) -> Result<PendingRequest, Refusal> {
    let browser = Browser {
        prelogin: waiting.prelogin,
        session: Some(session.clone()),
    };
    let pending = decide(settings, &waiting.request, client, &browser, now, random)?;
    Ok(PendingRequest {
        issued: waiting.issued,
        trace: waiting.trace,
        ..pending.signed_in(session)
    })
}

/// Why a pushed request would be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{description}")]
pub struct Rejected {
    /// The OAuth error code.
    pub error: ErrorCode,
    /// What is wrong with it, for people.
    pub description: String,
    /// The rule it enforces.
    pub requirement: Requirement,
}

impl From<PageProblem> for Rejected {
    fn from(problem: PageProblem) -> Self {
        Self {
            error: ErrorCode::InvalidRequest,
            description: problem.to_string(),
            requirement: problem.requirement(),
        }
    }
}

/// Judges a pushed request (RFC 9126 §2.1) by the rules of [`decide`], without a browser: whether somebody is signed
/// in shows when it comes.
pub fn check_pushed(settings: &Settings, request: &Request, client: &Client) -> Result<(), Rejected> {
    let message = &request.message;
    match client.status {
        ClientStatus::Approved => {}
        ClientStatus::Pending => return Err(PageProblem::ClientPending(client.id.clone()).into()),
        ClientStatus::Disabled => return Err(PageProblem::ClientDisabled.into()),
    }
    redirect_uri(client, message)?;
    if message
        .state
        .as_ref()
        .is_some_and(|state| state.len() > MAX_STATE)
    {
        return Err(PageProblem::StateTooLong.into());
    }
    let nobody = Browser {
        prelogin: Digest::from_bytes([0; 32]),
        session: None,
    };
    match judge(settings, message, client, &nobody) {
        Ok(_) | Err(Problem::LoginRequired) => Ok(()),
        Err(problem) => Err(Rejected {
            error: problem.code(),
            description: problem.to_string(),
            requirement: problem.requirement(),
        }),
    }
}

/// The registered redirect URI that the request names. It may be left out if there is exactly one and no
/// port is missing from it (OAuth 2.1 draft 13 §4.1.1).
fn redirect_uri<'a>(client: &'a Client, message: &'a AuthorizationRequest) -> Result<&'a str, PageProblem> {
    match (&message.redirect_uri, client.metadata.redirect_uris.as_slice()) {
        (Some(requested), _) if has_redirect(client, requested) => Ok(requested),
        (Some(_), _) => Err(PageProblem::UnregisteredRedirect),
        (None, [only]) if !redirect::is_loopback(only) => Ok(only),
        (None, _) => Err(PageProblem::MissingRedirect),
    }
}

struct Judged<'a> {
    server: &'a ProtectedServer,
    offered: ScopeSet,
    challenge: CodeChallenge,
    sign_in_again: bool,
}

fn judge<'a>(
    settings: &'a Settings,
    message: &AuthorizationRequest,
    client: &Client,
    browser: &Browser,
) -> Result<Judged<'a>, Problem> {
    if message.has_repeated {
        return Err(Problem::Repeated);
    }
    if message.has_request {
        return Err(Problem::RequestObject);
    }
    if message.has_request_uri {
        return Err(Problem::RequestUri);
    }
    if !client.metadata.registered("authorization_code") {
        return Err(Problem::NotForCodes);
    }
    match message.response_type.as_deref() {
        Some("code") => {}
        Some(_) => return Err(Problem::ResponseType),
        None => return Err(Problem::MissingResponseType),
    }
    if message
        .response_mode
        .as_deref()
        .is_some_and(|mode| mode != "query")
    {
        return Err(Problem::ResponseMode);
    }
    let challenge = challenge(message)?;
    let server = settings
        .requested_server(&message.resource)
        .filter(|server| may_use(client, server))
        .ok_or(Problem::Resource)?;
    let offered = offered(server, client, message.scope.as_deref())?;
    let sign_in_again = prompt(message.prompt.as_deref(), browser)?;
    Ok(Judged {
        server,
        offered,
        challenge,
        sign_in_again,
    })
}

/// A missing method means `plain` (RFC 7636 §4.3), which is refused like any other.
fn challenge(message: &AuthorizationRequest) -> Result<CodeChallenge, Problem> {
    let challenge = message
        .code_challenge
        .as_deref()
        .ok_or(Problem::MissingChallenge)?;
    if message.code_challenge_method.as_deref() != Some(pkce::METHOD) {
        return Err(Problem::ChallengeMethod);
    }
    CodeChallenge::parse(challenge).map_err(|_| Problem::Challenge)
}

/// The scopes that the person is asked for: the requested ones that the server knows, or its default set if it knows
/// none of them; of these what the client can be granted.
pub(crate) fn offered(
    server: &ProtectedServer,
    client: &Client,
    requested: Option<&str>,
) -> Result<ScopeSet, Problem> {
    let requested: ScopeSet = requested
        .unwrap_or_default()
        .parse()
        .map_err(|_| Problem::Scope)?;
    let asked: ScopeSet = requested
        .iter()
        .filter(|scope| !is_ignored(scope))
        .cloned()
        .collect();
    let known = asked.intersection(&server.scopes.known());
    let offered = if known.is_empty() {
        first_asked(client, &server.scopes)
    } else {
        within_limit(client, &server.scopes, &known)
    };
    if offered.is_empty() {
        return Err(Problem::BeyondClient);
    }
    Ok(offered)
}

/// Whether the person must sign in again although there is a session (OpenID Connect Core §3.1.2.1).
fn prompt(prompt: Option<&str>, browser: &Browser) -> Result<bool, Problem> {
    let values: Vec<&str> = prompt
        .unwrap_or_default()
        .split(' ')
        .filter(|value| !value.is_empty())
        .collect();
    match (values.as_slice(), &browser.session) {
        (["none"], None) => Err(Problem::LoginRequired),
        (["none"], Some(_)) => Err(Problem::ConsentRequired),
        (values, _) if values.contains(&"none") => Err(Problem::Prompt),
        (values, _) => Ok(values
            .iter()
            .any(|value| matches!(*value, "login" | "select_account"))),
    }
}

#[cfg(test)]
mod tests;
