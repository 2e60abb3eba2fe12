//! The HTTP client towards configured upstreams. It speaks HTTP/1.1, retries nothing and follows nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tower::ServiceExt as _;

use crate::line::{Answer, Idle, Line};
use crate::settings::{GatewayError, Settings};
use crate::upstream::BoxError;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// There was no connection: nothing was sent.
    Unreachable(BoxError),
    /// It broke off.
    Failed(BoxError),
}

/// Makes the way to every upstream of a configuration. Servers with the same upstream share its connections.
#[derive(Default)]
pub(crate) struct HttpClients {
    connectors: HashMap<Duration, HttpsConnector<HttpConnector>>,
    idle: HashMap<(Duration, Option<Scheme>, Option<Authority>), Arc<Idle>>,
}

impl HttpClients {
    /// The way to `uri`, which has a scheme and an authority.
    pub(crate) fn to(
        &mut self,
        uri: &Uri,
        settings: &Settings,
        connect_timeout: Duration,
    ) -> Result<HttpClient, GatewayError> {
        let connector = match self.connectors.get(&connect_timeout) {
            Some(connector) => connector.clone(),
            None => {
                let connector = connector(settings, connect_timeout)?;
                self.connectors.insert(connect_timeout, connector.clone());
                connector
            }
        };
        let place = (connect_timeout, uri.scheme().cloned(), uri.authority().cloned());
        let target = uri.path_and_query().cloned();
        Ok(HttpClient {
            connector,
            connect_timeout,
            host: host(uri).ok_or_else(|| GatewayError::Upstream(uri.to_string()))?,
            target: target.unwrap_or_else(|| PathAndQuery::from_static("/")).into(),
            idle: Arc::clone(self.idle.entry(place).or_default()),
            uri: uri.clone(),
        })
    }
}

/// The way to one upstream.
pub(crate) struct HttpClient {
    connector: HttpsConnector<HttpConnector>,
    /// For the TLS handshake, too, which the connector's own limit does not cover.
    connect_timeout: Duration,
    uri: Uri,
    /// Its origin form (RFC 9112 §3.2.1).
    target: Uri,
    host: HeaderValue,
    idle: Arc<Idle>,
}

impl HttpClient {
    /// Sends a request there, whatever its URI says. Dropping the future, or the answer's body before its end, ends
    /// the connection.
    pub(crate) async fn request(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, NoAnswer> {
        *request.uri_mut() = self.target.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        let line = match self.idle.take().await {
            Some(line) => line,
            // On the heap: this is the rare way, and would make every call's future as large as a handshake's.
            None => Box::pin(self.connect()).await.map_err(NoAnswer::Unreachable)?,
        };
        line.send(request, &self.idle).await.map_err(NoAnswer::Failed)
    }

    async fn connect(&self) -> Result<Line, BoxError> {
        let connecting = self.connector.clone().oneshot(self.uri.clone());
        let socket = tokio::time::timeout(self.connect_timeout, connecting).await??;
        Ok(Line::over(socket).await?)
    }
}

/// `Host` as RFC 9110 §7.2 has it: without a port that the scheme implies.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let name = uri.host()?;
    let implied = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    match uri.port_u16() {
        Some(port) if port != implied => HeaderValue::try_from(format!("{name}:{port}")).ok(),
        _ => HeaderValue::from_str(name).ok(),
    }
}

fn connector(
    settings: &Settings,
    connect_timeout: Duration,
) -> Result<HttpsConnector<HttpConnector>, GatewayError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    let builder = HttpsConnectorBuilder::new();
    let builder = match &settings.upstream_tls {
        Some(config) => builder.with_tls_config(config.clone()),
        None => builder
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(GatewayError::Tls)?,
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

#[cfg(test)]
mod tests;
