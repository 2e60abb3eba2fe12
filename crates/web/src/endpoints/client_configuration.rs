//! `/register/{client_id}`: the client configuration endpoint (RFC 7592).

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use doorward_authorization_server::register::manage::{self, ManagementRefusal};
use doorward_records::client::Client;
use doorward_storage::LoadError;
use doorward_types::id::ClientId;
use doorward_types::secret::Secret;
use http::StatusCode;

use super::register::{bearer_of, refused, unread};
use crate::body;
use crate::commit::{Attempts, Unavailable};
use crate::endpoints::{json, oauth_error, unavailable};
use crate::state::WebState;

/// What is done to a registration.
#[derive(Clone, Copy, Debug)]
enum Action<'a> {
    Show,
    Replace(&'a Bytes),
    Remove,
}

impl Action<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Show => "shown",
            Self::Replace(_) => "replaced",
            Self::Remove => "removed",
        }
    }
}

/// `GET /register/{client_id}`.
pub(crate) async fn get(state: State<WebState>, id: Path<String>, request: Request) -> Response {
    let bearer = bearer_of(request.headers());
    answer(&state, &ClientId::new(id.0), bearer, Action::Show).await
}

/// `PUT /register/{client_id}`.
pub(crate) async fn put(state: State<WebState>, id: Path<String>, request: Request) -> Response {
    let bearer = bearer_of(request.headers());
    match body::read(request, body::JSON).await {
        Ok(body) => answer(&state, &ClientId::new(id.0), bearer, Action::Replace(&body)).await,
        // Whoever shows no token is told that first, whatever came with it.
        Err(_) if bearer.is_none() => refuse(&ManagementRefusal::Unauthorized),
        Err(error) => unread(error, "registration: refused"),
    }
}

/// `DELETE /register/{client_id}`.
pub(crate) async fn delete(state: State<WebState>, id: Path<String>, request: Request) -> Response {
    let bearer = bearer_of(request.headers());
    answer(&state, &ClientId::new(id.0), bearer, Action::Remove).await
}

/// The answer for another method; the router adds `Allow`.
pub(crate) async fn wrong_method() -> Response {
    oauth_error(
        StatusCode::METHOD_NOT_ALLOWED,
        doorward_oauth::error::ErrorCode::InvalidRequest,
        "a registration is read with GET, replaced with PUT and removed with DELETE",
    )
}

async fn answer(state: &WebState, id: &ClientId, bearer: Option<Secret>, action: Action<'_>) -> Response {
    match settle(state, id, bearer, action).await {
        Ok(Ok(response)) => {
            tracing::info!(client = ?id.as_str(), done = action.name(), "registration: done");
            response
        }
        Ok(Err(refusal)) => refuse(&refusal),
        Err(error) => {
            error.log("registration");
            unavailable()
        }
    }
}

/// Loads, decides and commits; decides again if the registration changed in between.
async fn settle(
    state: &WebState,
    id: &ClientId,
    bearer: Option<Secret>,
    action: Action<'_>,
) -> Result<Result<Response, ManagementRefusal>, Unavailable> {
    let mut attempts = Attempts::default();
    loop {
        let loaded = state.store().client(id).await?;
        let client = match manage::authenticate(loaded.as_ref(), bearer.as_ref()) {
            Ok(client) => client,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(token) = bearer.clone() else {
            return Ok(Err(ManagementRefusal::Unauthorized));
        };
        let (settings, now) = (state.settings(), state.now());
        let (unit, response) = match action {
            Action::Show => {
                let shown = manage::show(settings, client, token).to_json();
                return Ok(Ok(json(StatusCode::OK, shown.expose().to_owned())));
            }
            Action::Replace(body) => {
                match manage::replace(settings, client, token, body, now, state.random()) {
                    Ok((unit, response)) => {
                        let body = response.to_json().expose().to_owned();
                        (unit, json(StatusCode::OK, body))
                    }
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            Action::Remove => {
                let used = was_used(state, client).await?;
                let unit = manage::remove(settings, client, used, now);
                (unit, StatusCode::NO_CONTENT.into_response())
            }
        };
        if attempts.commit(state.store(), unit).await?.is_some() {
            return Ok(Ok(response));
        }
    }
}

async fn was_used(state: &WebState, client: &Client) -> Result<bool, LoadError> {
    Ok(!state.store().grants_of_client(&client.id).await?.is_empty())
}

fn refuse(refusal: &ManagementRefusal) -> Response {
    tracing::info!(rule = refusal.requirement().id, reason = %refusal, "registration: refused");
    let retry_after = match refusal {
        ManagementRefusal::Registration(refusal) => refusal.retry_after(),
        _ => None,
    };
    refused(refusal.status(), refusal.body(), refusal.challenge(), retry_after)
}
