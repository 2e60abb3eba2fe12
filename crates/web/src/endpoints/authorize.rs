//! GET and POST `/authorize` (RFC 6749 §4.1.1). It only reads: clients fetch it twice, without cookies, to
//! see whether they are known, and browsers reload it.

use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use doorward_authorization_server::Refusal;
use doorward_authorization_server::authorize::{self, Browser};
use doorward_oauth::authorize::Location;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body;
use crate::pages::message::Problem;
use crate::pages::{consent, login};
use crate::session::{self, PreLogin};
use crate::state::WebState;

/// `GET /authorize`.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    answer(&state, &headers, &query.unwrap_or_default()).await
}

/// `POST /authorize` with the same parameters in the body (OpenID Connect Core §3.1.2.1).
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let headers = request.headers().clone();
    match body::read(request, body::FORM).await {
        Ok(bytes) => answer(&state, &headers, &String::from_utf8_lossy(&bytes)).await,
        Err(error) => Problem::from(error).respond(&state),
    }
}

async fn answer(state: &WebState, headers: &HeaderMap, query: &str) -> Response {
    match decide(state, headers, query).await {
        Ok(response) => response,
        Err(problem) => problem.respond(state),
    }
}

async fn decide(state: &WebState, headers: &HeaderMap, query: &str) -> Result<Response, Problem> {
    let request = authorize::parse(query)?;
    let client = state.store().client(request.client_id()).await?;
    let cookies = state.cookies(headers);
    let signed_in = session::current(state, &cookies).await?;
    let prelogin = PreLogin::of(state, &cookies);
    let browser = Browser {
        prelogin: prelogin.cookie.digest(),
        session: signed_in.as_ref().map(|signed_in| signed_in.session.clone()),
    };
    let decided = authorize::decide(
        state.settings(),
        &request,
        client.as_ref(),
        &browser,
        state.now(),
        state.random(),
    );
    let pending = match decided {
        Ok(pending) => pending,
        Err(Refusal::Page(problem)) => return Err(problem.into()),
        Err(Refusal::Redirect {
            location,
            error,
            requirement,
        }) => {
            let client = request.client_id().as_str();
            tracing::info!(?client, %error, rule = requirement.id, "authorize: refused, sent back to the client");
            return Ok(redirect(StatusCode::FOUND, &location));
        }
    };
    tracing::info!(
        client = ?pending.client.as_str(),
        resource = ?pending.resource.as_str(),
        scopes = ?pending.offered.to_string(),
        signed_in = pending.session.is_some(),
        "authorize: request accepted"
    );
    let response = match (&pending.session, &signed_in) {
        (Some(_), Some(signed_in)) => consent::show(state, &pending, client.as_ref(), signed_in)?,
        _ => login::show_pending(state, pending, &prelogin.cookie).await?,
    };
    Ok(prelogin.remember(state, response))
}

/// Sends the browser to the client. Never 307 or 308: those would post the form on (RFC 9700 §4.12).
pub(crate) fn redirect(status: StatusCode, location: &Location) -> Response {
    match HeaderValue::from_str(location.expose()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            (status, [(LOCATION, value)]).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
