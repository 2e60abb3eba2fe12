//! Protected resource metadata (RFC 9728).

use doorward_types::scope::ScopeSet;
use doorward_types::url::{Issuer, ResourceUri};
use serde::Serialize;

/// The well-known path of the document, without the resource's own path (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What a client learns about an MCP server before it has a token (RFC 9728 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProtectedResourceMetadata {
    /// The resource identifier, byte for byte as configured: clients compare it with the URL they were
    /// given.
    pub resource: ResourceUri,
    /// Who issues tokens for it.
    pub authorization_servers: Vec<Issuer>,
    /// The default scopes, exactly those that the 401 challenge names.
    #[serde(serialize_with = "as_list")]
    pub scopes_supported: ScopeSet,
    /// `header`: never in the body or the query (MCP forbids it).
    pub bearer_methods_supported: [&'static str; 1],
    /// A name for people.
    pub resource_name: String,
}

impl ProtectedResourceMetadata {
    /// The document of one server.
    #[must_use]
    pub fn new(resource: ResourceUri, issuer: Issuer, scopes: ScopeSet, name: impl Into<String>) -> Self {
        Self {
            resource,
            authorization_servers: vec![issuer],
            scopes_supported: scopes,
            bearer_methods_supported: ["header"],
            resource_name: name.into(),
        }
    }
}

/// Where the document of `resource` is: the well-known path comes between host and path (RFC 9728 §3.1).
#[must_use]
pub fn metadata_url(resource: &ResourceUri) -> String {
    let text = resource.as_str();
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text
        .get(authority..)
        .and_then(|rest| rest.find(['/', '?']))
        .map_or(text.len(), |at| authority + at);
    let (origin, path) = text.split_at(path);
    let path = if path == "/" { "" } else { path };
    format!("{origin}{WELL_KNOWN}{path}")
}

/// Scopes as a JSON array of strings, which is how every metadata document lists them.
pub(crate) fn as_list<S: serde::Serializer>(scopes: &ScopeSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_d1_the_document_names_the_resource_and_one_authorization_server() {
        let document = ProtectedResourceMetadata::new(
            ResourceUri::parse("https://mcp.example.com/a/mcp").unwrap(),
            Issuer::parse("https://mcp.example.com").unwrap(),
            "a:write a:read".parse().unwrap(),
            "a",
        );
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
        {
          "resource": "https://mcp.example.com/a/mcp",
          "authorization_servers": [
            "https://mcp.example.com"
          ],
          "scopes_supported": [
            "a:read",
            "a:write"
          ],
          "bearer_methods_supported": [
            "header"
          ],
          "resource_name": "a"
        }
        "#);
    }

    #[test]
    fn d3_the_well_known_path_is_inserted_before_the_path() {
        for (resource, url) in [
            (
                "https://a.example/x/mcp",
                "https://a.example/.well-known/oauth-protected-resource/x/mcp",
            ),
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "http://[::1]:8080/mcp",
                "http://[::1]:8080/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://a.example?q",
                "https://a.example/.well-known/oauth-protected-resource?q",
            ),
        ] {
            assert_eq!(metadata_url(&ResourceUri::parse(resource).unwrap()), url);
        }
    }
}
