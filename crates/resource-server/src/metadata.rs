//! The resource metadata document (RFC 9728), written once and served as it is.

use bytes::Bytes;
use doorward_types::scope::ScopeSet;
use doorward_types::url::{Issuer, ResourceUri};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

/// The well-known path of the document, without the resource's own path (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What a client learns about an MCP server before it has a token (RFC 9728 §2, which allows further members: the last
/// ones tell what is behind the resource).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceMetadata {
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
    /// Where people read about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_documentation: Option<String>,
    /// `mcp-server`.
    pub resource_type: &'static str,
    /// How it is spoken to.
    pub mcp_transports_supported: [&'static str; 1],
    /// The revisions it speaks; left out if nobody said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mcp_protocol_versions_supported: Vec<String>,
}

impl ResourceMetadata {
    /// The document of one server.
    #[must_use]
    pub fn new(resource: ResourceUri, issuer: Issuer, scopes: ScopeSet, name: impl Into<String>) -> Self {
        Self {
            resource,
            authorization_servers: vec![issuer],
            scopes_supported: scopes,
            bearer_methods_supported: ["header"],
            resource_name: name.into(),
            resource_documentation: None,
            resource_type: "mcp-server",
            mcp_transports_supported: ["streamable-http"],
            mcp_protocol_versions_supported: Vec::new(),
        }
    }
}

/// Where the document of `resource` is: the well-known path comes between host and path (RFC 9728 §3.1).
#[must_use]
pub fn metadata_url(resource: &ResourceUri) -> String {
    let (origin, path) = split(resource);
    format!("{origin}{WELL_KNOWN}{}", if path == "/" { "" } else { path })
}

/// The path of [`metadata_url`], as it comes in a request.
#[must_use]
pub fn metadata_path(resource: &ResourceUri) -> String {
    let path = path(resource);
    format!("{WELL_KNOWN}{}", if path == "/" { "" } else { path })
}

/// The resource's own path; empty if it has none.
pub(crate) fn path(resource: &ResourceUri) -> &str {
    let (_, path) = split(resource);
    path.split('?').next().unwrap_or_default()
}

/// Scheme with host, and what comes behind them.
fn split(resource: &ResourceUri) -> (&str, &str) {
    let text = resource.as_str();
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text
        .get(authority..)
        .and_then(|rest| rest.find(['/', '?']))
        .map_or(text.len(), |at| authority + at);
    text.split_at(path)
}

/// Answers a request for the document. Anybody may read it from anywhere: it is what one reads before anything else.
#[must_use]
pub fn answer(document: &Bytes, method: &Method) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    match *method {
        Method::GET | Method::HEAD => {
            *response.body_mut() = document.clone();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        Method::OPTIONS => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("*, MCP-Protocol-Version"),
            );
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        _ => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        }
    }
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Scopes as a JSON array of strings, which is how every metadata document lists them.
fn as_list<S: serde::Serializer>(scopes: &ScopeSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_r28_d1_the_document_names_the_resource_and_one_authorization_server() {
        let mut document = ResourceMetadata::new(
            ResourceUri::parse("https://mcp.example.com/a/mcp").unwrap(),
            Issuer::parse("https://mcp.example.com").unwrap(),
            "a:write a:read".parse().unwrap(),
            "a",
        );
        document.resource_documentation = Some("https://mcp.example.com/docs".into());
        document.mcp_protocol_versions_supported = vec!["2026-07-28".into()];
        assert_eq!(
            serde_json::to_value(document).unwrap(),
            serde_json::json!({
                "resource": "https://mcp.example.com/a/mcp",
                "authorization_servers": ["https://mcp.example.com"],
                "scopes_supported": ["a:read", "a:write"],
                "bearer_methods_supported": ["header"],
                "resource_name": "a",
                "resource_documentation": "https://mcp.example.com/docs",
                "resource_type": "mcp-server",
                "mcp_transports_supported": ["streamable-http"],
                "mcp_protocol_versions_supported": ["2026-07-28"],
            })
        );
    }

    #[test]
    fn d3_the_well_known_path_is_inserted_before_the_path() {
        for (resource, url, path) in [
            (
                "https://a.example/x/mcp",
                "https://a.example/.well-known/oauth-protected-resource/x/mcp",
                "/.well-known/oauth-protected-resource/x/mcp",
            ),
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
                "/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
                "/.well-known/oauth-protected-resource",
            ),
            (
                "http://[::1]:8080/mcp",
                "http://[::1]:8080/.well-known/oauth-protected-resource/mcp",
                "/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://a.example?q",
                "https://a.example/.well-known/oauth-protected-resource?q",
                "/.well-known/oauth-protected-resource",
            ),
        ] {
            let resource = ResourceUri::parse(resource).unwrap();
            assert_eq!(metadata_url(&resource), url);
            assert_eq!(metadata_path(&resource), path);
        }
    }
}
