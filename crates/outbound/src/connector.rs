//! Connections for the pool: name, judgement, dialling, proxy, TLS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::{Host, Url};

use crate::address::{self, AddressSpace};
use crate::guarded::{ClientError, ClientOptions};
use crate::proxy::{self, Proxy};
use crate::{Destination, FetchError};

/// After this time without an answer of one address the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// The most addresses that are tried.
const TRIES: usize = 6;
/// How long a name may take to be resolved here that a proxy resolves anyway.
const SECOND_OPINION: Duration = Duration::from_secs(1);
/// When a connection on which nothing moves is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The most hosts of which an address space is remembered. A program talks to a handful.
const HOSTS: usize = 1024;

/// What all connections of a client share.
pub(crate) struct Way {
    pub(crate) options: ClientOptions,
    tls: Arc<ClientConfig>,
    /// TLS to a proxy is its own: no protocol beside HTTP/1.1 for CONNECT.
    proxy_tls: Arc<ClientConfig>,
    spaces: Mutex<HashMap<String, AddressSpace>>,
}

impl Way {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self {
            tls: options.roots.lasting(options.http2),
            proxy_tls: options.roots.lasting(false),
            spaces: Mutex::default(),
            options,
        }
    }

    /// See [`GuardedClient::address_space`](crate::GuardedClient::address_space).
    pub(crate) async fn address_space(&self, url: &Url) -> Result<AddressSpace, ClientError> {
        let host = url.host_str().ok_or(ClientError::NotHttp)?;
        let known = {
            let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
            spaces.get(host).copied()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let named = matches!(url.host(), Some(Host::Domain(_)));
        if named && self.options.proxy.of(url).is_some() {
            return Ok(AddressSpace::Public);
        }
        let addresses = self.resolve(url).await?;
        Ok(self.saw(host, &addresses))
    }

    /// Remembers where a host was seen. It only ever moves away.
    fn saw(&self, host: &str, addresses: &[IpAddr]) -> AddressSpace {
        let seen = addresses.iter().map(|address| AddressSpace::of(*address)).max();
        let seen = seen.unwrap_or(AddressSpace::Public);
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = spaces.get_mut(host) {
            *known = seen.max(*known);
            return *known;
        }
        if spaces.len() >= HOSTS {
            return AddressSpace::Public;
        }
        spaces.insert(host.to_owned(), seen);
        seen
    }

    async fn resolve(&self, url: &Url) -> Result<Vec<IpAddr>, ClientError> {
        match url.host() {
            Some(Host::Ipv4(address)) => Ok(vec![IpAddr::V4(address)]),
            Some(Host::Ipv6(address)) => Ok(vec![IpAddr::V6(address)]),
            Some(Host::Domain(name)) => {
                let resolved = self.options.resolver.resolve(name).await;
                resolved.map_err(|error| ClientError::Unresolved {
                    host: name.to_owned(),
                    detail: error.to_string(),
                })
            }
            None => Err(ClientError::NotHttp),
        }
    }

    /// The addresses to dial, all of which were judged.
    async fn judged(&self, url: &Url, destination: Destination) -> Result<Vec<IpAddr>, ClientError> {
        let host = url.host_str().unwrap_or_default();
        let addresses = self.resolve(url).await?;
        let mut addresses = address::judge(addresses, destination)
            .map_err(|error| ClientError::of_judgement(&error, host))?;
        let typed = destination == Destination::Configured && self.options.insecure_http;
        if url.scheme() == "http" && !typed && !addresses.iter().all(IpAddr::is_loopback) {
            return Err(ClientError::NotHttps(host.to_owned()));
        }
        self.saw(host, &addresses);
        if self.options.ipv4_only {
            addresses.retain(IpAddr::is_ipv4);
        }
        if addresses.is_empty() {
            return Err(ClientError::of_judgement(&FetchError::Unresolved, host));
        }
        Ok(addresses)
    }

    /// What can be judged of a host whose name the proxy resolves: an address as it stands there, and what this machine
    /// would take the name for, if it knows it.
    async fn judge_behind_proxy(&self, url: &Url, destination: Destination) -> Result<(), ClientError> {
        let host = url.host_str().unwrap_or_default();
        if url.scheme() == "http" && !(destination == Destination::Configured && self.options.insecure_http) {
            return Err(ClientError::NotHttps(host.to_owned()));
        }
        if destination == Destination::Configured {
            return Ok(());
        }
        let resolved = tokio::time::timeout(SECOND_OPINION, self.resolve(url)).await;
        match resolved {
            Ok(Ok(addresses)) if !addresses.is_empty() => address::judge(addresses, destination)
                .map(|_| ())
                .map_err(|error| ClientError::of_judgement(&error, host)),
            _ => Ok(()),
        }
    }

    /// Whether somebody else may be sent to a URL. Nothing is dialled.
    pub(crate) async fn judge(&self, url: &Url, destination: Destination) -> Result<(), ClientError> {
        if self.options.proxy.of(url).is_some() {
            return self.judge_behind_proxy(url, destination).await;
        }
        self.judged(url, destination).await.map(|_| ())
    }

    async fn connect(&self, url: &Url, destination: Destination) -> Result<Line, ClientError> {
        let host = url.host_str().ok_or(ClientError::NotHttp)?;
        let port = url.port_or_known_default().ok_or(ClientError::NotHttp)?;
        let secure = url.scheme() == "https";
        let (stream, proxied): (Stream, bool) = match self.options.proxy.of(url) {
            Some(proxy) => {
                self.judge_behind_proxy(url, destination).await?;
                let stream = self.to_proxy(proxy).await?;
                let stream = if secure {
                    proxy::tunnel(stream, proxy, host, port).await?
                } else {
                    stream
                };
                (stream, !secure)
            }
            None => {
                let addresses = self.judged(url, destination).await?;
                let stream = dial(&addresses, port, host).await?;
                (Box::new(stream), false)
            }
        };
        if !secure {
            return Ok(Line::new(stream, proxied, false));
        }
        let (stream, http2) = handshake(&self.tls, stream, host).await?;
        Ok(Line::new(stream, false, http2))
    }

    /// The proxy is what the user wrote down: any address.
    async fn to_proxy(&self, proxy: &Proxy) -> Result<Stream, ClientError> {
        let mut addresses = self.resolve(&proxy.url).await?;
        if self.options.ipv4_only {
            addresses.retain(IpAddr::is_ipv4);
        }
        let stream: Stream = Box::new(dial(&addresses, proxy.port, &proxy.host).await?);
        if !proxy.secure {
            return Ok(stream);
        }
        let (stream, _) = handshake(&self.proxy_tls, stream, &proxy.host).await?;
        Ok(stream)
    }
}

async fn handshake(
    tls: &Arc<ClientConfig>,
    stream: Stream,
    host: &str,
) -> Result<(Stream, bool), ClientError> {
    let failed = |detail: String| ClientError::Tls {
        host: host.to_owned(),
        detail,
    };
    let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())
        .map_err(|error| failed(error.to_string()))?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|error| failed(explained(&error.to_string())))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(stream), http2))
}

/// What the library says, and what can be done about the commonest case: a company's own authority.
fn explained(error: &str) -> String {
    let hint = if error.contains("UnknownIssuer") {
        "; if an authority of your own signed it, name its file with --ca-file or SSL_CERT_FILE"
    } else {
        ""
    };
    format!("{error}{hint}")
}

/// Connects to one of `addresses`, each of which gets a head start before the next.
async fn dial(addresses: &[IpAddr], port: u16, host: &str) -> Result<TcpStream, ClientError> {
    let mut waiting = in_turns(addresses).into_iter().take(TRIES);
    let mut trying = FuturesUnordered::new();
    let mut last = "it has no address that can be dialled".to_owned();
    loop {
        match waiting.next() {
            Some(address) => trying.push(TcpStream::connect(SocketAddr::new(address, port))),
            None if trying.is_empty() => {
                return Err(ClientError::Unreachable {
                    host: host.to_owned(),
                    detail: last,
                });
            }
            None => {}
        }
        let next = if waiting.len() == 0 {
            trying.next().await
        } else {
            tokio::time::timeout(STAGGER, trying.next())
                .await
                .unwrap_or_default()
        };
        match next {
            Some(Ok(stream)) => {
                watch(&stream);
                return Ok(stream);
            }
            Some(Err(error)) => last = error.to_string(),
            None => {}
        }
    }
}

/// A peer that is gone without a word (a laptop that slept, a router that forgot) is noticed within two minutes while
/// nothing is sent, and within one where something is.
fn watch(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    let alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    #[cfg(unix)]
    let alive = alive.with_retries(3);
    let _ = socket.set_tcp_keepalive(&alive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(2 * KEEP_ALIVE));
}

/// Both families in turns, beginning with the first address's (RFC 8305 §4).
fn in_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let six_first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<IpAddr>, Vec<IpAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == six_first);
    let mut turns = Vec::with_capacity(addresses.len());
    first.reverse();
    second.reverse();
    while !first.is_empty() || !second.is_empty() {
        turns.extend(first.pop());
        turns.extend(second.pop());
    }
    turns
}

/// Makes connections to destinations that one kind of peer named.
#[derive(Clone)]
pub(crate) struct Connector {
    way: Arc<Way>,
    destination: Destination,
}

impl Connector {
    pub(crate) fn new(way: &Arc<Way>, destination: Destination) -> Self {
        Self {
            way: Arc::clone(way),
            destination,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Line, ClientError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (way, destination) = (Arc::clone(&self.way), self.destination);
        async move {
            // The host as the URL standard writes it: `0x7f.1` is an address, not a name.
            let url = Url::parse(&uri.to_string()).map_err(|_| ClientError::NotHttp)?;
            let connecting = way.connect(&url, destination);
            tokio::time::timeout(way.options.connect_timeout, connecting)
                .await
                .unwrap_or_else(|_| {
                    Err(ClientError::ConnectTimedOut {
                        host: url.host_str().unwrap_or_default().to_owned(),
                    })
                })
        }
        .boxed()
    }
}

/// Anything that bytes go through.
pub(crate) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}
pub(crate) type Stream = Box<dyn Bytestream>;

/// A connection that is ready for HTTP.
pub(crate) struct Line {
    io: TokioIo<Stream>,
    proxied: bool,
    http2: bool,
}

impl Line {
    fn new(stream: Stream, proxied: bool, http2: bool) -> Self {
        Self {
            io: TokioIo::new(stream),
            proxied,
            http2,
        }
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.proxied);
        if self.http2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
