//! What an answer means to rmcp.

use std::time::Duration;

use bytes::Bytes;
use doorward_outbound::ResponseBody;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    HttpStatusError, StreamableHttpError, StreamableHttpPostResponse,
};

use crate::error::ClientError;
use crate::events::events;

/// The longest answer in JSON, in bytes.
const MAX_JSON: usize = 16 * 1024 * 1024;
/// The longest answer that is an error, in bytes.
const MAX_ERROR: usize = 64 * 1024;
/// How long such an answer may take: whoever waits for it is told nothing meanwhile.
const ERROR_TIME: Duration = Duration::from_secs(2);
/// How much of an unexpected answer is shown.
const SHOWN: usize = 256;

type Outcome<T> = Result<T, StreamableHttpError<ClientError>>;

/// Reads the answer to a message that was posted.
pub(crate) async fn posted(
    response: Response<ResponseBody>,
    message: &ClientJsonRpcMessage,
    in_session: bool,
    max_event: usize,
) -> Outcome<StreamableHttpPostResponse> {
    let (head, body) = response.into_parts();
    if matches!(head.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    if head.status == StatusCode::NOT_FOUND && in_session {
        return Err(StreamableHttpError::SessionExpired);
    }
    let session = text(&head.headers, "mcp-session-id").map(str::to_owned);
    if !head.status.is_success() {
        return refused(head.status, &head.headers, body, message, in_session, session).await;
    }
    let wants_answer = matches!(message, ClientJsonRpcMessage::Request(_));
    if !wants_answer && text(&head.headers, CONTENT_LENGTH.as_str()) == Some("0") {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    match media_type(&head.headers).as_deref() {
        Some("text/event-stream") => Ok(StreamableHttpPostResponse::Sse(events(body, max_event), session)),
        Some("application/json") => {
            let body = body.read(MAX_JSON).await.map_err(ClientError::from)?;
            match serde_json::from_slice::<ServerJsonRpcMessage>(&body) {
                Ok(answer) => Ok(StreamableHttpPostResponse::Json(answer, session)),
                Err(_) if !wants_answer => Ok(StreamableHttpPostResponse::Accepted),
                Err(error) => Err(unexpected(&format!("{error}: {}", shown(&body)))),
            }
        }
        other => Err(StreamableHttpError::UnexpectedContentType(
            other.map(str::to_owned),
        )),
    }
}

async fn refused(
    status: StatusCode,
    headers: &HeaderMap,
    body: ResponseBody,
    message: &ClientJsonRpcMessage,
    in_session: bool,
    session: Option<String>,
) -> Outcome<StreamableHttpPostResponse> {
    let retry_after = text(headers, RETRY_AFTER.as_str()).map(str::to_owned);
    let is_temporary = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    let failed = || HttpStatusError::new(status.as_u16(), retry_after.clone());
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(failed().into());
    }
    let json = media_type(headers).as_deref() == Some("application/json");
    let body = read_error(body).await;
    if let Some(answer) = not_modern(message, in_session, status, &body) {
        return Ok(answer);
    }
    // A server says in JSON-RPC why it refuses a call (a policy, an argument): that is for whoever called. Without a
    // message of that kind the status is all there is.
    if json
        && status != StatusCode::UNAUTHORIZED
        && let Ok(answer @ ServerJsonRpcMessage::Error(_)) = serde_json::from_slice(&body)
    {
        return Ok(StreamableHttpPostResponse::Json(answer, session));
    }
    if is_temporary {
        return Err(failed().into());
    }
    Err(unexpected(&format!("HTTP {status}: {}", shown(&body))))
}

/// The body of an answer that is an error; empty if it is too long, or does not end in time.
pub(crate) async fn read_error(body: ResponseBody) -> Bytes {
    let read = tokio::time::timeout(ERROR_TIME, body.read(MAX_ERROR)).await;
    read.ok().and_then(Result::ok).unwrap_or_default()
}

/// A server that does not know `server/discover` says so with a status, and rmcp wants to hear it as an answer to that
/// request: then it goes on as a client of an older revision.
fn not_modern(
    message: &ClientJsonRpcMessage,
    in_session: bool,
    status: StatusCode,
    body: &[u8],
) -> Option<StreamableHttpPostResponse> {
    let of_authorization = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let ClientJsonRpcMessage::Request(request) = message else {
        return None;
    };
    if in_session
        || !status.is_client_error()
        || of_authorization
        || !matches!(request.request, ClientRequest::DiscoverRequest(_))
    {
        return None;
    }
    let error = match serde_json::from_slice::<ServerJsonRpcMessage>(body) {
        Ok(ServerJsonRpcMessage::Error(error)) => error.error,
        _ => ErrorData::invalid_request(format!("server/discover was answered with HTTP {status}"), None),
    };
    let answer = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
    Some(StreamableHttpPostResponse::Json(answer, None))
}

/// `type/subtype` in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, CONTENT_TYPE.as_str())?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    Some(essence.to_ascii_lowercase())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn unexpected(words: &str) -> StreamableHttpError<ClientError> {
    StreamableHttpError::UnexpectedServerResponse(words.to_owned().into())
}

/// The beginning of a body that nobody can use.
pub(crate) fn shown(body: &[u8]) -> String {
    let start = body.get(..SHOWN).unwrap_or(body);
    doorward_client::text::shown(&String::from_utf8_lossy(start))
}
