//! Where permitted calls go.

mod stdio;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::Action;
use doorward_policy::Permit;
use doorward_resource_server::Principal;
use doorward_types::id::ServerName;
use doorward_types::random::Random;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};

use crate::body::UpstreamBody;
use crate::connect::{HttpClient, NoAnswer};
use crate::refuse::Failure;
use crate::settings::GatewayError;
pub(crate) use stdio::StdioFailure;
pub use stdio::{Launcher, Launching, Owner, Stdio, StdioSettings};

/// Any error of a body or a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an in-process server gives back.
pub type Answer = Pin<Box<dyn Future<Output = Response<BoxBody<Bytes, BoxError>>> + Send>>;

/// An MCP server in this process. It finds who calls in the request's extensions, as `Arc<Principal>`.
pub trait InProcess: Send + Sync + 'static {
    /// Answers one Streamable HTTP request that was permitted.
    fn call(&self, request: Request<Bytes>) -> Answer;
}

/// Where a server's calls go.
#[derive(Clone)]
pub enum Upstream {
    /// An MCP endpoint over HTTP.
    Http(Uri),
    /// A server in this process.
    InProcess(Arc<dyn InProcess>),
    /// A command that speaks stdio.
    Stdio(Arc<Stdio>),
}

impl Upstream {
    /// An `http` or `https` URL without user name and fragment. Its query, if any, is kept.
    pub fn http(url: &str) -> Result<Self, GatewayError> {
        let refuse = || GatewayError::Upstream(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let authority = uri.authority().ok_or_else(refuse)?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !known || authority.as_str().contains('@') || url.contains('#') {
            return Err(refuse());
        }
        Ok(Self::Http(uri))
    }

    /// A command that speaks stdio, started by `launcher` for each user or legacy session. When the last clone
    /// of this value is dropped, its processes end after the calls that they are working on.
    #[must_use]
    pub fn stdio(
        name: ServerName,
        launcher: Arc<dyn Launcher>,
        settings: StdioSettings,
        random: Arc<dyn Random>,
    ) -> Self {
        Self::Stdio(Arc::new(Stdio::new(name, launcher, settings, random)))
    }

    /// A tower service, such as an rmcp server.
    pub fn in_process<S, B>(service: S) -> Self
    where
        S: tower::Service<Request<Bytes>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<BoxError>,
    {
        Self::InProcess(Arc::new(Tower(service)))
    }

    /// Sends a permitted call, and nothing else: the permit is spent on it. The call is sent once; whatever
    /// happens to it, it is not sent again.
    pub(crate) async fn send(
        &self,
        client: Option<&HttpClient>,
        limit: Duration,
        permit: Permit,
        headers: HeaderMap,
        principal: &Arc<Principal>,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let mut request = Request::new(());
        *request.method_mut() = match permit.call().action() {
            Action::OpenStream => Method::GET,
            Action::EndSession => Method::DELETE,
            Action::Request | Action::Notification | Action::Response => Method::POST,
        };
        let answer = async {
            match self {
                Self::Http(_) => {
                    let client =
                        client.ok_or_else(|| NoAnswer::Unreachable("there is no way to it".into()))?;
                    *request.headers_mut() = headers;
                    let request = request.map(|()| Full::new(permit.into_call().into_body()));
                    let response = client.request(request).await?;
                    Ok(response.map(UpstreamBody::Http))
                }
                Self::InProcess(service) => {
                    *request.headers_mut() = headers;
                    request.extensions_mut().insert(Arc::clone(principal));
                    let request = request.map(|()| permit.into_call().into_body());
                    Ok(service.call(request).await.map(UpstreamBody::InProcess))
                }
                Self::Stdio(stdio) => stdio.send(permit, &headers, principal).await,
            }
        };
        if matches!(self, Self::Stdio(_)) {
            // It has time limits of its own.
            return answer.await;
        }
        tokio::time::timeout(limit, answer)
            .await
            .unwrap_or(Err(Failure::UpstreamTimedOut))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Without the query: people put keys there.
            Self::Http(uri) => write!(f, "Http({:?} {})", uri.authority(), uri.path()),
            Self::InProcess(_) => f.write_str("InProcess"),
            Self::Stdio(_) => f.write_str("Stdio"),
        }
    }
}

struct Tower<S>(S);

impl<S, B> InProcess for Tower<S>
where
    S: tower::Service<Request<Bytes>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: Request<Bytes>) -> Answer {
        let service = self.0.clone();
        Box::pin(async move {
            let answer = tower::ServiceExt::oneshot(service, request).await;
            let response = answer.unwrap_or_else(|never| match never {});
            response.map(|body| BodyExt::map_err(body, Into::into).boxed())
        })
    }
}
