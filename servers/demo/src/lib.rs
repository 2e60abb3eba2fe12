//! The built-in demo MCP server: `whoami`, `echo` and notes, per user.
//!
//! It exists so that a first login has something to reach. Two ways to run it:
//!
//! - [`Demo::call`] inside the gateway's process. The gateway has judged the request and says who calls by
//!   putting an `Arc<Principal>` into the request's extensions.
//! - [`serve`] on a listener of its own, as any other MCP server, for tests and for `--upstream`. Nobody
//!   says who calls there, so `whoami` answers that the caller is unknown.
//!
//! Both speak every revision over Streamable HTTP: 2026-07-28 without sessions, earlier ones with
//! `Mcp-Session-Id`. Everything is kept in memory and bounded: see [`notes`] and [`sessions`].

mod caller;
pub mod notes;
pub mod sessions;
mod standalone;
mod tools;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use crate::notes::Notes;
use crate::sessions::BoundedSessions;
use crate::tools::DemoTools;

pub use standalone::serve;

/// A response body: JSON, or an event stream that ends when its sender does.
pub type Body = BoxBody<Bytes, Infallible>;

/// The demo server as a value: clones share the notes and the sessions.
#[derive(Clone)]
pub struct Demo {
    service: StreamableHttpService<DemoTools, BoundedSessions>,
}

impl Demo {
    /// A demo server with no notes and no sessions, for requests that a gateway has already judged.
    ///
    /// It checks neither `Host` nor `Origin`: the gateway did, against its own public URL.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(StreamableHttpServerConfig::default().disable_allowed_hosts())
    }

    fn with_config(config: StreamableHttpServerConfig) -> Self {
        let notes = Arc::new(Notes::default());
        let service = StreamableHttpService::new(
            move || Ok(DemoTools::new(Arc::clone(&notes))),
            Arc::new(BoundedSessions::default()),
            config.with_json_response(true),
        );
        Self { service }
    }

    /// Answers one HTTP request to the MCP endpoint, whatever its path.
    ///
    /// The caller is the `Arc<Principal>` in the request's extensions, unknown if there is none. Errors
    /// are HTTP responses. Dropping the response body cancels the call behind it.
    pub async fn call(&self, mut request: Request<Bytes>) -> Response<Body> {
        // rmcp insists on a Host, which a request between two parts of one process need not have.
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("localhost"));
        request.headers_mut().remove(ORIGIN);
        self.service.handle(request.map(Full::new)).await
    }

    /// Ends every session and every open stream. Requests after this are answered with an error.
    pub fn close(&self) {
        self.service.config.cancellation_token.cancel();
    }
}

impl Default for Demo {
    fn default() -> Self {
        Self::new()
    }
}

impl tower::Service<Request<Bytes>> for Demo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let demo = self.clone();
        Box::pin(async move { Ok(Self::call(&demo, request).await) })
    }
}

#[cfg(test)]
mod tests;
