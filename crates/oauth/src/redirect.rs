//! Redirect URIs: which may be registered, and when a requested one is a registered one
//! (OAuth 2.1 draft 13 §2.3, RFC 8252 §7).

use url::Url;

/// The longest redirect URI that is registered, in bytes.
pub const MAX_BYTES: usize = 2048;

/// Loopback hosts in the spellings that are accepted. Others (`127.1`, `2130706433`, `0.0.0.0`, …) are
/// not: browsers and resolvers do not agree on them.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What a redirect URI leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectKind {
    /// A web site: `https` with this authority (host, and port if there is one).
    Web(String),
    /// A listener on the person's own machine, on any port.
    Loopback,
    /// An app, through a custom scheme that any local program could claim.
    CustomScheme(String),
}

/// A redirect URI that may be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    registered: String,
    kind: RedirectKind,
}

/// Why a redirect URI may not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Longer than [`MAX_BYTES`].
    #[error("a redirect URI is too long")]
    TooLong,
    /// Not an absolute URL, not in the form a browser would give it, or with characters that do not
    /// belong in one.
    #[error(
        "a redirect URI is not an absolute URL in normal form (lower-case scheme and host, no default port, no dot segments, everything else percent-encoded)"
    )]
    NotNormal,
    /// `http` to a host that is not loopback (S4).
    #[error("a redirect URI is http to a host that is not localhost, 127.0.0.1 or [::1]: use https")]
    InsecureHttp,
    /// A scheme that is neither listed nor a reversed domain name (RFC 8252 §7.1).
    #[error(
        "a redirect URI has a scheme that is not allowed: use https, a loopback address or a reversed domain name such as com.example.app"
    )]
    Scheme,
    /// A fragment (OAuth 2.1 draft 13 §2.3).
    #[error("a redirect URI must not have a fragment")]
    Fragment,
    /// A user name or password.
    #[error("a redirect URI must not carry a user name or password")]
    Userinfo,
    /// A wildcard.
    #[error("a redirect URI must not contain a wildcard")]
    Wildcard,
}

impl RedirectUri {
    /// Judges a redirect URI for registration. `custom_schemes` are allowed besides `https`, loopback and
    /// reversed domain names.
    pub fn parse(text: &str, custom_schemes: &[String]) -> Result<Self, RedirectError> {
        if text.len() > MAX_BYTES {
            return Err(RedirectError::TooLong);
        }
        // The parser would trim, drop tabs and turn backslashes round; a browser does the same, and then
        // it would not go where the text says.
        if !text.bytes().all(|b| matches!(b, 0x21..=0x7e)) || text.contains(['\\', '<', '>', '"', '`']) {
            return Err(RedirectError::NotNormal);
        }
        if text.contains('#') {
            return Err(RedirectError::Fragment);
        }
        if text.contains('*') {
            return Err(RedirectError::Wildcard);
        }
        if let Some(registered) = without_loopback_port(text) {
            in_normal_form(&registered)?;
            return Ok(Self {
                text: text.into(),
                registered,
                kind: RedirectKind::Loopback,
            });
        }
        let url = in_normal_form(text)?;
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(RedirectError::Userinfo);
        }
        let kind = match url.scheme() {
            "https" => RedirectKind::Web(authority(text).into()),
            "http" => return Err(RedirectError::InsecureHttp),
            scheme if custom_schemes.iter().any(|s| s == scheme) || is_reversed_domain(scheme) => {
                RedirectKind::CustomScheme(scheme.into())
            }
            _ => return Err(RedirectError::Scheme),
        };
        Ok(Self {
            text: text.into(),
            registered: text.into(),
            kind,
        })
    }

    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text that is stored: loopback ones without port, because any port matches.
    #[must_use]
    pub fn registered(&self) -> &str {
        &self.registered
    }

    /// What it leads to.
    #[must_use]
    pub fn kind(&self) -> &RedirectKind {
        &self.kind
    }
}

/// Whether a requested redirect URI is the registered one: the same string or, for loopback, the same but
/// for the port (S8; RFC 8252 §7.3).
#[must_use]
pub fn matches(registered: &str, requested: &str) -> bool {
    if registered == requested {
        return true;
    }
    match (
        without_loopback_port(registered),
        without_loopback_port(requested),
    ) {
        (Some(registered), Some(requested)) => registered == requested,
        _ => false,
    }
}

/// Whether it leads to the person's own machine.
#[must_use]
pub fn is_loopback(uri: &str) -> bool {
    without_loopback_port(uri).is_some()
}

/// What consent records and pages call the place it leads to: the host (with port unless loopback), or
/// the scheme with its colon for a custom one.
#[must_use]
pub fn redirect_host(uri: &str) -> String {
    if let Some(bare) = without_loopback_port(uri) {
        return authority(&bare).into();
    }
    match uri.split_once(':') {
        Some(("https" | "http", _)) => authority(uri).into(),
        Some((scheme, _)) => format!("{scheme}:"),
        None => String::new(),
    }
}

/// The text without its port if it is an `http` or `https` URL on a loopback host, else `None`.
fn without_loopback_port(text: &str) -> Option<String> {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| text.starts_with(scheme))?;
    let rest = text.get(scheme.len()..)?;
    let host = LOOPBACK_HOSTS.into_iter().find(|host| rest.starts_with(host))?;
    let after = rest.get(host.len()..)?;
    let tail = match after.strip_prefix(':') {
        Some(with_port) => {
            let end = with_port.find(['/', '?']).unwrap_or(with_port.len());
            let (port, tail) = with_port.split_at(end);
            let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
            port.parse::<u16>().ok().filter(|_| plain)?;
            tail
        }
        None => after,
    };
    (tail.is_empty() || tail.starts_with(['/', '?'])).then(|| format!("{scheme}{host}{tail}"))
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Parses and demands that the parser changed nothing (but a missing `/` for the path).
fn in_normal_form(text: &str) -> Result<Url, RedirectError> {
    let url = Url::parse(text).map_err(|_| RedirectError::NotNormal)?;
    let same = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    if same {
        Ok(url)
    } else {
        Err(RedirectError::NotNormal)
    }
}

fn is_reversed_domain(scheme: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    scheme.contains('.') && scheme.split('.').all(label)
}

#[cfg(test)]
mod tests;
