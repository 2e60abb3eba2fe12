//! The JSON-RPC envelope of a body, read strictly and without decoding what nobody judges.
//!
//! A batch (an array of messages) is refused in every revision: 2025-06-18 removed batches, and clients of
//! 2025-03-26 may send each message alone.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::reader::{Quoted, Reader, resolve};

mod error;
mod touched;

pub use error::EnvelopeError;
pub(crate) use touched::{Listed, Reference, SubscriptionFilter};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has a method and an id.
    Request,
    /// It has a method and no id.
    Notification,
    /// It answers a request of the server (legacy revisions only).
    Response,
}

/// A string of the body: where it stands, or what it says if it was written with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Slice(Range<usize>),
    Resolved(Box<str>),
}

impl Text {
    fn new(text: &str, quoted: Quoted) -> Result<Self, EnvelopeError> {
        if quoted.escaped {
            return Ok(Self::Resolved(resolve(text, &quoted)?.into()));
        }
        Ok(Self::Slice(quoted.range))
    }

    pub(crate) fn of<'a>(&'a self, body: &'a Bytes) -> &'a str {
        match self {
            Self::Slice(range) => slice(body, range),
            Self::Resolved(text) => text,
        }
    }
}

/// A part of a body that was found to be UTF-8 when it was read.
pub(crate) fn slice<'a>(body: &'a Bytes, range: &Range<usize>) -> &'a str {
    std::str::from_utf8(body.get(range.clone()).unwrap_or_default()).unwrap_or_default()
}

/// One well-formed JSON-RPC message with the bytes it was read from. Nothing is known yet about its method.
pub struct Envelope {
    pub(crate) body: Bytes,
    pub(crate) kind: Kind,
    pub(crate) id: Option<Range<usize>>,
    pub(crate) method: Option<Text>,
    pub(crate) params: Params,
}

/// What is read of `params`. A field is also absent when it is no string.
#[derive(Default)]
pub(crate) struct Params {
    pub(crate) name: Option<Text>,
    pub(crate) uri: Option<Text>,
    pub(crate) task: Option<Text>,
    pub(crate) version: Option<Text>,
    /// `_meta.progressToken`, a string or a number.
    pub(crate) progress_token: Option<Range<usize>>,
    /// `requestId`, a string or a number.
    pub(crate) cancelled: Option<Range<usize>>,
    /// `arguments`, whatever it is.
    pub(crate) arguments: Option<Range<usize>>,
    /// `requestState`.
    pub(crate) request_state: Option<Text>,
    /// `requestState` is there, and no string.
    pub(crate) bad_request_state: bool,
    /// `ref` of `completion/complete`.
    pub(crate) reference: Option<Reference>,
    /// `notifications` of `subscriptions/listen`.
    pub(crate) filter: Option<Box<SubscriptionFilter>>,
    /// The client knows the extension of tasks, by its capabilities in `_meta`.
    pub(crate) declares_tasks: bool,
}

#[derive(Default)]
struct Parts {
    version_2: bool,
    id: Option<Range<usize>>,
    method: Option<Text>,
    params: Option<Params>,
    outcome: u8,
}

impl Envelope {
    /// Reads a whole body.
    pub fn read(body: Bytes) -> Result<Self, EnvelopeError> {
        if body.is_empty() {
            return Err(EnvelopeError::Empty);
        }
        if body.starts_with(b"\xef\xbb\xbf") {
            return Err(EnvelopeError::ByteOrderMark);
        }
        let text = std::str::from_utf8(&body).map_err(|_| EnvelopeError::NotUtf8)?;
        let parts = read(text)?;
        if !parts.version_2 {
            return Err(EnvelopeError::NotVersion2);
        }
        let kind = match (&parts.method, &parts.id, parts.outcome) {
            (Some(_), Some(_), 0) => Kind::Request,
            (Some(_), None, 0) => Kind::Notification,
            (None, Some(_), 1) if parts.params.is_none() => Kind::Response,
            _ => return Err(EnvelopeError::NoKind),
        };
        let Parts {
            id, method, params, ..
        } = parts;
        Ok(Self {
            body,
            kind,
            id,
            method,
            params: params.unwrap_or_default(),
        })
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its `id` as JSON text, to be repeated in an answer.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|range| slice(&self.body, range))
    }

    /// Its `method`, escapes resolved.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_ref().map(|text| text.of(&self.body))
    }

    /// `params.name`, if it is a string.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.params.name.as_ref().map(|text| text.of(&self.body))
    }

    /// `params.uri`, if it is a string.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.params.uri.as_ref().map(|text| text.of(&self.body))
    }

    /// `params.taskId`, if it is a string.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.params.task.as_ref().map(|text| text.of(&self.body))
    }

    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`, if it is a string.
    #[must_use]
    pub fn meta_version(&self) -> Option<&str> {
        self.params.version.as_ref().map(|text| text.of(&self.body))
    }
}

impl fmt::Debug for Envelope {
    /// Without the body: arguments may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("kind", &self.kind)
            .field("method", &self.method())
            .finish_non_exhaustive()
    }
}

fn read(text: &str) -> Result<Parts, EnvelopeError> {
    let mut reader = Reader::new(text);
    match reader.peek() {
        Some(b'{') => {}
        Some(b'[') => {
            reader.value()?;
            return Err(EnvelopeError::Batch);
        }
        None => return Err(EnvelopeError::Empty),
        Some(_) => {
            reader.value()?;
            reader.end()?;
            return Err(EnvelopeError::NotAnObject);
        }
    }
    let mut parts = Parts::default();
    reader.object(&mut |reader, key| member(text, reader, key, &mut parts))?;
    reader.end()?;
    Ok(parts)
}

fn member<'a>(
    text: &'a str,
    reader: &mut Reader<'a>,
    key: &str,
    parts: &mut Parts,
) -> Result<(), EnvelopeError> {
    match key {
        "jsonrpc" => {
            let version = string(text, reader)?.ok_or(EnvelopeError::NotVersion2)?;
            parts.version_2 = match version {
                Text::Slice(range) => text.get(range) == Some("2.0"),
                Text::Resolved(version) => &*version == "2.0",
            };
        }
        "id" => parts.id = Some(id(text, reader)?),
        "method" => parts.method = Some(string(text, reader)?.ok_or(EnvelopeError::BadMethod)?),
        "params" => parts.params = Some(params(text, reader)?),
        "result" | "error" => {
            parts.outcome += 1;
            reader.value()?;
        }
        _ => {
            return Err(EnvelopeError::UnknownMember {
                at: reader.position(),
            });
        }
    }
    Ok(())
}

/// The next value if it is a string; any other value is consumed.
pub(crate) fn string<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<Option<Text>, EnvelopeError> {
    if reader.peek() == Some(b'"') {
        let quoted = reader.string()?;
        return Text::new(text, quoted).map(Some);
    }
    reader.value()?;
    Ok(None)
}

/// Where the next value stands, with its quotes, if it is a string or a number; any other value is consumed.
pub(crate) fn identifier(reader: &mut Reader<'_>) -> Result<Option<Range<usize>>, EnvelopeError> {
    match reader.peek() {
        Some(b'"') => Ok(Some(with_quotes(&reader.string()?))),
        Some(b'-' | b'0'..=b'9') => reader.number().map(Some),
        _ => reader.value().map(|()| None),
    }
}

/// Where the next value stands, whatever it is.
fn passed_over(reader: &mut Reader<'_>) -> Result<Range<usize>, EnvelopeError> {
    reader.peek();
    let start = reader.position();
    reader.value()?;
    Ok(start..reader.position())
}

fn with_quotes(quoted: &Quoted) -> Range<usize> {
    quoted.range.start.saturating_sub(1)..quoted.range.end.saturating_add(1)
}

/// Longest `id`, in bytes: refusals repeat it.
const ID_LIMIT: usize = 256;

/// An id is repeated as it was written, so `1.0` and `1e2` are refused: parsers would write them otherwise.
fn id<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<Range<usize>, EnvelopeError> {
    match reader.peek() {
        Some(b'"') => {
            let quoted = reader.string()?;
            if quoted.range.len() > ID_LIMIT {
                return Err(EnvelopeError::BadId);
            }
            Ok(with_quotes(&quoted))
        }
        Some(b'-' | b'0'..=b'9') => {
            let range = reader.number()?;
            let number = text.get(range.clone()).unwrap_or_default();
            if number.contains(['.', 'e', 'E']) {
                return Err(EnvelopeError::BadId);
            }
            Ok(range)
        }
        _ => {
            reader.value()?;
            Err(EnvelopeError::BadId)
        }
    }
}

fn params<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<Params, EnvelopeError> {
    if reader.peek() != Some(b'{') {
        reader.value()?;
        return Err(EnvelopeError::BadParams);
    }
    let mut params = Params::default();
    let mut folded: Vec<Box<str>> = Vec::new();
    reader.object(&mut |reader, key| {
        unambiguous(key, &mut folded).map_err(|()| EnvelopeError::AmbiguousKey {
            at: reader.position(),
        })?;
        match key {
            "name" => params.name = string(text, reader)?,
            "uri" => params.uri = string(text, reader)?,
            "taskId" => params.task = string(text, reader)?,
            "requestId" => params.cancelled = identifier(reader)?,
            "arguments" => params.arguments = Some(passed_over(reader)?),
            "requestState" => {
                params.request_state = string(text, reader)?;
                params.bad_request_state = params.request_state.is_none();
            }
            "ref" => params.reference = touched::reference(text, reader)?,
            "notifications" => params.filter = touched::filter(text, reader)?,
            "_meta" => meta(text, reader, &mut params)?,
            _ => reader.value()?,
        }
        Ok(())
    })?;
    Ok(params)
}

fn meta<'a>(text: &'a str, reader: &mut Reader<'a>, params: &mut Params) -> Result<(), EnvelopeError> {
    if reader.peek() != Some(b'{') {
        reader.value()?;
        return Err(EnvelopeError::BadParams);
    }
    reader.object(&mut |reader, key| {
        match key {
            "io.modelcontextprotocol/protocolVersion" => params.version = string(text, reader)?,
            "progressToken" => params.progress_token = identifier(reader)?,
            "io.modelcontextprotocol/clientCapabilities" => params.declares_tasks = declares_tasks(reader)?,
            _ => reader.value()?,
        }
        Ok(())
    })
}

fn declares_tasks(reader: &mut Reader<'_>) -> Result<bool, EnvelopeError> {
    let mut declared = false;
    if reader.peek() != Some(b'{') {
        reader.value()?;
        return Ok(false);
    }
    reader.object(&mut |reader, key| {
        if key != "extensions" || reader.peek() != Some(b'{') {
            return reader.value();
        }
        reader.object(&mut |reader, key| {
            declared |= key == TASKS_EXTENSION;
            reader.value()
        })
    })?;
    Ok(declared)
}

/// The extension of tasks among a client's capabilities (SEP-2663).
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Every direct member of `params` in any client message of any revision's schema and of SEP-2663.
const PARAMS: [&str; 29] = [
    "_meta",
    "argument",
    "arguments",
    "capabilities",
    "clientInfo",
    "context",
    "createdAt",
    "cursor",
    "inputResponses",
    "lastUpdatedAt",
    "level",
    "message",
    "name",
    "notifications",
    "pollInterval",
    "progress",
    "progressToken",
    "protocolVersion",
    "reason",
    "ref",
    "requestId",
    "requestState",
    "status",
    "statusMessage",
    "task",
    "taskId",
    "total",
    "ttl",
    "uri",
];

/// CVE-2026-27896: some parsers match keys without case, and then `Name` beats `name`. Case folding beyond
/// ASCII (`ſ`, the Kelvin sign, fullwidth letters) is met by refusing keys that are not ASCII: the protocol
/// defines none.
fn unambiguous(key: &str, folded: &mut Vec<Box<str>>) -> Result<(), ()> {
    if PARAMS.contains(&key) {
        return Ok(());
    }
    let foreign = !key.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    if foreign || PARAMS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
        return Err(());
    }
    if folded.iter().any(|other| other.eq_ignore_ascii_case(key)) {
        return Err(());
    }
    // Unknown keys are rare and few: beyond this, no revision is being spoken.
    if folded.len() >= 64 {
        return Err(());
    }
    folded.push(key.into());
    Ok(())
}
