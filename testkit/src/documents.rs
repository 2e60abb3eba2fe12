//! A web site of a client's makers: documents over TLS, with a certificate authority of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request line and every header line.
    pub head: String,
}

impl Seen {
    /// The path with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Served {
    /// 200 with a JSON body and these further header lines.
    Json(String, Vec<(String, String)>),
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// A head, then one byte a second, for ever.
    Drip,
    /// A head, then bytes without end.
    Endless,
    /// Nothing, for ever.
    Silence,
}

impl Served {
    /// 200 with a JSON body.
    #[must_use]
    pub fn json(body: &serde_json::Value) -> Self {
        Self::Json(body.to_string(), Vec::new())
    }

    /// Any status with further header lines and a body.
    #[must_use]
    pub fn reply(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat())
    }
}

/// What a site answers.
pub type Answers = dyn Fn(&Seen) -> Served + Send + Sync;

/// A site on one address.
pub struct Documents {
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<Arc<Answers>>>,
    folder: TempDir,
}

impl Documents {
    /// Starts a site for these host names (`*.` allowed) on port 443 of `address`, or another one.
    ///
    /// # Panics
    /// When that cannot be.
    pub async fn start(address: SocketAddr, names: &[&str]) -> Self {
        let folder = crate::folder("doorward-documents-");
        let tls = certificate(names, &folder);
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("the site's address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let nothing: Arc<Answers> = Arc::new(|_| Served::reply("404 Not Found", "", b""));
        let answers = Arc::new(Mutex::new(nothing));
        let (log, script) = (Arc::clone(&seen), Arc::clone(&answers));
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log, script) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&script));
                tokio::spawn(serve(acceptor, stream, log, script));
            }
        });
        Self {
            seen,
            answers,
            folder,
        }
    }

    /// The certificate authority, as a PEM file.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Answers from now on.
    ///
    /// # Panics
    /// When the site has panicked.
    pub fn answer(&self, answers: impl Fn(&Seen) -> Served + Send + Sync + 'static) {
        *self.answers.lock().expect("the site stands") = Arc::new(answers);
    }

    /// Every request so far.
    ///
    /// # Panics
    /// When the site has panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the site stands").clone()
    }
}

fn certificate(names: &[&str], folder: &TempDir) -> ServerConfig {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).expect("an authority");
    std::fs::write(folder.path().join("authority.pem"), root.pem()).expect("a file");
    let issuer = rcgen::Issuer::from_params(&authority, &key);
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let leaf_key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(names)
        .expect("host names")
        .signed_by(&leaf_key, &issuer)
        .expect("a certificate");
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
        )
        .expect("a certificate with its key")
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    log: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Arc<Answers>>>,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        head.push(stream.read_u8().await?);
    }
    let seen = Seen {
        head: String::from_utf8_lossy(&head).into_owned(),
    };
    let served = {
        let answers = script.lock().map(|answers| Arc::clone(&answers));
        let Ok(answers) = answers else { return Ok(()) };
        if let Ok(mut log) = log.lock() {
            log.push(seen.clone());
        }
        answers(&seen)
    };
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    match served {
        Served::Json(body, headers) => {
            let mut head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned();
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
            stream.write_all(head.as_bytes()).await?;
            stream.shutdown().await
        }
        Served::Raw(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Served::Drip => {
            stream.write_all(HEAD).await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Served::Endless => {
            stream.write_all(HEAD).await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Served::Silence => std::future::pending().await,
    }
}
