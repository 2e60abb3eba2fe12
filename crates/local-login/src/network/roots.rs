//! Whose certificates are believed on a person's machine.

use std::path::{Path, PathBuf};

use doorward_outbound::{RootsError, TlsRoots};

/// A file of certificates that was named cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsFileError {
    /// Not readable.
    #[error("{path}: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not certificates.
    #[error("{path}: {source}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RootsError,
    },
    /// The TLS library refuses its own settings.
    #[error("{0}")]
    Tls(RootsError),
}

/// Variables that name a file with more authorities: OpenSSL's, and the one that people have set for programs on Node.js.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];

/// The public authorities of the Mozilla list, those of `ca_file`, and those of the files that `SSL_CERT_FILE` and
/// `NODE_EXTRA_CA_CERTS` name, which `variable` reads. A file that is named and not there is an error.
pub fn roots(
    ca_file: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<TlsRoots, RootsFileError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| RootsFileError::Unreadable {
            path: path.to_owned(),
            source,
        })
    };
    let mut bundle = Vec::new();
    for name in VARIABLES {
        if let Some(path) = variable(name).filter(|path| !path.is_empty()) {
            bundle.extend(read(Path::new(&path))?);
            bundle.push(b'\n');
        }
    }
    let Some(path) = ca_file else {
        return TlsRoots::with_bundle(b"", &bundle).map_err(RootsFileError::Tls);
    };
    let own = read(path)?;
    let unusable = |source| RootsFileError::Unusable {
        path: path.to_owned(),
        source,
    };
    // An empty file is not "no file".
    if own.is_empty() {
        return Err(unusable(RootsError::Empty));
    }
    TlsRoots::with_bundle(&own, &bundle).map_err(unusable)
}
