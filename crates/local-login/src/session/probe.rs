//! One request to the MCP server, to see whether it wants a login.

use bytes::Bytes;
use doorward_client::error::{Error, Hop};
use doorward_client::http::{HttpRequest, HttpResponse, NamedBy};
use doorward_types::secret::Secret;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Inner;

/// A handshake of 2025-11-25: every server that wants no login has an answer to it, newer ones an error.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"login","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"doorward","version":"login"}}}"#;
const SESSION: &str = "mcp-session-id";

/// What the server said.
pub(super) enum Said {
    /// It works with what was sent.
    Welcome,
    /// It does not, and says why.
    Refused(StatusCode, HeaderMap),
    /// Something else: it may be no MCP server, or not well.
    Unclear(StatusCode),
}

/// Asks with `credentials`, or without.
pub(super) async fn ask(inner: &Inner, credentials: HeaderMap) -> Result<Said, Error> {
    let mut headers = inner.settings.headers.clone();
    headers.extend(credentials.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    let response = send(inner, Method::POST, headers, Some(INITIALIZE)).await?;
    let status = response.status;
    let challenged = response.headers.contains_key(http::header::WWW_AUTHENTICATE);
    if status == StatusCode::UNAUTHORIZED || (status == StatusCode::FORBIDDEN && challenged) {
        return Ok(Said::Refused(status, response.headers));
    }
    if let Some(session) = response.headers.get(SESSION) {
        leave(inner, credentials, session).await;
    }
    let answers = status.is_success() || (status.is_client_error() && is_json_rpc(&response.body));
    Ok(if answers {
        Said::Welcome
    } else {
        Said::Unclear(status)
    })
}

/// Ends the session that the handshake began; that it goes on until it is idle would be no harm.
async fn leave(inner: &Inner, credentials: HeaderMap, session: &HeaderValue) {
    let mut headers = inner.settings.headers.clone();
    headers.extend(credentials);
    headers.insert(SESSION, session.clone());
    if let Err(error) = send(inner, Method::DELETE, headers, None).await {
        tracing::debug!(%error, "the session of the question was not ended");
    }
}

async fn send(
    inner: &Inner,
    method: Method,
    headers: HeaderMap,
    body: Option<&str>,
) -> Result<HttpResponse, Error> {
    let url = inner.settings.server.clone();
    let request = HttpRequest {
        method,
        url: url.clone(),
        named_by: NamedBy::User,
        headers,
        body: body.map(Secret::new),
        hop: Hop::McpServer,
    };
    inner
        .http
        .send(request)
        .await
        .map_err(|source| Error::Unreachable {
            hop: Hop::McpServer,
            url: Box::new(url),
            source,
        })
}

fn is_json_rpc(body: &Bytes) -> bool {
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(body);
    parsed.is_ok_and(|value| value.get("jsonrpc").is_some())
}
