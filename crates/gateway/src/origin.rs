//! Which web pages may use the MCP endpoints: `Origin` and CORS.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use url::Url;

use crate::body::Body;
use crate::settings::GatewayError;

/// The origins that are let in.
#[derive(Debug)]
pub(crate) struct Origins {
    own: HeaderValue,
    allowed: Vec<HeaderValue>,
}

/// An origin that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted<'a> {
    /// Not a page, or a page of our own origin: CORS has no part in it.
    Plain,
    /// A page of a configured origin.
    Page(&'a HeaderValue),
}

impl Origins {
    pub(crate) fn new(public_url: &str, allowed: &[String]) -> Result<Self, GatewayError> {
        let own = origin_of(public_url).ok_or(GatewayError::PublicUrl)?;
        let own = HeaderValue::try_from(own).map_err(|_| GatewayError::PublicUrl)?;
        let allowed = allowed.iter().map(|text| {
            let same = origin_of(text).filter(|origin| origin == text);
            same.and_then(|origin| HeaderValue::try_from(origin).ok())
                .ok_or_else(|| GatewayError::AllowedOrigin(text.clone()))
        });
        Ok(Self {
            own,
            allowed: allowed.collect::<Result<_, _>>()?,
        })
    }

    /// Compares byte for byte: browsers send origins in one form only. `null`, look-alikes and two origins
    /// are refused; no origin at all is let in, because clients that are no browsers send none.
    pub(crate) fn judge(&self, headers: &HeaderMap) -> Option<Admitted<'_>> {
        let mut values = headers.get_all(ORIGIN).iter();
        let Some(origin) = values.next() else {
            return Some(Admitted::Plain);
        };
        if values.next().is_some() {
            return None;
        }
        if *origin == self.own {
            return Some(Admitted::Plain);
        }
        self.allowed
            .iter()
            .find(|allowed| *allowed == origin)
            .map(Admitted::Page)
    }
}

fn origin_of(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

impl Admitted<'_> {
    /// Lets a page read the answer, without credentials.
    pub(crate) fn decorate(self, response: &mut Response<Body>) {
        let Self::Page(origin) = self else { return };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, Retry-After, Doorward-Trace"),
        );
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }

    /// Answers a preflight (Fetch, "CORS-preflight request") of a configured origin; `None` if this is none.
    /// `also` are headers that pass to the upstream besides those of MCP.
    pub(crate) fn preflight(
        self,
        method: &Method,
        headers: &HeaderMap,
        also: &[HeaderName],
    ) -> Option<Response<Body>> {
        if *method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let Self::Page(_) = self else { return None };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.decorate(&mut response);
        let answer = response.headers_mut();
        answer.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, GET, DELETE"),
        );
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(headers, also));
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(response)
    }
}

const HEADERS: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-method, mcp-name, \
                       mcp-session-id, last-event-id, traceparent, tracestate";

/// The headers that we read, those that pass on, and those `Mcp-Param-…` that the page names: `*` would not cover
/// `Authorization`.
fn allowed_headers(headers: &HeaderMap, also: &[HeaderName]) -> HeaderValue {
    let requested = headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok());
    let mut list = String::from(HEADERS);
    for name in also {
        list.push_str(", ");
        list.push_str(name.as_str());
    }
    for name in requested.unwrap_or_default().split(',').map(str::trim) {
        let token = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if token
            && name.len() <= 128
            && name
                .get(..10)
                .is_some_and(|start| start.eq_ignore_ascii_case("mcp-param-"))
        {
            list.push_str(", ");
            list.push_str(name);
        }
    }
    HeaderValue::try_from(list).unwrap_or(HeaderValue::from_static(HEADERS))
}
