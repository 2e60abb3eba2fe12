//! The client that fetches documents of others.

use std::sync::Arc;

use doorward_outbound::{Fetch, Fetcher, FetcherParts, SystemResolver, TlsRoots};
use doorward_types::time::Clock;

use crate::config::Config;
use crate::error::CommandError;

/// The certificate authorities that are believed: the public ones, and those of `[outbound]`.
pub(crate) fn roots(config: &Config) -> Result<TlsRoots, CommandError> {
    let Some(path) = &config.outbound_certificates else {
        return TlsRoots::new(&[])
            .map_err(|error| CommandError::failed("TLS cannot be used").because(&error));
    };
    let unusable = |error: &dyn std::error::Error| {
        CommandError::usage(format!(
            "cannot use `certificates` of `[outbound]`, {}",
            path.display()
        ))
        .because(error)
        .hint("the file must hold PEM blocks that begin with -----BEGIN CERTIFICATE-----")
    };
    let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
    // An empty file would silently mean: none.
    if pem.is_empty() {
        return Err(unusable(&doorward_outbound::RootsError::Empty));
    }
    TlsRoots::new(&pem).map_err(|error| unusable(&error))
}

/// The client itself.
pub(crate) fn fetcher(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Fetch>, CommandError> {
    Ok(Arc::new(Fetcher::new(FetcherParts {
        roots: roots(config)?,
        resolver: Arc::new(SystemResolver),
        clock: Arc::clone(clock),
    })))
}
