//! TLS in front of a server of this machine, at an address that looks public.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// A certificate authority of the test's own, with one certificate.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    config: Arc<rustls::ServerConfig>,
}

impl Authority {
    /// One with a certificate for these host names (`*.` allowed).
    ///
    /// # Panics
    /// When that cannot be.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let folder = crate::folder("doorward-authority-");
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
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
            )
            .expect("a certificate with its key");
        Self {
            folder,
            config: Arc::new(config),
        }
    }

    /// The authority, as a PEM file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder().join("authority.pem")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Speaks TLS at `address` and hands the plain bytes on to `target`, until the test process ends.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn front(&self, address: SocketAddr, target: SocketAddr) {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outer = acceptor.accept(socket).await?;
                    let mut inner = tokio::net::TcpStream::connect(target).await?;
                    tokio::io::copy_bidirectional(&mut outer, &mut inner).await?;
                    std::io::Result::Ok(())
                });
            }
        });
    }
}
