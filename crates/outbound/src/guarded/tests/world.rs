//! A server on loopback, over TLS or not, and names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::guarded::{ClientError, ClientOptions, GuardedClient};
use crate::{Destination, Resolve, ResponseBody, TlsRoots};

pub(super) const HERE: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];

/// Answers every name with the next of a list; the last one stays.
pub(super) struct Names {
    answers: Vec<Vec<IpAddr>>,
    at: AtomicUsize,
    pub(super) asked: AtomicUsize,
}

impl Names {
    pub(super) fn rewind(&self) {
        self.at.store(0, Ordering::SeqCst);
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let at = self.at.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(at).or(self.answers.last());
        answer.cloned().ok_or_else(|| io::Error::other("no such name"))
    }
}

/// What the server does with every request.
#[derive(Clone)]
pub(super) enum Scene {
    Answer(Vec<u8>),
    /// Answers, and closes the connection a moment later without having said so.
    AnswerAndClose(Vec<u8>),
    /// Sends this, then nothing, and counts when the client goes away.
    Hang(Vec<u8>),
    /// Sends this again and again.
    Endless(Vec<u8>),
    Silent,
}

pub(super) fn ok(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(super) fn get(url: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().unwrap();
    request
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) connections: AtomicUsize,
    pub(super) gone: AtomicUsize,
    pub(super) heads: Mutex<Vec<String>>,
}

pub(super) struct World {
    pub(super) client: GuardedClient,
    pub(super) options: ClientOptions,
    pub(super) names: Arc<Names>,
    pub(super) port: u16,
    pub(super) counts: Arc<Counts>,
    scheme: &'static str,
}

impl World {
    pub(super) async fn start(scene: Scene, addresses: &[&[IpAddr]]) -> Self {
        let (listener, counts) = listener().await;
        let port = listener.local_addr().unwrap().port();
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, scene.clone(), Arc::clone(&counted)));
            }
        });
        Self::with(b"", addresses, port, counts, "http")
    }

    pub(super) async fn start_tls(scene: Scene, addresses: &[&[IpAddr]], http2: bool) -> Self {
        let (listener, counts) = listener().await;
        let port = listener.local_addr().unwrap().port();
        let (acceptor, root) = certificate(http2);
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, scene, counted) = (acceptor.clone(), scene.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, scene, counted).await;
                    }
                });
            }
        });
        Self::with(root.as_bytes(), addresses, port, counts, "https")
    }

    /// Says hello in both versions.
    pub(super) async fn start_http2() -> Self {
        let (listener, counts) = listener().await;
        let port = listener.local_addr().unwrap().port();
        let (acceptor, root) = certificate(true);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let hello = service_fn(async |_| {
                        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("hello")))
                    });
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), hello)
                        .await;
                });
            }
        });
        Self::with(root.as_bytes(), &[HERE], port, counts, "https")
    }

    fn with(
        root: &[u8],
        addresses: &[&[IpAddr]],
        port: u16,
        counts: Arc<Counts>,
        scheme: &'static str,
    ) -> Self {
        let names = Arc::new(Names {
            answers: addresses.iter().map(|list| list.to_vec()).collect(),
            at: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        });
        let mut options = ClientOptions::new(TlsRoots::new(root).unwrap());
        options.resolver = Arc::clone(&names) as _;
        Self {
            client: GuardedClient::new(options.clone()),
            options,
            names,
            port,
            counts,
            scheme,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://app.example:{}{path}", self.scheme, self.port)
    }

    pub(super) async fn ask(&self, path: &str) -> Result<Response<ResponseBody>, ClientError> {
        self.send(get(&self.url(path)), Destination::Configured).await
    }

    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        destination: Destination,
    ) -> Result<Response<ResponseBody>, ClientError> {
        self.client.send(request, destination).await
    }

    pub(super) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> usize {
        self.counts.heads.lock().unwrap().len()
    }

    pub(super) fn head(&self, at: usize) -> String {
        self.counts.heads.lock().unwrap()[at].clone()
    }
}

async fn listener() -> (TcpListener, Arc<Counts>) {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    (listener, Arc::default())
}

fn certificate(http2: bool) -> (TlsAcceptor, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::from_params(&authority, &key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["app.example".into()])
        .unwrap()
        .signed_by(&leaf_key, &issuer)
        .unwrap();
    let mut tls =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
            )
            .unwrap();
    if http2 {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    (TlsAcceptor::from(Arc::new(tls)), root.pem())
}

/// One head after the other; requests here have no body.
pub(super) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, scene: Scene, counts: Arc<Counts>) {
    while let Some(head) = read_head(&mut stream).await {
        counts.heads.lock().unwrap().push(head);
        let done = match &scene {
            Scene::Answer(bytes) => stream.write_all(bytes).await,
            Scene::AnswerAndClose(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Scene::Hang(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.flush().await;
                let _ = stream.read_u8().await;
                counts.gone.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Scene::Endless(bytes) => loop {
                if let Err(error) = stream.write_all(bytes).await {
                    break Err(error);
                }
            },
            Scene::Silent => {
                let _ = stream.read_u8().await;
                counts.gone.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// Polls until it is so.
pub(super) async fn eventually(what: &str, so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
