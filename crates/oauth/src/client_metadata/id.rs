//! A client id that is a URL (draft-ietf-oauth-client-id-metadata-document section 3).

use url::{Host, Url};

/// The longest client id URL, in bytes.
pub const MAX_CLIENT_ID: usize = 2048;

/// Why a client id is not the address of a metadata document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdUrlError {
    /// Longer than [`MAX_CLIENT_ID`].
    #[error("it is too long")]
    TooLong,
    /// Another scheme than `https`.
    #[error("it does not begin with https://")]
    NotHttps,
    /// Not in the form that a URL parser would give it: upper case in the host, a default port, dot segments,
    /// characters that are not percent-encoded, or no URL at all.
    #[error("it is not a URL in normal form")]
    NotNormal,
    /// No path.
    #[error("it has no path")]
    NoPath,
    /// A fragment.
    #[error("it has a fragment")]
    Fragment,
    /// A user name or password.
    #[error("it has a user name or a password")]
    Userinfo,
    /// A single-dot or double-dot path segment, percent-encoded ones included.
    #[error("its path has dot segments")]
    DotSegments,
    /// An IP address, or a host name that ends with a dot: nobody vouches for those by name.
    #[error("its host is not a plain host name")]
    Host,
}

/// A client id that is the address of a metadata document. It is compared byte for byte, so only one spelling
/// of each address is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdUrl {
    url: Url,
    text: String,
}

/// Whether a client id is meant as a URL: then it is judged as one, and never looked up as a name that somebody
/// registered.
#[must_use]
pub fn is_url(client_id: &str) -> bool {
    client_id.contains("://")
}

impl ClientIdUrl {
    /// Judges a client id.
    pub fn parse(text: &str) -> Result<Self, ClientIdUrlError> {
        if text.len() > MAX_CLIENT_ID {
            return Err(ClientIdUrlError::TooLong);
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(ClientIdUrlError::NotHttps);
        };
        if text.contains('#') {
            return Err(ClientIdUrlError::Fragment);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '\\']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(ClientIdUrlError::Userinfo);
        }
        if !path.starts_with('/') {
            return Err(ClientIdUrlError::NoPath);
        }
        let path = path.split('?').next().unwrap_or_default();
        if path.split(['/', '\\']).any(is_dot_segment) {
            return Err(ClientIdUrlError::DotSegments);
        }
        let url = Url::parse(text).map_err(|_| ClientIdUrlError::NotNormal)?;
        match url.host() {
            Some(Host::Domain(name)) if !name.ends_with('.') => {}
            _ => return Err(ClientIdUrlError::Host),
        }
        if url.as_str() != text {
            return Err(ClientIdUrlError::NotNormal);
        }
        Ok(Self {
            url,
            text: text.into(),
        })
    }

    /// The text, byte for byte as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the document is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host without port, in lower case: what vouches for the client, and what policies name.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The host with its port if it is not 443: what people are shown.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }
}

/// `.` and `..`, also as `%2e` (the WHATWG parser reads those alike).
fn is_dot_segment(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}
