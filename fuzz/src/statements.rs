//! What an authorization server answers to a resource server: introspection, metadata, key sets.

use doorward_jose::JwkSet;
use doorward_resource_server::statements::{introspected, jwks_uri, metadata_urls};
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde_json::Value;

const ISSUER: &str = "https://login.example";
const RESOURCE: &str = "https://mcp.example/mcp";

/// What is accepted says to a plain reader of JSON that it is about this resource and this issuer; nothing is made up.
///
/// # Panics
/// When it does not.
pub fn check(data: &[u8]) {
    let issuer = Issuer::parse(ISSUER).expect("an issuer");
    let resource = ResourceUri::parse(RESOURCE).expect("a resource");
    if let Ok(facts) = introspected(data, &issuer, &resource) {
        let plain: Value = serde_json::from_slice(data).expect("accepted, so it is JSON");
        assert_eq!(plain["active"], true);
        assert!(plain["aud"] == RESOURCE || plain["aud"] == serde_json::json!([RESOURCE]));
        assert!(plain.get("iss").is_none_or(|named| named == ISSUER));
        assert_eq!(plain["sub"], facts.subject.as_str());
        assert_eq!(plain["client_id"], facts.client_id.as_str());
        // What no clock of ours can show is the end of its time: never later than was said.
        let last = UnixTime::from_millis(i64::MAX).seconds();
        let said = plain["exp"].as_i64().expect("a whole number");
        assert_eq!(facts.expires.seconds(), said.min(last));
        assert!(plain.get("cnf").is_none() && !facts.subject.is_empty());
        let granted = plain
            .get("scope")
            .map_or("", |scope| scope.as_str().expect("a text"));
        for scope in facts.scopes.iter() {
            assert!(granted.split(' ').any(|word| word == scope.as_str()));
        }
    }
    if let Ok(url) = jwks_uri(data, &issuer) {
        let plain: Value = serde_json::from_slice(data).expect("accepted, so it is JSON");
        assert_eq!(
            (plain["issuer"].as_str(), plain["jwks_uri"].as_str()),
            (Some(ISSUER), Some(&*url))
        );
    }
    if let Ok(keys) = JwkSet::parse(data) {
        let plain: Value = serde_json::from_slice(data).expect("accepted, so it is JSON");
        let offered = plain["keys"].as_array().expect("a list");
        assert!(keys.keys().len() <= offered.len());
        for key in offered.iter().filter(|key| key.get("d").is_some()) {
            let id = key.get("kid").and_then(Value::as_str);
            let other = offered
                .iter()
                .any(|twin| twin.get("d").is_none() && twin.get("kid").and_then(Value::as_str) == id);
            let taken = keys
                .keys()
                .iter()
                .any(|key| key.key_id().map(|own| own.as_str()) == id);
            assert!(other || !taken, "no private key is taken");
        }
    }
    if let Some(named) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Issuer::parse(text).ok())
    {
        for url in metadata_urls(&named) {
            assert!(Issuer::parse(&url).is_ok(), "on the issuer's own origin: {url}");
        }
    }
}
