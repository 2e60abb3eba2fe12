//! Connections to an upstream, each driven by whoever waits for its answer.
//!
//! The usual client gives every connection a task of its own, and caller and task wake each other several times for
//! each call. A gateway does nothing else, and pays for it with a good part of its time. Here a connection belongs to
//! one exchange: it is polled together with the answer, goes on with the body, and lies idle afterwards.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::upstream::BoxError;

/// Idle connections are given up before common servers close them (Node and uvicorn after 5 s): a request
/// that meets a connection just being closed fails, and a call is never sent twice.
const IDLE: Duration = Duration::from_secs(3);

/// What connections run on.
pub(crate) type Socket = MaybeHttpsStream<TokioIo<TcpStream>>;

/// What speaks over one.
type Speaking = Connection<Socket, Full<Bytes>>;

/// The connection ended before the answer did.
#[derive(Debug, thiserror::Error)]
#[error("the connection ended")]
struct Ended;

/// A connection, and what speaks over it.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended. How it ended is told to whoever waits for something.
    connection: Option<Pin<Box<Speaking>>>,
}

impl Line {
    /// Speaks HTTP/1.1 over `socket`.
    pub(crate) async fn over(socket: Socket) -> Result<Self, hyper::Error> {
        let (sender, connection) = hyper::client::conn::http1::handshake(socket).await?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
        })
    }

    /// Lets the connection do what it can do now. Whether it has ended.
    fn drive(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
        self.connection.is_none()
    }

    /// Whether another request can be sent.
    fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        !self.drive(context) && self.sender.is_ready()
    }

    /// Sends a request, once, and waits for the head of the answer.
    pub(crate) async fn send(
        mut self,
        request: Request<Full<Bytes>>,
        idle: &Arc<Idle>,
    ) -> Result<Response<Answer>, BoxError> {
        // The runtime's budget would have it wait without anything that came from the connection.
        let mut answer = pin!(tokio::task::unconstrained(self.sender.send_request(request)));
        let answer = poll_fn(|context| {
            let ended = self.drive(context);
            // Only what the connection did makes it ready, so there is nothing that would have to wake us.
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending if ended => Poll::Ready(Err(Ended.into())),
                polled => polled.map_err(BoxError::from),
            }
        })
        .await?;
        let mut answer = answer.map(|body| Answer {
            body,
            line: Some(self),
            idle: Arc::clone(idle),
            unsent: true,
            broken: None,
        });
        if answer.body().is_end_stream() {
            poll_fn(|context| {
                answer.body_mut().hang_up(context);
                Poll::Ready(())
            })
            .await;
        }
        Ok(answer)
    }
}

/// The body of an answer. Dropped before its end it takes the connection along.
pub(crate) struct Answer {
    body: Incoming,
    line: Option<Line>,
    idle: Arc<Idle>,
    /// Whether something was handed over, the head at first, and nobody had to wait since.
    unsent: bool,
    broken: Option<BoxError>,
}

impl Answer {
    /// The next piece. Whoever sends on what came before a break has time to do so: an error that was known
    /// at once would have them drop it, and with it the last event of a server that says no proper goodbye.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = self.poll_next(context);
        let unsent = std::mem::replace(&mut self.unsent, matches!(polled, Poll::Ready(Some(Ok(_)))));
        match polled {
            Poll::Ready(Some(Err(error))) if unsent => {
                self.broken = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut polled = self.poll_body();
        if polled.is_pending() {
            let ended = self.line.as_mut().is_none_or(|line| line.drive(context));
            polled = self.poll_body();
            if polled.is_pending() && ended {
                return Poll::Ready(Some(Err(Ended.into())));
            }
        }
        let frame = ready!(polled);
        if frame.is_none() || self.body.is_end_stream() {
            self.hang_up(context);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    /// What the connection has handed over. Nothing comes unless the connection is driven, so nobody is to be woken.
    fn poll_body(&mut self) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    /// The answer is complete: the connection can have another request, if both sides are done with this one.
    fn hang_up(&mut self, context: &mut Context<'_>) {
        if let Some(mut line) = self.line.take()
            && line.is_ready(context)
        {
            self.idle.keep(line);
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// The connections to one upstream that nobody uses at the moment, the last used last.
#[derive(Default)]
pub(crate) struct Idle {
    lines: Mutex<Vec<(Instant, Line)>>,
    /// Whether somebody looks for those that are given up.
    swept: AtomicBool,
}

impl Idle {
    /// One that works, as far as can be told.
    pub(crate) async fn take(&self) -> Option<Line> {
        poll_fn(|context| Poll::Ready(self.find(context))).await
    }

    fn find(&self, context: &mut Context<'_>) -> Option<Line> {
        loop {
            let (since, mut line) = self.lines().pop()?;
            if since.elapsed() < IDLE && line.is_ready(context) {
                return Some(line);
            }
        }
    }

    pub(crate) fn keep(self: &Arc<Self>, line: Line) {
        self.lines().push((Instant::now(), line));
        // Read first: a swap would have every call write to the same place.
        if !self.swept.load(Ordering::Relaxed)
            && !self.swept.swap(true, Ordering::Relaxed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<(Instant, Line)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends connections that were not used for a while, until there is none.
async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut lines = idle.lines();
        lines.retain(|(since, _)| since.elapsed() < IDLE);
        if lines.is_empty() {
            // Under the lock: whoever adds the next one sees it.
            idle.swept.store(false, Ordering::Relaxed);
            return;
        }
    }
}
