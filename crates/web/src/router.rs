//! Which address leads where.

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use crate::endpoints::{authorize, client_configuration, health, metadata, register, token};
use crate::pages::{consent, home, login, logout, message, setup};
use crate::state::WebState;
use crate::{assets, cors, endpoints, headers};

/// Every route of this crate, with its headers. Also the routes that clients of revision 2025-03-26 call
/// without having discovered them: `/authorize`, `/token`, `/register` on the origin (R12).
pub fn router(state: WebState) -> Router {
    let issuer = &state.settings().issuer;
    let path = metadata::issuer_path(issuer);
    let mut router = pages().merge(protocol(&state)).merge(metadata::routes(issuer));
    if !path.is_empty() {
        // An issuer with a path names its endpoints below it.
        router = router.nest(&path, protocol(&state));
    }
    router
        .fallback(not_found)
        .layer(from_fn_with_state(state.clone(), headers::protect))
        .with_state(state)
}

fn pages() -> Router<WebState> {
    Router::new()
        .route("/", get(home::show))
        .route("/login", get(login::get).post(login::post))
        .route("/consent", post(consent::post))
        .route("/logout", post(logout::post))
        .route("/setup", get(setup::get).post(setup::post))
        .route("/static/{name}", get(static_file))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(wrong_method)
}

fn protocol(state: &WebState) -> Router<WebState> {
    let authorize = Router::new()
        .route("/authorize", get(authorize::get).post(authorize::post))
        .method_not_allowed_fallback(wrong_method);
    let calls = Router::new()
        .route("/token", post(token::post))
        .route("/register", post(register::post))
        .method_not_allowed_fallback(async || endpoints::wrong_method())
        .layer(from_fn_with_state(state.clone(), cors::restricted));
    let configuration = get(client_configuration::get)
        .put(client_configuration::put)
        .delete(client_configuration::delete);
    let management = Router::new()
        .route("/register/{client_id}", configuration)
        .method_not_allowed_fallback(client_configuration::wrong_method)
        .layer(from_fn_with_state(state.clone(), cors::restricted));
    authorize.merge(calls).merge(management)
}

async fn static_file(state: State<WebState>, name: axum::extract::Path<String>) -> Response {
    match assets::serve(&name) {
        Some(response) => response,
        None => message::not_found(&state),
    }
}

async fn not_found(State(state): State<WebState>) -> Response {
    message::not_found(&state)
}

async fn wrong_method(State(state): State<WebState>) -> Response {
    message::wrong_method(&state)
}
