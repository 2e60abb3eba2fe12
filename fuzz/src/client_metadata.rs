//! Client ids that are URLs, and the documents that stand there: what is accepted means what it says, to us and
//! to a plain reader. The first line of an input is a URL, the rest a document.

use std::net::IpAddr;

use doorward_oauth::client_metadata::{Authentication, ClientIdUrl, ClientMetadataDocument};
use doorward_outbound::Destination;
use doorward_outbound::address::{AddressClass, class, judge};
use serde_json::Value;

const FAR: Destination = Destination::Named {
    by_loopback_peer: false,
};

/// `input` is a URL, a line end, and a body.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|&b| b == b'\n').unwrap_or(input.len());
    let (line, rest) = input.split_at(end);
    let body = rest.get(1..).unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    addresses(&text);
    // The document is read in any case, for a URL that fits it or for one that does not.
    let fitting = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|document| document["client_id"].as_str().map(str::to_owned));
    for text in [Some(text.into_owned()), fitting].into_iter().flatten() {
        if let Ok(url) = ClientIdUrl::parse(&text) {
            id(&url, &text);
            document(&url, body);
        }
    }
}

/// An accepted URL is one spelling of one address, with a name that somebody owns.
fn id(url: &ClientIdUrl, text: &str) {
    assert_eq!((url.as_str(), url.url().as_str()), (text, text));
    assert_eq!(url.url().scheme(), "https");
    assert!(url.url().username().is_empty() && url.url().password().is_none());
    assert!(url.url().fragment().is_none() && url.url().path().starts_with('/'));
    assert!(url.host().parse::<IpAddr>().is_err() && !url.host().starts_with('['));
    assert!(!url.host().is_empty() && !url.host().ends_with('.'));
    assert!(url.authority().starts_with(url.host()));
}

/// An accepted document names its own address, carries no secret, and says the same to a plain reader.
fn document(url: &ClientIdUrl, body: &[u8]) {
    let Ok(document) = ClientMetadataDocument::parse(url, body, &["cursor".into()]) else {
        return;
    };
    let plain: Value = serde_json::from_slice(body).expect("a plain reader reads it");
    assert_eq!(plain["client_id"], url.as_str());
    assert_eq!(plain["client_name"], document.client_name.as_str());
    assert!(plain.get("client_secret").is_none());
    let listed: Vec<&str> = document.redirect_uris.iter().map(|uri| uri.as_str()).collect();
    assert_eq!(plain["redirect_uris"], Value::from(listed.clone()));
    for uri in listed {
        let scheme = uri.split(':').next().unwrap_or_default();
        assert!(
            !["javascript", "data", "vbscript", "file", "blob", "about"].contains(&scheme),
            "{uri}"
        );
    }
    assert!(
        document
            .grant_types
            .iter()
            .any(|grant| grant == "authorization_code")
    );
    match document.authentication {
        Authentication::None => {}
        Authentication::Keys(set) => {
            let set: Value = serde_json::from_str(&set).expect("a set is kept as JSON");
            for key in set["keys"].as_array().expect("with keys") {
                assert!(key.get("d").is_none() && key.get("k").is_none());
            }
        }
        Authentication::KeysAt(url) => assert!(url.starts_with("https://")),
    }
}

/// What is dialled for somebody else is what the standard library, too, takes for an ordinary address.
fn addresses(text: &str) {
    let Ok(address) = text.trim().parse::<IpAddr>() else {
        return;
    };
    let public = judge(vec![address], FAR).is_ok();
    assert_eq!(public, class(address) == AddressClass::Public);
    if !public {
        return;
    }
    match address {
        IpAddr::V4(v4) => assert!(
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation())
        ),
        IpAddr::V6(v6) => {
            assert!(!(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()));
            assert!(!(v6.is_unique_local() || v6.is_unicast_link_local()));
            assert!(v6.to_ipv4_mapped().is_none() && v6.segments()[0] != 0x2002);
        }
    }
}
