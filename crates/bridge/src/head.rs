//! The headers that a message goes with.

use doorward_mcp::headers::{METHOD, NAME, PROTOCOL_VERSION, SESSION_ID, encode_value};
use doorward_mcp::method::{NamedBy, find};
use doorward_mcp::{Revision, ServerMessage as Message};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use crate::failure::Failure;
use crate::reading::Params;

/// What every POST has.
fn post() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// A message of a session (2025-03-26 to 2025-11-25), or of none.
pub(crate) fn legacy(session: Option<&HeaderValue>, version: Option<&str>) -> HeaderMap {
    let mut headers = post();
    add_session(&mut headers, session, version);
    headers
}

/// The GET of a stream of a session.
pub(crate) fn stream(session: Option<&HeaderValue>, version: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    add_session(&mut headers, session, version);
    headers
}

fn add_session(headers: &mut HeaderMap, session: Option<&HeaderValue>, version: Option<&str>) {
    if let Some(session) = session {
        headers.insert(SESSION_ID, session.clone());
    }
    if let Some(version) = version.and_then(|version| HeaderValue::from_str(version).ok()) {
        headers.insert(PROTOCOL_VERSION, version);
    }
}

/// A message of 2026-07-28 or later. `version` is that of a request before it, for notifications, which need not name one.
pub(crate) fn modern(message: &Message, version: Option<&str>) -> Result<HeaderMap, Failure> {
    let params = Params::of(message);
    let unfit = |what: &str| Failure::new(-32602, format!("{what} of this message fits no HTTP header"));
    let mut headers = post();
    if let Some(version) = params.version.as_deref().or(version) {
        let version = HeaderValue::from_str(version).map_err(|_| unfit("the protocol version"))?;
        headers.insert(PROTOCOL_VERSION, version);
    }
    let method = message.method().unwrap_or_default();
    let value = HeaderValue::from_str(method).map_err(|_| unfit("the method"))?;
    headers.insert(METHOD, value);
    let named_by = find(Revision::V2026_07_28, method).and_then(|method| method.named_by);
    let name = match named_by {
        Some(NamedBy::Tool | NamedBy::Prompt) => params.name,
        Some(NamedBy::Uri) => params.uri,
        Some(NamedBy::Task) => params.task,
        None => None,
    };
    if let Some(name) = name {
        let value = HeaderValue::from_str(&encode_value(&name)).map_err(|_| unfit("the name"))?;
        headers.insert(NAME, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let skip = [ACCEPT, CONTENT_TYPE];
        let lines = headers.iter().filter(|(name, _)| !skip.contains(name));
        lines
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn modern_messages_are_mirrored_into_headers() {
        let headers = |text: &str| {
            let message = Message::read(text.to_owned().into()).unwrap();
            shown(&modern(&message, Some("2026-07-28")).unwrap())
        };
        assert_eq!(
            headers(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01"}}}"#
            ),
            [
                "mcp-protocol-version: 2027-01-01",
                "mcp-method: tools/call",
                "mcp-name: t"
            ]
        );
        assert_eq!(
            headers(
                r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"name":"no","uri":"x://ä"}}"#
            )[2],
            "mcp-name: =?base64?eDovL8Ok?="
        );
        assert_eq!(
            headers(r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"name":"t"}}"#),
            ["mcp-protocol-version: 2026-07-28", "mcp-method: notifications/x"]
        );
    }

    #[test]
    fn legacy_messages_name_their_session_once_there_is_one() {
        assert!(shown(&legacy(None, None)).is_empty());
        let session = HeaderValue::from_static("s1");
        assert_eq!(
            shown(&legacy(Some(&session), Some("2025-11-25"))),
            ["mcp-session-id: s1", "mcp-protocol-version: 2025-11-25"]
        );
        assert_eq!(stream(None, None)[ACCEPT], "text/event-stream");
    }
}
