//! HTTP/2 as a library speaks it, without TLS: many requests on one connection.

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use crate::http::{Request, Site};

/// One connection, which is closed with this value.
#[derive(Debug)]
pub struct Multiplex {
    sender: http2::SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Multiplex {
    /// Connects to a site that is served without TLS.
    ///
    /// # Panics
    /// When it does not speak HTTP/2.
    pub async fn connect(site: &Site) -> Self {
        let socket = tokio::net::TcpStream::connect(site.address())
            .await
            .expect("the server accepts connections");
        socket.set_nodelay(true).expect("a socket can be set");
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("the server speaks HTTP/2");
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, connection }
    }

    /// Sends a request; the answer streams. Dropping its body cancels it.
    pub fn send(&self, request: Request) -> impl Future<Output = Result<http::Response<Incoming>>> + use<> {
        let mut sender = self.sender.clone();
        async move {
            sender.ready().await?;
            Ok(sender.send_request(request.into_hyper()?).await?)
        }
    }
}

impl Drop for Multiplex {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
