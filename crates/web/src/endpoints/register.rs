//! `POST /register`: dynamic registration (RFC 7591).

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::register::{self, RegistrationRefusal, Step};
use doorward_records::Unit;
use doorward_storage::CommitError;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::body;
use crate::commit::Unavailable;
use crate::endpoints::{bad_body, json, oauth_error, unavailable};
use crate::state::WebState;
use crate::text::{SHORT, shown};

/// After so many rounds the answer is `503`: somebody adds and removes the same client all the time.
const ROUNDS: u32 = 5;

/// `POST /register`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let body = match body::read(request, body::JSON).await {
        Ok(body) => body,
        Err(error) => return bad_body(error, body::JSON),
    };
    let registration = match register::parse(state.settings(), &body) {
        Ok(registration) => registration,
        Err(refusal) => return refuse(&refusal),
    };
    match settle(&state, &registration).await {
        Ok(response) => response,
        Err(error) => {
            error.log("register");
            unavailable()
        }
    }
}

async fn settle(state: &WebState, registration: &register::Registration) -> Result<Response, Unavailable> {
    for conflicts in 0..ROUNDS {
        let existing = state.store().client(registration.client_id()).await?;
        let decided = register::decide(
            state.settings(),
            registration,
            existing.as_ref(),
            conflicts,
            state.now(),
        );
        match decided {
            Err(refusal) => return Ok(refuse(&refusal)),
            Ok(Step::MakeRoom(unit)) => {
                commit(state, unit).await?;
            }
            Ok(Step::Register { unit, response }) => {
                if commit(state, unit).await? {
                    let name = response.client_name.as_deref().map(|name| shown(name, SHORT));
                    tracing::info!(client = ?registration.client_id().as_str(), ?name, "register: done");
                    return Ok(json(StatusCode::CREATED, response.to_json()));
                }
            }
        }
    }
    Err(Unavailable::Contended)
}

/// Whether the unit was applied; the rules count the conflicts themselves.
async fn commit(state: &WebState, unit: Unit) -> Result<bool, Unavailable> {
    match state.store().commit(unit).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(error) => Err(Unavailable::Commit(error)),
    }
}

fn refuse(refusal: &RegistrationRefusal) -> Response {
    tracing::info!(rule = refusal.requirement().id, reason = %refusal, "register: refused");
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = refusal.body();
    let mut response = oauth_error(status, body.error, body.error_description);
    if let Some(after) = refusal.retry_after() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    response
}
