//! The first look at every request: is it meant for us, and whose is it?
//!
//! Paths are taken as they come: nothing is decoded or normalised, so what is judged here is what the
//! gateway and the router judge (HD-08). Forwarded headers say who asks, if a trusted proxy wrote them, and never
//! what is asked for (HD-03).

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use doorward_gateway::Gateway;
use doorward_limits::{KnownAddress, PeerAddress, TrustedProxies};
use http::header::{CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::host;
use super::reload::{LastReload, RELOAD_FAILED};
use super::upload::{self, Upload};
use crate::config::PublicUrl;

/// Longest request target. Authorization requests carry a state and a challenge, never this much.
const MAX_TARGET: usize = 16 * 1024;
/// How long an answer that is a stream may go on after we were asked to stop; then it ends properly,
/// before the connection is cut.
const STREAM_GRACE: Duration = Duration::from_secs(20);

/// Answers every request of every connection.
pub(crate) struct Front {
    public_url: PublicUrl,
    serving: ArcSwap<Serving>,
    last_reload: Arc<LastReload>,
    stop: watch::Receiver<bool>,
}

/// What answers under one configuration. A request keeps to the one that it began under.
pub(crate) struct Serving {
    pub(crate) gateway: Gateway,
    pub(crate) web: axum::Router,
    pub(crate) trusted_proxies: TrustedProxies,
}

impl Front {
    /// `stop` ends streams; `last_reload` is told to who asks whether we are ready.
    pub(crate) fn new(
        public_url: PublicUrl,
        serving: Serving,
        last_reload: Arc<LastReload>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            public_url,
            serving: ArcSwap::from_pointee(serving),
            last_reload,
            stop,
        }
    }

    /// Every request that comes after this returned is answered by `serving`.
    pub(crate) fn serve_with(&self, serving: Serving) {
        self.serving.store(Arc::new(serving));
    }

    /// Whose address policies see. Where people come from elsewhere, what connects from this machine is a proxy, and one
    /// that nobody named tells nothing.
    fn known(&self, serving: &Serving, connection: IpAddr, headers: &HeaderMap) -> KnownAddress {
        let known = serving.trusted_proxies.known(connection, headers);
        let is_local = known.0.is_some_and(|known| known.to_canonical().is_loopback());
        if is_local && !self.public_url.is_loopback() {
            return KnownAddress(None);
        }
        known
    }

    /// Answers one request that came over a connection from `connection`.
    pub(crate) async fn handle(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        connection: IpAddr,
    ) -> Response<FrontBody> {
        let serving = self.serving.load_full();
        let peer: PeerAddress = serving.trusted_proxies.peer(connection, request.headers());
        let known = self.known(&serving, connection, request.headers());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(known);
        let path = request.uri().path();
        if let Some(refusal) = target_refusal(&request) {
            return refusal;
        }
        if !is_plainly_framed(request.headers()) {
            return misframed();
        }
        // Probes come by address or service name.
        if matches!(path, "/healthz" | "/readyz") {
            let asks_ready = path == "/readyz" && request.method() == Method::GET;
            let response = web(&serving, request).await;
            return match self.last_reload.failure() {
                Some(failed) if asks_ready && response.status() == StatusCode::OK => {
                    text(StatusCode::OK, format!("ready\n{RELOAD_FAILED}{failed}\n"))
                }
                _ => response,
            };
        }
        if let Err(why) = host::check(&request, &self.public_url) {
            tracing::debug!(?why, "request for another host");
            return text(why.status(), why.message(&self.public_url));
        }
        let Some(route) = serving.gateway.route(path) else {
            return web(&serving, request).await;
        };
        let response = serving.gateway.handle(route, request).await;
        if is_stream(&response) {
            let end = end_of_stream(self.stop.clone(), response.body().is_listening());
            return response.map(|body| FrontBody::Stream(body, end));
        }
        response.map(FrontBody::Gateway)
    }
}

async fn web(serving: &Serving, request: Request<Incoming>) -> Response<FrontBody> {
    if upload::is_packed(request.headers()) {
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body as it is, without a Content-Encoding\n",
        );
    }
    let request = request.map(|body| axum::body::Body::new(Upload::new(body)));
    let response = serving.web.clone().oneshot(request).await;
    response
        .unwrap_or_else(|never| match never {})
        .map(FrontBody::Web)
}

/// The answer to a request that another reader may take for two (HD-10); the connection ends with it.
pub(crate) fn misframed() -> Response<FrontBody> {
    let mut refusal = text(
        StatusCode::BAD_REQUEST,
        "a request has one Content-Length, or the transfer coding chunked, once\n",
    );
    let close = HeaderValue::from_static("close");
    refusal.headers_mut().insert(http::header::CONNECTION, close);
    refusal
}

/// The answer to a request for which there is no room (FT-18).
pub(crate) fn busy() -> Response<FrontBody> {
    let mut refusal = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many requests are being answered: try again in a moment\n",
    );
    let soon = HeaderValue::from_static("5");
    refusal.headers_mut().insert(http::header::RETRY_AFTER, soon);
    refusal
}

fn target_refusal(request: &Request<Incoming>) -> Option<Response<FrontBody>> {
    let target = request.uri();
    if request.method() == Method::CONNECT {
        return Some(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "this server is not a proxy\n",
        ));
    }
    if target
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > MAX_TARGET)
    {
        return Some(text(StatusCode::URI_TOO_LONG, "the request target is too long\n"));
    }
    if !target.path().starts_with('/') {
        return Some(text(
            StatusCode::BAD_REQUEST,
            "the request target must be a path\n",
        ));
    }
    None
}

/// Codings other than one `chunked` (twice, or after `gzip`) are where two readers of one connection begin
/// to differ on where a request ends (RFC 9112 §6.1, HD-10).
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

fn is_stream(response: &Response<doorward_gateway::Body>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    let prefix = content_type.and_then(|value| value.as_bytes().get(..EVENT_STREAM.len()));
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(EVENT_STREAM))
}

/// Streams on which a client listens end as soon as we are to stop; a stream that answers a call may still
/// finish for a while.
fn end_of_stream(mut stop: watch::Receiver<bool>, is_listening: bool) -> Ending {
    Box::pin(async move {
        // If the sender is gone the process is ending.
        let _: Result<watch::Ref<'_, bool>, watch::error::RecvError> =
            stop.wait_for(|stopped| *stopped).await;
        if !is_listening {
            tokio::time::sleep(STREAM_GRACE).await;
        }
    })
}

fn text(status: StatusCode, message: impl Into<Bytes>) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::Gateway(doorward_gateway::Body::whole(message)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of any answer.
pub(crate) enum FrontBody {
    /// The gateway's, or ours.
    Gateway(doorward_gateway::Body),
    /// The gateway's, that ends when we stop.
    Stream(doorward_gateway::Body, Ending),
    /// A page or an endpoint's.
    Web(axum::body::Body),
}

/// An answer broke off.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl http_body::Body for FrontBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Gateway(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Web(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Stream(body, end) => {
                // What is there goes out first, so that the stream ends between two events.
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                    return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
                }
                ready!(end.as_mut().poll(context));
                body.end_stream();
                Pin::new(body).poll_frame(context).map_err(Into::into)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Gateway(body) | Self::Stream(body, _) => body.is_end_stream(),
            Self::Web(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Gateway(body) => body.size_hint(),
            Self::Stream(..) => SizeHint::default(),
            Self::Web(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hd_10_chunked_once_is_the_only_transfer_coding() {
        for (codings, plain) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["chunked", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["gzip, chunked"], false),
            (&["identity, chunked"], false),
            (&["chunked, identity"], false),
            (&["xchunked"], false),
            (&[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            }
            assert_eq!(is_plainly_framed(&headers), plain, "{codings:?}");
        }
    }
}
