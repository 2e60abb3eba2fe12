//! One protected resource: its settings in one place, and who may enter.

mod builder;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "remote")]
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::method::Extensions;
use doorward_mcp::{Call, Revision, headers};
use doorward_policy::{AccessRule, Context, Permit, Policy, ProtectedServer, Refusal, judge};
use doorward_types::time::Clock;
use doorward_types::url::ResourceUri;
use http::request::Parts;
use http::{HeaderMap, Response};

pub use builder::{BuildError, ResourceServerBuilder};

use crate::access_token::AccessToken;
use crate::bearer::bearer_token;
use crate::challenge::Challenges;
use crate::layer::ProtectLayer;
use crate::receive;
use crate::refused::Refused;
use crate::rule::ScopeRule;
use crate::verify::TokenVerifier;

/// One protected resource: an MCP server, or anything else that is spoken to over HTTP with access tokens.
///
/// A clone shares everything. [`ResourceServer::layer`] goes around the MCP endpoint, [`ResourceServer::require`] around
/// other routes.
#[derive(Clone)]
pub struct ResourceServer(Arc<Inner>);

struct Inner {
    resource: ResourceUri,
    metadata_paths: Vec<String>,
    document: Bytes,
    challenges: Challenges,
    required: ScopeRule,
    allow: AccessRule,
    verifier: Arc<dyn TokenVerifier>,
    table: Option<Table>,
    /// Where messages are judged.
    mcp_paths: Vec<String>,
    /// Whether it was said that something else than MCP is under the layer.
    misplaced: AtomicBool,
    clock: Arc<dyn Clock>,
    body_limit: usize,
    #[cfg(feature = "remote")]
    body_timeout: Duration,
}

/// What single calls need.
struct Table {
    server: ProtectedServer,
    policy: Arc<dyn Policy>,
}

/// That this very server let a request in. Only a layer puts it there, so nothing else beside a request (a token that was
/// verified for somebody else, with other keys, for another tenant) is taken for it.
#[derive(Clone)]
struct Entered {
    by: ResourceServer,
    token: AccessToken,
}

impl ResourceServer {
    /// Begins with the resource identifier: the URL that clients are given, byte for byte (RFC 8707 §2). It must be
    /// `https`, or `http` on loopback.
    pub fn builder(resource: impl Into<String>) -> ResourceServerBuilder {
        ResourceServerBuilder::new(resource.into())
    }

    /// The layer for the MCP endpoint. It answers for the metadata document, lets in who holds a good token with every
    /// required scope, and hands on the [`AccessToken`] in the request's extensions. With a scope table it also reads
    /// every message strictly and lets through what its caller may call. Then only the resource's own path is open (or
    /// [`ResourceServerBuilder::mcp_paths`]): what else stands under the layer is answered with `404`, because a message
    /// that needs no scope, like a `ping`, says nothing about what a handler there does.
    ///
    /// Put it on with `Router::layer`, so that it also sees requests for the metadata document; layers that have no
    /// business with tokens (tracing, CORS) go around it.
    #[must_use]
    pub fn layer(&self) -> ProtectLayer {
        ProtectLayer::new(self.clone(), self.0.required.clone(), self.0.table.is_some())
    }

    /// A layer for routes that are not MCP: it lets in who holds a good token that fits `rule`, if
    /// [`ResourceServerBuilder::allow`] admits them. The scopes that [`ResourceServer::layer`] requires, the table and the
    /// policy say nothing about such routes. Within a layer of this same server the token is not verified again.
    #[must_use]
    pub fn require(&self, rule: ScopeRule) -> ProtectLayer {
        ProtectLayer::new(self.clone(), rule, false)
    }

    /// The resource identifier.
    #[must_use]
    pub fn resource(&self) -> &ResourceUri {
        &self.0.resource
    }

    /// The challenges of this resource.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        &self.0.challenges
    }

    /// The metadata document (RFC 9728), as JSON.
    #[must_use]
    pub fn metadata(&self) -> &Bytes {
        &self.0.document
    }

    /// Answers for the metadata document if `path` is its place.
    #[must_use]
    pub fn metadata_answer(&self, path: &str, method: &http::Method) -> Option<Response<Bytes>> {
        let ours = self.0.metadata_paths.iter().any(|own| own == path);
        ours.then(|| crate::metadata::answer(&self.0.document, method))
    }

    /// Who sent the request with this head, if [`ResourceServerBuilder::allow`] admits them.
    ///
    /// A token that a layer of this same server has verified is not verified again. What a layer of another one let in
    /// is nothing here (R39), not even where both protect the same resource: each has its issuer and its settings.
    pub async fn authenticate(&self, head: &Parts) -> Result<AccessToken, Refused> {
        let token = self.identify(head).await?;
        self.admit(&token)?;
        Ok(token)
    }

    pub(crate) async fn identify(&self, head: &Parts) -> Result<AccessToken, Refused> {
        if let Some(entered) = head.extensions.get::<Entered>()
            && Arc::ptr_eq(&entered.by.0, &self.0)
        {
            return Ok(entered.token.clone());
        }
        let token = bearer_token(&head.headers, &head.uri).map_err(Refused::Credential)?;
        let token = token.ok_or(Refused::NoToken)?;
        let verdict = self.0.verifier.verify(&self.0.resource, token).await;
        let token = verdict.map_err(Refused::Token)?;
        // Whatever the verifier is: what it vouches for must be about this resource.
        if *token.resource() != self.0.resource {
            return Err(Refused::Token(crate::TokenRefusal::WrongAudience));
        }
        Ok(token)
    }

    /// The access rule, which holds wherever this server is asked.
    pub(crate) fn admit(&self, token: &AccessToken) -> Result<(), Refused> {
        if self.0.allow.admits_subject(token.policy_subject()) {
            return Ok(());
        }
        Err(Refused::Policy(Refusal::NotAllowed))
    }

    /// Marks a request as let in.
    pub(crate) fn let_in(&self, head: &mut Parts, token: AccessToken) {
        head.extensions.insert(Entered {
            by: self.clone(),
            token: token.clone(),
        });
        head.extensions.insert(token);
        head.extensions.insert(self.clone());
    }

    /// Whether messages are judged at the place that the request is for. Told once, because it is a mistake of who
    /// wrote the routes.
    fn is_mcp(&self, head: &Parts) -> bool {
        let path = path(head);
        let path = path.strip_suffix('/').unwrap_or(path);
        let ours = self.0.mcp_paths.iter().any(|own| own == path);
        if !ours && !self.0.misplaced.swap(true, Ordering::Relaxed) {
            tracing::error!(
                resource = %self.0.resource,
                ?path,
                "a request under a layer with a scope table is not for the resource's path: other routes belong under \
                 `require`, and `mcp_paths` names where MCP is served if that is elsewhere"
            );
        }
        ours
    }

    /// Reads one MCP request and judges it by the scope table; `None` if there is no table.
    pub(crate) async fn judge<B>(
        &self,
        head: &Parts,
        body: B,
        token: &AccessToken,
        about: &mut About,
    ) -> Result<Option<Permit>, Refused>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let Some(table) = &self.0.table else {
            return Ok(None);
        };
        if !self.is_mcp(head) {
            return Err(Refused::NotTheMcpPath);
        }
        let call = self.receive(head, body, table.server.scopes.extensions()).await;
        let call = call.inspect_err(|refused| {
            if let Refused::NotACall(receive::NotACall::NotAdmitted(refusal)) = refused {
                about.id.clone_from(&refusal.id);
            }
        })?;
        about.id = call.id().map(Into::into);
        about.legacy = call.revision().is_legacy();
        let context = Context::new(self.0.clock.now(), call.revision());
        judge(
            &table.server,
            token.policy_subject(),
            &context,
            call,
            &*table.policy,
        )
        .map(Some)
        .map_err(Refused::Policy)
    }

    async fn receive<B>(&self, head: &Parts, body: B, extensions: &Extensions) -> Result<Call, Refused>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let call = receive::call(&head.method, &head.headers, body, self.0.body_limit, extensions);
        #[cfg(feature = "remote")]
        if tokio::runtime::Handle::try_current().is_ok() {
            let call = tokio::time::timeout(self.0.body_timeout, call).await;
            return call.map_or(Err(Refused::SlowBody), |call| call.map_err(Refused::NotACall));
        }
        call.await.map_err(Refused::NotACall)
    }

    /// Answers a refusal and logs it.
    #[must_use]
    pub fn refuse(&self, refused: &Refused, head: &Parts, token: Option<&AccessToken>) -> Response<Bytes> {
        self.refuse_about(refused, &About::of(&head.headers), token)
    }

    pub(crate) fn refuse_about(
        &self,
        refused: &Refused,
        about: &About,
        token: Option<&AccessToken>,
    ) -> Response<Bytes> {
        let (status, reason) = (refused.status().as_u16(), refused.reason());
        let client = token.map(AccessToken::client_id);
        tracing::info!(resource = %self.0.resource, status, reason, ?client, "call refused");
        refused.answer(&self.0.challenges, about.id.as_deref(), about.legacy)
    }
}

impl fmt::Debug for ResourceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceServer")
            .field("resource", &self.0.resource)
            .finish_non_exhaustive()
    }
}

/// The path that the client asked for, whatever routers have cut off since.
fn path(head: &Parts) -> &str {
    #[cfg(feature = "axum")]
    if let Some(original) = head.extensions.get::<::axum::extract::OriginalUri>() {
        return original.0.path();
    }
    head.uri.path()
}

/// What an answer says about the request that it refuses.
pub(crate) struct About {
    id: Option<Box<str>>,
    legacy: bool,
}

impl About {
    /// While the message is not read, the version header says how to answer.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let version = headers
            .get(headers::PROTOCOL_VERSION)
            .and_then(|value| value.to_str().ok());
        let legacy = version.is_none_or(|text| Revision::parse(text).is_some_and(Revision::is_legacy));
        Self { id: None, legacy }
    }
}
