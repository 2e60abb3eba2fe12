//! The network of a bridge, with `--verbose`.

use async_trait::async_trait;
use bytes::Bytes;
use doorward_bridge::http::{Answer, Http, SendError};
use doorward_bridge::network::Network as Plain;
use doorward_local_login::network::{Exchange, Heard, Network};
use doorward_mcp::headers::METHOD;
use http::Request;
use tokio::time::Instant;
use url::Url;

/// Tells every exchange to the log of the login, if there is one. Bodies of MCP are never shown.
pub(super) struct Observed {
    network: Network,
    plain: Plain,
}

impl Observed {
    pub(super) fn new(network: Network) -> Self {
        let plain = Plain::new(network.client().clone());
        Self { network, plain }
    }
}

#[async_trait]
impl Http for Observed {
    async fn send(&self, request: Request<Bytes>) -> Result<Answer, SendError> {
        let Some(log) = self.network.log() else {
            return self.plain.send(request).await;
        };
        let method = request.method().clone();
        let headers = request.headers().clone();
        let url = Url::parse(&request.uri().to_string());
        let began = Instant::now();
        let answer = self.plain.send(request).await;
        let Ok(url) = url else { return answer };
        let label = headers.get(METHOD).and_then(|method| method.to_str().ok());
        let exchange = Exchange {
            label: label.unwrap_or("MCP"),
            method: &method,
            url: &url,
            sent: &headers,
            body: None,
        };
        match &answer {
            Ok(answer) => {
                let heard = Heard {
                    status: answer.status,
                    headers: &answer.headers,
                    body: &[],
                };
                log.exchange(&exchange, Ok(&heard), began.elapsed());
            }
            Err(error) => log.exchange(&exchange, Err(&error.words), began.elapsed()),
        }
        answer
    }
}
