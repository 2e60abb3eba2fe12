//! TLS to an address that was judged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::FetchError;

/// How long one address may take to answer before the next one is tried.
const CONNECT: Duration = Duration::from_millis(1500);

/// The most addresses that are tried.
const TRIES: usize = 4;

/// The certificates of `[outbound]` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM with certificates.
    #[error("not a PEM file with certificates")]
    NotPem(#[source] rustls::pki_types::pem::Error),
    /// No certificate in it.
    #[error("no certificate in it")]
    Empty,
    /// A certificate that cannot be a root.
    #[error("a certificate in it cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The TLS library refused its own settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Whose certificates are believed: the public authorities of the Mozilla list, and the operator's own.
#[derive(Clone, Debug)]
pub struct TlsRoots(Arc<ClientConfig>);

impl TlsRoots {
    /// The public authorities and those of `pem` (PEM text of any number of certificates; empty for none).
    pub fn new(pem: &[u8]) -> Result<Self, RootsError> {
        Self::with_bundle(pem, b"")
    }

    /// As [`new`](Self::new), and those of `bundle` (PEM text, empty for none): what a system believes, in which a few
    /// certificates may be of a kind that the TLS library does not use. Those are left out.
    pub fn with_bundle(pem: &[u8], bundle: &[u8]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if !pem.is_empty() {
            let own: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
                .collect::<Result<_, _>>()
                .map_err(RootsError::NotPem)?;
            if own.is_empty() {
                return Err(RootsError::Empty);
            }
            for certificate in own {
                roots.add(certificate).map_err(RootsError::Certificate)?;
            }
        }
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(RootsError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions of one host would tell it that two fetches came from us.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Settings for connections to a server that knows who asks anyway: sessions are resumed.
    pub(crate) fn lasting(&self, http2: bool) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.0);
        config.resumption = rustls::client::Resumption::in_memory_sessions(32);
        if http2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Arc::new(config)
    }
}

/// Connects to the first of `addresses` that answers, as `host`. The certificate must be the host's.
pub(crate) async fn connect(
    roots: &TlsRoots,
    host: &str,
    addresses: &[IpAddr],
    port: u16,
) -> Result<TlsStream<TcpStream>, FetchError> {
    let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())
        .map_err(|_| FetchError::Tls)?;
    let stream = dial(addresses, port).await?;
    let _ = stream.set_nodelay(true);
    let connector = TlsConnector::from(Arc::clone(&roots.0));
    connector
        .connect(name, stream)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => FetchError::Tls,
            _ => FetchError::Unreachable,
        })
}

/// Connects to the first of `addresses` that answers.
pub(crate) async fn dial(addresses: &[IpAddr], port: u16) -> Result<TcpStream, FetchError> {
    for address in addresses.iter().take(TRIES) {
        let address = SocketAddr::new(*address, port);
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(FetchError::Unreachable)
}
