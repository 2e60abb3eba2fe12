//! The seam to the network: requests as values, and the one trait that sends them.

use async_trait::async_trait;
use bytes::Bytes;
use doorward_types::secret::Secret;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::error::Hop;

/// Who wrote the destination of a request down. The sender guards addresses by it (security best practices, "SSRF").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamedBy {
    /// The person or configuration that runs this client: any address.
    User,
    /// A header or document of the MCP server or of an authorization server: only addresses that are no nearer to us than
    /// the MCP server itself is (a public server may not name a private or loopback address).
    Server,
}

/// One request that a step machine wants sent. Redirects are never followed, whatever they say.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// `GET` or `POST` (RFC 7592 management would add `DELETE`).
    pub method: Method,
    /// An `https` URL, or `http` on loopback.
    pub url: Url,
    /// Who wrote `url` down.
    pub named_by: NamedBy,
    /// All headers but `Host`, `Content-Length`, `User-Agent` and connection matters. Values that are credentials are
    /// marked sensitive.
    pub headers: HeaderMap,
    /// The body, if any. It may hold credentials.
    pub body: Option<Secret>,
    /// Which step of the login asks.
    pub hop: Hop,
}

/// What came back, read whole: at most 64 KiB of body.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status, redirects included.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

/// Why there is no answer. Its words are for the person at the terminal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Not a URL that is dialled at all.
    #[error("only https addresses are used, or http on this machine")]
    NotHttps,
    /// The address is nearer to us than the server that named it may point.
    #[error("a server may not send this client to that address: {0}")]
    Forbidden(String),
    /// No connection, no TLS, no HTTP, or too long, too late.
    #[error("{0}")]
    Failed(String),
}

/// Sends requests. Implementations guard addresses, follow no redirect, bound time and size.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends one request and reads the whole answer.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;
}
