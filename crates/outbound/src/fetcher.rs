//! The client that is shipped: one fetch per URL at a time, few at once, none for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use doorward_types::digest::Digest;
use doorward_types::time::Clock;
use doorward_types::url::is_loopback;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderValue;
use tokio::sync::Semaphore;
use url::{Host, Position, Url};

use crate::connect::TlsRoots;
use crate::patience::Patience;
use crate::resolve::Resolve;
use crate::{Destination, Fetch, FetchError, Fetched, PostForm, address, client};

/// From the beginning to the last byte, waiting for a place included.
const TOTAL: Duration = Duration::from_secs(5);
/// Fetches at once. Each holds a descriptor and at most about 100 KiB.
const AT_ONCE: usize = 256;
/// Fetches at once from one host: a host that never ends its answers cannot take all places.
const PER_HOST: usize = 8;

/// What a [`Fetcher`] is made of.
pub struct FetcherParts {
    /// Whose certificates are believed.
    pub roots: TlsRoots,
    /// Where addresses come from.
    pub resolver: Arc<dyn Resolve>,
    /// For the time between failures.
    pub clock: Arc<dyn Clock>,
}

/// Fetches documents over https. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

type Flight = Shared<BoxFuture<'static, Result<Fetched, FetchError>>>;

struct Inner {
    parts: FetcherParts,
    patience: Patience,
    places: Semaphore,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    flights: Mutex<HashMap<(String, Destination), Flight>>,
}

impl Fetcher {
    /// A client without a fetch under way.
    #[must_use]
    pub fn new(parts: FetcherParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            patience: Patience::default(),
            places: Semaphore::new(AT_ONCE),
            hosts: Mutex::default(),
            flights: Mutex::default(),
        }))
    }

    /// The fetch of this URL that is under way, or a new one. It runs on its own, so that a caller who goes
    /// away does not end it for the others.
    fn flight(&self, url: &Url, destination: Destination) -> Flight {
        let key = (url.as_str().to_owned(), destination);
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (inner, url) = (Arc::clone(&self.0), url.clone());
        let ended = key.clone();
        let task = tokio::spawn(async move {
            let result = inner.limited(&url, destination).await;
            let mut flights = inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
            flights.remove(&ended);
            result
        });
        let flight = async move { task.await.unwrap_or(Err(FetchError::Broken)) }
            .boxed()
            .shared();
        flights.insert(key, flight.clone());
        flight
    }
}

#[async_trait]
impl Fetch for Fetcher {
    async fn fetch(&self, url: &Url, destination: Destination) -> Result<Fetched, FetchError> {
        if !may_fetch(url, destination) {
            return Err(FetchError::NotHttps);
        }
        self.flight(url, destination).await
    }
}

/// Whether a URL of this form is fetched at all: `https`, or `http` on loopback where the operator wrote it down.
#[must_use]
pub fn may_fetch(url: &Url, destination: Destination) -> bool {
    let named = url.host_str().is_some_and(|host| !host.is_empty());
    let plain = url.scheme() == "http" && destination == Destination::Configured && is_loopback(url);
    (url.scheme() == "https" || plain) && named && url.username().is_empty() && url.password().is_none()
}

#[async_trait]
impl PostForm for Fetcher {
    async fn post_form(
        &self,
        url: &Url,
        authorization: HeaderValue,
        form: String,
    ) -> Result<Fetched, FetchError> {
        if !may_fetch(url, Destination::Configured) {
            return Err(FetchError::NotHttps);
        }
        let request = client::form(url, authorization, form)?;
        let inner = Arc::clone(&self.0);
        let asking = async {
            let of_host = inner.places_of(url.host_str().unwrap_or_default());
            let _near = of_host.acquire().await.map_err(|_| FetchError::Busy)?;
            let _place = inner.places.acquire().await.map_err(|_| FetchError::Busy)?;
            let addresses = inner.addresses(url, Destination::Configured).await?;
            client::exchange(&inner.parts.roots, url, &addresses, request).await
        };
        let answer = tokio::time::timeout(TOTAL, asking).await;
        inner.forget_idle_hosts();
        answer.unwrap_or(Err(FetchError::TimedOut))
    }
}

impl Inner {
    /// Within the time, with a place, of a host and a document that have not failed too often.
    async fn limited(&self, url: &Url, destination: Destination) -> Result<Fetched, FetchError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let document = Digest::of(url.as_str().as_bytes()).to_string();
        let now = || self.parts.clock.monotonic();
        if !self.patience.allows(authority, now()) || !self.patience.allows(&document, now()) {
            return Err(FetchError::CoolingDown);
        }
        let limited = async {
            // First the host's place: who waits for a slow host holds none of the others.
            let of_host = self.places_of(&host);
            let _near = of_host.acquire().await.map_err(|_| FetchError::Busy)?;
            let _place = self.places.acquire().await.map_err(|_| FetchError::Busy)?;
            self.fetch(url, destination).await
        };
        let result = tokio::time::timeout(TOTAL, limited)
            .await
            .unwrap_or(Err(FetchError::TimedOut));
        if let Err(error) = &result {
            tracing::debug!(host = ?host, %error, "outbound: no document");
            // A host that answers is well. Whoever names what does not exist there must not keep everybody else
            // from what does.
            let failed = if error.is_of_host() { authority } else { &document };
            self.patience.failed(failed, now());
        }
        self.forget_idle_hosts();
        result
    }

    async fn fetch(&self, url: &Url, destination: Destination) -> Result<Fetched, FetchError> {
        let addresses = self.addresses(url, destination).await?;
        client::get(&self.parts.roots, url, &addresses).await
    }

    /// The addresses of the host, judged: any that the operator wrote down, but without TLS only this machine's.
    async fn addresses(&self, url: &Url, destination: Destination) -> Result<Vec<IpAddr>, FetchError> {
        let addresses = match url.host() {
            Some(Host::Ipv4(address)) => vec![IpAddr::V4(address)],
            Some(Host::Ipv6(address)) => vec![IpAddr::V6(address)],
            Some(Host::Domain(name)) => self
                .parts
                .resolver
                .resolve(name)
                .await
                .map_err(|_| FetchError::Unresolved)?,
            None => return Err(FetchError::NotHttps),
        };
        let addresses = address::judge(addresses, destination)?;
        if url.scheme() == "http" && !addresses.iter().all(IpAddr::is_loopback) {
            return Err(FetchError::NotHttps);
        }
        Ok(addresses)
    }

    fn places_of(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let places = hosts
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(PER_HOST)));
        Arc::clone(places)
    }

    /// The map holds only hosts that are being asked.
    fn forget_idle_hosts(&self) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, places| Arc::strong_count(places) > 1);
    }
}

#[cfg(test)]
mod tests;
