//! What the endpoints for programs have in common: a form in, JSON out.

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use doorward_authorization_server::call::{CallRefusal, HttpRequest};
use doorward_limits::{PeerAddress, Retry};
use doorward_oauth::error::ErrorBody;
use doorward_oauth::requirement::Requirement;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body;
use crate::client_auth::Refused;
use crate::endpoints::{bad_body, oauth_error};

/// A request whose body was read.
pub(crate) struct Incoming {
    parts: Parts,
    body: Bytes,
}

impl Incoming {
    /// Reads the body, whatever its type: the rules judge that.
    pub(crate) async fn read(request: Request) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        match body::read_any(Request::from_parts(parts.clone(), body)).await {
            Ok(body) => Ok(Self { parts, body }),
            Err(error) => Err(bad_body(error, body::FORM)),
        }
    }

    /// Gives the rules what they need of it.
    pub(crate) fn parse<T>(&self, parse: impl FnOnce(&HttpRequest<'_>) -> T) -> T {
        let content_type = texts(&self.parts.headers, &CONTENT_TYPE);
        let authorization = texts(&self.parts.headers, &AUTHORIZATION);
        parse(&HttpRequest {
            content_type: &content_type,
            authorization: &authorization,
            query: self.parts.uri.query(),
            body: &self.body,
        })
    }

    /// Where it comes from.
    pub(crate) fn peer(&self) -> Option<PeerAddress> {
        self.parts.extensions.get::<PeerAddress>().copied()
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// An error answer with the headers that go with its status.
    pub(crate) fn refuse(&self, status: u16, body: ErrorBody, wait: Option<Retry>) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = oauth_error(status, body.error, body.error_description);
        let headers = response.headers_mut();
        // RFC 6749 §5.2: who tried with the header is told the scheme.
        if status == StatusCode::UNAUTHORIZED && self.parts.headers.contains_key(AUTHORIZATION) {
            let basic = HeaderValue::from_static("Basic realm=\"doorward\", charset=\"UTF-8\"");
            headers.insert(WWW_AUTHENTICATE, basic);
        }
        if let Some(retry) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry.seconds()));
        }
        response
    }

    /// The answer to a call that goes no further at `endpoint`, for which `client` is named if it is known.
    pub(crate) fn refuse_call(&self, endpoint: &str, client: Option<&str>, refused: Refused) -> Response {
        let refusal = match refused {
            Refused::Rule(refusal) => refusal,
            Refused::Storage(error) => {
                tracing::error!(endpoint, cause = ?error.to_string(), "storage did not answer");
                CallRefusal::Unavailable
            }
        };
        log_refusal(endpoint, client, refusal.requirement(), &refusal);
        let wait = match refusal {
            CallRefusal::TooMany(wait) => Some(Retry(wait)),
            _ => None,
        };
        self.refuse(refusal.status(), refusal.body(), wait)
    }
}

/// One line for a refused call.
pub(crate) fn log_refusal(
    endpoint: &str,
    client: Option<&str>,
    rule: Requirement,
    reason: &(impl std::fmt::Debug + ?Sized),
) {
    let client = client.map(tracing::field::debug);
    tracing::info!(rule = rule.id, client, ?reason, "{endpoint}: refused");
}

/// Every value of a header; one that is no text reads as an empty one, which is refused.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect()
}
