//! What a server writes on a line of its own (the stdio transport), read strictly and passed on as it is.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::envelope::{EnvelopeError, Kind, Text, identifier, slice, string};
use crate::reader::{Quoted, Reader, resolve};
use crate::rewrite::{Rewrite, replace};

/// `_meta` key that says which subscription a message belongs to (2026-07-28, "Subscriptions").
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// Why a line is no message. Never holds any of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Nothing but white space.
    #[error("an empty line")]
    Empty,
    /// JSON-RPC is UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// It is not strict JSON; the cause has the position.
    #[error("not strict JSON: {0}")]
    NotJson(EnvelopeError),
    /// A JSON value that is no object. Batches, too: only clients of 2025-03-26 may send them.
    #[error("not a JSON object")]
    NotAnObject,
    /// `jsonrpc` is not `"2.0"`.
    #[error("`jsonrpc` is not \"2.0\"")]
    NotVersion2,
    /// `id` is neither a string nor a number, or `null` where there is a method.
    #[error("`id` is neither a string nor a number")]
    BadId,
    /// `method` is not a string.
    #[error("`method` is not a string")]
    BadMethod,
    /// It is neither a request, nor a notification, nor a response.
    #[error("neither a request, nor a notification, nor a response")]
    NoKind,
}

/// One message of a server with the line it was read from.
pub struct ServerMessage {
    line: Bytes,
    kind: Kind,
    parts: Parts,
}

#[derive(Default)]
struct Parts {
    version_2: bool,
    id: Option<Range<usize>>,
    id_is_null: bool,
    method: Option<Text>,
    has_result: bool,
    result_is_null: bool,
    has_error: bool,
    error_code: Option<i64>,
    progress_token: Option<Range<usize>>,
    request: Option<Range<usize>>,
    subscription: Option<Range<usize>>,
    result_subscription: Option<Range<usize>>,
}

impl ServerMessage {
    /// Reads one line, with or without its line break. The grammar is that of
    /// [`Envelope::read`](crate::Envelope::read), but top-level members that JSON-RPC does not define are
    /// tolerated, and so is what strict readers refuse in values that mean nothing here, such as half a
    /// surrogate pair in a text: whoever refuses the line has lost the answer to a call.
    pub fn read(line: Bytes) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(&line).map_err(|_| MessageError::NotUtf8)?;
        let mut parts = read(text)?;
        if !parts.version_2 {
            return Err(MessageError::NotVersion2);
        }
        let kind = match (&parts.method, parts.has_result, parts.has_error) {
            (Some(_), false, false) if parts.id_is_null => return Err(MessageError::BadId),
            (Some(_), false, false) if parts.id.is_some() => Kind::Request,
            (Some(_), false, false) => Kind::Notification,
            (None, true, false) | (None, false, true) => Kind::Response,
            // JSON-RPC 1.0 had both, one of them null.
            (None, true, true) if parts.result_is_null => Kind::Response,
            _ => return Err(MessageError::NoKind),
        };
        if kind == Kind::Response {
            // A response has no params: what stands there means nothing.
            parts.subscription = parts.result_subscription.take();
            (parts.progress_token, parts.request) = (None, None);
        }
        Ok(Self { line, kind, parts })
    }

    /// What it is. A response may be without id: that of a request which the server could not read.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The line that was read.
    #[must_use]
    pub const fn line(&self) -> &Bytes {
        &self.line
    }

    /// Its `id` as JSON text. Ids are to be compared through [`identity`].
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.raw(self.parts.id.as_ref())
    }

    /// Its `method`, escapes resolved.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.parts.method.as_ref().map(|text| text.of(&self.line))
    }

    /// Whether it is a response that holds an error.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.parts.has_error
    }

    /// `error.code`, if it is an integer.
    #[must_use]
    pub const fn error_code(&self) -> Option<i64> {
        self.parts.error_code
    }

    /// `params.progressToken` as JSON text, if it is a string or a number.
    #[must_use]
    pub fn progress_token(&self) -> Option<&str> {
        self.raw(self.parts.progress_token.as_ref())
    }

    /// `params.requestId` as JSON text, if it is a string or a number.
    #[must_use]
    pub fn cancelled_request(&self) -> Option<&str> {
        self.raw(self.parts.request.as_ref())
    }

    /// `_meta["io.modelcontextprotocol/subscriptionId"]` of its params or result as JSON text, if it is a
    /// string or a number.
    #[must_use]
    pub fn subscription_id(&self) -> Option<&str> {
        self.raw(self.parts.subscription.as_ref())
    }

    /// The line with its identifiers replaced; all else byte for byte.
    #[must_use]
    pub fn rewritten(&self, rewrite: &Rewrite<'_>) -> Bytes {
        let parts = &self.parts;
        replace(
            &self.line,
            [
                (parts.id.as_ref(), rewrite.id),
                (parts.progress_token.as_ref(), rewrite.progress_token),
                (parts.request.as_ref(), rewrite.cancelled_request),
                (parts.subscription.as_ref(), rewrite.subscription),
            ],
        )
    }

    fn raw(&self, range: Option<&Range<usize>>) -> Option<&str> {
        range.map(|range| slice(&self.line, range))
    }
}

impl fmt::Debug for ServerMessage {
    /// Without the line: results may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMessage")
            .field("kind", &self.kind)
            .field("error_code", &self.parts.error_code)
            .finish_non_exhaustive()
    }
}

/// A text under which two identifiers are equal if and only if they mean the same: `"a"` and `"\u0061"`, `7`
/// and `7.0`. `raw` is JSON text of a string or a number, as this crate's accessors give it.
#[must_use]
pub fn identity(raw: &str) -> Cow<'_, str> {
    let content = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match content {
        Some(content) if content.contains('\\') => {
            let quoted = Quoted {
                range: 1..raw.len().saturating_sub(1),
                escaped: true,
            };
            resolve(raw, &quoted).map_or(Cow::Borrowed(raw), |text| Cow::Owned(format!("\"{text}\"")))
        }
        Some(_) => Cow::Borrowed(raw),
        None => match raw.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => Cow::Borrowed(whole),
            _ => Cow::Borrowed(raw),
        },
    }
}

fn read(text: &str) -> Result<Parts, MessageError> {
    let mut reader = Reader::tolerant(text);
    match reader.peek() {
        Some(b'{') => {}
        None => return Err(MessageError::Empty),
        Some(_) => {
            reader
                .value()
                .and_then(|()| reader.end())
                .map_err(MessageError::NotJson)?;
            return Err(MessageError::NotAnObject);
        }
    }
    let mut parts = Parts::default();
    // What is no matter of grammar: told only if the grammar is right, whatever comes first.
    let mut wrong = None;
    reader
        .object(&mut |reader, key| {
            if let Some(error) = member(text, reader, key, &mut parts)? {
                wrong.get_or_insert(error);
            }
            Ok(())
        })
        .and_then(|()| reader.end())
        .map_err(MessageError::NotJson)?;
    wrong.map_or(Ok(parts), Err)
}

fn member<'a>(
    text: &'a str,
    reader: &mut Reader<'a>,
    key: &str,
    parts: &mut Parts,
) -> Result<Option<MessageError>, EnvelopeError> {
    match key {
        "jsonrpc" => {
            parts.version_2 = match string(text, reader)? {
                Some(Text::Slice(range)) => text.get(range) == Some("2.0"),
                Some(Text::Resolved(version)) => &*version == "2.0",
                None => false,
            };
        }
        "id" => {
            parts.id_is_null = reader.peek() == Some(b'n');
            parts.id = identifier(reader)?;
            if parts.id.is_none() && !parts.id_is_null {
                return Ok(Some(MessageError::BadId));
            }
        }
        "method" => {
            parts.method = string(text, reader)?;
            if parts.method.is_none() {
                return Ok(Some(MessageError::BadMethod));
            }
        }
        "params" => members(reader, &mut |reader, key| match key {
            "progressToken" => keep(reader, &mut parts.progress_token),
            "requestId" => keep(reader, &mut parts.request),
            "_meta" => subscription(reader, &mut parts.subscription),
            _ => reader.value(),
        })?,
        "result" => {
            parts.has_result = true;
            parts.result_is_null = reader.peek() == Some(b'n');
            members(reader, &mut |reader, key| match key {
                "_meta" => subscription(reader, &mut parts.result_subscription),
                _ => reader.value(),
            })?;
        }
        "error" => {
            // As above: a null is none.
            parts.has_error = reader.peek() != Some(b'n');
            members(reader, &mut |reader, key| match key {
                "code" => code(text, reader).map(|code| parts.error_code = code),
                _ => reader.value(),
            })?;
        }
        _ => reader.value()?,
    }
    Ok(None)
}

/// Consumes a value, member by member if it is an object.
fn members<'a>(reader: &mut Reader<'a>, member: crate::reader::Member<'_, 'a>) -> Result<(), EnvelopeError> {
    if reader.peek() == Some(b'{') {
        return reader.object(member);
    }
    reader.value()
}

fn keep(reader: &mut Reader<'_>, into: &mut Option<Range<usize>>) -> Result<(), EnvelopeError> {
    *into = identifier(reader)?;
    Ok(())
}

fn subscription(reader: &mut Reader<'_>, into: &mut Option<Range<usize>>) -> Result<(), EnvelopeError> {
    members(reader, &mut |reader, key| match key {
        SUBSCRIPTION_ID => keep(reader, into),
        _ => reader.value(),
    })
}

fn code(text: &str, reader: &mut Reader<'_>) -> Result<Option<i64>, EnvelopeError> {
    if let Some(b'-' | b'0'..=b'9') = reader.peek() {
        let range = reader.number()?;
        return Ok(text.get(range).and_then(|number| number.parse().ok()));
    }
    reader.value()?;
    Ok(None)
}
