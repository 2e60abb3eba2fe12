//! The same server over Streamable HTTP, as a protected resource whose tokens are GitHub's.
//!
//! A client without a token gets `401` and the metadata that names GitHub; one with a token gets in if GitHub says that it is good
//! and, where the app's secret is known, that it was issued to this app. Whoever asks for private repositories without having been
//! granted them gets `403` and the scopes to ask for. Tokens are used at GitHub's API and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use doorward_resource_server::{
    AccessToken, BuildError, Refused, ResourceServer, TokenFacts, TokenRefusal, TokenVerifier,
    UnverifiedToken, Verification, bearer_token,
};
use doorward_stdio_authorization::AuthorizationServer;
use doorward_stdio_authorization::providers::GITHUB;
use doorward_stdio_authorization::verify::{NotVerified, Verify};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::{Clock, SystemClock};
use doorward_types::url::{Issuer, ResourceUri};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Api, Visibility};
use crate::tools::{GitHubServer, OverHttp, REPOSITORIES, TokenIn, VerifiedToken};

/// For how long a verdict stands: GitHub's tokens say nothing of their end.
const STANDS: Duration = Duration::from_mins(5);

/// What private repositories need beside it.
const PRIVATE: &str = "repo";
/// The longest message, in bytes.
const LONGEST: usize = 1 << 20;
/// The revision without sessions: its errors never have `id: null`.
const MODERN: &str = "2026-07-28";

/// GitHub's word about tokens as a resource server hears it.
struct GitHubVerifier {
    issuer: Issuer,
    client_id: String,
    /// What is taken as granted where GitHub does not say: its API judges each call then.
    everything: ScopeSet,
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
            scopes: verified.scopes.unwrap_or_else(|| self.everything.clone()),
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
    /// GitHub's API.
    pub api: Api,
    /// The URL of the MCP endpoint, as clients write it.
    pub resource: String,
    /// GitHub, or an Enterprise Server.
    pub authorization_server: AuthorizationServer,
    /// What every request needs.
    pub scopes: ScopeSet,
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
    let issuer = parts.authorization_server.issuer.clone();
    let issuer = Issuer::parse(&issuer).map_err(|error| BuildError::Issuer(issuer, error))?;
    let private = parts.scopes.union(&GITHUB.scopes(PRIVATE));
    let protected = ResourceServer::builder(parts.resource.clone())
        .issuer(parts.authorization_server.issuer.clone())
        .required_scopes(parts.scopes.to_string())
        .verifier(GitHubVerifier {
            issuer,
            client_id: parts.client_id,
            everything: GITHUB.closure(&private),
            verify: Arc::clone(&parts.verify),
        })
        .build()?;
    // A page of the web that reached us by DNS rebinding has neither our host nor no origin.
    let mut config = StreamableHttpServerConfig::default().enforce_origin_validation();
    config.max_request_body_bytes = LONGEST;
    let public = url::Url::parse(&parts.resource).ok();
    config
        .allowed_hosts
        .extend(public.and_then(|url| url.host_str().map(str::to_owned)));
    let over = Arc::new(OverHttp {
        resource: parts.resource,
        authorization_server: parts.authorization_server,
        verify: parts.verify,
    });
    let server = GitHubServer::new(parts.api, TokenIn::Request(over));
    let mcp = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let steps = Arc::new(StepUp {
        server: protected.clone(),
        private,
    });
    Ok(Router::new()
        .nest_service("/mcp", mcp)
        .layer(from_fn_with_state(steps, step_up))
        .layer(protected.layer())
        .layer(from_fn(keep_token)))
}

/// Who refuses calls for private repositories.
struct StepUp {
    server: ResourceServer,
    private: ScopeSet,
}

/// As much of a message as it takes to know that it asks for private repositories.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
    arguments: Option<Arguments>,
}

#[derive(Deserialize)]
struct Arguments {
    visibility: Option<Visibility>,
}

/// GitHub leaves out what a token may not see, without a word, and over HTTP a client steps up by a `403` alone: so what the token was
/// granted is looked at before the call. Not a protection, GitHub's API is that; a message that is not understood here goes on.
async fn step_up(State(steps): State<Arc<StepUp>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST).await else {
        return http::StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let token = AccessToken::of(&head.extensions);
    if let (Ok(message), Some(token)) = (serde_json::from_slice::<Message<'_>>(&body), token)
        && asks_for_private(&message)
        && !steps.private.is_subset(token.scopes())
    {
        let legacy = head
            .headers
            .get("mcp-protocol-version")
            .is_none_or(|version| version != MODERN);
        let needed = steps.private.clone();
        let answer = Refused::Scope { needed }.answer(
            steps.server.challenges(),
            message.id.map(RawValue::get),
            legacy,
        );
        return answer.map(Body::from);
    }
    next.run(Request::from_parts(head, body.into())).await
}

fn asks_for_private(message: &Message<'_>) -> bool {
    let Some(params) = &message.params else {
        return false;
    };
    let visibility = params
        .arguments
        .as_ref()
        .and_then(|arguments| arguments.visibility);
    params.name.as_deref() == Some(REPOSITORIES) && visibility == Some(Visibility::Private)
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
