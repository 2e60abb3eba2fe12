use proptest::prelude::*;

use super::*;

fn peer(trusted: &[&str], connection: &str, lines: &[(&'static str, &str)]) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    let trusted = TrustedProxies::parse(trusted.iter().copied()).unwrap();
    trusted.peer(connection.parse().unwrap(), &headers).to_string()
}

const XFF: &str = "x-forwarded-for";

#[test]
fn hd_03_forwarded_headers_of_strangers_are_not_read() {
    for lines in [
        vec![(XFF, "198.51.100.1")],
        vec![("forwarded", "for=198.51.100.1")],
        vec![(XFF, "198.51.100.1"), ("forwarded", "for=198.51.100.1")],
    ] {
        assert_eq!(peer(&[], "127.0.0.1", &lines), "127.0.0.1");
        assert_eq!(peer(&["10.0.0.0/8"], "192.0.2.7", &lines), "192.0.2.7");
    }
}

#[test]
fn the_nearest_stranger_is_the_peer() {
    let trusted = &["10.0.0.0/8", "2001:db8:1::/48"];
    for (header, peer_is) in [
        ("198.51.100.1", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("10.9.9.9, 198.51.100.1 , 2001:db8:1::5,10.1.2.3", "198.51.100.1"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("2001:db8:2::1", "2001:db8:2::1"),
        ("[2001:db8:2::1]:80", "2001:db8:2::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        // Only proxies of ours: the farthest of them.
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        // Unreadable: the proxy that wrote it.
        ("198.51.100.1, unknown, 10.1.2.3", "10.1.2.3"),
        ("198.51.100.1, , 10.1.2.3", "10.1.2.3"),
        ("0.0.0.0", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("198.51.100.1; x", "10.0.0.1"),
    ] {
        assert_eq!(peer(trusted, "10.0.0.1", &[(XFF, header)]), peer_is, "{header}");
    }
}

#[test]
fn lines_are_read_from_the_last() {
    let lines = [(XFF, "203.0.113.9"), (XFF, "198.51.100.1, 10.1.1.1")];
    assert_eq!(peer(&["10.0.0.0/8"], "10.0.0.1", &lines), "198.51.100.1");
}

#[test]
fn forwarded_of_rfc_7239() {
    for (header, peer_is) in [
        ("for=198.51.100.1", "198.51.100.1"),
        ("For=\"[2001:db8:2::1]:4711\";proto=https", "2001:db8:2::1"),
        ("for=203.0.113.9, by=10.0.0.1; for=198.51.100.1", "198.51.100.1"),
        ("for=_hidden", "10.0.0.1"),
        ("for=\"198.51.100.1", "10.0.0.1"),
        ("for=198.51.100.1;for=203.0.113.9", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
    ] {
        let said = peer(&["10.0.0.0/8"], "10.0.0.1", &[("forwarded", header)]);
        assert_eq!(said, peer_is, "{header}");
    }
}

#[test]
fn hd_03_a_header_that_came_through_the_proxy_gains_nothing() {
    let trusted = &["10.0.0.0/8"];
    let disagree = [(XFF, "198.51.100.1"), ("forwarded", "for=203.0.113.9")];
    assert_eq!(peer(trusted, "10.0.0.1", &disagree), "10.0.0.1");
    let agree = [(XFF, "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
    assert_eq!(peer(trusted, "10.0.0.1", &agree), "198.51.100.1");
}

#[test]
fn ds_10_hd_03_behind_a_trusted_proxy_nobody_is_exempt() {
    let trusted = &["127.0.0.1", "::1", "10.0.0.0/8"];
    for lines in [
        // A proxy that writes one of them and passes the other on.
        vec![(XFF, "198.51.100.1"), ("forwarded", "for=203.0.113.9")],
        vec![(XFF, "198.51.100.1"), ("forwarded", "x")],
        // One that was made to drop what it wrote.
        vec![],
        vec![(XFF, "127.0.0.1")],
        vec![(XFF, "127.0.0.2, 10.1.1.1")],
        vec![(XFF, "::1")],
        vec![(XFF, "::")],
    ] {
        for connection in ["127.0.0.1", "::1"] {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                headers.append(*name, value.parse().unwrap());
            }
            let proxies = TrustedProxies::parse(trusted.iter().copied()).unwrap();
            let peer = proxies.peer(connection.parse().unwrap(), &headers);
            assert!(!peer.network().is_loopback(), "{lines:?}");
            assert_eq!(peer.to_string(), "0.0.0.0", "{lines:?}");
        }
    }
}

#[test]
fn proxies_are_addresses_or_whole_networks() {
    for good in ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0"] {
        assert!(TrustedProxies::parse([good]).is_ok(), "{good}");
    }
    for bad in ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*"] {
        assert_eq!(TrustedProxies::parse([bad]), Err(NotANetwork), "{bad}");
    }
    // A listener for both families sees IPv4 as ::ffff:…
    assert_eq!(
        peer(&["127.0.0.1"], "::ffff:127.0.0.1", &[(XFF, "198.51.100.1")]),
        "198.51.100.1"
    );
}

#[test]
fn one_peer_is_one_network() {
    let network = |text: &str| Network::of(text.parse().unwrap());
    assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2"));
    assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    assert!(network("::1").is_loopback() && network("127.1.2.3").is_loopback());
    assert!(!network("2001:db8::1").is_loopback() && !network("192.0.2.1").is_loopback());
    assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
    assert_eq!(
        network("2001:db8::1").site(),
        network("2001:db8:0:ffff::1").site()
    );
    assert_ne!(network("2001:db8::1").site(), network("2001:db8:1::1").site());
    assert_eq!(network("192.0.2.1").site(), None);
}

proptest! {
    #[test]
    fn no_header_makes_a_peer_of_a_proxy_or_panics(text in "[0-9a-f.:,; \\[\\]\"=for-]{0,80}") {
        let said = peer(&["10.0.0.0/8"], "10.0.0.1", &[(XFF, &text), ("forwarded", &text)]);
        prop_assert!(said.parse::<IpAddr>().is_ok());
    }

    #[test]
    fn what_a_client_sends_is_left_of_what_the_proxy_adds(text in "[0-9a-f.:,; \\[\\]\"=for-]{0,80}") {
        let line = format!("{text}, 198.51.100.1");
        prop_assert_eq!(peer(&["10.0.0.0/8"], "10.0.0.1", &[(XFF, &line)]), "198.51.100.1");
    }
}

#[test]
fn hd_03_r30_rules_see_an_address_only_if_no_stranger_had_a_say_in_it() {
    let trusted = ["10.0.0.0/30", "127.0.0.1"];
    let proxies = TrustedProxies::parse(trusted).unwrap();
    for (connection, lines, known) in [
        // Nobody between us.
        ("198.51.100.7", vec![], Some("198.51.100.7")),
        ("198.51.100.7", vec![(XFF, "10.9.9.9")], Some("198.51.100.7")),
        ("::1", vec![], Some("::1")),
        // A proxy's word.
        ("10.0.0.1", vec![(XFF, "198.51.100.7")], Some("198.51.100.7")),
        (
            "10.0.0.1",
            vec![(XFF, "10.9.9.9, 198.51.100.7, 10.0.0.2")],
            Some("198.51.100.7"),
        ),
        (
            "10.0.0.1",
            vec![(XFF, "198.51.100.7"), ("forwarded", "for=198.51.100.7")],
            Some("198.51.100.7"),
        ),
        ("10.0.0.1", vec![("forwarded", "for=10.9.9.9")], None),
        // It lets a second header of the caller pass, or was made to drop its own.
        (
            "10.0.0.1",
            vec![(XFF, "198.51.100.7"), ("forwarded", "for=10.9.9.9")],
            None,
        ),
        ("10.0.0.1", vec![], None),
        ("127.0.0.1", vec![], None),
        // The walk ends at a hop that cannot be read, or with the proxies themselves, or on a machine of its own.
        ("10.0.0.1", vec![(XFF, "198.51.100.7, x")], None),
        ("10.0.0.1", vec![(XFF, "10.0.0.2")], None),
        ("10.0.0.1", vec![(XFF, "127.0.0.2")], None),
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            headers.append(*name, value.parse().unwrap());
        }
        let got = proxies.known(connection.parse().unwrap(), &headers);
        let known = KnownAddress(known.map(|known| known.parse().unwrap()));
        assert_eq!(got, known, "{connection} {lines:?}");
    }
}
