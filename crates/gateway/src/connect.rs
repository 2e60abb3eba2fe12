//! The HTTP client towards configured upstreams.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use crate::settings::{GatewayError, Settings};
use crate::upstream::BoxError;

pub(crate) type HttpClient = Client<Deadline<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// Idle connections are given up before common servers close them (Node and uvicorn after 5 s): a request
/// that meets a connection just being closed fails, and a call is never sent twice.
const IDLE: Duration = Duration::from_secs(3);

/// A client that speaks HTTP/1.1, retries nothing and follows nothing.
pub(crate) fn client(settings: &Settings, connect_timeout: Duration) -> Result<HttpClient, GatewayError> {
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
    let https = builder.https_or_http().enable_http1().wrap_connector(tcp);
    let connector = Deadline {
        inner: https,
        limit: connect_timeout,
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .retry_canceled_requests(false)
        .build(connector))
}

/// A connector with an end: the time limit of a TCP connector does not cover the TLS handshake.
#[derive(Clone, Debug)]
pub(crate) struct Deadline<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Deadline<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.inner.call(target);
        let limit = self.limit;
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}
