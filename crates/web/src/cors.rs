//! Which other origins' scripts may read an answer (Fetch standard, CORS).
//!
//! Metadata and keys are public: `*`, never with credentials. Token and registration endpoints: the
//! configured origins only, and another origin is refused outright. Pages: never.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};

use doorward_oauth::error::ErrorCode;

use crate::endpoints::oauth_error;
use crate::state::WebState;

/// Layer for public documents: everybody may read them, and preflights say so.
pub(crate) async fn open(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        preflight(response.headers_mut(), "GET, HEAD", "*");
        response
    } else {
        next.run(request).await
    };
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Layer for the token and registration endpoints: a request that names an origin must name ours or a
/// configured one; a request without `Origin` does not come from a script and passes.
pub(crate) async fn restricted(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let mut origins = request.headers().get_all(ORIGIN).iter();
    let (origin, more) = (origins.next().cloned(), origins.next().is_some());
    let allowed = match &origin {
        None => true,
        Some(origin) => !more && state.site().allows_origin(origin.as_bytes()),
    };
    let is_preflight = request.method() == Method::OPTIONS;
    let methods = if request.uri().path().contains("/register/") {
        "GET, PUT, DELETE"
    } else {
        "POST"
    };
    let mut response = if !allowed {
        tracing::info!(?origin, "refused a request from a foreign origin");
        oauth_error(
            StatusCode::FORBIDDEN,
            ErrorCode::InvalidRequest,
            "this origin may not call the authorization server: its operator can add it to allowed_origins",
        )
    } else if is_preflight {
        Response::builder()
            .status(StatusCode::NO_CONTENT)
            .body(Body::empty())
            .unwrap_or_default()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let (Some(origin), true) = (origin, allowed) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("WWW-Authenticate, Retry-After, Doorward-Trace"),
        );
        if is_preflight {
            preflight(
                headers,
                methods,
                "Content-Type, Authorization, Accept, MCP-Protocol-Version",
            );
        }
    }
    response
}

fn preflight(headers: &mut HeaderMap, methods: &'static str, names: &'static str) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
}
