//! The one place where a failure becomes an answer: status, challenge, JSON-RPC error and log record.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use doorward_mcp::{
    EnvelopeError, NotAdmitted, NotAdmittedReason, Revision, Summary, TASKS_EXTENSION, headers,
};
use doorward_oauth::requirement::{self, Requirement};
use doorward_policy::{Grounds, Needs, Refusal};
use doorward_resource_server::challenge::Challenges;
use doorward_resource_server::{CredentialError, Principal, TokenRefusal};
use doorward_types::id::{ServerName, TraceId};
use doorward_types::random::{self, Random};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::body::Body;
use crate::connect::NoAnswer;
use crate::decision::{Needed, Outcome, StreamWatch, Verdict, Watch};
use crate::limit::{Gauge, Limited, Recurrence};
use crate::receive::JSON;
use crate::trace::{TRACE, Told, without_arguments};
use crate::upstream::{BoxError, StdioFailure};

/// Everything that can go wrong between a request and the head of its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("this web page's origin may not use this server: its operator can name it in `allowed_origins`")]
    Origin,
    #[error("use POST, or GET and DELETE in the revisions that have sessions")]
    Method,
    #[error("log in first: the WWW-Authenticate header says where")]
    NoToken,
    #[error("{0}")]
    Credential(CredentialError),
    #[error("{0}")]
    Token(TokenRefusal),
    #[error("send the body as Content-Type: application/json")]
    ContentType,
    #[error("send the body without Content-Encoding")]
    ContentEncoding,
    #[error("send Accept: application/json, text/event-stream")]
    Accept,
    #[error("the body is too long")]
    TooLarge,
    #[error("the body did not arrive in time")]
    BodyTimedOut,
    #[error("the body broke off")]
    BodyCut,
    #[error("{0}")]
    Envelope(EnvelopeError),
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
    #[error("{0}")]
    Policy(Refusal),
    #[error("{0}")]
    RateLimited(Limited),
    #[error("this session is unknown or over: start a new one with initialize")]
    Session,
    #[error("there is no such task of yours here: it may be over, or be somebody else's")]
    UnknownTask { legacy: bool },
    /// SEP-2663: what any server says before it looks for the task.
    #[error("Missing required client capability: {TASKS_EXTENSION}")]
    TasksUndeclared,
    #[error(
        "this `requestState` was not given to you for this call, or is older than an hour: make the call again without it"
    )]
    UnknownState,
    #[error("the MCP server behind this address cannot be reached: try again later")]
    UpstreamUnreachable(#[source] BoxError),
    #[error("the MCP server behind this address broke off: whether the call took effect is unknown")]
    UpstreamFailed(#[source] BoxError),
    #[error(
        "the MCP server behind this address did not answer in time: whether the call took effect is unknown"
    )]
    UpstreamTimedOut,
    #[error("the MCP server behind this address refused the gateway: its operator has to look at it")]
    UpstreamRefused(StatusCode),
    #[error(
        "the MCP server behind this address answered with something else than MCP: its operator has to look at it"
    )]
    UpstreamNotMcp(StatusCode),
    #[error("the MCP server behind this address answered with an error")]
    UpstreamStatus(StatusCode),
    #[error(
        "the MCP server behind this address sent a list that cannot be read, or is too long: its operator has to look at it"
    )]
    UpstreamUnreadable,
    #[error("{0}")]
    Stdio(#[from] StdioFailure),
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Unreachable(error) => Self::UpstreamUnreachable(error),
            NoAnswer::Failed(error) => Self::UpstreamFailed(error),
        }
    }
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Origin | Self::Policy(_) => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::Token(refusal) => refusal.status(),
            Self::ContentType | Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Accept => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Credential(_) | Self::BodyCut | Self::Envelope(_) => StatusCode::BAD_REQUEST,
            Self::NotAdmitted(refusal) => refusal.reason.status(),
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            // In legacy revisions 404 means that the session is over.
            Self::UnknownTask { legacy: true } | Self::UnknownState | Self::TasksUndeclared => {
                StatusCode::BAD_REQUEST
            }
            Self::Session | Self::UnknownTask { .. } => StatusCode::NOT_FOUND,
            Self::UpstreamUnreadable
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamFailed(_)
            | Self::UpstreamRefused(_)
            | Self::UpstreamNotMcp(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamStatus(status) => *status,
            Self::Stdio(failure) => failure.status(),
        }
    }

    /// What the specification defines keeps its code; ours are the HTTP status.
    fn code(&self) -> i32 {
        match self {
            Self::Envelope(error) => error.code(),
            Self::NotAdmitted(refusal) => refusal.reason.code(),
            Self::Stdio(StdioFailure::Version { .. }) => -32022,
            Self::UnknownTask { .. } | Self::UnknownState => -32602,
            Self::TasksUndeclared => -32021,
            _ => i32::from(self.status().as_u16()),
        }
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Method => "method",
            Self::NoToken => "no_token",
            Self::Credential(_) => "bad_credential",
            Self::Token(refusal) => refusal.reason(),
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::Accept => "accept",
            Self::TooLarge => "body_too_large",
            Self::BodyTimedOut => "body_timed_out",
            Self::BodyCut => "body_cut",
            Self::Envelope(error) => error.reason(),
            Self::NotAdmitted(refusal) => refusal.reason.reason(),
            Self::Policy(refusal) => refusal.reason(),
            Self::RateLimited(_) => "rate_limited",
            Self::Session => "unknown_session",
            Self::UnknownTask { .. } => "unknown_task",
            Self::TasksUndeclared => "missing_capability",
            Self::UnknownState => "unknown_request_state",
            Self::UpstreamUnreadable => "upstream_unreadable",
            Self::UpstreamUnreachable(_) => "upstream_unreachable",
            Self::UpstreamFailed(_) => "upstream_failed",
            Self::UpstreamTimedOut => "upstream_timed_out",
            Self::UpstreamRefused(_) => "upstream_refused",
            Self::UpstreamNotMcp(_) => "upstream_not_mcp",
            Self::UpstreamStatus(_) => "upstream_status",
            Self::Stdio(failure) => failure.reason(),
        }
    }

    const fn outcome(&self) -> Outcome {
        match self {
            Self::UpstreamUnreachable(_)
            | Self::UpstreamFailed(_)
            | Self::UpstreamTimedOut
            | Self::UpstreamRefused(_)
            | Self::UpstreamNotMcp(_)
            | Self::UpstreamStatus(_)
            | Self::UpstreamUnreadable
            | Self::Stdio(_)
            | Self::Token(TokenRefusal::Blind) => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }

    fn challenge(&self, challenges: &Challenges) -> Option<HeaderValue> {
        match self {
            Self::NoToken => Some(challenges.missing()),
            Self::Credential(error) => Some(challenges.malformed(*error)),
            Self::Token(refusal) => challenges.refused(*refusal),
            Self::Policy(Refusal::InsufficientScope { needed }) => {
                Some(challenges.insufficient_scope(needed))
            }
            _ => None,
        }
    }

    /// Seconds after which it may be worth trying again.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        if let Self::Stdio(failure) = self {
            return failure.retry_after();
        }
        if let Self::RateLimited(limited) = self {
            return Some(u32::try_from(limited.retry.seconds()).unwrap_or(u32::MAX));
        }
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(5),
            _ => None,
        }
    }

    /// The rule that was broken. A first request without a token breaks none: it is how a login begins.
    pub(crate) const fn requirement(&self) -> Option<Requirement> {
        Some(match self {
            Self::Origin => requirement::ORIGIN_KNOWN,
            Self::Credential(_) => requirement::BEARER_IN_HEADER,
            Self::Token(TokenRefusal::WrongAudience) => requirement::TOKEN_AUDIENCE,
            Self::Token(TokenRefusal::Blind) => return None,
            Self::Token(_) => requirement::TOKEN_VALID,
            Self::Policy(
                Refusal::InsufficientScope { .. } | Refusal::NotForUser { .. } | Refusal::NotForClient { .. },
            ) => requirement::SCOPE_SUFFICES,
            Self::Policy(_) => requirement::ACCESS_RULE,
            _ => return None,
        })
    }

    pub(crate) fn scopes(&self) -> Option<&ScopeSet> {
        match self {
            Self::Policy(refusal) => refusal.scopes(),
            _ => None,
        }
    }

    /// The policies that forbid it: for the record and the operator, not for the caller.
    pub(crate) fn policies(&self) -> &[String] {
        match self {
            Self::Policy(refusal) => refusal.policies(),
            _ => &[],
        }
    }

    /// The limit that is in the way.
    pub(crate) const fn limit(&self) -> Option<&'static str> {
        match self {
            Self::RateLimited(limited) => Some(limited.kind.as_str()),
            _ => None,
        }
    }

    /// What only our log is told.
    fn cause(&self) -> Option<String> {
        match self {
            Self::UpstreamUnreachable(error) | Self::UpstreamFailed(error) => {
                let mut text = error.to_string();
                let mut source = error.source();
                while let Some(error) = source {
                    text.push_str(": ");
                    text.push_str(&error.to_string());
                    source = error.source();
                }
                Some(text)
            }
            Self::UpstreamRefused(status) | Self::UpstreamNotMcp(status) | Self::UpstreamStatus(status) => {
                Some(format!("it answered {status}"))
            }
            _ => None,
        }
    }
}

/// What is known about a request when it fails. It sees to it that its decision is told, whatever becomes of it.
pub(crate) struct Circumstances<'a> {
    pub(crate) server: &'a ServerName,
    pub(crate) challenges: &'a Challenges,
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) summary: Option<Summary>,
    /// Whether to answer in the way of the legacy revisions while the message is not read: there, an error
    /// without a request has `id: null`.
    pub(crate) legacy: bool,
    /// Whether the limits have counted it.
    pub(crate) counted: bool,
    /// Whether the same was refused to the same caller before.
    pub(crate) recurrence: Recurrence,
    /// What permits it, and the scopes that it needs, once it is permitted.
    pub(crate) grounds: Option<(Grounds, Needs<'a>)>,
    pub(crate) gauge: &'a Gauge,
    pub(crate) watch: Watch<'a>,
}

impl<'a> Circumstances<'a> {
    pub(crate) fn new(challenges: &'a Challenges, gauge: &'a Gauge, watch: Watch<'a>) -> Self {
        let version = watch
            .head()
            .headers
            .get(headers::PROTOCOL_VERSION)
            .and_then(|value| value.to_str().ok());
        let legacy = version.is_none_or(|text| Revision::parse(text).is_some_and(Revision::is_legacy));
        Self {
            server: &watch.server().name,
            challenges,
            principal: None,
            summary: None,
            legacy,
            counted: false,
            recurrence: Recurrence::FIRST,
            grounds: None,
            gauge,
            watch,
        }
    }

    /// The upstream's answer goes back with `status`. If it `opens_stream`, the result is to be kept with the stream.
    pub(crate) fn permitted(&mut self, status: StatusCode, opens_stream: bool) -> Option<StreamWatch> {
        let grounds = self.grounds.take();
        let (grounds, needs) = grounds.map_or((None, None), |(grounds, needs)| (Some(grounds), Some(needs)));
        let verdict = Verdict {
            status: Some(status.as_u16()),
            opens_stream,
            needed: needs.map(Needed::Object),
            policies: grounds.as_ref().map_or(&[], Grounds::policies),
            ..Verdict::new(Outcome::Permitted)
        };
        let id = self.decide(&verdict)?;
        let principal = self.principal.as_ref().filter(|_| opens_stream)?;
        Some(self.watch.stream(id, principal, self.summary.as_ref()))
    }

    fn decide(&mut self, verdict: &Verdict<'_>) -> Option<Uuid> {
        self.watch
            .decide(verdict, self.principal.as_deref(), self.summary.as_ref())
    }
}

impl Drop for Circumstances<'_> {
    fn drop(&mut self) {
        let recurrence = if self.counted || self.watch.is_decided() {
            Recurrence::FIRST
        } else {
            // No limit has seen it.
            self.gauge.left(self)
        };
        self.decide(&Verdict {
            recurrence,
            ..Verdict::new(Outcome::Left)
        });
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Id::is_omitted")]
    id: Id<'a>,
    error: Error<'a>,
}

enum Id<'a> {
    Omitted,
    Null,
    Raw(&'a RawValue),
}

impl Id<'_> {
    const fn is_omitted(&self) -> bool {
        matches!(self, Self::Omitted)
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Omitted | Self::Null => serializer.serialize_none(),
            Self::Raw(raw) => raw.serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct Error<'a> {
    code: i32,
    message: Cow<'a, str>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    decision_id: Uuid,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<&'a str>,
    #[serde(rename = "requiredCapabilities", skip_serializing_if = "Option::is_none")]
    required_capabilities: Option<serde_json::Value>,
}

/// Answers a failure and writes its record.
pub(crate) fn refuse(
    failure: &Failure,
    about: &mut Circumstances<'_>,
    told: &Told<'_>,
    now: UnixTime,
    random: &dyn Random,
) -> Response<Body> {
    let status = failure.status();
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    let decision_id = uuid::Builder::from_unix_timestamp_millis(millis, &random::bytes(random)).into_uuid();
    let trace = told.refused(failure, about, decision_id);
    record(failure, about, status, decision_id, trace);
    about.decide(&Verdict {
        id: Some(decision_id),
        reason: Some(failure.reason()),
        status: Some(status.as_u16()),
        recurrence: about.recurrence,
        needed: failure.scopes().map(Needed::Scopes),
        policies: failure.policies(),
        trace: Some(trace),
        ..Verdict::new(failure.outcome())
    });

    let id = match failure {
        Failure::NotAdmitted(refusal) => refusal.id.as_deref(),
        _ => about.summary.as_ref().and_then(|summary| summary.id()),
    };
    let (supported, requested) = match failure {
        Failure::NotAdmitted(NotAdmitted {
            reason: NotAdmittedReason::UnsupportedVersion { requested },
            ..
        }) => (
            Some(Revision::ALL.map(Revision::as_str).to_vec()),
            Some(&**requested),
        ),
        Failure::Stdio(StdioFailure::Version { supported }) => (
            Some(supported.iter().map(String::as_str).collect()),
            about.summary.as_ref().map(|summary| summary.revision().as_str()),
        ),
        _ => (None, None),
    };
    let answer = Answer {
        jsonrpc: "2.0",
        id: match id.and_then(|id| serde_json::from_str(id).ok()) {
            Some(raw) => Id::Raw(raw),
            None if about.legacy => Id::Null,
            None => Id::Omitted,
        },
        error: Error {
            code: failure.code(),
            message: failure.to_string().into(),
            data: Data {
                decision_id,
                reason: failure.reason(),
                scopes: failure
                    .scopes()
                    .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect()),
                retry_after: failure.retry_after(),
                limit: failure.limit(),
                supported,
                requested,
                required_capabilities: matches!(failure, Failure::TasksUndeclared)
                    .then(|| serde_json::json!({ "extensions": { TASKS_EXTENSION: {} } })),
            },
        },
    };
    let mut response = Response::new(Body::whole(serde_json::to_vec(&answer).unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(trace) = HeaderValue::from_str(&trace.to_string()) {
        headers.insert(TRACE, trace);
    }
    if let Some(challenge) = failure.challenge(about.challenges) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = failure.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    }
    response
}

fn record(
    failure: &Failure,
    about: &Circumstances<'_>,
    status: StatusCode,
    decision_id: Uuid,
    trace: TraceId,
) {
    let summary = about.summary.as_ref();
    let user = about.principal.as_ref().map(|principal| principal.subject());
    let client = about
        .principal
        .as_ref()
        .map(|principal| Escaped(principal.client_id().as_str()));
    let method = summary.and_then(|summary| summary.method());
    let name = summary.and_then(|summary| summary.name()).map(without_arguments);
    let name = name.as_deref().map(Escaped);
    let reason = failure.reason();
    if status.is_server_error() {
        let cause = failure.cause();
        tracing::warn!(
            %decision_id, %trace, outcome = "failed", status = status.as_u16(), reason, server = %about.server,
            user = user.map(tracing::field::display), client = client.map(tracing::field::display), method,
            name = name.map(tracing::field::display), cause = cause.as_deref().map(Escaped).map(tracing::field::display),
            "call not answered"
        );
    } else if !about.recurrence.is_news() {
        tracing::debug!(
            %decision_id, %trace, outcome = "refused", status = status.as_u16(), reason, limit = failure.limit(),
            server = %about.server, user = user.map(tracing::field::display),
            client = client.map(tracing::field::display), method, name = name.map(tracing::field::display),
            "call refused again"
        );
    } else {
        tracing::info!(
            %decision_id, %trace, outcome = "refused", status = status.as_u16(), reason, limit = failure.limit(),
            server = %about.server, user = user.map(tracing::field::display),
            client = client.map(tracing::field::display), method, name = name.map(tracing::field::display),
            "call refused"
        );
    }
}

/// A text of somebody else's in a log: one line, without control characters, of a bounded length.
#[derive(Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(256) {
            if matches!(character, ' '..='~') && !matches!(character, '"' | '\\') {
                fmt::Write::write_char(f, character)?;
            } else {
                write!(f, "{}", character.escape_unicode())?;
            }
        }
        Ok(())
    }
}
