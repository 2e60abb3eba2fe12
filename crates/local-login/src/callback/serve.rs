//! The HTTP side of the listener: few connections, short ones.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::{Candidate, Ending, Outcome, Shared, Verdict};
use crate::page::{Mood, Page};

/// Connections at once. Browsers open a few before they need them.
const CONNECTIONS: usize = 64;
/// How long a request may take to arrive.
const HEAD: Duration = Duration::from_secs(10);
/// The most of a request that is read. Browsers send the cookies of every port of this machine along.
const MAX_HEAD: usize = 64 * 1024;
/// How long a browser is kept waiting for the end of the login.
const HOLD: Duration = Duration::from_secs(60);
/// How long a connection may last.
const LAST: Duration = Duration::from_secs(150);

type Answer = Response<Full<Bytes>>;
type Waiting = watch::Receiver<Option<Outcome>>;

struct Guest {
    task: AbortHandle,
    /// Whether it has asked for something. Who has not makes room for who comes later.
    asked: Arc<AtomicBool>,
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and its tasks with it.
    let mut tasks = JoinSet::new();
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: those of others end, too.
                tracing::debug!(%error, "callback: no connection accepted");
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
        let task = tasks.spawn(connection(stream, Arc::clone(&shared), Arc::clone(&asked)));
        guests.push_back(Guest { task, asked });
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, asked: Arc<AtomicBool>) {
    // Held until the page is on its way: who says how the login ended waits for that.
    let held: Mutex<Option<Waiting>> = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, asked, held) = (&shared, &asked, &held);
        async move {
            asked.store(true, Ordering::Relaxed);
            Ok::<_, Infallible>(answer(shared, &request, held).await)
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

async fn answer(shared: &Shared, request: &Request<Incoming>, held: &Mutex<Option<Waiting>>) -> Answer {
    if !is_for_us(shared, request) {
        return foreign_host().response();
    }
    if request.uri().path() != shared.path {
        return nothing_here().response();
    }
    if request.method() == Method::HEAD {
        // Link scanners. The browser itself comes with GET.
        return Response::new(Full::default());
    }
    if request.method() != Method::GET {
        let mut answer = wrong_method().response();
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let purpose = request
        .headers()
        .get("sec-purpose")
        .and_then(|value| value.to_str().ok());
    if purpose.is_some_and(|purpose| purpose.contains("prefetch")) {
        let mut later = Response::new(Full::default());
        *later.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return later;
    }
    let query = request.uri().query().unwrap_or_default();
    match verdict(shared, query).await {
        Verdict::NotOurs => not_ours().response(),
        Verdict::Ours(waiting) => {
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting.clone());
            ended(waiting).await.response()
        }
    }
}

/// One Host, and that is the redirect URI's: a page of another site whose name was bound to this machine has another (DNS
/// rebinding).
fn is_for_us(shared: &Shared, request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let one = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.as_bytes().eq_ignore_ascii_case(shared.authority.as_bytes()),
        _ => false,
    };
    let absolute = request.uri().authority();
    one && absolute.is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(&shared.authority))
}

async fn verdict(shared: &Shared, query: &str) -> Verdict {
    let mut states = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "state");
    let (Some((_, state)), None) = (states.next(), states.next()) else {
        return Verdict::NotOurs;
    };
    let (sender, receiver) = oneshot::channel();
    let candidate = Candidate {
        query: query.to_owned(),
        state: state.into_owned(),
        verdict: sender,
    };
    {
        let desk = shared.desk();
        if let Some(taken) = &desk.taken
            && taken.query == query
        {
            return Verdict::Ours(taken.outcome.subscribe());
        }
        // Under the lock, so that nobody is put into the queue after it was cleared.
        if !desk.open || shared.candidates.try_send(candidate).is_err() {
            return Verdict::NotOurs;
        }
    }
    match tokio::time::timeout(HOLD, receiver).await {
        Ok(Ok(verdict)) => verdict,
        _ => Verdict::NotOurs,
    }
}

async fn ended(mut waiting: Waiting) -> Page {
    let told = tokio::time::timeout(HOLD, waiting.wait_for(Option::is_some)).await;
    match told {
        Ok(Ok(outcome)) => match &*outcome {
            Some(Outcome::Told(Ending::LoggedIn { server })) => logged_in(server),
            Some(Outcome::Told(Ending::Failed { reason })) => failed(reason),
            _ => untold(),
        },
        Ok(Err(_)) => untold(),
        Err(_) => goes_on(),
    }
}

fn page(status: StatusCode, mood: Mood, title: &'static str, text: &[&str]) -> Page {
    Page {
        status,
        mood,
        title,
        text: text.iter().map(|sentence| (*sentence).to_owned()).collect(),
        quote: None,
    }
}

fn logged_in(server: &str) -> Page {
    let title = "You are logged in";
    Page {
        quote: Some(server.to_owned()),
        ..page(
            StatusCode::OK,
            Mood::Good,
            title,
            &[
                "The program that opened this page can now use:",
                "You can close this tab and go back to it.",
            ],
        )
    }
}

fn failed(reason: &str) -> Page {
    Page {
        quote: Some(reason.to_owned()),
        ..page(
            StatusCode::BAD_REQUEST,
            Mood::Bad,
            "The login failed",
            &[
                "You are not logged in. What went wrong:",
                "The program that opened this page says more. You can close this tab and try again from there.",
            ],
        )
    }
}

fn untold() -> Page {
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Bad,
        "The login did not come to an end",
        &["The program that opened this page stopped before it was done. Start the login again from there."],
    )
}

fn goes_on() -> Page {
    page(
        StatusCode::OK,
        Mood::Plain,
        "The login goes on",
        &[
            "Your answer arrived. The program that opened this page is still busy with it: look there how it ends.",
        ],
    )
}

fn not_ours() -> Page {
    page(
        StatusCode::BAD_REQUEST,
        Mood::Plain,
        "This answer belongs to no login",
        &[
            "Nothing was done with it: no login that is under way here asked for it. It may be one that was given up or has ended.",
            "If you are logging in, finish it in the tab that was opened last.",
        ],
    )
}

fn nothing_here() -> Page {
    page(
        StatusCode::NOT_FOUND,
        Mood::Plain,
        "There is nothing here",
        &["This address only takes the answers of a login."],
    )
}

fn foreign_host() -> Page {
    page(
        StatusCode::FORBIDDEN,
        Mood::Plain,
        "Not under this name",
        &["This address only takes the answers of a login, and only under its own name."],
    )
}

fn wrong_method() -> Page {
    page(
        StatusCode::METHOD_NOT_ALLOWED,
        Mood::Plain,
        "Not in this way",
        &["The answer of a login comes as a plain visit to this page (GET), not as a form."],
    )
}
