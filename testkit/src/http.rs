//! A plain HTTP client: one connection for each request, nothing followed, nothing decoded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
pub use rustls::pki_types::CertificateDer as Certificate;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

/// Longest wait for an answer; far beyond what anything needs, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where an origin is really served: how `https://gw.test` reaches a port of this machine.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The socket.
    pub address: SocketAddr,
    /// Whether TLS is spoken there, and what is trusted.
    pub tls: Option<CertificateDer<'static>>,
}

/// Destinations by origin (`https://gw.test`); every other origin is dialled as it says.
pub type Routes = HashMap<String, Destination>;

/// A server under test as its clients see it.
#[derive(Clone, Debug)]
pub struct Site {
    /// The public URL, byte for byte: issuer and prefix of every resource.
    pub public_url: String,
    /// How to get there.
    pub routes: Arc<Routes>,
}

impl Site {
    /// A site that is dialled as its URL says.
    #[must_use]
    pub fn new(public_url: &str) -> Self {
        Self {
            public_url: public_url.into(),
            routes: Arc::default(),
        }
    }

    /// A site at another socket than its URL says.
    #[must_use]
    pub fn at(public_url: &str, destination: Destination) -> Self {
        let origin = origin(public_url);
        Self {
            public_url: public_url.into(),
            routes: Arc::new(HashMap::from([(origin, destination)])),
        }
    }

    /// Absolute URL of a path; an absolute URL stays as it is.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        if path.starts_with('/') {
            format!("{}{path}", self.public_url)
        } else {
            path.into()
        }
    }

    /// A request to `path`.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, &self.url(path)).routes(&self.routes)
    }

    /// GET `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// POST to `path`.
    #[must_use]
    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// The socket that really serves it.
    ///
    /// # Panics
    /// When the public URL's host does not resolve.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        if let Some(destination) = self.routes.get(&origin(&self.public_url)) {
            return destination.address;
        }
        let url = Url::parse(&self.public_url).expect("a public URL is a URL");
        let mut found = url.socket_addrs(|| None).expect("the public URL's host resolves");
        found.sort_by_key(SocketAddr::is_ipv6);
        *found.first().expect("at least one address")
    }

    /// `host:port` as it belongs into `Host`.
    ///
    /// # Panics
    /// When the public URL is none.
    #[must_use]
    pub fn host(&self) -> String {
        authority(&Url::parse(&self.public_url).expect("a public URL is a URL"))
    }
}

/// `scheme://host[:port]` of a URL.
///
/// # Panics
/// When it is no URL.
#[must_use]
pub fn origin(url: &str) -> String {
    Url::parse(url)
        .unwrap_or_else(|error| panic!("{url}: {error}"))
        .origin()
        .ascii_serialization()
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    routes: Arc<Routes>,
    strict: bool,
}

/// GET an absolute URL.
#[must_use]
pub fn get(url: &str) -> Request {
    Request::new("GET", url)
}

/// POST to an absolute URL.
#[must_use]
pub fn post(url: &str) -> Request {
    Request::new("POST", url)
}

impl Request {
    /// A request without headers or body.
    ///
    /// # Panics
    /// When the method is no token.
    #[must_use]
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.parse().expect("a method is a token"),
            url: url.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            routes: Arc::default(),
            strict: true,
        }
    }

    /// Sets how origins are reached.
    #[must_use]
    pub fn routes(mut self, routes: &Arc<Routes>) -> Self {
        self.routes = Arc::clone(routes);
        self
    }

    /// Adds a header; repeated names are sent repeatedly. `Host` replaces the one from the URL.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Takes every header of that name away again.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces a header.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.set("Authorization", &format!("Bearer {token}"))
    }

    /// A urlencoded form.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.set("Content-Type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// A JSON body.
    #[must_use]
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.set("Content-Type", "application/json")
            .body(value.to_string())
    }

    /// A body as it is, without a content type.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The body so far.
    #[must_use]
    pub fn body_bytes(&self) -> &Bytes {
        &self.body
    }

    /// Lets `500` and the like pass, for peers that are not ours.
    #[must_use]
    pub const fn lenient(mut self) -> Self {
        self.strict = false;
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// When no answer comes, or when it breaks what every answer must keep ([`Reply::assert_sane`]).
    #[track_caller]
    pub fn send(self) -> impl Future<Output = Reply> {
        let caller = std::panic::Location::caller();
        async move {
            let what = format!("{} {} (from {caller})", self.method, self.url);
            self.try_send()
                .await
                .unwrap_or_else(|error| panic!("{what}: {error:#}"))
        }
    }

    /// Sends it and reads the whole answer; transport failures come back.
    ///
    /// # Panics
    /// When the answer breaks what every answer must keep ([`Reply::assert_sane`]).
    pub async fn try_send(self) -> Result<Reply> {
        let strict = self.strict;
        let reply = tokio::time::timeout(PATIENCE, async {
            let mut streaming = self.open().await?;
            let mut body = Vec::new();
            while let Some(chunk) = streaming.try_chunk().await? {
                body.extend_from_slice(&chunk);
            }
            anyhow::Ok(Reply {
                status: streaming.status,
                headers: streaming.headers.clone(),
                body: body.into(),
            })
        })
        .await
        .context("no answer in time")??;
        if strict {
            reply.assert_sane();
        }
        Ok(reply)
    }

    /// Sends it and hands back the answer as it streams.
    ///
    /// # Panics
    /// When no answer begins.
    #[track_caller]
    pub fn stream(self) -> impl Future<Output = Streaming> {
        let caller = std::panic::Location::caller();
        async move {
            let what = format!("{} {} (from {caller})", self.method, self.url);
            match tokio::time::timeout(PATIENCE, self.open()).await {
                Ok(Ok(streaming)) => streaming,
                Ok(Err(error)) => panic!("{what}: {error:#}"),
                Err(_) => panic!("{what}: no answer in time"),
            }
        }
    }

    /// The request for a transport of the caller's, such as [`crate::multiplex::Multiplex`].
    pub(crate) fn into_hyper(self) -> Result<hyper::Request<Full<Bytes>>> {
        let mut request = hyper::Request::builder().method(self.method).uri(self.url);
        for (name, value) in &self.headers {
            request = request.header(name, http::HeaderValue::from_bytes(value.as_bytes())?);
        }
        Ok(request.body(Full::new(self.body))?)
    }

    async fn open(self) -> Result<Streaming> {
        let url = Url::parse(&self.url).with_context(|| format!("a URL: {}", self.url))?;
        let io = dial(&url, &self.routes).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(io))
            .await?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        // The target goes out as it was written: a parsed path would have its dots resolved.
        let target = raw_target(&self.url);
        let mut request = hyper::Request::builder().method(self.method).uri(target);
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("Host", authority(&url));
        }
        for (name, value) in &self.headers {
            request = request.header(name, http::HeaderValue::from_bytes(value.as_bytes())?);
        }
        let response = sender.send_request(request.body(Full::new(self.body))?).await?;
        let (parts, body) = response.into_parts();
        Ok(Streaming {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            buffer: String::new(),
            _sender: sender,
            connection,
        })
    }
}

fn raw_target(url: &str) -> String {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    let target = after.find(['/', '?']).map_or("/", |at| &after[at..]);
    let target = target.split('#').next().unwrap_or("/");
    if target.starts_with('?') {
        format!("/{target}")
    } else {
        target.to_owned()
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

async fn dial(url: &Url, routes: &Routes) -> Result<Box<dyn Socket>> {
    let destination = routes.get(&url.origin().ascii_serialization());
    let tcp = match destination {
        Some(destination) => tokio::net::TcpStream::connect(destination.address).await?,
        None => {
            let addresses = url.socket_addrs(|| None)?;
            tokio::net::TcpStream::connect(addresses.as_slice()).await?
        }
    };
    tcp.set_nodelay(true)?;
    let Some(trusted) = destination.and_then(|destination| destination.tls.clone()) else {
        return Ok(Box::new(tcp));
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted)?;
    let config =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(url.host_str().unwrap_or_default().to_owned())?;
    Ok(Box::new(
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?,
    ))
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Streaming {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: hyper::body::Incoming,
    buffer: String,
    _sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    connection: tokio::task::JoinHandle<()>,
}

impl Streaming {
    /// The next piece as it arrived; `None` at a proper end.
    pub async fn try_chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The next server-sent event; `None` when the stream ends (properly or not).
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn event(&mut self) -> Option<crate::mcp::Event> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(event) = crate::mcp::take_event(&mut self.buffer) {
                    return Some(event);
                }
                match self.try_chunk().await {
                    Ok(Some(chunk)) => self.buffer.push_str(&String::from_utf8_lossy(&chunk)),
                    Ok(None) | Err(_) => return None,
                }
            }
        })
        .await
        .expect("an event, or the end of the stream, in time")
    }

    /// Reads until the end.
    pub async fn rest(mut self) -> Result<Bytes> {
        let mut body = std::mem::take(&mut self.buffer).into_bytes();
        while let Some(chunk) = self.try_chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

impl Drop for Streaming {
    /// Closes the connection like a client that went away.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("a JSON body ({error}): {self:?}"))
    }

    /// The one value of a header.
    ///
    /// # Panics
    /// When it is there twice or is not text.
    #[track_caller]
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.get_all(name).iter();
        let first = all.next()?;
        assert!(all.next().is_none(), "{name} is there once: {:?}", self.headers);
        Some(first.to_str().expect("header text"))
    }

    /// The `error` member of an OAuth error body.
    #[must_use]
    pub fn oauth_error(&self) -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(value.get("error")?.as_str()?.to_owned())
    }

    /// Where it redirects.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.header("Location")
    }

    /// Asserts what holds for every answer: no 500, no stack trace, no SQL, no file path.
    ///
    /// # Panics
    /// When it does not.
    pub fn assert_sane(&self) {
        assert_ne!(self.status, 500, "no answer is ever a 500: {self:?}");
        let text = self.text();
        for trace in [
            "panicked at",
            "stack backtrace",
            "RUST_BACKTRACE",
            "sqlite",
            "SELECT ",
            "INSERT INTO",
            ".rs:",
            "/home/",
            "/tmp/",
            "doorward.db",
            "master.key",
        ] {
            assert!(!text.contains(trace), "an answer holds {trace:?}: {text}");
        }
    }
}
