//! From an HTTP request to a call: media types, size and time limits, the strict reader, the headers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use doorward_mcp::{Call, Envelope, Extensions};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::BodyExt;

use crate::refuse::Failure;

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Limits on bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// Reads what the client does. Bodies of GET and DELETE are not looked at and go nowhere.
pub(crate) async fn call<B>(
    method: &Method,
    headers: &HeaderMap,
    body: B,
    limits: Limits,
    extensions: &Extensions,
) -> Result<Call, Failure>
where
    B: Body<Data = Bytes>,
{
    let call = match *method {
        Method::POST => {
            if !is_json(headers) {
                return Err(Failure::ContentType);
            }
            if headers
                .get_all(CONTENT_ENCODING)
                .iter()
                .any(|value| !is(value.as_bytes(), "identity"))
            {
                return Err(Failure::ContentEncoding);
            }
            if !accepts(headers, JSON) || !accepts(headers, EVENT_STREAM) {
                return Err(Failure::Accept);
            }
            let body = whole(headers, body, limits).await?;
            Call::admit(
                Envelope::read(body).map_err(Failure::Envelope)?,
                headers,
                extensions,
            )
        }
        Method::GET if accepts(headers, EVENT_STREAM) => Call::open_stream(headers),
        Method::GET => return Err(Failure::Accept),
        Method::DELETE => Call::end_session(headers),
        _ => return Err(Failure::Method),
    };
    call.map_err(Failure::NotAdmitted)
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

pub(crate) fn is(value: &[u8], text: &str) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(text.as_bytes())
}

/// How many times the longest accepted body is read only to be thrown away.
const DISCARDED: usize = 4;

/// Reads the rest of a refused request's body and forgets it, while the answer is on its way.
///
/// A connection that is closed while bytes come in is reset, and the reset overtakes the answer (RFC 9112
/// §9.6): a client whose token expired would see a broken connection instead of the 401 that tells it to
/// refresh. And a client that sends head and body apart would find its next request on a connection that
/// closed without a word, however short the body. What is longer or slower than any body may be is not waited for.
pub(crate) fn discard<B>(mut body: B, limits: Limits)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return;
    }
    let mut left = limits.bytes.saturating_mul(DISCARDED);
    let reading = async move {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else {
                return;
            };
            left = rest;
        }
    };
    tokio::spawn(tokio::time::timeout(limits.time, reading));
}

/// The whole body. What is declared too long is refused before a byte of it is read; a body that comes in
/// one piece is not copied.
async fn whole<B: Body<Data = Bytes>>(
    headers: &HeaderMap,
    body: B,
    limits: Limits,
) -> Result<Bytes, Failure> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    let limit = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
    if declared.is_some_and(|length| length > limit) || body.size_hint().lower() > limit {
        return Err(Failure::TooLarge);
    }
    let declared = declared
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(0);
    let collected = collect(body, limits.bytes, declared);
    tokio::time::timeout(limits.time, collected)
        .await
        .unwrap_or(Err(Failure::BodyTimedOut))
}

async fn collect<B: Body<Data = Bytes>>(body: B, limit: usize, declared: usize) -> Result<Bytes, Failure> {
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Failure::BodyCut)?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(Failure::TooLarge);
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
