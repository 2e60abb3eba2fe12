//! What goes wrong, in words that name the hop, the document, the rule and the remedy.

use std::fmt;

use url::Url;

use crate::http::TransportError;

/// A step of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The request to the MCP server that was refused with a challenge.
    McpServer,
    /// Protected resource metadata (RFC 9728).
    ResourceMetadata,
    /// Authorization server metadata (RFC 8414, OpenID Connect Discovery).
    ServerMetadata,
    /// Dynamic client registration (RFC 7591).
    Registration,
    /// The authorization request, in the browser.
    Authorization,
    /// The authorization response at the redirect URI.
    Callback,
    /// The token endpoint.
    Token,
    /// The device authorization endpoint (RFC 8628).
    DeviceAuthorization,
    /// Token exchange at the company's identity provider (RFC 8693).
    TokenExchange,
    /// Single sign-on at the company's identity provider (OpenID Connect).
    SignOn,
    /// The revocation endpoint (RFC 7009).
    Revocation,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::McpServer => "the MCP server",
            Self::ResourceMetadata => "protected resource metadata",
            Self::ServerMetadata => "authorization server metadata",
            Self::Registration => "client registration",
            Self::Authorization => "the authorization request",
            Self::Callback => "the authorization response",
            Self::Token => "the token endpoint",
            Self::DeviceAuthorization => "the device authorization endpoint",
            Self::TokenExchange => "the token exchange at the identity provider",
            Self::SignOn => "single sign-on at the identity provider",
            Self::Revocation => "the revocation endpoint",
        })
    }
}

/// A server does not do what the specification asks for, so it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which step.
    pub hop: Hop,
    /// The document or endpoint, if there is one.
    pub url: Option<Url>,
    /// The id of the rule in `docs/requirements.toml`, e.g. `D7`.
    pub rule: &'static str,
    /// The public clause, e.g. `RFC 8414 §3.3`.
    pub clause: &'static str,
    /// What is wrong, with the offending value if it is not secret, escaped and cut.
    pub problem: String,
    /// What who must change.
    pub remedy: String,
}

impl Refusal {
    /// A refusal of what stands at `url`, by `(rule, clause)`. `problem` and `remedy` hold text of servers only as
    /// [`shown`](crate::text::shown) gives it.
    #[must_use]
    pub fn new(
        hop: Hop,
        url: Option<&Url>,
        (rule, clause): (&'static str, &'static str),
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            hop,
            url: url.cloned(),
            rule,
            clause,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<crate::provider::ProviderError> for Error {
    fn from(error: crate::provider::ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hop)?;
        if let Some(url) = &self.url {
            write!(f, " ({url})")?;
        }
        write!(f, ": {} [{}, {}]", self.problem, self.rule, self.clause)
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server breaks a rule.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A server cannot be asked.
    #[error("{hop} ({url}): {source}")]
    Unreachable {
        /// Which step.
        hop: Hop,
        /// Where.
        url: Box<Url>,
        /// Why.
        source: TransportError,
    },
    /// An authorization server answered with an OAuth error (RFC 6749 §4.1.2.1, §5.2).
    #[error("{hop} answered {code}{}", .description.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Answered {
        /// Which step.
        hop: Hop,
        /// The `error` member, if it is one of the code's alphabet.
        code: String,
        /// The `error_description`, escaped and cut.
        description: Option<String>,
    },
    /// Somebody has to do something first: type a client id, log in, allow a scope.
    #[error("{0}")]
    NeedsUser(String),
    /// Tried as often as the rules allow (step-up, endless 401).
    #[error("gave up after {tries} {}: {why}", if *tries == 1 { "try" } else { "tries" })]
    GaveUp {
        /// How often.
        tries: u8,
        /// What the last answer said.
        why: String,
    },
    /// The key that tokens are bound to does not work.
    #[error(transparent)]
    Dpop(#[from] crate::dpop::DpopError),
    /// The key that the client authenticates with does not work.
    #[error("the client's key cannot sign: {0}")]
    Key(#[from] doorward_jose::SigningError),
    /// The place where tokens are kept does not work.
    #[error("the token store: {0}")]
    Provider(#[source] crate::provider::ProviderError),
}
