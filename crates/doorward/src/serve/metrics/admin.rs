//! The admin listener: `/metrics` and `/healthz`, for the machine itself or a network that the operator trusts.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_recorder::decisions::DecisionLog;
use doorward_resource_server::Revocations;
use doorward_types::time::Clock;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::super::limits::Admission;
use super::{Metrics, Snapshot};
use crate::config::decisions::AdminListen;
use crate::config::{Config, Origin};
use crate::error::CommandError;

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 16;
/// Longest life of one, so that none is held for nothing.
const LIFE: Duration = Duration::from_secs(60);
const HEAD: Duration = Duration::from_secs(10);
/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);
/// `application/openmetrics-text` is what is written; Prometheus reads it as it reads its older format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is served.
#[derive(Clone)]
pub(in super::super) struct Admin {
    pub(in super::super) metrics: Arc<Metrics>,
    pub(in super::super) decisions: DecisionLog,
    pub(in super::super) admission: Arc<Admission>,
    pub(in super::super) revocations: Arc<dyn Revocations>,
    pub(in super::super) clock: Arc<dyn Clock>,
}

/// What became of the attempt to take the port. It is told when serving begins: a start that fails says why, and
/// nothing else.
#[derive(Debug)]
pub(in super::super) enum Bound {
    /// It is ours.
    Taken(TcpListener),
    /// It is somebody else's, and nobody asked for it.
    Missed(SocketAddr, std::io::Error),
    /// Nobody wants one.
    Off,
}

impl Bound {
    /// Tells what became of it; hands back the socket, if there is one.
    pub(in super::super) fn tell(self) -> Option<TcpListener> {
        match self {
            Self::Taken(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, "metrics are served");
                }
                Some(listener)
            }
            Self::Missed(address, error) => {
                let cause = error.to_string();
                tracing::warn!(%address, cause, "metrics are not served: choose another place with `admin_listen`, or `off`");
                None
            }
            Self::Off => None,
        }
    }
}

/// Takes the port. A default that is taken is no reason not to start: another server of this machine has it.
pub(in super::super) async fn bind(config: &Config) -> Result<Bound, CommandError> {
    let AdminListen::At(address) = config.admin_listen.value else {
        return Ok(Bound::Off);
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Bound::Taken(listener)),
        Err(error) if config.admin_listen.origin == Origin::Default => Ok(Bound::Missed(address, error)),
        Err(error) => {
            let failed = CommandError::failed(format!("cannot serve metrics on {address}")).because(&error);
            Err(if error.kind() == ErrorKind::AddrInUse {
                failed.hint("another program listens there: choose another `admin_listen`, or `off`")
            } else {
                failed
            })
        }
    }
}

/// Answers until the task is ended.
pub(in super::super) async fn serve(listener: TcpListener, admin: Admin) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let admin = admin.clone();
        // Not what it listens on: `0.0.0.0` is reached over loopback, too.
        let local = stream.local_addr().ok();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = admin.answer(request.method(), request.uri().path(), request.headers(), local);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // Whatever ends a connection, nobody has to be told.
            drop(tokio::time::timeout(LIFE, connection).await);
            drop(permit);
        });
    }
}

impl Admin {
    fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        local: Option<SocketAddr>,
    ) -> Response<Full<Bytes>> {
        if local.is_some_and(|local| local.ip().is_loopback()) && !is_here(headers) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "ask for it by address or as localhost\n",
            );
        }
        if method != Method::GET && method != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/metrics" => match self.metrics.text(self.snapshot()) {
                Ok(metrics) => {
                    let mut response = text(StatusCode::OK, metrics);
                    let headers = response.headers_mut();
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
                    response
                }
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let heard = self.revocations.heard_at();
        Snapshot {
            connections: self.admission.connections(),
            lost: self.decisions.lost(),
            unheard: heard.map(|heard| self.clock.monotonic().saturating_sub(heard)),
        }
    }
}

/// A web page whose name was made to lead to this machine asks with that name (DNS rebinding); nobody else who comes
/// over loopback has reason to use one.
fn is_here(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok()
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
