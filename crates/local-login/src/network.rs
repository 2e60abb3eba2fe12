//! The network of a login: requests of the step machines over the guarded client.

mod log;
mod roots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use doorward_client::http::{Http, HttpRequest, HttpResponse, NamedBy, TransportError};
use doorward_outbound::{AddressSpace, ClientError, Destination, GuardedClient};
use http::header::CONNECTION;
use http::{HeaderValue, Method};
use url::Url;

pub use log::{Exchange, ExchangeLog, Heard, masked};
pub use roots::{RootsFileError, roots};

/// The most that is read of an answer, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// From the name to the last byte of an answer.
const TOTAL: Duration = Duration::from_secs(10);

/// Sends what a login to one MCP server needs sent.
#[derive(Clone)]
pub struct Network {
    client: GuardedClient,
    server: Url,
    log: Option<Arc<ExchangeLog>>,
}

impl Network {
    /// For the login to `server`, the URL that the person gave. `client` is the one that talks to that server, too: it knows
    /// where the server really is.
    #[must_use]
    pub fn new(client: GuardedClient, server: Url) -> Self {
        Self {
            client,
            server,
            log: None,
        }
    }

    /// Tells every exchange to `log`.
    #[must_use]
    pub fn with_log(mut self, log: Arc<ExchangeLog>) -> Self {
        self.log = Some(log);
        self
    }

    /// The client underneath.
    #[must_use]
    pub const fn client(&self) -> &GuardedClient {
        &self.client
    }

    /// The log, if there is one.
    #[must_use]
    pub fn log(&self) -> Option<&ExchangeLog> {
        self.log.as_deref()
    }

    /// Which addresses a URL may have that `named_by` wrote down: what a server names is no nearer than the MCP server
    /// itself. The server's own origin is where the person sent us.
    pub async fn destination(&self, url: &Url, named_by: NamedBy) -> Destination {
        if named_by == NamedBy::User || url.origin() == self.server.origin() {
            return Destination::Configured;
        }
        // A server that cannot be found may name the least.
        let space = self.client.address_space(&self.server).await;
        Destination::NamedFrom(space.unwrap_or(AddressSpace::Public))
    }

    /// Whether a person may be sent to a URL that a server named: a public server must not make a browser knock at programs of
    /// this machine or of its network. A host that is not found here is the browser's to find.
    pub async fn may_visit(&self, url: &Url) -> Result<(), TransportError> {
        let destination = self.destination(url, NamedBy::Server).await;
        match self.client.judge(url, destination).await {
            Err(ClientError::Unresolved { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(self.told(error, destination)),
        }
    }

    async fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let destination = self.destination(&request.url, request.named_by).await;
        let mut result = self.once(request, destination).await;
        // A connection of before that was just being closed. Asking twice changes nothing (RFC 9110 §9.2.2).
        if matches!(result, Err(ClientError::Ended)) && request.method == Method::GET {
            result = self.once(request, destination).await;
        }
        result.map_err(|error| self.told(error, destination))
    }

    async fn once(
        &self,
        request: &HttpRequest,
        destination: Destination,
    ) -> Result<HttpResponse, ClientError> {
        let body = match &request.body {
            Some(body) => Bytes::copy_from_slice(body.expose().as_bytes()),
            None => Bytes::new(),
        };
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = http::Uri::try_from(request.url.as_str()).map_err(|_| ClientError::NotHttp)?;
        *outgoing.headers_mut() = request.headers.clone();
        // A code is redeemed once: its request must not meet a connection that the server is about to close.
        outgoing
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        let response = self.client.send(outgoing, destination).await?;
        let (head, body) = response.into_parts();
        let body = body.read(MAX_BODY).await?;
        Ok(HttpResponse {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// The words for the person at the terminal.
    fn told(&self, error: ClientError, destination: Destination) -> TransportError {
        match error {
            ClientError::NotHttp | ClientError::NotHttps(_) => TransportError::NotHttps,
            ClientError::Forbidden { host, class } => {
                let space = match destination {
                    Destination::NamedFrom(space) => space,
                    _ => AddressSpace::Public,
                };
                let server = self.server.host_str().unwrap_or_default();
                TransportError::Forbidden(format!(
                    "{host} has an address of the kind \"{class}\", which {server} on {space} may not name"
                ))
            }
            other => TransportError::Failed(other.to_string()),
        }
    }
}

#[async_trait]
impl Http for Network {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let begun = Instant::now();
        let result = tokio::time::timeout(TOTAL, self.exchange(&request))
            .await
            .unwrap_or_else(|_| {
                Err(TransportError::Failed(format!(
                    "no complete answer within {} seconds",
                    TOTAL.as_secs()
                )))
            });
        if let Some(log) = &self.log {
            let hop = request.hop.to_string();
            let exchange = Exchange {
                label: &hop,
                method: &request.method,
                url: &request.url,
                sent: &request.headers,
                body: request.body.as_ref().map(|body| body.expose()),
            };
            match &result {
                Ok(response) => {
                    let heard = Heard {
                        status: response.status,
                        headers: &response.headers,
                        body: &response.body,
                    };
                    log.exchange(&exchange, Ok(&heard), begun.elapsed());
                }
                Err(error) => log.exchange(&exchange, Err(&error.to_string()), begun.elapsed()),
            }
        }
        result
    }
}

#[cfg(test)]
mod tests;
