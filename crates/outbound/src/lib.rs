//! The only HTTP client for documents whose address somebody else wrote down: metadata documents of
//! clients, key sets, and the answers of an authorization server that is asked about tokens ([`PostForm`]).
//!
//! Every fetch says who named its destination ([`Destination`]). What a peer named is only ever dialled at a
//! public address: the name is resolved once, **every** address of the answer is judged ([`address`]), and the
//! connection is made to one of the judged addresses, so that a name that changes its mind between the check
//! and the connection gains nothing (DNS rebinding). Nothing is followed, nothing is sent that could tell who
//! asks, nothing is read past a cap, nothing lasts longer than a few seconds.
//!
//! [`Fetch`] is the seam: rules and tests above hold the network through it.
//!
//! [`GuardedClient`] is the same guard for programs that talk to a server for long: any request, connections that are
//! kept, bodies that stream.

pub mod address;
mod body;
mod client;
mod connect;
mod connector;
mod fetcher;
mod freshness;
mod guarded;
mod jwks;
mod patience;
mod proxy;
mod resolve;

pub use address::AddressSpace;
pub use body::ResponseBody;
pub use client::MAX_BODY;
pub use connect::{RootsError, TlsRoots};
pub use fetcher::{Fetcher, FetcherParts, may_fetch};
pub use guarded::{ClientError, ClientOptions, GuardedClient};
pub use jwks::{JwksCache, MAX_CLIENT_KEYS};
pub use proxy::{ProxyError, ProxyRules};
pub use resolve::{Resolve, SystemResolver};

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use url::Url;

use crate::address::AddressClass;

/// Who named the address of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// The operator, in the configuration: any address.
    Configured,
    /// Somebody else: public addresses only.
    Named {
        /// Whether the peer that named it connected over loopback to a server that is itself only reached
        /// there. Then loopback addresses are fine, too (client id metadata document draft, section 6.5).
        by_loopback_peer: bool,
    },
    /// A server that a client talks to, at an address in this space: nothing nearer to us than the server itself, and
    /// never a link-local, multicast or reserved address (MCP security best practices, "SSRF").
    NamedFrom(AddressSpace),
}

/// A document that was read: status 200, a JSON content type, at most [`MAX_BODY`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes as they came.
    pub body: Bytes,
    /// How long it is fresh by its own headers (RFC 9111 §4.2); `None` if they say nothing.
    pub fresh_for: Option<Duration>,
}

/// Why there is no document. Nothing here is ever remembered as a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not an `https` URL with a host, or one with a user name; or `http` where the operator did not write it down, or to
    /// another host than this machine.
    #[error("only https URLs are fetched")]
    NotHttps,
    /// The host has no address.
    #[error("the host name has no address")]
    Unresolved,
    /// At least one of the host's addresses is not for us to dial.
    #[error("the host has an address that is not public ({0})")]
    Forbidden(AddressClass),
    /// No connection, or it broke.
    #[error("the host cannot be reached")]
    Unreachable,
    /// The certificate is not valid for the host, or TLS failed otherwise.
    #[error("TLS with the host failed")]
    Tls,
    /// The answer is not HTTP, or ended too early.
    #[error("the answer is not HTTP")]
    Broken,
    /// A redirect: never followed.
    #[error("the answer is a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// Another status than 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// Not a JSON content type.
    #[error("the answer is not declared as JSON")]
    ContentType,
    /// Compressed although we accept only plain bytes.
    #[error("the answer is compressed")]
    Encoded,
    /// Longer than [`MAX_BODY`].
    #[error("the answer is too long")]
    TooLong,
    /// Not complete within the time limit.
    #[error("the answer did not come in time")]
    TimedOut,
    /// Too many fetches at once.
    #[error("too many documents are being fetched")]
    Busy,
    /// This host, or this document of it, failed too often just now.
    #[error("this address failed too often: try again in a minute")]
    CoolingDown,
    /// The document was read, but is not a key set that we use.
    #[error("not a usable key set")]
    NotAKeySet,
}

impl FetchError {
    /// Whether every document of the host would have failed like this.
    pub(crate) const fn is_of_host(&self) -> bool {
        matches!(
            self,
            Self::Unresolved | Self::Forbidden(_) | Self::Unreachable | Self::Tls | Self::TimedOut
        )
    }
}

/// Asks endpoints. Production uses [`Fetcher`]; tests hold the network.
#[async_trait]
pub trait PostForm: Send + Sync + 'static {
    /// POSTs a form to an endpoint that the operator wrote down, as whom `authorization` says. Every call is a request
    /// of its own, and nothing is remembered.
    async fn post_form(
        &self,
        url: &Url,
        authorization: HeaderValue,
        form: String,
    ) -> Result<Fetched, FetchError>;
}

/// Reads documents. Production uses [`Fetcher`]; tests hold the network.
#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    /// GETs the document at `url`, which `destination` named.
    async fn fetch(&self, url: &Url, destination: Destination) -> Result<Fetched, FetchError>;
}
