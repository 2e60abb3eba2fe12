//! `/healthz`: the process answers. `/readyz`: it can do its work.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use crate::state::WebState;

/// `GET /healthz`.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: `503` while storage does not answer, so that a load balancer looks elsewhere.
pub(crate) async fn ready(State(state): State<WebState>) -> Response {
    match state.store().version().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(cause = ?error.to_string(), "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "storage does not answer\n").into_response()
        }
    }
}
