//! `GET /.well-known/jwks.json`: the public keys of access tokens (RFC 7517 §5).

use axum::extract::State;
use axum::response::Response;

use crate::endpoints::metadata::document;
use crate::state::WebState;

/// Retired keys are in it, too: tokens that they signed are still out there.
pub(crate) async fn show(State(state): State<WebState>) -> Response {
    document(serde_json::json!(state.keys().public()).to_string())
}
