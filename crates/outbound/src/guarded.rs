//! A client for programs that talk to a server for long: any request, kept connections, streaming bodies. The guard is
//! the [`Fetcher`](crate::Fetcher)'s: every address judged, the judged address dialled, nothing followed.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use crate::address::{AddressClass, AddressSpace};
use crate::body::ResponseBody;
use crate::connect::TlsRoots;
use crate::connector::{Connector, Way};
use crate::proxy::ProxyRules;
use crate::resolve::{Resolve, SystemResolver};
use crate::{Destination, FetchError};

/// The most that is read of an answer's head.
const MAX_HEAD: usize = 64 * 1024;
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);
/// Connections to one host that nobody uses.
const IDLE_PER_HOST: usize = 4;
/// How often a connection with HTTP/2 is asked whether it lives.
const PING: Duration = Duration::from_secs(30);

/// How a [`GuardedClient`] reaches the world.
#[derive(Clone)]
pub struct ClientOptions {
    /// Whose certificates are believed.
    pub roots: TlsRoots,
    /// Where addresses come from.
    pub resolver: Arc<dyn Resolve>,
    /// Which requests go through a proxy.
    pub proxy: ProxyRules,
    /// Whether only IPv4 addresses are dialled. All are judged nevertheless.
    pub ipv4_only: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether what the user typed may be asked without TLS at an address that is not this machine's.
    pub insecure_http: bool,
    /// From the name to the end of the TLS handshake.
    pub connect_timeout: Duration,
    /// From the request to the head of the answer, connecting included; `None` leaves it to the caller.
    pub head_timeout: Option<Duration>,
    /// The longest silence within a body; `None` leaves it to the caller.
    pub gap_timeout: Option<Duration>,
    /// Who we say we are where the request does not.
    pub user_agent: HeaderValue,
}

impl ClientOptions {
    /// No proxy, HTTP/1.1, ten seconds to connect, no other limit of time, the system's resolver.
    #[must_use]
    pub fn new(roots: TlsRoots) -> Self {
        Self {
            roots,
            resolver: Arc::new(SystemResolver),
            proxy: ProxyRules::direct(),
            ipv4_only: false,
            http2: false,
            insecure_http: false,
            connect_timeout: Duration::from_secs(10),
            head_timeout: None,
            gap_timeout: None,
            user_agent: HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

/// Why there is no answer, or no more of it. The words are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not an absolute `http` or `https` URL with a host, or one with a user name.
    #[error("only http and https URLs with a host and without a user name are asked")]
    NotHttp,
    /// `http` to another machine.
    #[error("{0} would be asked without TLS: only https addresses are used, or http on this machine")]
    NotHttps(String),
    /// The name has no address.
    #[error("the host name {host} has no address ({detail})")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        detail: String,
    },
    /// An address of the host is not for a server to name.
    #[error("{host} has an address that a server may not send us to ({class})")]
    Forbidden {
        /// The host.
        host: String,
        /// What the address is for.
        class: AddressClass,
    },
    /// No connection.
    #[error("{host} cannot be reached: {detail}")]
    Unreachable {
        /// The host.
        host: String,
        /// What the system said.
        detail: String,
    },
    /// The certificate is not valid for the host, or TLS failed otherwise.
    #[error("TLS with {host} failed: {detail}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        detail: String,
    },
    /// The proxy does not let us through.
    #[error("the proxy {proxy} {detail}")]
    Proxy {
        /// Its host.
        proxy: String,
        /// What it did.
        detail: String,
    },
    /// The answer is not HTTP, or its head is too long.
    #[error("the answer is not HTTP that we read: {0}")]
    Broken(String),
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer did")]
    Ended,
    /// Compressed although only plain bytes are accepted.
    #[error("the answer is compressed although that was not asked for")]
    Encoded,
    /// Longer than the caller reads, in bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// Something did not come in time.
    #[error("{0} did not come in time")]
    TimedOut(&'static str),
    /// No connection in time.
    #[error("{host} did not answer in time")]
    ConnectTimedOut {
        /// The host.
        host: String,
    },
}

impl ClientError {
    /// Whether the request cannot have arrived: it can be sent again without being done twice.
    #[must_use]
    pub const fn nothing_sent(&self) -> bool {
        matches!(
            self,
            Self::NotHttp
                | Self::NotHttps(_)
                | Self::Unresolved { .. }
                | Self::Forbidden { .. }
                | Self::Unreachable { .. }
                | Self::Tls { .. }
                | Self::Proxy { .. }
                | Self::ConnectTimedOut { .. }
        )
    }

    /// Whether the same request may well work later (a server that restarts, a network that comes back).
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unresolved { .. }
                | Self::Unreachable { .. }
                | Self::Proxy { .. }
                | Self::Ended
                | Self::TimedOut(_)
                | Self::ConnectTimedOut { .. }
        )
    }

    pub(crate) fn of_judgement(error: &FetchError, host: &str) -> Self {
        match error {
            FetchError::Forbidden(class) => Self::Forbidden {
                host: host.to_owned(),
                class: *class,
            },
            _ => Self::Unresolved {
                host: host.to_owned(),
                detail: "the answer is empty".to_owned(),
            },
        }
    }

    pub(crate) fn of_hyper(error: &hyper::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut("the answer");
        }
        let io = error.source().is_some_and(|source| source.is::<std::io::Error>());
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io {
            return Self::Ended;
        }
        Self::Broken(error.to_string())
    }

    /// What the pool says of a failure: ours, if the connector failed.
    fn of_pool(error: &legacy::Error) -> Self {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(ours) = cause.downcast_ref::<Self>() {
                return ours.clone();
            }
            if let Some(theirs) = cause.downcast_ref::<hyper::Error>() {
                return Self::of_hyper(theirs);
            }
            source = cause.source();
        }
        Self::Broken(error.to_string())
    }
}

/// Sends requests. Cheap to clone; clones share connections and what is known of hosts.
#[derive(Clone)]
pub struct GuardedClient(Arc<Inner>);

struct Inner {
    way: Arc<Way>,
    /// One pool for each kind of destination: a connection that was judged for one is never used for another.
    pools: HashMap<Destination, Client<Connector, Full<Bytes>>>,
}

impl GuardedClient {
    /// A client without connections.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        let way = Arc::new(Way::new(options));
        let pools = [
            Destination::Configured,
            Destination::Named {
                by_loopback_peer: false,
            },
            Destination::Named {
                by_loopback_peer: true,
            },
            Destination::NamedFrom(AddressSpace::Loopback),
            Destination::NamedFrom(AddressSpace::Private),
            Destination::NamedFrom(AddressSpace::Public),
        ]
        .map(|destination| (destination, pool(Connector::new(&way, destination))));
        Self(Arc::new(Inner {
            way,
            pools: pools.into_iter().collect(),
        }))
    }

    /// Sends `request`, whose URI is absolute, to a destination that `destination` named, and gives what comes back as
    /// soon as its head is there, redirects included. Nothing is decompressed: an answer that is compressed is an error.
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        destination: Destination,
    ) -> Result<Response<ResponseBody>, ClientError> {
        let options = &self.0.way.options;
        self.prepare(&mut request)?;
        let pool = self.0.pools.get(&destination).ok_or(ClientError::NotHttp)?;
        let answer = pool.request(request.map(Full::new));
        let answer = match options.head_timeout {
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_| ClientError::TimedOut("the answer"))?,
            None => answer.await,
        };
        let response = answer.map_err(|error| ClientError::of_pool(&error))?;
        // The buffer's limit depends on how the bytes happen to arrive.
        let head = response.headers().iter();
        if head
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum::<usize>()
            > MAX_HEAD
        {
            return Err(ClientError::Broken("its head is too long".to_owned()));
        }
        let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !response.headers().get_all(CONTENT_ENCODING).iter().all(plain) {
            return Err(ClientError::Encoded);
        }
        Ok(response.map(|body| ResponseBody::new(body, options.gap_timeout)))
    }

    /// The address space of the host of a URL that somebody typed: the farthest in which an address of it was ever seen by
    /// this client, so that a name cannot look near when it is asked about and be far when it is talked to. Unknown behind a
    /// proxy that resolves names: then the farthest.
    pub async fn address_space(&self, url: &Url) -> Result<AddressSpace, ClientError> {
        self.0.way.address_space(url).await
    }

    /// Whether `destination` may have named this URL, by the addresses that its host has now. Nothing is dialled: this is for
    /// URLs that are handed to somebody else, such as a browser.
    pub async fn judge(&self, url: &Url, destination: Destination) -> Result<(), ClientError> {
        self.0.way.judge(url, destination).await
    }

    fn prepare(&self, request: &mut Request<Bytes>) -> Result<(), ClientError> {
        let options = &self.0.way.options;
        check(request.uri())?;
        let plain = request.uri().scheme() == Some(&Scheme::HTTP);
        // With TLS the credentials of the proxy go with CONNECT, and no further.
        let for_proxy = if plain && !options.proxy.is_direct() {
            let url = Url::parse(&request.uri().to_string()).map_err(|_| ClientError::NotHttp)?;
            options
                .proxy
                .of(&url)
                .and_then(|proxy| proxy.authorization.clone())
        } else {
            None
        };
        let headers = request.headers_mut();
        headers.remove(PROXY_AUTHORIZATION);
        if let Some(value) = for_proxy {
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        if !headers.contains_key(ACCEPT_ENCODING) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, options.user_agent.clone());
        }
        Ok(())
    }
}

fn pool(connector: Connector) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .http1_max_buf_size(MAX_HEAD)
        .http2_max_header_list_size(MAX_HEAD as u32)
        .http2_keep_alive_interval(PING)
        .build(connector)
}

/// What no connection is even looked for.
fn check(uri: &Uri) -> Result<(), ClientError> {
    let http = uri
        .scheme()
        .is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if http && !authority.is_empty() && !authority.contains('@') {
        Ok(())
    } else {
        Err(ClientError::NotHttp)
    }
}

#[cfg(test)]
mod tests;
