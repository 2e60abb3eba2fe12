//! Where we listen and under which URL people reach us (`public_url`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use url::Url;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A port of both loopback families: `127.0.0.1` and `[::1]`.
    Localhost(u16),
    /// One address.
    Address(SocketAddr),
}

/// A text does not say where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address to listen on: write `IP:PORT`, `localhost:PORT` or a port alone")]
pub(crate) struct NotAnAddress;

impl Listen {
    /// The port; 0 lets the system choose one.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Localhost(port) => port,
            Self::Address(address) => address.port(),
        }
    }

    /// The same with another port.
    pub(crate) fn with_port(self, port: u16) -> Self {
        match self {
            Self::Localhost(_) => Self::Localhost(port),
            Self::Address(mut address) => {
                address.set_port(port);
                Self::Address(address)
            }
        }
    }

    /// Whether only this machine can connect.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Localhost(_) => true,
            Self::Address(address) => address.ip().is_loopback(),
        }
    }
}

impl FromStr for Listen {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self::Localhost(port));
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            return port.parse().map(Self::Localhost).map_err(|_| NotAnAddress);
        }
        text.parse().map(Self::Address).map_err(|_| NotAnAddress)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a `public_url` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublicUrlError {
    /// It does not parse, or has another scheme.
    #[error("`public_url` must be an absolute URL such as `https://mcp.example.com`")]
    NotAbsolute,
    /// Plain http to another host than loopback.
    #[error("`public_url` must be `https`: plain `http` is served on loopback only")]
    Insecure,
    /// It is written in another way than clients write it.
    #[error("`public_url` must be an origin, written as browsers write it: `{0}`")]
    NotCanonical(String),
}

/// The origin under which people and clients reach us; also the issuer (RFC 8414 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    origin: String,
    authority: String,
    https: bool,
    loopback: bool,
}

impl PublicUrl {
    /// `http://localhost:PORT`.
    pub(crate) fn localhost(port: u16) -> Self {
        let authority = if port == 80 {
            "localhost".into()
        } else {
            format!("localhost:{port}")
        };
        Self {
            origin: format!("http://{authority}"),
            authority,
            https: false,
            loopback: true,
        }
    }

    /// Reads `https://host[:port]`, or `http` on a loopback host. It must be written in the one form that
    /// URL parsers write, because clients compare issuers and resources byte for byte.
    pub(crate) fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotAbsolute)?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(PublicUrlError::NotAbsolute),
        };
        let loopback = doorward_types::url::is_loopback(&url);
        if !https && !loopback {
            return Err(PublicUrlError::Insecure);
        }
        let origin = url.origin().ascii_serialization();
        if origin != text {
            return Err(PublicUrlError::NotCanonical(origin));
        }
        let authority = origin
            .split_once("://")
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default();
        Ok(Self {
            origin,
            authority,
            https,
            loopback,
        })
    }

    /// The text: scheme, host, and port unless it is the scheme's own.
    pub(crate) fn as_str(&self) -> &str {
        &self.origin
    }

    /// Host, and port unless it is the scheme's own: what `Host` must say.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether it is `https`.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether only this machine is meant.
    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The host without the port.
    pub(crate) fn host(&self) -> &str {
        host_of(&self.authority)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// The host of an authority: everything up to the port.
pub(crate) fn host_of(authority: &str) -> &str {
    let after_bracket = authority.rfind(']').unwrap_or(0);
    match authority.get(after_bracket..).and_then(|rest| rest.find(':')) {
        Some(colon) => authority.get(..after_bracket + colon).unwrap_or(authority),
        None => authority,
    }
}

/// Whether a host (without port) names loopback in any spelling that a browser or client would dial.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses that `listen` stands for, the one that must work first. `localhost` in `public_url` is
/// served on both families, since clients try either first.
pub(crate) fn addresses(listen: Listen, public_url: &PublicUrl) -> (SocketAddr, Option<SocketAddr>) {
    let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match listen {
        Listen::Localhost(port) => (v4(port), Some(v6(port))),
        Listen::Address(address) if public_url.host() == "localhost" && address == v4(address.port()) => {
            (address, Some(v6(address.port())))
        }
        Listen::Address(address) if public_url.host() == "localhost" && address == v6(address.port()) => {
            (address, Some(v4(address.port())))
        }
        Listen::Address(address) => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_to_listen() {
        for (text, shown) in [
            ("8080", "localhost:8080"),
            ("localhost:0", "localhost:0"),
            ("0.0.0.0:8443", "0.0.0.0:8443"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            ":8080",
            "example.com:80",
            "localhost",
            "127.0.0.1",
            "70000",
            "::1:80",
        ] {
            assert_eq!(bad.parse::<Listen>(), Err(NotAnAddress), "{bad}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin_in_the_one_form() {
        for good in [
            "https://mcp.example.com",
            "https://a.example:8443",
            "http://localhost:8080",
            "http://[::1]:1",
        ] {
            assert_eq!(PublicUrl::parse(good).unwrap().as_str(), good);
        }
        let other = |canonical: &str| Err(PublicUrlError::NotCanonical(canonical.into()));
        for (bad, why) in [
            ("https://mcp.example.com/", other("https://mcp.example.com")),
            ("https://MCP.example.com", other("https://mcp.example.com")),
            ("https://mcp.example.com:443", other("https://mcp.example.com")),
            ("https://mcp.example.com/x", other("https://mcp.example.com")),
            ("https://u@mcp.example.com", other("https://mcp.example.com")),
            ("http://mcp.example.com", Err(PublicUrlError::Insecure)),
            ("http://localhost.evil.test", Err(PublicUrlError::Insecure)),
            ("mcp.example.com", Err(PublicUrlError::NotAbsolute)),
            ("ftp://a", Err(PublicUrlError::NotAbsolute)),
        ] {
            assert_eq!(PublicUrl::parse(bad), why, "{bad}");
        }
        assert_eq!(PublicUrl::parse("http://[::1]").unwrap().host(), "[::1]");
        assert_eq!(
            PublicUrl::localhost(80),
            PublicUrl::parse("http://localhost").unwrap()
        );
    }
}
