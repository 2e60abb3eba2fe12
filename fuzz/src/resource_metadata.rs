//! Protected resource metadata: what is accepted is about the server that was asked for, to a plain reader of JSON too.
//! The first line of an input is the MCP server's URL, the rest a document.

use doorward_client::named_url::UrlPolicy;
use doorward_client::resource_metadata::{ResourceMetadata, locations};
use serde_json::Value;
use url::Url;

/// `input` is a URL, a line end, and a body.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|&b| b == b'\n').unwrap_or(input.len());
    let (line, rest) = input.split_at(end);
    let body = rest.get(1..).unwrap_or_default();
    let policy = UrlPolicy::strict();
    let Ok(server) = policy.judge(&String::from_utf8_lossy(line)) else {
        return;
    };
    let places = locations(&server);
    assert!((1..=2).contains(&places.len()));
    for place in &places {
        assert_eq!(place.origin(), server.origin());
    }
    let Ok(Some(metadata)) = ResourceMetadata::parse(&server, &places[0], body, &policy) else {
        return;
    };
    let plain: Value = serde_json::from_slice(body).expect("a plain reader reads it");
    assert_eq!(plain["resource"], metadata.resource.as_str());
    let resource = Url::parse(&metadata.resource).expect("a URL to every reader");
    assert_eq!(resource.origin(), server.origin());
    assert!(resource.fragment().is_none() && resource.username().is_empty());
    // To a lenient reader, too, the server lies in it.
    let folder = resource.path().trim_end_matches('/');
    let inside = server.path().strip_prefix(folder).expect("the path begins alike");
    assert!(
        inside.is_empty() || inside.starts_with('/'),
        "{resource} {server}"
    );
    assert_eq!(
        plain["authorization_servers"],
        Value::from(metadata.authorization_servers.clone())
    );
    assert!(!metadata.authorization_servers.is_empty());
    let bound = plain["dpop_bound_access_tokens_required"]
        .as_bool()
        .unwrap_or(false);
    assert_eq!(bound, metadata.dpop_bound_access_tokens_required);
    assert!(
        !metadata
            .resource_name
            .unwrap_or_default()
            .chars()
            .any(char::is_control)
    );
}
