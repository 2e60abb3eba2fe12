//! The same server over Streamable HTTP, as a protected resource whose tokens are GitHub's.
//!
//! A client without a token gets `401` and the metadata that names GitHub; one with a token gets in if GitHub says that it is good
//! and, where the app's secret is known, that it was issued to this app. Tokens are used at GitHub's API and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use doorward_resource_server::{
    AccessToken, BuildError, ResourceServer, TokenFacts, TokenRefusal, TokenVerifier, UnverifiedToken,
    Verification, bearer_token,
};
use doorward_stdio_authorization::verify::{NotVerified, Verify};
use doorward_types::secret::Secret;
use doorward_types::time::{Clock, SystemClock};
use doorward_types::url::{Issuer, ResourceUri};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use crate::tools::{GitHubServer, VerifiedToken};

/// For how long a verdict stands: GitHub's tokens say nothing of their end.
const STANDS: Duration = Duration::from_mins(5);

/// GitHub's word about tokens as a resource server hears it.
struct GitHubVerifier {
    issuer: Issuer,
    client_id: String,
    verify: Arc<dyn Verify>,
}

impl GitHubVerifier {
    async fn judge(
        &self,
        resource: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Result<AccessToken, TokenRefusal> {
        let verified =
            self.verify
                .verify(&Secret::new(token.expose()))
                .await
                .map_err(|error| match error {
                    NotVerified::Refused(_) => TokenRefusal::Inactive,
                    NotVerified::Unavailable(_) => TokenRefusal::Blind,
                })?;
        let now = SystemClock.now();
        let facts = TokenFacts {
            issuer: self.issuer.clone(),
            subject: verified.subject.ok_or(TokenRefusal::MissingClaim("sub"))?,
            client_id: doorward_types::id::ClientId::new(self.client_id.clone()),
            scopes: verified.scopes.unwrap_or_default(),
            groups: Vec::new(),
            resource: resource.clone(),
            token_id: None,
            issued: None,
            not_before: None,
            expires: now.plus(STANDS),
            authenticated: None,
            tenant: None,
            claims: serde_json::Map::new(),
        };
        token.accept(facts, resource, now)
    }
}

impl TokenVerifier for GitHubVerifier {
    fn verify<'a>(&'a self, resource: &'a ResourceUri, token: UnverifiedToken<'a>) -> Verification<'a> {
        Verification::awaited(self.judge(resource, token))
    }
}

/// What the HTTP server is made of.
pub struct HttpServer {
    /// The tools.
    pub server: GitHubServer,
    /// The URL of the MCP endpoint, as clients write it.
    pub resource: String,
    /// GitHub, or an Enterprise Server.
    pub issuer: String,
    /// The app that tokens are issued to.
    pub client_id: String,
    /// Who asks GitHub about tokens.
    pub verify: Arc<dyn Verify>,
}

/// The routes of the server: `/mcp` and its metadata.
///
/// # Errors
/// When the resource or the issuer is not one.
pub fn router(parts: HttpServer) -> Result<Router, BuildError> {
    let issuer =
        Issuer::parse(&parts.issuer).map_err(|error| BuildError::Issuer(parts.issuer.clone(), error))?;
    let protected = ResourceServer::builder(parts.resource)
        .issuer(parts.issuer)
        .required_scopes("read:user")
        .verifier(GitHubVerifier {
            issuer,
            client_id: parts.client_id,
            verify: parts.verify,
        })
        .build()?;
    let server = parts.server;
    let mcp = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    Ok(Router::new()
        .nest_service("/mcp", mcp)
        .layer(protected.layer())
        .layer(from_fn(keep_token)))
}

/// The layer behind this one takes the token out when it has verified it; the tools need it for GitHub. A request that is refused
/// never reaches them.
async fn keep_token(mut request: Request, next: Next) -> Response {
    if let Ok(Some(token)) = bearer_token(request.headers(), request.uri()) {
        let token = VerifiedToken(Secret::new(token.expose()));
        request.extensions_mut().insert(token);
    }
    next.run(request).await
}
