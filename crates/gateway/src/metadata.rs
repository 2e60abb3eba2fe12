//! The resource metadata document (RFC 9728), written once and served as it is.

use bytes::Bytes;
use doorward_mcp::Revision;
use doorward_policy::ProtectedServer;
use doorward_resource_server::metadata::{self, ResourceMetadata};
use doorward_types::url::Issuer;
use http::{Method, Response};

use crate::body::Body;
use crate::settings::GatewayError;

pub(crate) fn document(server: &ProtectedServer, issuer: &Issuer) -> Result<Bytes, GatewayError> {
    let mut document = ResourceMetadata::new(
        server.resource.clone(),
        issuer.clone(),
        server.default_scopes(),
        server.name.as_str(),
    );
    document.mcp_protocol_versions_supported = Revision::ALL
        .map(|revision| revision.as_str().to_owned())
        .to_vec();
    serde_json::to_vec(&document)
        .map(Bytes::from)
        .map_err(GatewayError::Metadata)
}

pub(crate) fn answer(document: &Bytes, method: &Method) -> Response<Body> {
    metadata::answer(document, method).map(|bytes| match bytes.is_empty() {
        true => Body::empty(),
        false => Body::whole(bytes),
    })
}
