//! The endpoints that programs call: JSON in and out, no cookie, no page.

pub(crate) mod authorize;
pub(crate) mod call;
pub(crate) mod client_configuration;
pub(crate) mod device_authorization;
pub(crate) mod health;
pub(crate) mod introspect;
pub(crate) mod jwks;
pub(crate) mod metadata;
pub(crate) mod par;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod token;

use std::borrow::Cow;

use axum::response::{IntoResponse as _, Response};
use doorward_oauth::error::{ErrorBody, ErrorCode};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::body::BodyError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON document.
pub(crate) fn json(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}

/// An OAuth error answer (RFC 6749 §5.2); `503` says when to come back.
pub(crate) fn oauth_error(
    status: StatusCode,
    code: ErrorCode,
    description: impl Into<Cow<'static, str>>,
) -> Response {
    let mut response = json(status, ErrorBody::new(code, description).to_json());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, crate::pages::message::RETRY_AFTER);
    }
    response
}

/// The answer when storage does not.
pub(crate) fn unavailable() -> Response {
    oauth_error(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TemporarilyUnavailable,
        "this could not be done just now and nothing was changed: try again in a few seconds",
    )
}

/// The answer for a body that was not read.
pub(crate) fn bad_body(error: BodyError, expected: &'static str) -> Response {
    let description: Cow<'static, str> = match error {
        BodyError::WrongType => format!("send the request as {expected}").into(),
        other => other.to_string().into(),
    };
    oauth_error(error.status(), ErrorCode::InvalidRequest, description)
}

/// The answer for another method; the router adds `Allow`.
pub(crate) fn wrong_method() -> Response {
    oauth_error(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::InvalidRequest,
        "this endpoint is called with POST",
    )
}
