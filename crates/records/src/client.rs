//! Registered clients.

use doorward_types::id::{ClientId, Tenant};
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

/// How a client became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrigin {
    /// By `POST /register` (RFC 7591), content-addressed.
    Dynamic,
}

/// Whether it may start an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientStatus {
    /// It may.
    Approved,
    /// Registration policy wants `doorward client approve` first.
    Pending,
}

/// A client as the registration request described it, reduced to what we honour (RFC 7591 §2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// Human-readable name; never trusted to be true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Home page; shown, never fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// Sorted; loopback ones without port.
    pub redirect_uris: Vec<String>,
    /// `authorization_code`, and `refresh_token` if it wants refresh tokens.
    pub grant_types: Vec<String>,
    /// `code`.
    pub response_types: Vec<String>,
    /// `none` for public clients.
    pub token_endpoint_auth_method: String,
    /// `native` or `web` (OpenID Connect Registration §2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
    /// Scopes it may ask for; none named = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// RFC 7591 §2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// RFC 9449 §5.2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens: bool,
}

impl ClientMetadata {
    /// Whether it registered for refresh tokens.
    #[must_use]
    pub fn wants_refresh_tokens(&self) -> bool {
        self.grant_types.iter().any(|grant| grant == "refresh_token")
    }
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The tenant it belongs to.
    pub tenant: Tenant,
    /// For dynamic public clients `dcr_` and the digest of their metadata.
    pub id: ClientId,
    /// How it became known.
    pub origin: ClientOrigin,
    /// Whether it may start an authorization.
    pub status: ClientStatus,
    /// What it registered.
    pub metadata: ClientMetadata,
    /// When it first registered.
    pub created: UnixTime,
    /// When it last registered, was authorized or got a token. Reaping goes by this.
    pub last_used: UnixTime,
}
