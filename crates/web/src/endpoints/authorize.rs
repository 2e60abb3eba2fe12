//! GET and POST `/authorize` (RFC 6749 §4.1.1). It only reads: clients fetch it twice, without cookies, to
//! see whether they are known, and browsers reload it.

use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use doorward_authorization_server::Refusal;
use doorward_authorization_server::authorize::{self, Browser};
use doorward_authorization_server::client_metadata::{Standing, standing};
use doorward_authorization_server::pending::{PendingRequest, UnjudgedRequest, Waiting};
use doorward_oauth::authorize::Location;
use doorward_recorder::Login;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, TraceId};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body;
use crate::endpoints::par;
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
    let query = &*par::resolve(state, query)?;
    let request = authorize::parse(query)?;
    let cookies = state.cookies(headers);
    let signed_in = session::current(state, &cookies).await?;
    let prelogin = PreLogin::of(state, &cookies);
    let client = match &signed_in {
        Some(signed_in) => {
            let person = signed_in.user.id;
            state
                .documents()
                .for_person(state, request.client_id(), person)
                .await?
        }
        None => {
            let cached = state.store().client(request.client_id()).await?;
            match standing(
                state.settings(),
                request.client_id(),
                cached.as_ref(),
                state.now(),
            ) {
                Standing::AsLoaded => cached,
                Standing::Refused(problem) => return Err(problem.into()),
                Standing::Fetch(_) => {
                    let trace = begun(query, request.client_id(), None);
                    return wait_for_document(state, request, trace, &prelogin).await;
                }
            }
        }
    };
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
        Ok(pending) => PendingRequest {
            trace: begun(query, &pending.client, Some(pending.resource.as_str())),
            ..pending
        },
        Err(refusal) => return refuse(request.client_id(), refusal),
    };
    accepted(&pending);
    let response = match (&pending.session, &signed_in) {
        (Some(_), Some(signed_in)) => consent::show(state, &pending, client.as_ref(), signed_in).await?,
        _ => login::show_waiting(state, Waiting::Judged(pending), &prelogin.cookie).await?,
    };
    Ok(prelogin.remember(state, response))
}

/// The login page of a request that is judged afterwards.
async fn wait_for_document(
    state: &WebState,
    request: authorize::Request,
    trace: Option<TraceId>,
    prelogin: &PreLogin,
) -> Result<Response, Problem> {
    let client = request.client_id().as_str();
    tracing::info!(?client, "authorize: sign-in before the client's document is read");
    let waiting = Waiting::Unjudged(UnjudgedRequest {
        request,
        issued: state.now(),
        prelogin: prelogin.cookie.digest(),
        trace,
    });
    let response = login::show_waiting(state, waiting, &prelogin.cookie).await?;
    Ok(prelogin.remember(state, response))
}

/// From here the trace of this login is exact: the form carries it, then the code and the tokens. The same request,
/// opened again, is the same login.
fn begun(query: &str, client: &ClientId, resource: Option<&str>) -> Option<TraceId> {
    doorward_recorder::login(&Login {
        client: client.as_str(),
        resource,
        request: Digest::of(query.as_bytes()),
    })
}

/// Notes a request that waits for a person from now on.
pub(crate) fn accepted(pending: &PendingRequest) {
    tracing::info!(
        client = ?pending.client.as_str(),
        resource = ?pending.resource.as_str(),
        scopes = ?pending.offered.to_string(),
        signed_in = pending.session.is_some(),
        "authorize: request accepted"
    );
}

/// The answer to a request that goes no further.
pub(crate) fn refuse(client: &ClientId, refusal: Refusal) -> Result<Response, Problem> {
    match refusal {
        Refusal::Page(problem) => Err(problem.into()),
        Refusal::Redirect {
            location,
            error,
            requirement,
        } => {
            let client = client.as_str();
            tracing::info!(?client, %error, rule = requirement.id, "authorize: refused, sent back to the client");
            Ok(redirect(StatusCode::FOUND, &location))
        }
    }
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
