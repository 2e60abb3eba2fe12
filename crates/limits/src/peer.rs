//! Who a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Hops that are looked at. No chain of proxies is this long; a header may be.
const MAX_HOPS: usize = 32;

/// Somebody behind a trusted proxy on this machine who cannot be told from others: one key for all of them.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The address that a request comes from: a request extension that the server sets before any handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// The address as a key for limits.
    #[must_use]
    pub fn network(self) -> Network {
        Network::of(self.0)
    }
}

/// The address that a request comes from where that is known for sure, and nothing where somebody else than a trusted
/// proxy may have had a say in it: a request extension beside [`PeerAddress`]. For rules, which a limit's best guess
/// would deceive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownAddress(pub Option<IpAddr>);

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_canonical().fmt(f)
    }
}

/// What one peer can be assumed to have: an IPv4 address, or the /64 of an IPv6 address, in which everybody can
/// choose among 2^64 addresses (RFC 4291 §2.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The one that `address` is in. An IPv4 address written as an IPv6 one is the same network.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        })
    }

    /// The /48 that an IPv6 network is in; nothing for IPv4. Providers hand a whole /48 or /56 to one customer
    /// (RFC 6177), who then has up to 65,536 networks to choose among.
    #[must_use]
    pub fn site(self) -> Option<Self> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(Self(IpAddr::V6(Ipv6Addr::from_bits(
                address.to_bits() >> 80 << 80,
            )))),
        }
    }

    /// Whether it is this machine: a proxy that speaks for everybody, as long as it is not in `trusted_proxies`.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        // ::1 without its last 64 bits; no other address of that /64 is in use (RFC 4291 §2.5.2, §2.5.3).
        self.0.is_loopback() || self.0 == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// A text is neither an address nor a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an address nor a network such as 10.0.0.0/8")]
pub struct NotANetwork;

/// Proxies whose word on where a request comes from is taken. By default there are none, and forwarded headers
/// are not read (P9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// From addresses and networks, as the configuration names them.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NotANetwork> {
        texts.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }

    /// The networks, as the configuration may name them.
    #[must_use]
    pub fn to_string_list(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who a request comes from that arrived over a connection from `connection`: of the addresses that the
    /// proxies wrote down, read from the right, the first that is not a proxy of ours. What stands left of it
    /// was written by strangers. If `X-Forwarded-For` and `Forwarded` (RFC 7239) disagree, one of them came
    /// through from the client and nobody can tell which: then it is the address of the connection.
    ///
    /// It is never loopback then, from which limits exempt: whoever makes the two disagree, or makes the proxy drop
    /// what it wrote (`Connection: X-Forwarded-For`), would escape them. All of these share one address, `0.0.0.0`.
    #[must_use]
    pub fn peer(&self, connection: IpAddr, headers: &HeaderMap) -> PeerAddress {
        let connection = connection.to_canonical();
        if !self.trusts(connection) {
            return PeerAddress(connection);
        }
        let said = self.said(connection, headers).unwrap_or(connection);
        PeerAddress(if is_exempt(said) { NOBODY } else { said })
    }

    /// The same where it is certain: over a connection of a trusted proxy, the one address that it and the trusted ones
    /// before it wrote down in `X-Forwarded-For`, of somebody who is none of them. Who makes the headers disagree, or
    /// disappear, is unknown.
    #[must_use]
    pub fn known(&self, connection: IpAddr, headers: &HeaderMap) -> KnownAddress {
        let connection = connection.to_canonical();
        if !self.trusts(connection) {
            return KnownAddress(Some(connection));
        }
        // Proxies that write `Forwarded` alone are rare; those that can be made to drop `X-Forwarded-For` and let the caller's
        // `Forwarded` pass are not.
        let said = headers
            .contains_key(&X_FORWARDED_FOR)
            .then(|| self.said(connection, headers))
            .flatten();
        KnownAddress(said.filter(|said| !self.trusts(*said) && !is_exempt(*said)))
    }

    /// What the headers say; nothing if they say nothing or different things.
    fn said(&self, connection: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let listed = hops(headers, &X_FORWARDED_FOR, address);
        let forwarded = hops(headers, &FORWARDED, |hop| address(forwarded_for(hop)?));
        let listed = listed.map(|hops| self.first_stranger(connection, &hops));
        let forwarded = forwarded.map(|hops| self.first_stranger(connection, &hops));
        match (listed, forwarded) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            (Some(one), Some(other)) if one == other => Some(one),
            _ => None,
        }
    }

    /// From the nearest hop outwards. A hop that cannot be read ends the walk: what is known is who wrote it.
    fn first_stranger(&self, connection: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut nearest = connection;
        for hop in hops {
            let Some(hop) = hop else { break };
            nearest = *hop;
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn is_exempt(address: IpAddr) -> bool {
    Network::of(address).is_loopback()
}

fn network(text: &str) -> Result<IpNet, NotANetwork> {
    let network = match IpAddr::from_str(text) {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse().map_err(|_| NotANetwork)?,
    };
    // Bits after the prefix are a slip: 10.0.0.1/8 may be meant as one address.
    (network.addr() == network.network())
        .then_some(network)
        .ok_or(NotANetwork)
}

/// The hops of a list header, the nearest (last) first. `None` if the header is not there.
fn hops(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Option<Vec<Option<IpAddr>>> {
    headers.contains_key(name).then(|| {
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        lines
            .iter()
            .rev()
            // A line that is no text ends the walk like a hop that cannot be read.
            .flat_map(|line| line.to_str().unwrap_or("?").rsplit(','))
            .take(MAX_HOPS)
            .map(|hop| read(hop.trim()))
            .collect()
    })
}

/// The `for` parameter of one element of `Forwarded`, without quotes. A comma or semicolon in a quoted string
/// makes it unreadable, which is safe: addresses have none.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut named = element.split(';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let value = named.next()?;
    if named.next().is_some() {
        return None;
    }
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text
            .parse::<IpAddr>()
            .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
            .ok(),
    };
    // 0.0.0.0 is nobody's.
    address
        .map(|address| address.to_canonical())
        .filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
