//! URLs as OAuth compares them: the issuer, the resource, and what is loopback.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Why a URL was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It does not parse as an absolute URL.
    #[error("not an absolute URL")]
    NotAbsolute,
    /// Another scheme than `http` or `https`, or `http` to a host that is not loopback.
    #[error("must be https (http is for loopback hosts only)")]
    InsecureScheme,
    /// It has a user name or a password.
    #[error("must not carry a user name or password")]
    Userinfo,
    /// It has a fragment (RFC 8707 §2, RFC 8414 §2).
    #[error("must not have a fragment")]
    Fragment,
    /// It has a query, where none may be (RFC 8414 §2).
    #[error("must not have a query")]
    Query,
}

/// An authorization server's issuer identifier (RFC 8414 §2): compared byte for byte, never normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Issuer(String);

impl Issuer {
    /// Accepts an `https` URL, or `http` on loopback, without query, fragment or userinfo.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = parse_absolute(text)?;
        if url.query().is_some() {
            return Err(UrlError::Query);
        }
        Ok(Self(text.into()))
    }

    /// The text, byte for byte as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether anything stands behind the host and port, be it a single slash.
    #[must_use]
    pub fn has_path(&self) -> bool {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.contains(['/', '\\'])
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A protected resource's identifier (RFC 8707 §2, RFC 9728 §1.2): the configured text is what metadata
/// and `aud` carry; [`ResourceUri::matches`] is how a requested one is compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceUri(String);

impl ResourceUri {
    /// Accepts an `https` URL, or `http` on loopback, without fragment or userinfo.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        parse_absolute(text)?;
        Ok(Self(text.into()))
    }

    /// The text, byte for byte as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a requested `resource` names this one: scheme and host compare without case, a default
    /// port is dropped, an empty path equals `/`; everything else is byte for byte (MCP canonical URI).
    #[must_use]
    pub fn matches(&self, requested: &str) -> bool {
        match (canonical(&self.0), canonical(requested)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form that [`ResourceUri::matches`] compares. It works on the text and not on a parsed URL,
/// because a parser would also resolve `..`, `%2e` and backslashes that must stay different.
fn canonical(text: &str) -> Option<String> {
    if !text.bytes().all(|b| matches!(b, 0x21..=0x7e)) || text.contains(['#', '\\']) {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return None;
    }
    let authority = authority.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    if authority.is_empty() {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("{scheme}://{authority}{slash}{path}"))
}

fn parse_absolute(text: &str) -> Result<Url, UrlError> {
    // The URL parser trims, drops tabs and turns backslashes round; an identifier must mean what it says.
    if !text.bytes().all(|b| matches!(b, 0x21..=0x7e)) || text.contains('\\') {
        return Err(UrlError::NotAbsolute);
    }
    let url = Url::parse(text).map_err(|_| UrlError::NotAbsolute)?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err(UrlError::InsecureScheme),
    }
    if url.host().is_none() {
        return Err(UrlError::NotAbsolute);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Userinfo);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    Ok(url)
}

/// Whether the URL's host is `localhost`, in 127.0.0.0/8, or `[::1]` (RFC 8252 §7.3).
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => is_loopback_v4(address),
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

fn is_loopback_v4(address: Ipv4Addr) -> bool {
    address.octets().first() == Some(&127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a21_resources_compare_without_case_of_scheme_and_host_and_without_default_port() {
        let resource = ResourceUri::parse("https://mcp.example.com/a/mcp").unwrap();
        for same in [
            "https://mcp.example.com/a/mcp",
            "HTTPS://MCP.example.COM:443/a/mcp",
        ] {
            assert!(resource.matches(same), "{same}");
        }
        for other in [
            "https://mcp.example.com/a/mcp/",
            "https://mcp.example.com/A/mcp",
            "https://mcp.example.com/a/mcp?x",
            "https://mcp.example.com/a/mcp#x",
            "https://mcp.example.com/a",
            "https://mcp.example.com:8443/a/mcp",
            "https://mcp.example.com/a/%6dcp",
            "https://mcp.example.com/x/../a/mcp",
            "https://user@mcp.example.com/a/mcp",
            "http://mcp.example.com/a/mcp",
            "https://mcp.example.com.evil.test/a/mcp",
            "/a/mcp",
            "*",
            "",
        ] {
            assert!(!resource.matches(other), "{other}");
        }
    }

    #[test]
    fn an_empty_path_equals_a_slash() {
        let root = ResourceUri::parse("https://mcp.example.com").unwrap();
        assert!(root.matches("https://mcp.example.com/") && root.matches("https://mcp.example.com"));
    }

    #[test]
    fn s4_only_https_or_loopback() {
        for good in [
            "https://a.example",
            "http://localhost:8080",
            "http://127.0.0.1:1/x",
            "http://[::1]:1",
        ] {
            assert!(Issuer::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://a.example", UrlError::InsecureScheme),
            ("http://localhost.evil.test", UrlError::InsecureScheme),
            ("ftp://a.example", UrlError::InsecureScheme),
            ("a.example", UrlError::NotAbsolute),
            ("https://u:p@a.example", UrlError::Userinfo),
            ("https://a.example/#f", UrlError::Fragment),
            ("https://a.example/?q", UrlError::Query),
            ("https://a.example\\x", UrlError::NotAbsolute),
            (" https://a.example", UrlError::NotAbsolute),
        ] {
            assert_eq!(Issuer::parse(bad), Err(why), "{bad}");
        }
    }
}
