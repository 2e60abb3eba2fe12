//! From names to addresses.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Resolves names. Production uses [`SystemResolver`]; tests hold DNS.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Every address of a host name.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// What the machine is configured to ask: hosts file, DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut addresses: Vec<IpAddr> = tokio::net::lookup_host((host, 443))
            .await?
            .map(|address| address.ip())
            .collect();
        addresses.dedup();
        Ok(addresses)
    }
}
