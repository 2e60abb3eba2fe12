//! The tower layer: works around `axum::Router`s, around rmcp's `StreamableHttpService`, around any service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::access_token::AccessToken;
use crate::refused::Refused;
use crate::rule::ScopeRule;
use crate::server::{About, ResourceServer};

/// The request's body as the service behind the layer gets it: the client's, or the bytes that were judged.
pub type RequestBody<B> = Either<Full<Bytes>, B>;
/// The answer's body: the layer's own, or that of the service behind it.
pub type ResponseBody<B> = Either<Full<Bytes>, B>;

type Rule = Arc<dyn Fn(&AccessToken, &Parts) -> bool + Send + Sync>;

/// Protects what it is put around. Made by [`ResourceServer::layer`] and [`ResourceServer::require`].
#[derive(Clone)]
pub struct ProtectLayer {
    server: ResourceServer,
    scopes: ScopeRule,
    further: Option<Rule>,
    judges_messages: bool,
}

impl ProtectLayer {
    pub(crate) const fn new(server: ResourceServer, scopes: ScopeRule, judges_messages: bool) -> Self {
        Self {
            server,
            scopes,
            further: None,
            judges_messages,
        }
    }

    /// Lets in only whom `rule` admits as well, whatever was granted (R30). Who is refused gets `403` without a
    /// challenge: another token would not help. `rule` sees the head of the request.
    #[must_use]
    pub fn and(mut self, rule: impl Fn(&AccessToken, &Parts) -> bool + Send + Sync + 'static) -> Self {
        let before = self.further.take();
        self.further = Some(Arc::new(move |token, head| {
            before.as_ref().is_none_or(|before| before(token, head)) && rule(token, head)
        }));
        self
    }

    /// Access rule, scopes and further rule, for the holder of `token`.
    fn admit(&self, token: &AccessToken, head: &Parts) -> Result<(), Refused> {
        self.server.admit(token)?;
        if !self.scopes.admits(token.scopes()) {
            let needed = self.scopes.to_ask_for().clone();
            // A rule that no token fits asks for nothing.
            return Err(match needed.is_empty() {
                true => Refused::Permission,
                false => Refused::Scope { needed },
            });
        }
        if self.further.as_ref().is_some_and(|rule| !rule(token, head)) {
            return Err(Refused::Permission);
        }
        Ok(())
    }

    /// The request as it may go on, or the answer to the client.
    async fn enter<B>(&self, request: Request<B>) -> Result<Request<RequestBody<B>>, Response<Bytes>>
    where
        B: Body<Data = Bytes>,
    {
        let path = request.uri().path();
        if let Some(answer) = self.server.metadata_answer(path, request.method()) {
            return Err(answer);
        }
        let (mut head, body) = request.into_parts();
        let mut about = About::of(&head.headers);
        let token = self.server.identify(&head).await;
        let token = token.map_err(|refused| self.server.refuse_about(&refused, &about, None))?;
        let admitted = self.admit(&token, &head);
        admitted.map_err(|refused| self.server.refuse_about(&refused, &about, Some(&token)))?;
        let body = if self.judges_messages {
            let judged = self.server.judge(&head, body, &token, &mut about).await;
            let permit =
                judged.map_err(|refused| self.server.refuse_about(&refused, &about, Some(&token)))?;
            // The bytes that were judged are the bytes that go on.
            let bytes = permit.map_or_else(Bytes::new, |permit| permit.into_call().into_body());
            if head.headers.contains_key(CONTENT_LENGTH) {
                head.headers
                    .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            }
            Either::Left(Full::new(bytes))
        } else {
            Either::Right(body)
        };
        self.server.let_in(&mut head, token);
        Ok(Request::from_parts(head, body))
    }
}

impl fmt::Debug for ProtectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectLayer")
            .field("server", &self.server)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ProtectLayer {
    type Service = Protected<S>;

    fn layer(&self, inner: S) -> Protected<S> {
        Protected {
            layer: Arc::new(self.clone()),
            inner,
        }
    }
}

/// A service behind a [`ProtectLayer`].
#[derive(Clone, Debug)]
pub struct Protected<S> {
    layer: Arc<ProtectLayer>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Protected<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = Arc::clone(&self.layer);
        // What was made ready is taken; a clone may have to be made ready anew.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            match layer.enter(request).await {
                Ok(request) => Ok(inner.call(request).await?.map(Either::Right)),
                Err(answer) => Ok(answer.map(|body| Either::Left(Full::new(body)))),
            }
        })
    }
}
