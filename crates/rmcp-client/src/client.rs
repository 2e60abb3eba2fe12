//! The HTTP side of rmcp's transport.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use doorward_client::authorizer::{Attempt, Authorizer};
use doorward_client::error::Error;
use doorward_outbound::{Destination, GuardedClient, ResponseBody};
use futures_util::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;
use url::Url;

use crate::answer::{media_type, posted, read_error, shown, unexpected};
use crate::error::ClientError;
use crate::events::events;

/// What both kinds of answer are accepted with.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The longest event, if rmcp does not say.
const MAX_EVENT: usize = 16 * 1024 * 1024;
/// An authorizer gives up by itself, with words; this is the end where it does not.
const MAX_TRIES: u8 = 8;
/// Headers that are not the application's to set.
const RESERVED: [&str; 7] = [
    "accept",
    "authorization",
    "content-type",
    "dpop",
    "host",
    "last-event-id",
    "mcp-session-id",
];

/// Sends the messages of one rmcp client to one MCP server, authorized. Clones share connections and tokens.
#[derive(Clone)]
pub struct AuthorizedClient(Arc<Inner>);

struct Inner {
    server: Url,
    network: GuardedClient,
    authorizer: Arc<dyn Authorizer>,
}

type Outcome<T> = Result<T, StreamableHttpError<ClientError>>;
type CustomHeaders = HashMap<HeaderName, HeaderValue>;

impl AuthorizedClient {
    /// For the MCP server at `server`, which `authorizer` is for.
    #[must_use]
    pub fn new(server: Url, network: GuardedClient, authorizer: Arc<dyn Authorizer>) -> Self {
        Self(Arc::new(Inner {
            server,
            network,
            authorizer,
        }))
    }

    /// rmcp's transport over it, with rmcp's defaults. For others, [`transport_with`](Self::transport_with).
    #[must_use]
    pub fn transport(self) -> StreamableHttpClientTransport<Self> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.0.server.as_str());
        self.transport_with(config)
    }

    /// rmcp's transport with a configuration whose `uri` is this client's server.
    #[must_use]
    pub fn transport_with(
        self,
        config: StreamableHttpClientTransportConfig,
    ) -> StreamableHttpClientTransport<Self> {
        StreamableHttpClientTransport::with_client(self, config)
    }

    /// Sends one request, again after each refusal that the authorizer does something about.
    async fn send(&self, uri: &str, outgoing: Outgoing) -> Result<Response<ResponseBody>, ClientError> {
        let Inner {
            server,
            network,
            authorizer,
        } = &*self.0;
        if uri != server.as_str() {
            return Err(ClientError::OtherServer);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = authorizer.headers(&outgoing.method, server).await?;
            let request = outgoing.request(server, &sent)?;
            let response = network.send(request, Destination::Configured).await?;
            if !is_refusal(&response) {
                authorizer.answered(response.headers());
                if response.status().is_success() {
                    authorizer.succeeded(&outgoing.operation);
                }
                return Ok(response);
            }
            let (head, body) = response.into_parts();
            // Read to its end if it has one, so that the connection is good for the next try.
            drop(read_error(body).await);
            let attempt = Attempt {
                status: head.status,
                headers: &head.headers,
                sent: &sent,
                operation: &outgoing.operation,
                tries,
            };
            authorizer.refused(attempt).await?;
            if tries >= MAX_TRIES {
                let why = format!("the MCP server still answers {}", head.status);
                return Err(Error::GaveUp { tries, why }.into());
            }
        }
    }
}

/// Whether an answer is about authorization: 401, and 403 or 400 with a challenge. A 403 without one is a decision that
/// no token changes.
fn is_refusal(response: &Response<ResponseBody>) -> bool {
    let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
    match response.status() {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => challenged,
        _ => false,
    }
}

/// A request but for what authorizes it.
struct Outgoing {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    operation: String,
}

impl Outgoing {
    fn new(
        method: Method,
        operation: impl Into<String>,
        token: Option<&str>,
        custom: CustomHeaders,
    ) -> Outcome<Self> {
        if token.is_some() {
            return Err(StreamableHttpError::ReservedHeaderConflict(
                "authorization".into(),
            ));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in custom {
            if RESERVED.contains(&name.as_str()) {
                return Err(StreamableHttpError::ReservedHeaderConflict(name.to_string()));
            }
            headers.insert(name, value);
        }
        headers.insert(ACCEPT, BOTH);
        Ok(Self {
            method,
            headers,
            body: Bytes::new(),
            operation: operation.into(),
        })
    }

    fn with(mut self, name: HeaderName, value: Option<&str>) -> Outcome<Self> {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value)
                .map_err(|_| ClientError::Unwritable(format!("{name} has characters that headers cannot")))?;
            self.headers.insert(name, value);
        }
        Ok(self)
    }

    /// `sent` wins over everything else: it is what the answer will be about.
    fn request(&self, server: &Url, sent: &HeaderMap) -> Result<Request<Bytes>, ClientError> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = server
            .as_str()
            .parse()
            .map_err(|_| ClientError::Unwritable("the server's URL".into()))?;
        let mut headers = self.headers.clone();
        for (name, value) in sent {
            headers.insert(name, value.clone());
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// What a message does, for the authorizer's count of tries: `tools/call delete_note`.
fn operation(message: &serde_json::Value) -> String {
    let text = |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).map(str::to_owned);
    let method = text(message.get("method")).unwrap_or_else(|| "answer".to_owned());
    let parameters = message.get("params");
    let target = ["name", "uri"]
        .iter()
        .find_map(|name| text(parameters.and_then(|parameters| parameters.get(name))));
    match target {
        Some(target) => format!("{method} {target}"),
        None => method,
    }
}

impl StreamableHttpClient for AuthorizedClient {
    type Error = ClientError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: CustomHeaders,
    ) -> Outcome<StreamableHttpPostResponse> {
        self.post_message_with_max_sse_event_size(
            uri,
            message,
            session_id,
            auth_header,
            custom_headers,
            MAX_EVENT,
        )
        .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: CustomHeaders,
        max_sse_event_size: usize,
    ) -> Outcome<StreamableHttpPostResponse> {
        let value = serde_json::to_value(&message)?;
        let mut outgoing = Outgoing::new(
            Method::POST,
            operation(&value),
            auth_header.as_deref(),
            custom_headers,
        )?
        .with(SESSION, session_id.as_deref())?
        .with(CONTENT_TYPE, Some("application/json"))?;
        outgoing.body = serde_json::to_vec(&message)?.into();
        let response = self.send(&uri, outgoing).await?;
        posted(response, &message, session_id.is_some(), max_sse_event_size).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: CustomHeaders,
    ) -> Outcome<()> {
        let outgoing = Outgoing::new(
            Method::DELETE,
            "end of session",
            auth_header.as_deref(),
            custom_headers,
        )?
        .with(SESSION, Some(&session_id))?;
        let response = self.send(&uri, outgoing).await?;
        let status = response.status();
        // Servers need not let clients end sessions, and an ended one is what was wanted.
        if status.is_success() || matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND) {
            return Ok(());
        }
        Err(unexpected(&format!("HTTP {status}")))
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: CustomHeaders,
    ) -> Outcome<BoxStream<'static, Result<Sse, SseError>>> {
        self.get_stream_with_max_sse_event_size(
            uri,
            session_id,
            last_event_id,
            auth_header,
            custom_headers,
            MAX_EVENT,
        )
        .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: CustomHeaders,
        max_sse_event_size: usize,
    ) -> Outcome<BoxStream<'static, Result<Sse, SseError>>> {
        let outgoing = Outgoing::new(Method::GET, "stream", auth_header.as_deref(), custom_headers)?
            .with(SESSION, session_id.as_deref())?
            .with(LAST_EVENT_ID, last_event_id.as_deref())?;
        let response = self.send(&uri, outgoing).await?;
        let (head, body) = response.into_parts();
        if head.status == StatusCode::METHOD_NOT_ALLOWED {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        if head.status == StatusCode::NOT_FOUND && session_id.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        if !head.status.is_success() {
            let body = read_error(body).await;
            return Err(unexpected(&format!("HTTP {}: {}", head.status, shown(&body))));
        }
        match media_type(&head.headers).as_deref() {
            Some("text/event-stream") => Ok(events(body, max_sse_event_size)),
            other => Err(StreamableHttpError::UnexpectedContentType(
                other.map(str::to_owned),
            )),
        }
    }
}
