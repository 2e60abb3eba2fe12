//! The two transports.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use doorward_resource_server::ProtectLayer;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::ServiceExt as _;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tower_layer::Layer as _;
use tower_service::Service;

use super::Everything;
pub use super::one_era::Era;
use super::one_era::OneEra;
use crate::http::{Destination, Site};

/// A server over Streamable HTTP on a port of its own. It lives on a thread until the test process ends.
#[derive(Clone, Copy, Debug)]
pub struct Server(SocketAddr);

impl Server {
    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.0)
    }

    /// Where requests go.
    #[must_use]
    pub fn site(&self) -> Site {
        let destination = Destination {
            address: self.0,
            tls: None,
        };
        Site::at(&format!("http://{}", self.0), destination)
    }
}

/// Starts it: sessions for the revisions before 2026-07-28, streams that can be resumed, loopback
/// `Host`s and `Origin`s only.
///
/// # Panics
/// When no port can be bound.
#[must_use]
pub fn start() -> Server {
    serve(listener(), service())
}

/// The same with one era only.
///
/// # Panics
/// When no port can be bound.
#[must_use]
pub fn start_one_era(era: Era) -> Server {
    let inner = service();
    serve(listener(), OneEra { era, inner })
}

/// The same behind a layer of the library for Rust servers.
///
/// # Panics
/// When no port can be bound.
#[must_use]
pub fn start_behind(layer: &ProtectLayer) -> Server {
    serve(listener(), layer.layer(service()))
}

fn listener() -> StdListener {
    let listener = StdListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be set");
    listener
}

fn service() -> StreamableHttpService<Everything, LocalSessionManager> {
    let everything = Everything::new();
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*"]);
    StreamableHttpService::new(
        move || Ok(everything.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    )
}

fn serve<S, B>(listener: StdListener, service: S) -> Server
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(accept(listener, service)).expect("a listener");
    });
    Server(address)
}

async fn accept<S, B>(listener: StdListener, service: S) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
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
