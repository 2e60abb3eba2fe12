//! The HTTP side of what listens on this machine: few connections, short ones, one name.

use std::any::Any;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Connections at once. Browsers open a few before they need them.
const CONNECTIONS: usize = 64;
/// How long a request may take to arrive.
const HEAD: Duration = Duration::from_secs(10);
/// The most of a request's head that is read. Browsers send the cookies of every port of this machine along.
const MAX_HEAD: usize = 64 * 1024;
/// How long a connection may last.
const LAST: Duration = Duration::from_secs(150);

pub(crate) type Answer = Response<Full<Bytes>>;

/// Something that is dropped when the answer is on its way.
#[derive(Default)]
pub(crate) struct Held(Mutex<Option<Box<dyn Any + Send>>>);

impl Held {
    pub(crate) fn hold(&self, thing: impl Any + Send) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(thing));
    }
}

/// What answers.
pub(crate) trait Site: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>, held: &Held) -> impl Future<Output = Answer> + Send;
}

struct Guest {
    task: AbortHandle,
    /// Whether it has asked for something. Who has not makes room for who comes later.
    asked: Arc<AtomicBool>,
}

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn serve<S: Site>(listener: TcpListener, site: Arc<S>) {
    let mut tasks = JoinSet::new();
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: those of others end, too.
                tracing::debug!(%error, "loopback: no connection accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        guests.retain(|guest| !guest.task.is_finished());
        if !peer.ip().is_loopback() {
            continue;
        }
        if guests.len() >= CONNECTIONS {
            let idle = guests
                .iter()
                .position(|guest| !guest.asked.load(Ordering::Relaxed));
            let Some(guest) = idle.and_then(|at| guests.remove(at)) else {
                continue;
            };
            guest.task.abort();
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = tasks.spawn(connection(stream, Arc::clone(&site), Arc::clone(&asked)));
        guests.push_back(Guest { task, asked });
    }
}

async fn connection<S: Site>(stream: TcpStream, site: Arc<S>, asked: Arc<AtomicBool>) {
    let held = Held::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (site, asked, held) = (&site, &asked, &held);
        async move {
            asked.store(true, Ordering::Relaxed);
            Ok::<_, Infallible>(site.answer(request, held).await)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong on a connection concerns nobody but its browser.
    let _ = tokio::time::timeout(LAST, serving).await;
}

/// One Host, and that is our own: a page of another site whose name was bound to this machine has another (DNS rebinding).
pub(crate) fn is_for(authority: &str, request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let one = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()),
        _ => false,
    };
    let absolute = request.uri().authority();
    one && absolute.is_none_or(|named| named.as_str().eq_ignore_ascii_case(authority))
}
