//! The two transports.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::ServiceExt as _;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use super::Everything;

/// A server over Streamable HTTP on a port of its own. It lives on a thread until the test process ends.
#[derive(Clone, Copy, Debug)]
pub struct Server(SocketAddr);

impl Server {
    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.0)
    }
}

/// Starts it: sessions for the revisions before 2026-07-28, streams that can be resumed, loopback
/// `Host`s and `Origin`s only.
///
/// # Panics
/// When no port can be bound.
#[must_use]
pub fn start() -> Server {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be set");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(accept(listener)).expect("a listener");
    });
    Server(address)
}

async fn accept(listener: std::net::TcpListener) -> io::Result<()> {
    let everything = Everything::new();
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*"]);
    let service = StreamableHttpService::new(
        move || Ok(everything.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // A connection that breaks off concerns nobody else.
            let _ended = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Serves one client on stdin and stdout until its end of input.
///
/// # Errors
/// When the descriptors cannot be had.
pub async fn stdio() -> io::Result<()> {
    let input = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let transport = (
        tokio::fs::File::from_std(input),
        tokio::fs::File::from_std(output),
    );
    // A client that says nothing at all, or goes in the middle of the handshake, is no error of ours.
    if let Ok(running) = Everything::new().serve(transport).await {
        let _ended = running.waiting().await;
    }
    Ok(())
}
