//! What the gateway is told when it is made.

use std::sync::Arc;
use std::time::Duration;

use doorward_policy::ProtectedServer;
use doorward_types::url::Issuer;
use http::HeaderName;

use crate::limit::RateLimits;
use crate::standing::Standing;
use crate::upstream::Upstream;

/// How the gateway behaves. [`Settings::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own URL, as configured: its origin is the one browser origin that is always let in.
    pub public_url: String,
    /// Who issues the tokens: what resource metadata names.
    pub issuer: Issuer,
    /// Further browser origins that may use the MCP endpoints, for example `http://localhost:6274`.
    pub allowed_origins: Vec<String>,
    /// Longest request body, in bytes.
    pub body_limit: usize,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// How long an upstream may take to connect to, TLS included.
    pub connect_timeout: Duration,
    /// How long an upstream may take until the head of its answer. A tool that answers in plain JSON works
    /// all that time, so this is long.
    pub head_timeout: Duration,
    /// How long a stream may last, ± 10 % so that many do not come back at once.
    pub stream_lifetime: Duration,
    /// What TLS to upstreams trusts; the public certificate authorities if not given.
    pub upstream_tls: Option<rustls::ClientConfig>,
}

impl Settings {
    /// The defaults: 4 MiB bodies in 25 s, 2 s to connect, 5 min to answer, streams of 1 h.
    #[must_use]
    pub fn new(public_url: impl Into<String>, issuer: Issuer) -> Self {
        Self {
            public_url: public_url.into(),
            issuer,
            allowed_origins: Vec::new(),
            body_limit: 4 << 20,
            body_timeout: Duration::from_secs(25),
            connect_timeout: Duration::from_secs(2),
            head_timeout: Duration::from_secs(300),
            stream_lifetime: Duration::from_secs(3600),
            upstream_tls: None,
        }
    }
}

/// One protected server and where it really is.
#[derive(Clone, Debug)]
pub struct Server {
    /// What policy, metadata and challenges say about it.
    pub protected: Arc<ProtectedServer>,
    /// Where its calls go.
    pub upstream: Upstream,
    /// Whether calls without an `Authorization` header are let in. Calls with one are judged as anywhere.
    pub anonymous: bool,
    /// Names of client headers that pass to an HTTP upstream besides those of MCP. Whoever names them sees to it
    /// that no server believes them for who the caller is.
    pub forward_headers: Vec<HeaderName>,
    /// Instead of [`Settings::connect_timeout`].
    pub connect_timeout: Option<Duration>,
    /// Instead of [`Settings::head_timeout`].
    pub head_timeout: Option<Duration>,
    /// How often somebody may call it.
    pub limits: RateLimits,
    /// What becomes of its open streams when the configuration changes.
    pub standing: Arc<Standing>,
}

impl Server {
    /// A server that asks for a token and has the settings of all.
    #[must_use]
    pub fn new(protected: Arc<ProtectedServer>, upstream: Upstream) -> Self {
        Self {
            standing: Standing::new(),
            protected,
            upstream,
            anonymous: false,
            forward_headers: Vec::new(),
            connect_timeout: None,
            head_timeout: None,
            limits: RateLimits::default(),
        }
    }
}

/// Why a gateway cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// `public_url` has no origin.
    #[error("`public_url` must be an http or https URL")]
    PublicUrl,
    /// An entry of `allowed_origins` is not an origin.
    #[error(
        "`allowed_origins`: `{0}` is not an origin: write scheme, host and port only, for example http://localhost:6274"
    )]
    AllowedOrigin(String),
    /// Two servers have the same path, or one has the path of a metadata document.
    #[error("two servers would answer at `{0}`: give each its own `path`")]
    PathTaken(String),
    /// A path that no request could have.
    #[error(
        "`{0}` cannot be the path of a server: write it with a leading slash, without `?`, `#`, spaces or empty and dot segments"
    )]
    Path(String),
    /// An upstream's URL cannot be used.
    #[error("`{0}` cannot be an upstream: write an http or https URL without user name and fragment")]
    Upstream(String),
    /// TLS towards upstreams cannot be set up.
    #[error("TLS towards upstreams cannot be set up")]
    Tls(#[source] rustls::Error),
    /// A metadata document cannot be written.
    #[error("the resource metadata cannot be written")]
    Metadata(#[source] serde_json::Error),
}
