//! Dynamic client registration messages (RFC 7591 §2 and §3).

use serde::{Deserialize, Serialize};

/// A registration request. Members we do not honour (logos, key sets, …) are dropped unread; the ones we
/// honour must have the right type and may not be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RegistrationRequest {
    /// `redirect_uris`.
    pub redirect_uris: Option<Vec<String>>,
    /// `token_endpoint_auth_method`; the default of RFC 7591 is `client_secret_basic`.
    pub token_endpoint_auth_method: Option<String>,
    /// `grant_types`.
    pub grant_types: Option<Vec<String>>,
    /// `response_types`.
    pub response_types: Option<Vec<String>>,
    /// `client_name`.
    pub client_name: Option<String>,
    /// `client_uri`.
    pub client_uri: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `software_id`.
    pub software_id: Option<String>,
    /// `application_type` (OpenID Connect Registration §2).
    pub application_type: Option<String>,
    /// `dpop_bound_access_tokens` (RFC 9449 §5.2).
    pub dpop_bound_access_tokens: Option<bool>,
}

/// What was registered (RFC 7591 §3.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistrationResponse {
    /// The new (or the same) client id.
    pub client_id: String,
    /// When it was issued, in seconds since the epoch.
    pub client_id_issued_at: i64,
    /// Exactly what the request listed, ports included: clients compare it with what they cached.
    pub redirect_uris: Vec<String>,
    /// What it may use.
    pub grant_types: Vec<String>,
    /// `code`.
    pub response_types: Vec<String>,
    /// `none`.
    pub token_endpoint_auth_method: String,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
}

impl RegistrationResponse {
    /// The JSON body.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
