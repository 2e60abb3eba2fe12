//! Which headers pass, in both directions. Both header maps are built from nothing: hop-by-hop fields, what
//! `Connection` names, spellings that some servers take for ours, and everything no rule names stay out.

use doorward_mcp::{Action, Call, headers};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::response;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::receive::{EVENT_STREAM, JSON, is};
use crate::refuse::Failure;

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(headers::PROTOCOL_VERSION);
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static(headers::SESSION_ID);
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const BOTH: &str = "application/json, text/event-stream";

/// The headers of the upstream's request. `session` is the upstream's own session id, if the client proved
/// that it holds it.
pub(crate) fn request(client: &HeaderMap, call: &Call, session: Option<HeaderValue>) -> HeaderMap {
    let mut upstream = HeaderMap::with_capacity(8);
    if !call.body().is_empty() {
        upstream.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    // The client was found to accept these; written out, because servers look for the very words.
    match call.action() {
        Action::OpenStream => upstream.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM)),
        Action::EndSession => None,
        _ => upstream.insert(ACCEPT, HeaderValue::from_static(BOTH)),
    };
    for name in [TRACEPARENT, TRACESTATE] {
        copy(client, &mut upstream, name);
    }
    if call.revision().is_legacy() {
        // The mirrored headers are not copied: these revisions do not define them, nobody held them against
        // the body, and a server of both eras might believe them.
        copy(client, &mut upstream, PROTOCOL_VERSION);
        if let Some(session) = session {
            // An event's id is a handle of the upstream, and only a session says whose: without one it could be anybody's.
            if call.action() == Action::OpenStream {
                copy(client, &mut upstream, LAST_EVENT_ID);
            }
            upstream.insert(SESSION_ID, session);
        }
        return upstream;
    }
    for (name, value) in client {
        if is_mcp(name) {
            upstream.append(name.clone(), value.clone());
        }
    }
    upstream
}

/// Adds the client's headers that the configuration names.
pub(crate) fn forward(client: &HeaderMap, names: &[HeaderName], upstream: &mut HeaderMap) {
    for name in names {
        copy(client, upstream, name.clone());
    }
}

/// `Mcp-*`, but no session (2026-07-28 has none), and nothing that a server which reads `_` as `-` would
/// take for another `Mcp-*`. Below `Mcp-Param-` names are the tool's own and may hold underscores.
fn is_mcp(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("mcp-param-")
        || (name.starts_with("mcp-") && name != headers::SESSION_ID && !name.contains('_'))
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, name: HeaderName) {
    if let Some(value) = single(from, &name) {
        to.insert(name, value.clone());
    }
}

/// The value of a header that comes once; one that comes twice means nothing.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// How an upstream's answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relay {
    /// With its body.
    Whole,
    /// With its body, which is a stream of events that may stay open.
    Stream,
    /// The status alone.
    WithoutBody,
}

/// Judges the head of an upstream's answer.
///
/// A 401 or 403 of the upstream is about the gateway and would send the client to log in there; a redirect
/// would lead its token astray; HTML and the like could act on our origin.
///
/// Only a request is owed a message. Whoever answers a notification, a response or the end of a session may
/// say anything or nothing after a status of success: Node's `writeHead(200).end()` is an empty body that
/// does not look empty.
pub(crate) fn judge(head: &response::Parts, action: Action, empty: bool) -> Result<Relay, Failure> {
    let status = head.status;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(Failure::UpstreamRefused(status));
        }
        StatusCode::ACCEPTED | StatusCode::NO_CONTENT => return Ok(Relay::WithoutBody),
        _ if status.is_informational() || status.is_redirection() => {
            return Err(Failure::UpstreamNotMcp(status));
        }
        _ => {}
    }
    let plain = head
        .headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| is(value.as_bytes(), "identity"));
    let kind = single(&head.headers, &CONTENT_TYPE).and_then(essence);
    match kind {
        Some(essence) if plain && essence.eq_ignore_ascii_case(JSON) => Ok(Relay::Whole),
        Some(essence) if plain && essence.eq_ignore_ascii_case(EVENT_STREAM) => Ok(Relay::Stream),
        _ if empty => Ok(Relay::WithoutBody),
        _ if status.is_success() && !matches!(action, Action::Request | Action::OpenStream) => {
            Ok(Relay::WithoutBody)
        }
        // The status means something to the client (404: the session is over); the text does not pass.
        _ if status.is_client_error() || status.is_server_error() => Err(Failure::UpstreamStatus(status)),
        _ => Err(Failure::UpstreamNotMcp(status)),
    }
}

fn essence(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()?.split(';').next().map(str::trim)
}

/// The headers of the client's answer. `session` is what the client is to know of the upstream's session id.
pub(crate) fn response(upstream: &HeaderMap, relay: Relay, session: Option<HeaderValue>) -> HeaderMap {
    let mut client = HeaderMap::with_capacity(6);
    if relay != Relay::WithoutBody {
        copy(upstream, &mut client, CONTENT_TYPE);
        client.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    for name in [RETRY_AFTER, CACHE_CONTROL, X_ACCEL_BUFFERING] {
        copy(upstream, &mut client, name);
    }
    if let Some(session) = session {
        client.insert(SESSION_ID, session);
    }
    client
}
