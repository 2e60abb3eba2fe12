//! Which addresses may be dialled, after the IANA special-purpose address registries (RFC 6890).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Destination, FetchError};

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Globally reachable unicast.
    Public,
    /// This machine (127.0.0.0/8, ::1).
    Loopback,
    /// This network or no address at all (0.0.0.0/8, ::).
    Unspecified,
    /// Private networks (10/8, 172.16/12, 192.168/16, fc00::/7, fec0::/10).
    Private,
    /// Link-local, where clouds keep their metadata services (169.254/16, fe80::/10).
    LinkLocal,
    /// Shared address space of carriers (100.64/10).
    Shared,
    /// Documentation (192.0.2/24, 198.51.100/24, 203.0.113/24, 2001:db8::/32, 3fff::/20).
    Documentation,
    /// Benchmarking (198.18/15).
    Benchmarking,
    /// Protocol assignments and relays (192.0.0/24, 192.88.99/24, AS112 and AMT prefixes, 2001::/23 with
    /// Teredo, 2002::/16 or 6to4).
    Protocol,
    /// An IPv4 address in IPv6 clothes (::ffff:0:0/96, ::/96, 64:ff9b:1::/48).
    Embedded,
    /// Multicast and broadcast.
    Multicast,
    /// Everything that is not handed out (240/4, all of IPv6 outside 2000::/3, 5f00::/16, …).
    Reserved,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Unspecified => "unspecified",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared address space",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Protocol => "protocol assignment",
            Self::Embedded => "IPv4 inside IPv6",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        })
    }
}

/// Network, prefix length, class; the first that holds the address decides.
const V4: &[(Ipv4Addr, u32, AddressClass)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressClass::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressClass::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressClass::Shared),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressClass::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressClass::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressClass::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressClass::Protocol),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(192, 31, 196, 0), 24, AddressClass::Protocol),
    (Ipv4Addr::new(192, 52, 193, 0), 24, AddressClass::Protocol),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressClass::Protocol),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressClass::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, AddressClass::Protocol),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressClass::Benchmarking),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressClass::Multicast),
    (Ipv4Addr::BROADCAST, 32, AddressClass::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressClass::Reserved),
];

/// The same for IPv6. What no row holds is public only inside 2000::/3, the one block that is handed out.
const V6: &[(Ipv6Addr, u32, AddressClass)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, AddressClass::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, AddressClass::Loopback),
    (Ipv6Addr::UNSPECIFIED, 96, AddressClass::Embedded),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        AddressClass::Embedded,
    ),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        AddressClass::Embedded,
    ),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        AddressClass::Protocol,
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        AddressClass::Documentation,
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        AddressClass::Protocol,
    ),
    (
        Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0),
        48,
        AddressClass::Protocol,
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        AddressClass::Documentation,
    ),
    (
        Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0),
        3,
        AddressClass::Public,
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        AddressClass::Private,
    ),
    (
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
        10,
        AddressClass::Private,
    ),
    (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
        AddressClass::LinkLocal,
    ),
    (
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
        AddressClass::Multicast,
    ),
];

/// 64:ff9b::/96 (RFC 6052): what a network without IPv4 makes of every IPv4-only host. It is what the IPv4
/// address inside is.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// What an address is for.
#[must_use]
pub fn class(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> AddressClass {
    let inside = |network: Ipv4Addr, length: u32| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        address.to_bits() & mask == network.to_bits()
    };
    let row = V4.iter().find(|(network, length, _)| inside(*network, *length));
    row.map_or(AddressClass::Public, |(_, _, class)| *class)
}

fn class_v6(address: Ipv6Addr) -> AddressClass {
    let inside = |network: Ipv6Addr, length: u32| {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        address.to_bits() & mask == network.to_bits()
    };
    if inside(NAT64, 96) {
        let [.., a, b, c, d] = address.octets();
        return class_v4(Ipv4Addr::new(a, b, c, d));
    }
    let row = V6.iter().find(|(network, length, _)| inside(*network, *length));
    row.map_or(AddressClass::Reserved, |(_, _, class)| *class)
}

/// How far away an address is: what a server names must be no nearer to us than the server itself, or a public
/// server could make us knock at what only we can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressSpace {
    /// This machine.
    Loopback,
    /// The networks around it, those of carriers and overlays (100.64/10) included.
    Private,
    /// Everything else.
    Public,
}

impl fmt::Display for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "this machine",
            Self::Private => "a private network",
            Self::Public => "the public internet",
        })
    }
}

impl AddressSpace {
    /// The space of an address that somebody typed.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match class(address) {
            // No address at all is what listens here, for the systems that connect to it.
            AddressClass::Loopback | AddressClass::Unspecified => Self::Loopback,
            AddressClass::Private | AddressClass::Shared | AddressClass::LinkLocal => Self::Private,
            // What is nowhere in particular may name the least.
            _ => Self::Public,
        }
    }
}

/// Whether a destination may have this address.
fn permits(destination: Destination, class: AddressClass) -> bool {
    match destination {
        Destination::Configured => true,
        Destination::Named { by_loopback_peer } => {
            class == AddressClass::Public || (by_loopback_peer && class == AddressClass::Loopback)
        }
        Destination::NamedFrom(space) => match class {
            AddressClass::Public => true,
            AddressClass::Private | AddressClass::Shared => space <= AddressSpace::Private,
            AddressClass::Loopback => space == AddressSpace::Loopback,
            // Metadata services of clouds among them: never, whoever names them.
            _ => false,
        },
    }
}

/// The addresses of a host if **all** of them may be dialled. One bad one among good ones is an attempt, or a
/// mistake that would work only now and then: nothing is dialled.
pub fn judge(addresses: Vec<IpAddr>, destination: Destination) -> Result<Vec<IpAddr>, FetchError> {
    if addresses.is_empty() {
        return Err(FetchError::Unresolved);
    }
    let bad = addresses
        .iter()
        .map(|address| class(*address))
        .find(|class| !permits(destination, *class));
    match bad {
        Some(class) => Err(FetchError::Forbidden(class)),
        None => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Destination = Destination::Named {
        by_loopback_peer: false,
    };

    #[test]
    fn rg_06_s11_b14_special_addresses_are_known_in_every_spelling() {
        use AddressClass::*;
        for (address, expected) in [
            ("1.1.1.1", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("223.255.255.255", Public),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("10.255.255.255", Private),
            ("100.64.0.1", Shared),
            ("100.127.255.255", Shared),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("169.254.169.254", LinkLocal),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.0.0.9", Protocol),
            ("192.0.2.1", Documentation),
            ("192.88.99.1", Protocol),
            ("192.168.0.1", Private),
            ("198.18.0.1", Benchmarking),
            ("198.19.255.255", Benchmarking),
            ("198.51.100.7", Documentation),
            ("203.0.113.7", Documentation),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Multicast),
            ("::", Unspecified),
            ("::1", Loopback),
            ("::127.0.0.1", Embedded),
            ("::ffff:127.0.0.1", Embedded),
            ("::ffff:169.254.169.254", Embedded),
            ("::ffff:1.1.1.1", Embedded),
            ("64:ff9b::1.1.1.1", Public),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::127.0.0.1", Loopback),
            ("64:ff9b::169.254.169.254", LinkLocal),
            ("64:ff9b:1::1.1.1.1", Embedded),
            ("100::1", Reserved),
            ("2001::1", Protocol),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Protocol),
            ("2001:1ff::1", Protocol),
            ("2001:200::1", Public),
            ("2001:db8::1", Documentation),
            ("2002:7f00:1::", Protocol),
            ("2606:4700:4700::1111", Public),
            ("2620:4f:8000::1", Protocol),
            ("3fff::1", Documentation),
            ("3fff:1000::1", Public),
            ("4000::1", Reserved),
            ("5f00::1", Reserved),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
        ] {
            assert_eq!(class(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn rg_07_one_bad_address_among_good_ones_is_enough() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
        let good = parse(&["1.1.1.1", "2606:4700::1"]);
        assert_eq!(judge(good.clone(), NAMED), Ok(good));
        for bad in [
            &["1.1.1.1", "10.0.0.1"][..],
            &["10.0.0.1", "1.1.1.1"],
            &["::1", "1.1.1.1"],
            &["127.0.0.1"],
        ] {
            assert!(
                matches!(judge(parse(bad), NAMED), Err(FetchError::Forbidden(_))),
                "{bad:?}"
            );
        }
        assert_eq!(judge(Vec::new(), NAMED), Err(FetchError::Unresolved));
    }

    #[test]
    fn rg_06_loopback_only_for_peers_on_loopback_and_nothing_else_for_them() {
        let near = Destination::Named {
            by_loopback_peer: true,
        };
        let only = |text: &str| vec![text.parse().unwrap()];
        assert!(judge(only("127.0.0.1"), near).is_ok());
        assert!(judge(only("::1"), near).is_ok());
        for bad in [
            "10.0.0.1",
            "169.254.169.254",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "fe80::1",
        ] {
            assert!(judge(only(bad), near).is_err(), "{bad}");
        }
        assert!(judge(only("10.0.0.1"), Destination::Configured).is_ok());
    }

    #[test]
    fn b12_cl_07_what_a_server_names_is_no_nearer_than_the_server() {
        use AddressSpace::{Loopback, Private, Public};
        let may =
            |space, text: &str| judge(vec![text.parse().unwrap()], Destination::NamedFrom(space)).is_ok();
        for (address, from_loopback, from_private, from_public) in [
            ("1.1.1.1", true, true, true),
            ("2606:4700::1", true, true, true),
            ("10.0.0.1", true, true, false),
            ("192.168.1.1", true, true, false),
            ("fd00::1", true, true, false),
            ("100.64.0.1", true, true, false),
            ("127.0.0.1", true, false, false),
            ("::1", true, false, false),
            ("::ffff:127.0.0.1", false, false, false),
            ("::ffff:10.0.0.1", false, false, false),
            ("64:ff9b::7f00:1", true, false, false),
            ("169.254.169.254", false, false, false),
            ("fe80::1", false, false, false),
            ("0.0.0.0", false, false, false),
            ("::", false, false, false),
            ("224.0.0.1", false, false, false),
            ("255.255.255.255", false, false, false),
            ("198.18.0.1", false, false, false),
            ("2002:7f00:1::", false, false, false),
        ] {
            assert_eq!(may(Loopback, address), from_loopback, "{address} from loopback");
            assert_eq!(may(Private, address), from_private, "{address} from private");
            assert_eq!(may(Public, address), from_public, "{address} from public");
        }
        assert!(Loopback < Private && Private < Public);
    }

    #[test]
    fn b12_the_space_of_a_typed_address_is_known_and_odd_ones_count_as_far() {
        for (address, space) in [
            ("127.0.0.1", AddressSpace::Loopback),
            ("::1", AddressSpace::Loopback),
            ("0.0.0.0", AddressSpace::Loopback),
            ("10.1.2.3", AddressSpace::Private),
            ("100.100.1.1", AddressSpace::Private),
            ("fd00::1", AddressSpace::Private),
            ("fe80::1", AddressSpace::Private),
            ("1.1.1.1", AddressSpace::Public),
            ("::ffff:10.0.0.1", AddressSpace::Public),
            ("198.18.0.1", AddressSpace::Public),
        ] {
            assert_eq!(AddressSpace::of(address.parse().unwrap()), space, "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn rg_06_no_embedding_makes_a_special_address_public(bits in proptest::prelude::any::<u32>()) {
            let inner = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = inner.octets();
            let half = |x: u8, y: u8| u16::from_be_bytes([x, y]);
            if class_v4(inner) != AddressClass::Public {
                for outer in [
                    inner.to_ipv6_mapped(),
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0, half(a, b), half(c, d)),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, half(a, b), half(c, d)),
                    Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, half(a, b), half(c, d)),
                    Ipv6Addr::new(0x2002, half(a, b), half(c, d), 0, 0, 0, 0, 1),
                    Ipv6Addr::new(0x2001, 0, 1, 1, 0, 0, !half(a, b), !half(c, d)),
                ] {
                    proptest::prop_assert!(judge(vec![outer.into()], NAMED).is_err(), "{outer}");
                    let public = Destination::NamedFrom(AddressSpace::Public);
                    proptest::prop_assert!(judge(vec![outer.into()], public).is_err(), "{outer}");
                }
            }
        }
    }
}
