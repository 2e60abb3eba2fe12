//! Registered clients.

use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, Tenant};
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

/// How a client became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrigin {
    /// By `POST /register` (RFC 7591), content-addressed.
    Dynamic,
    /// By `POST /register` with a way to authenticate: a random id of its own, managed by RFC 7592.
    Confidential,
    /// Added by an operator's command.
    Operator,
    /// Named in the configuration file.
    Configured,
    /// Its id is the URL of its metadata document; the row is a cached copy of it.
    MetadataDocument,
}

impl ClientOrigin {
    /// Whether anybody can make such a client without being asked: those are counted, made room for and
    /// forgotten when nobody uses them. What an operator added stays until an operator removes it.
    #[must_use]
    pub const fn is_self_service(self) -> bool {
        match self {
            Self::Dynamic | Self::Confidential | Self::MetadataDocument => true,
            Self::Operator | Self::Configured => false,
        }
    }
}

/// Whether it may start an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientStatus {
    /// It may.
    Approved,
    /// Registration policy wants `doorward client approve` first.
    Pending,
    /// Switched off by an operator. Registering again does not undo it, and the row is never swept: the memory
    /// is the point.
    Disabled,
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
    /// Its public keys as the JSON text of a JWK set (RFC 7591 §2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Where its public keys are (RFC 7591 §2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The only algorithm its assertions may be signed with (OpenID Connect Registration §2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<String>,
}

impl ClientMetadata {
    /// Whether it registered for refresh tokens.
    #[must_use]
    pub fn wants_refresh_tokens(&self) -> bool {
        self.registered("refresh_token")
    }

    /// Whether it registered for this grant type.
    #[must_use]
    pub fn registered(&self, grant_type: &str) -> bool {
        self.grant_types.iter().any(|grant| grant == grant_type)
    }

    /// Nothing but redirect URIs: a public client for the code and refresh grants.
    #[must_use]
    pub fn public(redirect_uris: Vec<String>) -> Self {
        Self {
            client_name: None,
            client_uri: None,
            redirect_uris,
            grant_types: vec!["authorization_code".into(), "refresh_token".into()],
            response_types: vec!["code".into()],
            token_endpoint_auth_method: "none".into(),
            application_type: None,
            scope: None,
            software_id: None,
            dpop_bound_access_tokens: false,
            jwks: None,
            jwks_uri: None,
            token_endpoint_auth_signing_alg: None,
        }
    }
}

/// How fresh the copy of a metadata document is, and the keys that it named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CachedDocument {
    /// When it was fetched.
    pub fetched: UnixTime,
    /// Until when it is used without being fetched again.
    pub fresh_until: UnixTime,
    /// The keys behind `jwks_uri`, as the JSON text of a JWK set.
    #[serde(default)]
    pub jwks: Option<String>,
    /// When they were fetched.
    #[serde(default)]
    pub jwks_fetched: Option<UnixTime>,
    /// Until when they are used without being fetched again.
    #[serde(default)]
    pub jwks_fresh_until: Option<UnixTime>,
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
    /// Digest of its secret, if it has one.
    pub secret: Option<Digest>,
    /// Digest of the token with which it manages its registration (RFC 7592 §3).
    pub registration_token: Option<Digest>,
    /// Names of the servers it may get tokens for; `None` for all.
    pub servers: Option<Vec<String>>,
    /// Names of the servers whose tokens it may introspect (RFC 7662).
    pub introspects: Vec<String>,
    /// For a client whose id is a URL: the copy of what is there.
    pub document: Option<CachedDocument>,
    /// When its secret, and with it its registration, ends.
    pub expires: Option<UnixTime>,
    /// When an operator approved it: from then on it is not forgotten, however long nobody uses it.
    pub approved: Option<UnixTime>,
}

impl Client {
    /// A client that just became known: no secret, every server, no introspection.
    #[must_use]
    pub fn new(id: ClientId, origin: ClientOrigin, metadata: ClientMetadata, now: UnixTime) -> Self {
        Self {
            tenant: Tenant::default_tenant(),
            id,
            origin,
            status: ClientStatus::Approved,
            metadata,
            created: now,
            last_used: now,
            secret: None,
            registration_token: None,
            servers: None,
            introspects: Vec::new(),
            document: None,
            expires: None,
            approved: None,
        }
    }
}
