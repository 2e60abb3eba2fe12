//! URLs as OAuth compares them: the issuer, the resource, and what is loopback.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
#[cfg(feature = "url")]
use url::Url;

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
        check_absolute(text)?;
        if text.contains('?') {
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
        check_absolute(text)?;
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

/// Whether `text` is an absolute URL that every reader reads alike. A general URL parser accepts more: it repairs
/// slashes, decodes hosts and completes addresses (`http://127.1`), and an identifier must mean what it says.
fn check_absolute(text: &str) -> Result<(), UrlError> {
    if !text.bytes().all(|b| matches!(b, 0x21..=0x7e)) || text.contains('\\') {
        return Err(UrlError::NotAbsolute);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAbsolute)?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(UrlError::InsecureScheme),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let (host, userinfo) = match authority.rsplit_once('@') {
        Some((_, host)) => (host, true),
        None => (authority, false),
    };
    let host = Host::of(host).ok_or(UrlError::NotAbsolute)?;
    if !secure && !host.is_loopback() {
        return Err(UrlError::InsecureScheme);
    }
    if userinfo {
        return Err(UrlError::Userinfo);
    }
    if behind.contains('#') {
        return Err(UrlError::Fragment);
    }
    Ok(())
}

/// The host of an authority, its port left out.
enum Host<'a> {
    Name(&'a str),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    fn of(authority: &'a str) -> Option<Self> {
        if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let good = port.is_empty() || is_port(port.strip_prefix(':')?);
            return good.then(|| address.parse().ok().map(Self::V6))?;
        }
        let host = match authority.split_once(':') {
            Some((host, port)) if is_port(port) => host,
            Some(_) => return None,
            None => authority,
        };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || host.starts_with('.') || !host.bytes().all(is_name) {
            return None;
        }
        // A host that ends in a number is an IPv4 address (WHATWG URL, "ends in a number"): here only in its one
        // plain form.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        if last.starts_with(|first: char| first.is_ascii_digit()) {
            return host.parse().ok().map(Self::V4).or_else(|| {
                let hexadecimal = last.starts_with("0x") || last.starts_with("0X");
                let number = hexadecimal || last.bytes().all(|b| b.is_ascii_digit());
                (!number).then_some(Self::Name(host))
            });
        }
        Some(Self::Name(host))
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
            Self::V4(address) => is_loopback_v4(*address),
            Self::V6(address) => *address == Ipv6Addr::LOCALHOST,
        }
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether the URL's host is `localhost`, in 127.0.0.0/8, or `[::1]` (RFC 8252 §7.3).
#[cfg(feature = "url")]
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => is_loopback_v4(address),
        Some(url::Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
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

    #[test]
    fn a_host_has_one_spelling() {
        for good in [
            "https://a.example:65535/x",
            "HTTPS://A.example",
            "https://[2001:db8::1]:8443",
            "https://xn--bcher-kva.example",
            "https://a_b.example.",
            "https://1password.example",
        ] {
            assert!(ResourceUri::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "https:a.example",
            "https:/a.example",
            "https://",
            "https:///x",
            "https://a.example:",
            "https://a.example:65536",
            "https://a.example:+1",
            "https://a.example:1:2",
            "https://ex%61mple.test",
            "https://b\u{fc}cher.example",
            "https://127.1",
            "https://0x7f.0.0.1",
            "https://2130706433",
            "https://127.0.0.01",
            "https://[::1",
            "https://[::1]x",
            "https://[v1.x]",
            "https://.",
        ] {
            assert_eq!(ResourceUri::parse(bad), Err(UrlError::NotAbsolute), "{bad}");
        }
    }

    proptest::proptest! {
        /// Whoever reads an accepted identifier with a general parser sees the same scheme, host and port.
        #[test]
        fn what_is_accepted_a_url_parser_reads_alike(
            text in "[hH]ttps?:/{1,3}([a-zX0-9.:@_%-]{1,12}|\\[[0-9a-f:.]{2,9}\\]:?[0-9]{0,6}|127\\.0\\.0\\.[0-9]{1,3}|localhost)(:[0-9]{1,5})?[/?#.a-z%]{0,4}"
        ) {
            if ResourceUri::parse(&text).is_ok() && !text.contains("xn--") {
                let seen = url::Url::parse(&text).unwrap();
                let authority = text.split("://").nth(1).unwrap().split(['/', '?']).next().unwrap();
                proptest::prop_assert!(seen.username().is_empty() && seen.password().is_none());
                proptest::prop_assert_eq!(seen.fragment(), None);
                if !authority.starts_with('[') {
                    let host = authority.split(':').next().unwrap();
                    proptest::prop_assert_eq!(seen.host_str().unwrap(), host.to_ascii_lowercase());
                }
                let plain_http = text.to_ascii_lowercase().starts_with("http:");
                let loopback = seen.host_str().is_some_and(|host| {
                    host == "localhost" || host == "[::1]" || host.starts_with("127.")
                });
                proptest::prop_assert!(!plain_http || loopback);
            }
        }
    }
}
