//! Proxies: which request goes through which, and the tunnel.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::{Host, Url};

use crate::connector::Stream;
use crate::guarded::ClientError;

/// The most that is read of a proxy's answer to CONNECT.
const MAX_REPLY: usize = 8 * 1024;

/// The text that should name a proxy does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL with a host. What it says instead is not repeated: it may hold a password.
    #[error("the proxy is not a URL with a host, such as http://proxy.example:3128")]
    NotAUrl,
    /// Another kind of proxy.
    #[error("{0} proxies are not supported, only http and https ones")]
    Scheme(String),
}

/// Which requests go through which proxy. Requests to this machine never do.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Exception>,
}

impl ProxyRules {
    /// No proxy.
    #[must_use]
    pub fn direct() -> Self {
        Self::default()
    }

    /// `proxy` (a URL, maybe with user name and password) for everything but `no_proxy`: names (with what is below them),
    /// addresses, networks (`10.0.0.0/8`), separated by commas, each maybe with a port; `*` for everything.
    pub fn url(proxy: &str, no_proxy: &str) -> Result<Self, ProxyError> {
        let proxy = Proxy::parse(proxy)?;
        Ok(Self {
            http: Some(proxy.clone()),
            https: Some(proxy),
            except: exceptions(no_proxy),
        })
    }

    /// What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, which `variable` reads; lower case first.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let read = |name: &str| {
            let value = variable(&name.to_ascii_lowercase()).or_else(|| variable(name));
            value.filter(|value| !value.trim().is_empty())
        };
        // A CGI server sets HTTP_PROXY from a header that anybody can send ("httpoxy").
        let in_cgi = variable("REQUEST_METHOD").is_some();
        let http = if in_cgi {
            variable("http_proxy")
        } else {
            read("HTTP_PROXY")
        };
        let all = read("ALL_PROXY");
        let proxy = |own: Option<String>| {
            own.or_else(|| all.clone())
                .map(|text| Proxy::parse(&text))
                .transpose()
        };
        Ok(Self {
            http: proxy(http)?,
            https: proxy(read("HTTPS_PROXY"))?,
            except: exceptions(&read("NO_PROXY").unwrap_or_default()),
        })
    }

    pub(crate) const fn is_direct(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// The proxy of a URL.
    pub(crate) fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        let proxy = proxy.as_ref()?;
        // What is called localhost is another machine for the proxy.
        let here = match url.host()? {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        let excepted = here || self.except.iter().any(|exception| exception.holds(url));
        (!excepted).then_some(proxy)
    }
}

/// One proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) url: Url,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) secure: bool,
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&whole).map_err(|_| ProxyError::NotAUrl)?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(ProxyError::Scheme(other.to_owned())),
        };
        let host = url.host_str().ok_or(ProxyError::NotAUrl)?.to_owned();
        let port = url.port_or_known_default().ok_or(ProxyError::NotAUrl)?;
        let authorization = credentials(&url)?;
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self {
            url,
            host,
            port,
            secure,
            authorization,
        })
    }
}

/// RFC 9110 §11.7.2, RFC 7617.
fn credentials(url: &Url) -> Result<Option<HeaderValue>, ProxyError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user: Vec<u8> = percent_decoded(url.username());
    let password: Vec<u8> = percent_decoded(url.password().unwrap_or_default());
    let pair = [user, vec![b':'], password].concat();
    let value = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(value).map_err(|_| ProxyError::NotAUrl)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug)]
enum Exception {
    Everything,
    Network(ipnet::IpNet),
    Name { name: String, port: Option<u16> },
}

fn exceptions(text: &str) -> Vec<Exception> {
    text.split([',', ' '])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            if entry == "*" {
                return Exception::Everything;
            }
            if let Ok(network) = entry.parse() {
                return Exception::Network(network);
            }
            let address = entry.trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = address.parse::<std::net::IpAddr>() {
                return Exception::Network(address.into());
            }
            let (name, port) = match entry.rsplit_once(':') {
                Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
                _ => (entry, None),
            };
            let name = name.trim_start_matches('*').trim_start_matches('.');
            Exception::Name {
                name: name.to_ascii_lowercase(),
                port,
            }
        })
        .collect()
}

impl Exception {
    fn holds(&self, url: &Url) -> bool {
        match (self, url.host()) {
            (Self::Everything, _) => true,
            (Self::Network(network), Some(Host::Ipv4(address))) => {
                network.contains(&std::net::IpAddr::V4(address))
            }
            (Self::Network(network), Some(Host::Ipv6(address))) => {
                network.contains(&std::net::IpAddr::V6(address))
            }
            (Self::Name { name, port }, Some(_)) => {
                let host = url.host_str().unwrap_or_default();
                let below = host.strip_suffix(name.as_str());
                let same = below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                !name.is_empty() && same && port.is_none_or(|port| url.port_or_known_default() == Some(port))
            }
            _ => false,
        }
    }
}

/// Asks the proxy for a tunnel (RFC 9110 §9.3.6). The credentials for it go no further than the proxy.
pub(crate) async fn tunnel(
    mut stream: Stream,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<Stream, ClientError> {
    let failed = |detail: String| ClientError::Proxy {
        proxy: proxy.host.clone(),
        detail,
    };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let ended = |error: std::io::Error| failed(format!("ended the connection: {error}"));
    stream.write_all(&request).await.map_err(ended)?;
    stream.flush().await.map_err(ended)?;
    let mut reply = Vec::new();
    // The server behind it speaks only after we do, so all that comes now is the proxy's.
    while !reply.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.map_err(ended)?;
        reply.extend_from_slice(piece.get(..read).unwrap_or_default());
        if read == 0 {
            return Err(failed("ended the connection".to_owned()));
        }
        if reply.len() > MAX_REPLY {
            return Err(failed("sent too long an answer".to_owned()));
        }
        // An error page follows its head: nobody waits for the end of it.
        if status(&reply).is_some_and(|status| !(200..300).contains(&status)) {
            break;
        }
    }
    match status(&reply) {
        Some(200..300) => Ok(stream),
        Some(407) => Err(failed("wants a user name and password (407)".to_owned())),
        Some(status) => Err(failed(format!("refuses with status {status}"))),
        None => Err(failed("does not speak HTTP".to_owned())),
    }
}

/// The status of the first line, once that is there.
fn status(reply: &[u8]) -> Option<u16> {
    let line = reply.split(|byte| *byte == b'\n').next()?;
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace();
    let http = words.next()?.starts_with("HTTP/1.");
    let code = words.next()?;
    (http && code.len() == 3).then(|| code.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
