//! Keys and verdicts from the authorization server (feature `remote`). Needs a tokio runtime.

mod asking;
mod introspection;
mod keys;

use std::sync::Arc;

use doorward_outbound::{Destination, Fetcher, FetcherParts, RootsError, SystemResolver, TlsRoots};
use doorward_types::id::Tenant;
use doorward_types::time::Clock;
use doorward_types::url::Issuer;
use url::Url;

use crate::keys::KeySource;
use crate::verify::TokenVerifier;

pub use introspection::{Introspection, IntrospectionSettings, IntrospectionVerifier};
pub use keys::RemoteKeys;

/// Why nothing can be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The certificates.
    #[error("the certificates cannot be used: {0}")]
    Certificates(#[from] RootsError),
    /// An address of the authorization server.
    #[error("`{0}` is no address to fetch from: it must be https (http is for loopback hosts only)")]
    Address(String),
}

/// What the builder of a resource server knows about fetching.
#[derive(Default)]
pub(crate) struct RemoteSettings {
    pub(crate) certificates: Vec<u8>,
}

impl RemoteSettings {
    fn fetcher(&self, clock: &Arc<dyn Clock>) -> Result<Arc<Fetcher>, RemoteError> {
        Ok(Arc::new(Fetcher::new(FetcherParts {
            roots: TlsRoots::new(&self.certificates)?,
            resolver: Arc::new(SystemResolver),
            clock: Arc::clone(clock),
        })))
    }

    pub(crate) fn discovered_keys(
        &self,
        issuer: &Issuer,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn KeySource>, RemoteError> {
        let fetcher = self.fetcher(clock)?;
        Ok(Arc::new(RemoteKeys::of_issuer(
            fetcher,
            Arc::clone(clock),
            issuer.clone(),
        )))
    }

    pub(crate) fn keys_at(
        &self,
        url: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn KeySource>, RemoteError> {
        let url = address(url)?;
        let fetcher = self.fetcher(clock)?;
        Ok(Arc::new(RemoteKeys::at(fetcher, Arc::clone(clock), url)))
    }

    pub(crate) fn introspecting(
        &self,
        introspection: Introspection,
        issuer: &Issuer,
        tenant: Option<Tenant>,
        clock: &Arc<dyn Clock>,
        remembered: usize,
    ) -> Result<Arc<dyn TokenVerifier>, RemoteError> {
        let endpoint = address(&introspection.endpoint)?;
        Ok(Arc::new(IntrospectionVerifier::new(IntrospectionSettings {
            endpoint,
            client_id: introspection.client_id,
            client_secret: introspection.client_secret,
            issuer: issuer.clone(),
            tenant,
            asker: self.fetcher(clock)?,
            clock: Arc::clone(clock),
            cache_capacity: remembered,
        })))
    }
}

/// An address that the author of the server wrote down.
fn address(text: &str) -> Result<Url, RemoteError> {
    let url = Url::parse(text).map_err(|_| RemoteError::Address(text.into()))?;
    if doorward_outbound::may_fetch(&url, Destination::Configured) {
        return Ok(url);
    }
    Err(RemoteError::Address(text.into()))
}
