//! The resource metadata document (RFC 9728), written once and served as it is.

use bytes::Bytes;
use doorward_mcp::Revision;
use doorward_oauth::resource::ProtectedResourceMetadata;
use doorward_policy::ProtectedServer;
use doorward_types::url::Issuer;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::body::Body;
use crate::settings::GatewayError;

/// RFC 9728 §2 allows further members; these tell what is behind the resource.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    metadata: ProtectedResourceMetadata,
    resource_type: &'static str,
    mcp_transports_supported: [&'static str; 1],
    mcp_protocol_versions_supported: [&'static str; 4],
}

pub(crate) fn document(server: &ProtectedServer, issuer: &Issuer) -> Result<Bytes, GatewayError> {
    let document = Document {
        metadata: ProtectedResourceMetadata::new(
            server.resource.clone(),
            issuer.clone(),
            server.default_scopes(),
            server.name.as_str(),
        ),
        resource_type: "mcp-server",
        mcp_transports_supported: ["streamable-http"],
        mcp_protocol_versions_supported: Revision::ALL.map(Revision::as_str),
    };
    serde_json::to_vec(&document)
        .map(Bytes::from)
        .map_err(GatewayError::Metadata)
}

/// Anybody may read it from anywhere: it is what one reads before anything else.
pub(crate) fn answer(document: &Bytes, method: &Method) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    match *method {
        Method::GET | Method::HEAD => {
            *response.body_mut() = Body::whole(document.clone());
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
