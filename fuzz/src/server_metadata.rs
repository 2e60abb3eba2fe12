//! Authorization server metadata: what is accepted is the issuer's that was asked for, and leads nowhere dangerous. The
//! first line of an input is an issuer, the rest a document.

use doorward_client::named_url::UrlPolicy;
use doorward_client::server_metadata::{ServerMetadata, judge_issuer, locations};
use serde_json::Value;
use url::Url;

/// `input` is an issuer, a line end, and a body.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|&b| b == b'\n').unwrap_or(input.len());
    let (line, rest) = input.split_at(end);
    let body = rest.get(1..).unwrap_or_default();
    let (policy, issuer) = (UrlPolicy::strict(), String::from_utf8_lossy(line));
    let from = Url::parse("https://mcp.example.com/").expect("a URL");
    if judge_issuer(&issuer, &from, &policy).is_err() {
        return;
    }
    let parsed = Url::parse(&issuer).expect("a URL to every reader");
    let places = locations(&issuer);
    assert!((2..=3).contains(&places.len()), "{issuer}");
    for place in &places {
        assert_eq!(place.origin(), parsed.origin());
        assert!(place.path().contains("/.well-known/") && place.query().is_none());
    }
    let Ok(Some(metadata)) = ServerMetadata::parse(&issuer, &places[0], body, &policy) else {
        return;
    };
    let plain: Value = serde_json::from_slice(body).expect("a plain reader reads it");
    assert_eq!(
        (plain["issuer"].as_str(), metadata.issuer.as_str()),
        (Some(&*issuer), &*issuer)
    );
    for (name, url) in [
        ("authorization_endpoint", metadata.authorization_endpoint.as_ref()),
        ("token_endpoint", Some(&metadata.token_endpoint)),
        ("registration_endpoint", metadata.registration_endpoint.as_ref()),
        ("revocation_endpoint", metadata.revocation_endpoint.as_ref()),
        (
            "device_authorization_endpoint",
            metadata.device_authorization_endpoint.as_ref(),
        ),
    ] {
        let text = plain[name].as_str();
        assert_eq!(
            text.map(|text| Url::parse(text).expect("a URL to every reader"))
                .as_ref(),
            url,
            "{name}"
        );
        if let Some(url) = url {
            assert!(["https", "http"].contains(&url.scheme()) && url.fragment().is_none());
            assert!(url.username().is_empty() && url.password().is_none());
        }
    }
    if let Ok(endpoint) = metadata.code_flow() {
        assert_eq!(Some(endpoint), metadata.authorization_endpoint.as_ref());
        let methods = plain["code_challenge_methods_supported"]
            .as_array()
            .expect("a list");
        assert!(methods.iter().any(|method| method == "S256"));
    }
    let iss = plain["authorization_response_iss_parameter_supported"]
        .as_bool()
        .unwrap_or(false);
    assert_eq!(iss, metadata.authorization_response_iss_parameter_supported);
}
