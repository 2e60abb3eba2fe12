//! A message that may be judged: well-formed, of a known method, and in agreement with its headers.

mod compact;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::envelope::{Envelope, EnvelopeError, Kind, Text, slice};
use crate::headers;
use crate::method::{self, Extensions, Method};
use crate::object::Touched;
use crate::param_headers::{ParameterMismatch, ParameterProblem};
use crate::rewrite::{Rewrite, replace_on_one_line};
use crate::version::Revision;

/// What a client does with one HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// POST of a request.
    Request,
    /// POST of a notification.
    Notification,
    /// POST of an answer to a request of the server (legacy).
    Response,
    /// GET: open the stream for what the server sends unasked (legacy).
    OpenStream,
    /// DELETE: end the session (legacy).
    EndSession,
}

/// One admitted call with the bytes that will be forwarded. Only [`Call::admit`], [`Call::open_stream`] and
/// [`Call::end_session`] make one, and the facts it tells cannot be changed afterwards.
pub struct Call(Summary);

/// What remains of a call for the answer and the log when the call itself is on its way. It shares the
/// call's bytes, and no call can be made from it.
#[derive(Clone)]
pub struct Summary {
    pub(crate) body: Bytes,
    action: Action,
    revision: Revision,
    pub(crate) method: Option<MethodOf>,
    name: Option<Text>,
    id: Option<Range<usize>>,
    progress_token: Option<Range<usize>>,
    cancelled: Option<Range<usize>>,
    arguments: Option<Range<usize>>,
    request_state: Option<Text>,
    declares_tasks: bool,
    pub(crate) touched: Touched,
}

/// A method that MCP defines, or one that the operator named.
#[derive(Clone)]
pub(crate) enum MethodOf {
    Defined(&'static Method),
    Extension(Arc<str>),
}

impl MethodOf {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Defined(method) => method.name,
            Self::Extension(name) => name,
        }
    }
}

/// A message that is well-formed JSON-RPC but cannot be judged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotAdmitted {
    /// Why.
    pub reason: NotAdmittedReason,
    /// The request's `id` as JSON text, to be repeated in the answer.
    pub id: Option<Box<str>>,
    /// Whether the message is, or must be taken, for one of a legacy revision.
    pub legacy: bool,
}

/// Why a message cannot be judged. Clauses are of 2026-07-28, Streamable HTTP, "Request Metadata".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmittedReason {
    /// A required header is missing.
    #[error("Header mismatch: the {0} header is required")]
    HeaderMissing(&'static str),
    /// A header that must be unique comes twice.
    #[error("Header mismatch: the {0} header comes more than once")]
    HeaderTwice(&'static str),
    /// A header says something else than the body.
    #[error("Header mismatch: the {0} header does not match the body")]
    HeaderMismatch(&'static str),
    /// A header holds characters that it may not, or malformed Base64.
    #[error("Header mismatch: the {0} header holds invalid characters or encoding")]
    HeaderCharacters(&'static str),
    /// The same for a header that mirrors an argument.
    #[error("{0}")]
    Parameter(ParameterMismatch),
    /// The revision is unknown to us.
    #[error("Unsupported protocol version")]
    UnsupportedVersion {
        /// What was asked for.
        requested: Box<str>,
    },
    /// A request of 2026-07-28 without the protocol version in `_meta`.
    #[error("Invalid params: `_meta` must carry io.modelcontextprotocol/protocolVersion")]
    MetaMissing,
    /// The method does not exist in the message's revision (or at all).
    #[error("Method not found in protocol version {0}")]
    UnknownMethod(Revision),
    /// A request without an `id`, a notification with one, or a response in 2026-07-28.
    #[error("Invalid request: this message is not sent this way in protocol version {0}")]
    WrongKind(Revision),
    /// The request does not name what it acts on, or not with the characters that such a name may have.
    #[error("Invalid params: the name of what to act on is missing or holds characters that are not allowed")]
    BadName,
    /// `params.requestState` is no string. Whose it is could not be told.
    #[error("Invalid params: `requestState` must be a string")]
    BadRequestState,
    /// GET or DELETE in a revision without sessions.
    #[error("Method not allowed: this protocol version uses POST only")]
    NotInRevision,
}

impl NotAdmittedReason {
    /// The JSON-RPC code that the specification gives it.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::HeaderMissing(_)
            | Self::HeaderTwice(_)
            | Self::HeaderMismatch(_)
            | Self::HeaderCharacters(_)
            | Self::Parameter(_) => -32020,
            Self::UnsupportedVersion { .. } => -32022,
            Self::MetaMissing | Self::BadName | Self::BadRequestState => -32602,
            Self::UnknownMethod(_) => -32601,
            Self::WrongKind(_) | Self::NotInRevision => -32600,
        }
    }

    /// The HTTP status. An unknown method is 404 in 2026-07-28; in legacy revisions 404 means that the
    /// session is gone and would make the client start anew, so there it is 400.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::UnknownMethod(revision) if !revision.is_legacy() => http::StatusCode::NOT_FOUND,
            Self::NotInRevision => http::StatusCode::METHOD_NOT_ALLOWED,
            _ => http::StatusCode::BAD_REQUEST,
        }
    }

    /// A stable word for logs and for `data.reason` of the answer.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::HeaderMissing(_) => "header_missing",
            Self::HeaderTwice(_) => "header_twice",
            Self::HeaderMismatch(_) => "header_mismatch",
            Self::HeaderCharacters(_) => "header_characters",
            Self::Parameter(mismatch) => match mismatch.problem {
                ParameterProblem::Missing => "header_missing",
                ParameterProblem::Twice => "header_twice",
                ParameterProblem::Characters => "header_characters",
                ParameterProblem::Unexpected | ParameterProblem::Different => "header_mismatch",
            },
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::MetaMissing => "meta_missing",
            Self::UnknownMethod(_) => "unknown_method",
            Self::WrongKind(_) => "wrong_kind",
            Self::BadName => "bad_name",
            Self::BadRequestState => "bad_request_state",
            Self::NotInRevision => "not_in_revision",
        }
    }
}

impl Call {
    /// Holds a message against its headers and against the methods of its revision, to which `extensions` come.
    ///
    /// For 2026-07-28 the mirrored headers must agree with the body. Legacy revisions define none: there the
    /// body alone counts, and whoever forwards must not pass mirrored headers on.
    pub fn admit(
        envelope: Envelope,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Self, NotAdmitted> {
        let (revision, method) = match Self::check(&envelope, headers, extensions) {
            Ok(checked) => checked,
            Err(reason) => {
                return Err(NotAdmitted {
                    reason,
                    id: envelope.id().map(Into::into),
                    legacy: headers::revision(headers, &envelope).is_ok_and(Revision::is_legacy),
                });
            }
        };
        Ok(Self(Summary::of(envelope, revision, method)))
    }

    /// A GET that opens the server's stream.
    pub fn open_stream(headers: &HeaderMap) -> Result<Self, NotAdmitted> {
        Self::without_body(Action::OpenStream, headers)
    }

    /// A DELETE that ends a session.
    pub fn end_session(headers: &HeaderMap) -> Result<Self, NotAdmitted> {
        Self::without_body(Action::EndSession, headers)
    }

    fn without_body(action: Action, headers: &HeaderMap) -> Result<Self, NotAdmitted> {
        let revision = headers::legacy_revision(headers).map_err(|reason| NotAdmitted {
            reason,
            id: None,
            legacy: false,
        })?;
        Ok(Self(Summary {
            body: Bytes::new(),
            action,
            revision,
            method: None,
            name: None,
            id: None,
            progress_token: None,
            cancelled: None,
            arguments: None,
            request_state: None,
            declares_tasks: false,
            touched: Touched::Nothing,
        }))
    }

    fn check(
        envelope: &Envelope,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<(Revision, Option<MethodOf>), NotAdmittedReason> {
        let revision = headers::revision(headers, envelope)?;
        let Some(name) = envelope.method() else {
            return if revision.is_legacy() {
                Ok((revision, None))
            } else {
                Err(NotAdmittedReason::WrongKind(revision))
            };
        };
        // A header that contradicts the body is told first: it is what the specification gives a code to.
        let method = method::find(revision, name);
        let object = method.map(|method| method::name_of(method, envelope));
        if !revision.is_legacy() {
            headers::mirror(headers, envelope, object.and_then(Result::ok).flatten())?;
        }
        let Some(method) = method else {
            let named = extensions.find(name).cloned().map(MethodOf::Extension);
            return match named {
                Some(named) => Ok((revision, Some(named))),
                None => Err(NotAdmittedReason::UnknownMethod(revision)),
            };
        };
        if method.kind != envelope.kind() {
            return Err(NotAdmittedReason::WrongKind(revision));
        }
        if object == Some(Err(())) || !Touched::is_named(method, envelope) {
            return Err(NotAdmittedReason::BadName);
        }
        if envelope.params.bad_request_state {
            return Err(NotAdmittedReason::BadRequestState);
        }
        Ok((revision, Some(MethodOf::Defined(method))))
    }

    /// The same call with another body, which is read as the first one was. For edits that leave alone what the
    /// call was admitted by.
    pub(crate) fn with_body(self, body: Bytes) -> Result<Self, EnvelopeError> {
        let Summary { revision, method, .. } = self.0;
        Ok(Self(Summary::of(Envelope::read(body)?, revision, method)))
    }

    /// What is kept for the answer and the log.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.0.clone()
    }

    /// The bytes that were read.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The very bytes that were read.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.0.body
    }

    /// The bytes that were read as one line (without its line break) for a server that reads lines, with
    /// only the identifiers of `rewrite` replaced. Every JSON parser reads the same from it as from
    /// [`Call::body`], but for those. `rewrite.subscription` has no place in what clients send.
    #[must_use]
    pub fn into_line(self, rewrite: &Rewrite<'_>) -> Bytes {
        let summary = &self.0;
        replace_on_one_line(
            &summary.body,
            [
                (summary.id.as_ref(), rewrite.id),
                (summary.progress_token.as_ref(), rewrite.progress_token),
                (summary.cancelled.as_ref(), rewrite.cancelled_request),
            ],
        )
    }
}

impl std::ops::Deref for Call {
    type Target = Summary;

    fn deref(&self) -> &Summary {
        &self.0
    }
}

impl Summary {
    fn of(envelope: Envelope, revision: Revision, method: Option<MethodOf>) -> Self {
        let Envelope {
            body,
            kind,
            id,
            params,
            ..
        } = envelope;
        let action = match kind {
            Kind::Request => Action::Request,
            Kind::Notification => Action::Notification,
            Kind::Response => Action::Response,
        };
        let defined = match &method {
            Some(MethodOf::Defined(method)) => Some(*method),
            _ => None,
        };
        let cancels = defined.is_some_and(|method| method.name == "notifications/cancelled");
        let name = match defined.and_then(|method| method.named_by) {
            None => None,
            Some(method::NamedBy::Tool | method::NamedBy::Prompt) => params.name,
            Some(method::NamedBy::Uri) => params.uri,
            Some(method::NamedBy::Task) => params.task,
        };
        let touched = Touched::of(defined, &body, params.reference, params.filter);
        Self {
            body,
            action,
            revision,
            name,
            id,
            progress_token: params.progress_token,
            cancelled: params.cancelled.filter(|_| cancels),
            arguments: params.arguments,
            request_state: params.request_state,
            declares_tasks: params.declares_tasks,
            touched,
            method,
        }
    }

    /// What the client does.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The revision it is sent in.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The method, for requests and notifications.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_ref().map(MethodOf::name)
    }

    /// What it acts on: the tool, prompt, resource URI or task. See [`Summary::object`] for what may be judged by
    /// it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|text| text.of(&self.body))
    }

    /// `params.arguments` as JSON text, whatever it is. Duplicate keys in it were refused.
    #[must_use]
    pub fn arguments(&self) -> Option<&str> {
        self.arguments.as_ref().map(|range| slice(&self.body, range))
    }

    /// `params.requestState`: what a server handed out with an earlier answer (2026-07-28, Multi Round-Trip
    /// Requests).
    #[must_use]
    pub fn request_state(&self) -> Option<&str> {
        self.request_state.as_ref().map(|text| text.of(&self.body))
    }

    /// Whether the client says in `_meta` that it knows the extension of tasks (SEP-2663). Without that, servers refuse
    /// `tasks/*` of 2026-07-28 with `-32021`.
    #[must_use]
    pub const fn declares_tasks(&self) -> bool {
        self.declares_tasks
    }

    pub(crate) const fn body_bytes(&self) -> &Bytes {
        &self.body
    }

    /// The request's `id` as JSON text.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|range| slice(&self.body, range))
    }

    /// `params._meta.progressToken` as JSON text, if it is a string or a number.
    #[must_use]
    pub fn progress_token(&self) -> Option<&str> {
        let range = self.progress_token.as_ref();
        range.map(|range| slice(&self.body, range))
    }

    /// `params.requestId` of `notifications/cancelled` as JSON text, if it is a string or a number. To be
    /// compared with ids through [`identity`](crate::message::identity).
    #[must_use]
    pub fn cancelled_request(&self) -> Option<&str> {
        let range = self.cancelled.as_ref();
        range.map(|range| slice(&self.body, range))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(&self.0).finish()
    }
}

impl fmt::Debug for Summary {
    /// Without the body: arguments may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("action", &self.action)
            .field("revision", &self.revision)
            .field("method", &self.method())
            .finish_non_exhaustive()
    }
}
