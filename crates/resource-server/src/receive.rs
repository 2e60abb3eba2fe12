//! From an HTTP request to a call: media types, a size limit, the strict reader, the headers.

use bytes::{Bytes, BytesMut};
use doorward_mcp::method::Extensions;
use doorward_mcp::{Call, Envelope, EnvelopeError, NotAdmitted};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// Why a request is no call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACall {
    /// Neither POST nor GET nor DELETE.
    #[error("use POST, or GET and DELETE in the revisions that have sessions")]
    Method,
    /// The body is not declared as JSON.
    #[error("send the body as Content-Type: application/json")]
    ContentType,
    /// The body is compressed.
    #[error("send the body without Content-Encoding")]
    ContentEncoding,
    /// The answer could not be read.
    #[error("send Accept: application/json, text/event-stream")]
    Accept,
    /// Longer than the limit.
    #[error("the body is too long")]
    TooLarge,
    /// It ended too early.
    #[error("the body broke off")]
    Cut,
    /// No message that every reader reads alike.
    #[error("{0}")]
    Envelope(EnvelopeError),
    /// A message that cannot be judged.
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
}

impl NotACall {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType | Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Accept => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cut | Self::Envelope(_) => StatusCode::BAD_REQUEST,
            Self::NotAdmitted(refusal) => refusal.reason.status(),
        }
    }

    /// The JSON-RPC code that the specification gives it; `None` where it gives none.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Envelope(error) => Some(error.code()),
            Self::NotAdmitted(refusal) => Some(refusal.reason.code()),
            _ => None,
        }
    }

    /// A stable word for logs and for `data.reason` of the answer.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::Accept => "accept",
            Self::TooLarge => "body_too_large",
            Self::Cut => "body_cut",
            Self::Envelope(error) => error.reason(),
            Self::NotAdmitted(refusal) => refusal.reason.reason(),
        }
    }
}

/// Reads what the client does: at most `limit` bytes of body. Bodies of GET and DELETE are not looked at and go nowhere.
/// `extensions` are methods that MCP does not define and the operator names. It waits for the body as long as that takes:
/// a time limit is the caller's.
pub async fn call<B>(
    method: &Method,
    headers: &HeaderMap,
    body: B,
    limit: usize,
    extensions: &Extensions,
) -> Result<Call, NotACall>
where
    B: Body<Data = Bytes>,
{
    let call = match *method {
        Method::POST => {
            if !is_json(headers) {
                return Err(NotACall::ContentType);
            }
            let plain =
                |value: &http::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
            if !headers.get_all(CONTENT_ENCODING).iter().all(plain) {
                return Err(NotACall::ContentEncoding);
            }
            if !accepts(headers, JSON) || !accepts(headers, EVENT_STREAM) {
                return Err(NotACall::Accept);
            }
            let body = whole(headers, body, limit).await?;
            Call::admit(
                Envelope::read(body).map_err(NotACall::Envelope)?,
                headers,
                extensions,
            )
        }
        Method::GET if accepts(headers, EVENT_STREAM) => Call::open_stream(headers),
        Method::GET => return Err(NotACall::Accept),
        Method::DELETE => Call::end_session(headers),
        _ => return Err(NotACall::Method),
    };
    call.map_err(NotACall::NotAdmitted)
}

/// One `Content-Type`, and it says JSON, in UTF-8 if it says anything: simple cross-site requests cannot
/// have it (HD-06), and RFC 8259 knows no other charset.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case(JSON))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
                charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// Whether `Accept` admits a media type (RFC 9110 §12.5.1). Without the header everything is admitted.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let kind = media_type.split('/').next().unwrap_or_default();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            let refused = parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            let any_of_kind = || {
                range
                    .strip_suffix("/*")
                    .is_some_and(|start| start.eq_ignore_ascii_case(kind))
            };
            !refused && (range == "*/*" || range.eq_ignore_ascii_case(media_type) || any_of_kind())
        })
}

/// The whole body. What is declared too long is refused before a byte of it is read; a body that comes in
/// one piece is not copied.
async fn whole<B: Body<Data = Bytes>>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, NotACall> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    if declared.is_some_and(|length| length > most) || body.size_hint().lower() > most {
        return Err(NotACall::TooLarge);
    }
    let declared = declared
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(0);
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| NotACall::Cut)?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(NotACall::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            if body.is_end_stream() {
                break;
            }
        } else {
            if rest.is_empty() {
                rest.reserve(declared.max(first.len() + data.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
