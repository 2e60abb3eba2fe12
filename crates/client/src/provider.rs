//! Where an application keeps what a login needs, and how it shows the user the way.

use async_trait::async_trait;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use url::Url;

use crate::sign_on::PendingSignOn;

/// Why the application could not keep or show something. The words are for the person at the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(pub String);

/// Tokens of one user for one resource from one authorization server. They are never used for another pair (A25, D2).
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The `issuer` of the metadata that named the token endpoint, byte for byte.
    pub issuer: String,
    /// The `resource` that they were asked for, byte for byte as its metadata writes it.
    pub resource: String,
    /// The client that they were issued to.
    pub client_id: String,
    /// The access token.
    pub access_token: Secret,
    /// Whether it is bound to our key and goes with the `DPoP` scheme (RFC 9449 §7.1).
    pub dpop: bool,
    /// When it came, if that was noted.
    pub issued_at: Option<UnixTime>,
    /// When it ends, if the server said.
    pub expires_at: Option<UnixTime>,
    /// The refresh token, if there is one.
    pub refresh_token: Option<Secret>,
    /// What was granted, as far as known.
    pub scope: ScopeSet,
    /// What was asked for: the base of the next union (A10, A35).
    pub requested: ScopeSet,
}

/// What a client is to one authorization server (G13: kept by issuer).
#[derive(Clone, Debug)]
pub struct ClientInformation {
    /// The `issuer` that it belongs to, byte for byte.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
    /// The secret, for clients that have one.
    pub client_secret: Option<Secret>,
    /// How it was registered to authenticate, if the registration said (RFC 7591 `token_endpoint_auth_method`).
    pub token_endpoint_auth_method: Option<String>,
    /// The redirect URI that was registered.
    pub redirect_uri: Option<String>,
    /// Where it comes from.
    pub origin: ClientOrigin,
    /// When the secret ends (RFC 7591 `client_secret_expires_at`, 0 = never = `None`).
    pub secret_expires_at: Option<UnixTime>,
}

/// How a client came to its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOrigin {
    /// An operator gave it out (G10).
    PreRegistered,
    /// It is the URL of a metadata document (G3).
    MetadataDocument,
    /// The authorization server handed it out (RFC 7591).
    Dynamic,
}

/// An authorization request that the user is answering right now (A13: the issuer is recorded beside verifier and state).
#[derive(Clone, Debug)]
pub struct Pending {
    /// The validated `issuer` of the authorization server's metadata.
    pub issuer: String,
    /// Where its answers must say who they are from (`authorization_response_iss_parameter_supported`).
    pub iss_required: bool,
    /// The token endpoint of the same metadata.
    pub token_endpoint: Url,
    /// The resource that was asked for.
    pub resource: String,
    /// The PKCE verifier.
    pub verifier: Secret,
    /// The `state`.
    pub state: Secret,
    /// The exact redirect URI of the request.
    pub redirect_uri: String,
    /// The scopes of the request; empty if none were sent.
    pub requested: ScopeSet,
    /// The client that asked. Its `token_endpoint_auth_method` is the one that its code is exchanged with.
    pub client: ClientInformation,
    /// Whether the token is to be bound to a key: then the code is exchanged with a proof of it (RFC 9449 §5).
    pub dpop: bool,
    /// What the ID token is judged by, if this is a sign-on at an identity provider.
    pub sign_on: Option<PendingSignOn>,
}

/// The application's side of a login. One value serves one user and one MCP server.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The tokens kept for this issuer and resource.
    async fn tokens(&self, issuer: &str, resource: &str) -> Result<Option<Tokens>, ProviderError>;
    /// Keeps tokens, in the place of those of the same issuer and resource.
    async fn save_tokens(&self, tokens: &Tokens) -> Result<(), ProviderError>;
    /// Forgets tokens (they were revoked, or refused for good).
    async fn forget_tokens(&self, issuer: &str, resource: &str) -> Result<(), ProviderError>;
    /// What this client is to `issuer`: given by its user for this issuer, or registered before.
    async fn client(&self, issuer: &str) -> Result<Option<ClientInformation>, ProviderError>;
    /// The issuer that a pre-registered client id was first used with, whichever that is: its secret is shown to no other
    /// (G13, CL-08).
    async fn issuer_of(&self, client_id: &str) -> Result<Option<String>, ProviderError>;
    /// Keeps a registration, and of a pre-registered client which issuer it belongs to.
    async fn save_client(&self, client: &ClientInformation) -> Result<(), ProviderError>;
    /// Forgets a registration (`invalid_client`).
    async fn forget_client(&self, issuer: &str) -> Result<(), ProviderError>;
    /// Where answers come to, if that is not known before [`client`](Self::client) was asked: a registration that is kept may
    /// decide about the port to listen on. `None`: where the options say.
    fn redirect_uri(&self) -> Option<String> {
        None
    }
    /// The request that is under way.
    async fn pending(&self) -> Result<Option<Pending>, ProviderError>;
    /// Keeps the request that is under way, `None` to forget it.
    async fn save_pending(&self, pending: Option<&Pending>) -> Result<(), ProviderError>;
    /// Shows the user the authorization URL: opens a browser, prints it.
    async fn redirect(&self, authorization_url: &Url) -> Result<(), ProviderError>;
    /// Tells the user where to go on another device, and which code to type there (RFC 8628 §3.3). For applications that
    /// never use [`Grant::Device`](crate::grant::Grant::Device) there is nothing to do.
    async fn show_code(
        &self,
        _authorization: &crate::device::DeviceAuthorization,
    ) -> Result<(), ProviderError> {
        Err(ProviderError(
            "this application cannot show a code for another device".into(),
        ))
    }
    /// Waits, before it is asked once more whether the user is done on the other device.
    async fn pause(&self, _duration: std::time::Duration) -> Result<(), ProviderError> {
        Err(ProviderError(
            "this application cannot wait for another device".into(),
        ))
    }
}
