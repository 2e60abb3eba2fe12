//! Which address leads where.

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use crate::endpoints::{
    authorize, client_configuration, device_authorization, health, introspect, metadata, par, register,
    revoke, token,
};
use crate::pages::{
    account, consent, device, home, login, login_code, login_passkey, logout, message, security, setup,
};
use crate::state::WebState;
use crate::{assets, cors, endpoints, headers, trace};

/// Every route of this crate, with its headers. Also the routes that clients of revision 2025-03-26 call
/// without having discovered them: `/authorize`, `/token`, `/register` on the origin (R12).
pub fn router(state: WebState) -> Router {
    let issuer = &state.settings().issuer;
    let path = metadata::issuer_path(issuer);
    let mut router = pages(&state)
        .merge(protocol(&state))
        .merge(metadata::routes(issuer));
    if !path.is_empty() {
        // An issuer with a path names its endpoints below it.
        router = router.nest(&path, protocol(&state));
    }
    router
        .fallback(not_found)
        .layer(from_fn_with_state(state.clone(), headers::protect))
        .layer(from_fn_with_state(state.clone(), trace::follow))
        .with_state(state)
}

fn pages(state: &WebState) -> Router<WebState> {
    let mut router = Router::new();
    if state.settings().grants.device {
        router = router.route("/device", get(device::get).post(device::post));
    }
    if state.client_metadata().is_some() {
        router = router.route("/client-metadata.json", get(metadata::client));
    }
    router
        .route("/", get(home::show))
        .route("/login", get(login::get).post(login::post))
        .route("/consent", post(consent::post))
        .route("/account", get(account::get))
        .route("/account/end", get(account::get_end).post(account::post_end))
        .route("/login/code", post(login_code::post))
        .route("/login/passkey", post(login_passkey::post))
        .route("/logout", post(logout::post))
        .route("/security", get(security::get))
        .route("/security/password", post(security::change_password))
        .route("/security/app", post(security::begin_app))
        .route("/security/app/confirm", post(security::confirm_app))
        .route("/security/app/remove", post(security::remove_app))
        .route("/security/codes", post(security::new_codes))
        .route("/security/passkeys", post(security::add_passkey))
        .route("/security/passkeys/remove", post(security::remove_passkey))
        .route("/setup", get(setup::get).post(setup::post))
        .route("/setup/passkey", post(setup::post_passkey))
        .route("/static/{name}", get(static_file))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(wrong_method)
}

fn protocol(state: &WebState) -> Router<WebState> {
    let authorize = Router::new()
        .route("/authorize", get(authorize::get).post(authorize::post))
        .method_not_allowed_fallback(wrong_method);
    let mut calls = Router::new();
    if state.settings().grants.device {
        calls = calls.route("/device_authorization", post(device_authorization::post));
    }
    let calls = calls
        .route("/token", post(token::post))
        .route("/introspect", post(introspect::post))
        .route("/revoke", post(revoke::post))
        .route("/par", post(par::post))
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
