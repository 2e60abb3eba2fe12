//! A loopback forwarder that lends a token to clients which cannot send one.
//!
//! The official conformance suite has no option for a token. Everything but three headers passes as it
//! is, and streams as it comes: `Authorization` is added, and a `Host` or `Origin` that names the
//! forwarder names the server instead. A foreign one stays foreign, so that the suite still sees what the
//! server does about it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::http::Site;

type Body = BoxBody<Bytes, hyper::Error>;

/// The forwarder. It lives on a thread of its own until the test process ends.
#[derive(Clone, Copy, Debug)]
pub struct Forwarder(SocketAddr);

struct Target {
    address: SocketAddr,
    authority: String,
    own: String,
    bearer: HeaderValue,
}

impl Forwarder {
    /// Forwards to `site`, a server without TLS, as the holder of `token`.
    ///
    /// # Panics
    /// When no port can be bound, or the token is no header value.
    #[must_use]
    pub fn start(site: &Site, token: &str) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be set");
        let address = listener.local_addr().expect("a bound socket");
        let target = Arc::new(Target {
            address: site.address(),
            authority: site.host(),
            own: address.to_string(),
            bearer: format!("Bearer {token}").parse().expect("a token is header text"),
        });
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(accept(listener, target));
        });
        Self(address)
    }

    /// Where `path` of the server is found.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }
}

async fn accept(listener: std::net::TcpListener, target: Arc<Target>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let target = Arc::clone(&target);
        let service = service_fn(move |request| {
            let target = Arc::clone(&target);
            async move { Ok::<_, std::convert::Infallible>(forward(request, &target).await) }
        });
        tokio::spawn(async move {
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn forward(request: Request<Incoming>, target: &Target) -> Response<Body> {
    match pass(request, target).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(error) => {
            let body = Full::new(Bytes::from(format!("the forwarder failed: {error:#}")));
            let mut response = Response::new(body.map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

/// One connection for each request: when the client goes, it goes too.
async fn pass(mut request: Request<Incoming>, target: &Target) -> anyhow::Result<Response<Incoming>> {
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.insert(AUTHORIZATION, target.bearer.clone());
    rename(headers, HOST, &target.own, &target.authority)?;
    rename(
        headers,
        ORIGIN,
        &format!("http://{}", target.own),
        &format!("http://{}", target.authority),
    )?;
    let socket = TcpStream::connect(target.address).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(async move {
        let _ended = connection.await;
    });
    let mut response = sender.send_request(request).await?;
    response.headers_mut().remove(CONNECTION);
    Ok(response)
}

fn rename(headers: &mut HeaderMap, name: HeaderName, own: &str, theirs: &str) -> anyhow::Result<()> {
    if headers.get(&name).is_some_and(|value| value == own) {
        headers.insert(name, theirs.parse()?);
    }
    Ok(())
}
