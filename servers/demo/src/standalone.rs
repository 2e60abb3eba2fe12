//! The demo server on a listener of its own.

use std::io;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Demo;

/// Serves the demo on `listener`, at every path, over HTTP/1.1 and HTTP/2, until the future is dropped.
///
/// Nobody vouches for callers here, so all of them are unknown and share one set of notes. Only loopback
/// `Host`s and no `Origin` are accepted, so that a web page cannot reach it (DNS rebinding).
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let demo = Demo::with_config(StreamableHttpServerConfig::default().enforce_origin_validation());
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            Some(_ended) = connections.join_next() => continue,
        };
        let service = TowerToHyperService::new(demo.service.clone());
        connections.spawn(async move {
            // A connection that breaks off concerns nobody else.
            let _ended = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
