//! `POST /register`: dynamic registration (RFC 7591).

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::register::{self, RegistrationRefusal, Step};
use doorward_limits::{PeerAddress, Retry};
use doorward_oauth::error::ErrorBody;
use doorward_oauth::register::bearer;
use doorward_oauth::requirement;
use doorward_records::{Precondition, Unit};
use doorward_storage::CommitError;
use doorward_types::secret::Secret;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body::{self, BodyError};
use crate::commit::Unavailable;
use crate::endpoints::{bad_body, json, oauth_error, unavailable};
use crate::state::WebState;
use crate::text::{SHORT, shown};

/// After so many rounds the answer is `503`: somebody adds and removes the same client all the time.
const ROUNDS: u32 = 5;

/// `POST /register`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let shown = bearer_of(request.headers());
    let peer = request.extensions().get::<PeerAddress>().copied();
    let body = match body::read(request, body::JSON).await {
        Ok(body) => body,
        Err(error) => return unread(error, "register: refused"),
    };
    let registration = match register::parse(state.settings(), shown.as_ref(), &body) {
        Ok(registration) => registration,
        Err(refusal) => return refuse(&refusal),
    };
    match settle(&state, &registration, peer).await {
        Ok(response) => response,
        Err(error) => {
            error.log("register");
            unavailable()
        }
    }
}

/// The token of the one `Authorization` header, if it carries one.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Option<Secret> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => bearer(value.as_bytes()),
        _ => None,
    }
}

async fn settle(
    state: &WebState,
    registration: &register::Registration,
    peer: Option<PeerAddress>,
) -> Result<Response, Unavailable> {
    let mut counted = false;
    for conflicts in 0..ROUNDS {
        let existing = match registration.client_id() {
            Some(id) => state.store().client(id).await?,
            None => None,
        };
        let decided = register::decide(
            state.settings(),
            registration,
            existing.as_ref(),
            conflicts,
            state.now(),
            state.random(),
        );
        match decided {
            Err(refusal) => return Ok(refuse(&refusal)),
            Ok(Step::MakeRoom(unit)) => {
                commit(state, unit).await?;
            }
            Ok(Step::Register { unit, response }) => {
                // Registering again is free; every new row counts, once.
                if is_new(&unit) && !counted {
                    if let Err(Retry(wait)) = state.new_registration(peer) {
                        return Ok(refuse(&RegistrationRefusal::TooMany(wait)));
                    }
                    counted = true;
                }
                if unit.is_empty() || commit(state, unit).await? {
                    let name = response.client_name.as_deref().map(|name| shown(name, SHORT));
                    let method = response.token_endpoint_auth_method.as_str();
                    tracing::info!(client = ?response.client_id, ?name, method, "register: done");
                    return Ok(json(StatusCode::CREATED, response.to_json().expose().to_owned()));
                }
            }
        }
    }
    Err(Unavailable::Contended)
}

fn is_new(unit: &Unit) -> bool {
    let absent = |condition: &Precondition| matches!(condition, Precondition::ClientAbsent(_));
    unit.preconditions.iter().any(absent)
}

/// Whether the unit was applied; the rules count the conflicts themselves.
async fn commit(state: &WebState, unit: Unit) -> Result<bool, Unavailable> {
    match state.store().commit(unit).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(error) => Err(Unavailable::Commit(error)),
    }
}

/// The answer for a body that was not read, here or at the endpoint below.
pub(crate) fn unread(error: BodyError, told: &'static str) -> Response {
    tracing::info!(rule = requirement::OAUTH_2_1.id, reason = %error, "{told}");
    bad_body(error, body::JSON)
}

fn refuse(refusal: &RegistrationRefusal) -> Response {
    tracing::info!(rule = refusal.requirement().id, reason = %refusal, "register: refused");
    refused(
        refusal.status(),
        refusal.body(),
        refusal.challenge(),
        refusal.retry_after(),
    )
}

/// The answer for a refusal of this endpoint or of the one below it.
pub(crate) fn refused(
    status: u16,
    body: ErrorBody,
    challenge: Option<&'static str>,
    retry_after: Option<std::time::Duration>,
) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = oauth_error(status, body.error, body.error_description);
    let headers = response.headers_mut();
    if let Some(after) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(Retry(after).seconds()));
    }
    if let Some(challenge) = challenge {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
