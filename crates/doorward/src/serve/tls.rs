//! TLS with the operator's own certificate files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Config, Tls};
use crate::error::CommandError;

/// Reads the files that `[tls]` names, so that `config check` finds what is wrong with them.
pub(crate) fn check(config: &Config) -> Result<(), CommandError> {
    config
        .tls
        .as_ref()
        .map_or(Ok(()), |tls| server_config(tls).map(drop))
}

/// The server side of TLS 1.2 and 1.3, offering HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, CommandError> {
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| unreadable("private key", &tls.key, &error))?;
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| {
                CommandError::usage(format!(
                    "{} and {} of `[tls]` cannot be used together",
                    tls.certificate.display(),
                    tls.key.display()
                ))
                .because(&error)
                .hint("check that the key belongs to the first certificate of the file")
            })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CommandError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("certificate", path, &error))?;
    if chain.is_empty() {
        return Err(
            CommandError::usage(format!("no certificate in {}", path.display()))
                .hint("the file must hold PEM blocks that begin with -----BEGIN CERTIFICATE-----"),
        );
    }
    Ok(chain)
}

fn unreadable(what: &str, path: &Path, error: &rustls::pki_types::pem::Error) -> CommandError {
    CommandError::usage(format!(
        "cannot read the {what} of `[tls]` from {}",
        path.display()
    ))
    .because(error)
    .hint("the file must be readable by this user and hold PEM")
}
