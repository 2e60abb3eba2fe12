//! The same server with one half cut off: requests of the other era are refused as servers of one era refuse them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower_service::Service;

/// The half that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Revisions with `initialize` and sessions.
    Legacy,
    /// 2026-07-28.
    Modern,
}

const MODERN: &str = "2026-07-28";
const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// A service that knows one era.
#[derive(Clone)]
pub(super) struct OneEra<S> {
    pub(super) era: Era,
    pub(super) inner: S,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl<S> Service<Request<Incoming>> for OneEra<S>
where
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let refused = match self.era {
            Era::Modern => refused_by_modern(&request),
            Era::Legacy => refused_by_legacy(&request),
        };
        if let Some((status, body)) = refused {
            return Box::pin(async move { Ok(answer(status, &body)) });
        }
        Box::pin(self.inner.call(request))
    }
}

fn version(request: &Request<Incoming>) -> Option<&str> {
    request.headers().get("mcp-protocol-version")?.to_str().ok()
}

/// 2026-07-28, "Earlier Streamable HTTP Revisions" and "Protocol Version Header".
fn refused_by_modern(request: &Request<Incoming>) -> Option<(StatusCode, Value)> {
    if request.method() != Method::POST {
        return Some((StatusCode::METHOD_NOT_ALLOWED, Value::Null));
    }
    let asked = version(request).unwrap_or_default();
    let data = json!({ "supported": [MODERN], "requested": asked });
    let error = json!({ "code": -32022, "message": "Unsupported protocol version", "data": data });
    (asked != MODERN).then(|| {
        (
            StatusCode::BAD_REQUEST,
            json!({ "jsonrpc": "2.0", "error": error }),
        )
    })
}

/// As servers of that time refuse what they have never heard of.
fn refused_by_legacy(request: &Request<Incoming>) -> Option<(StatusCode, Value)> {
    let asked = version(request).filter(|version| !LEGACY.contains(version))?;
    let message = format!("Bad Request: Unsupported protocol version: {asked}");
    let error = json!({ "code": -32000, "message": message });
    Some((
        StatusCode::BAD_REQUEST,
        json!({ "jsonrpc": "2.0", "id": null, "error": error }),
    ))
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed());
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
