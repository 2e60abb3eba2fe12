//! The request metadata headers of 2026-07-28 (Streamable HTTP, "Request Metadata" and "Server Validation").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use crate::call::NotAdmittedReason;
use crate::envelope::{Envelope, Kind};
use crate::version::Revision;

/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// `Mcp-Method`.
pub const METHOD: &str = "mcp-method";
/// `Mcp-Name`.
pub const NAME: &str = "mcp-name";
/// `Mcp-Session-Id` of the legacy revisions.
pub const SESSION_ID: &str = "mcp-session-id";

const SENTINEL_START: &str = "=?base64?";
const SENTINEL_END: &str = "?=";

type Result<T> = std::result::Result<T, NotAdmittedReason>;

/// What a value says once the Base64 sentinel is resolved; `None` if it is malformed.
#[must_use]
pub fn decode_value(value: &str) -> Option<Cow<'_, str>> {
    let inner = value
        .strip_prefix(SENTINEL_START)
        .and_then(|rest| rest.strip_suffix(SENTINEL_END));
    match inner {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?)
            .ok()
            .map(Cow::Owned),
    }
}

/// How a name is written into `Mcp-Name`: as it is, or in the Base64 sentinel form where it must.
#[must_use]
pub fn encode_value(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'))
        && value.trim_matches([' ', '\t']) == value
        && !(value.starts_with(SENTINEL_START) && value.ends_with(SENTINEL_END));
    if plain {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!(
        "{SENTINEL_START}{}{SENTINEL_END}",
        STANDARD.encode(value)
    ))
}

/// The only value of a header. Twice is refused even if both say the same: the next reader may take either.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(NotAdmittedReason::HeaderTwice(name));
    }
    let text = value
        .to_str()
        .map_err(|_| NotAdmittedReason::HeaderCharacters(name))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// The revision of a request without a body.
pub(crate) fn legacy_revision(headers: &HeaderMap) -> Result<Revision> {
    match single(headers, PROTOCOL_VERSION)? {
        None => Ok(Revision::V2025_03_26),
        Some(text) => match Revision::parse(text) {
            None => Err(NotAdmittedReason::UnsupportedVersion {
                requested: text.into(),
            }),
            Some(revision) if revision.is_legacy() => Ok(revision),
            Some(_) => Err(NotAdmittedReason::NotInRevision),
        },
    }
}

/// The revision a message is sent in, from the header and `_meta` alike: they must agree.
pub(crate) fn revision(headers: &HeaderMap, envelope: &Envelope) -> Result<Revision> {
    let header = single(headers, PROTOCOL_VERSION)?;
    let meta = envelope.meta_version();
    let Some(header) = header else {
        return match meta {
            None => Ok(Revision::V2025_03_26),
            Some(_) => Err(NotAdmittedReason::HeaderMissing(PROTOCOL_VERSION)),
        };
    };
    if meta.is_some_and(|meta| meta != header) {
        return Err(NotAdmittedReason::HeaderMismatch(PROTOCOL_VERSION));
    }
    let Some(revision) = Revision::parse(header) else {
        return Err(NotAdmittedReason::UnsupportedVersion {
            requested: header.into(),
        });
    };
    if !revision.is_legacy() && meta.is_none() && envelope.kind() == Kind::Request {
        return Err(NotAdmittedReason::MetaMissing);
    }
    Ok(revision)
}

/// `Mcp-Method` and `Mcp-Name` of a 2026-07-28 message against its body. Requests need them; what the
/// revision says nothing about (notifications) must still not contradict the body.
pub(crate) fn mirror(headers: &HeaderMap, envelope: &Envelope, name: Option<&str>) -> Result<()> {
    let required = envelope.kind() == Kind::Request;
    match single(headers, METHOD)? {
        Some(method) if Some(method) == envelope.method() => {}
        Some(_) => return Err(NotAdmittedReason::HeaderMismatch(METHOD)),
        None if required => return Err(NotAdmittedReason::HeaderMissing(METHOD)),
        None => {}
    }
    let Some(header) = single(headers, NAME)? else {
        return match name {
            Some(_) => Err(NotAdmittedReason::HeaderMissing(NAME)),
            None => Ok(()),
        };
    };
    let said = decode_value(header).ok_or(NotAdmittedReason::HeaderCharacters(NAME))?;
    let matches = match name {
        Some(name) => said == name,
        // No rule names a source for this method: any of the three may be meant, but not something else.
        None => [envelope.name(), envelope.uri(), envelope.task()].contains(&Some(&*said)),
    };
    if matches {
        Ok(())
    } else {
        Err(NotAdmittedReason::HeaderMismatch(NAME))
    }
}
