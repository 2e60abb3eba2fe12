//! HTTP/2 streams whose peer does not take what is sent to it.
//!
//! Over HTTP/1 such a peer stops the whole connection, and the kernel gives it up (`tune`). Over HTTP/2 the
//! connection stays lively and only the stream's window is shut: it would hold its upstream, and the memory
//! of what was read from it, for ever. Such a stream is reset, and the other streams of the connection, which
//! may be other people's behind one proxy, go on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::limits::Answering;

tokio::task_local! {
    /// The stream that is being polled.
    static STREAM: Arc<Progress>;
}

/// What an answer's body tells the stream that it goes out on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether the last thing that was asked of the body gave something: then the stream is busy sending it.
    sending: AtomicBool,
    pieces: AtomicU64,
}

/// Runs the streams of an HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    patience: Duration,
    open: Arc<AtomicUsize>,
}

impl Streams {
    /// `patience` is how long a peer may take nothing of a stream.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            open: Arc::default(),
        }
    }

    /// How many run.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(Paced {
            stream: Box::pin(stream),
            progress: Arc::default(),
            patience: self.patience,
            stalled: None,
            open: Arc::clone(&self.open),
        });
    }
}

struct Paced<F> {
    stream: Pin<Box<F>>,
    progress: Arc<Progress>,
    patience: Duration,
    /// What was sent when the peer stopped taking it, and when it is given up.
    stalled: Option<(u64, Pin<Box<Sleep>>)>,
    open: Arc<AtomicUsize>,
}

impl<F: Future> Future for Paced<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let stream = this.stream.as_mut();
        if STREAM
            .sync_scope(Arc::clone(&this.progress), || stream.poll(context))
            .is_ready()
        {
            return Poll::Ready(());
        }
        if !this.progress.sending.load(Ordering::Relaxed) {
            this.stalled = None;
            return Poll::Pending;
        }
        let pieces = this.progress.pieces.load(Ordering::Relaxed);
        let patience = this.patience;
        let (before, given_up) = this
            .stalled
            .get_or_insert_with(|| (pieces, Box::pin(tokio::time::sleep(patience))));
        if *before != pieces {
            *before = pieces;
            given_up.as_mut().reset(Instant::now() + patience);
        }
        ready!(given_up.as_mut().poll(context));
        tracing::debug!("a stream was reset: its peer took nothing of it");
        // The stream's end without an end of its message is its reset.
        Poll::Ready(())
    }
}

impl<F> Drop for Paced<F> {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most that a stream gets at once: an HTTP/2 frame, as long as they usually may be. What is handed over counts
/// as taken, and is held until the peer takes it, so a long answer in one piece would be neither slow nor bounded.
const PIECE: usize = 16 << 10;

/// A body that tells its stream how far it is.
pub(super) struct Told<B> {
    body: B,
    /// What is left of a long piece; nothing over HTTP/1.
    rest: Bytes,
    /// None over HTTP/1.
    stream: Option<Arc<Progress>>,
    /// Until the last of it was taken.
    _answering: Option<Answering>,
}

impl<B> Told<B> {
    /// Must be called while the stream that the body will go out on is polled.
    pub(super) fn new(body: B, answering: Option<Answering>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            stream: STREAM.try_with(Arc::clone).ok(),
            _answering: answering,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Told<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(stream) = &this.stream else {
            return Pin::new(&mut this.body).poll_frame(context);
        };
        let polled = if this.rest.is_empty() {
            Pin::new(&mut this.body).poll_frame(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.rest)))))
        };
        let sending = matches!(polled, Poll::Ready(Some(Ok(_))));
        stream.sending.store(sending, Ordering::Relaxed);
        if sending {
            stream.pieces.fetch_add(1, Ordering::Relaxed);
        }
        let rest = &mut this.rest;
        polled.map_ok(|frame| {
            frame.map_data(|mut data| {
                let piece = data.split_to(PIECE.min(data.len()));
                *rest = data;
                piece
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(body.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt as _;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A body without end; it holds what an upstream's would hold.
    struct Endless {
        /// How long until the next piece is there.
        every: Duration,
        next: Pin<Box<Sleep>>,
        _held: Arc<()>,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.next.as_mut().poll(context));
            let next = Instant::now() + self.every;
            self.next.as_mut().reset(next);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
        }
    }

    type Client = hyper::client::conn::http2::SendRequest<http_body_util::Empty<Bytes>>;

    /// A client of a server that answers everything with such a body, and what all its bodies hold.
    async fn client(every: Duration) -> (Client, Arc<()>, Streams) {
        let held = Arc::new(());
        let holding = Arc::clone(&held);
        let body = move || Endless {
            every,
            next: Box::pin(tokio::time::sleep(Duration::ZERO)),
            _held: Arc::clone(&holding),
        };
        let (client, streams) = client_of(body).await;
        (client, held, streams)
    }

    /// A client of a server that answers everything with what `body` makes.
    async fn client_of<B>(body: impl Fn() -> B + Send + 'static) -> (Client, Streams)
    where
        B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
    {
        let (ours, peers) = tokio::io::duplex(1 << 20);
        let streams = Streams::new(PATIENCE);
        let service = service_fn(move |_| {
            let body = body();
            async move { Ok::<_, Infallible>(http::Response::new(Told::new(body, None))) }
        });
        let mut server = hyper::server::conn::http2::Builder::new(streams.clone());
        server.max_send_buf_size(256 << 10);
        tokio::spawn(server.serve_connection(TokioIo::new(ours), service));
        let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(8 << 20)
            .handshake(TokioIo::new(peers))
            .await
            .unwrap();
        tokio::spawn(connection);
        (client, streams)
    }

    async fn get(client: &mut Client) -> hyper::body::Incoming {
        let request = http::Request::get("http://example.test/").body(http_body_util::Empty::new());
        client.send_request(request.unwrap()).await.unwrap().into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn ds_06_ds_08_a_stream_that_nobody_reads_is_reset_and_the_others_go_on() {
        let (mut client, held, streams) = client(Duration::from_millis(100)).await;
        let (mut unread, mut read) = (get(&mut client).await, get(&mut client).await);
        let begun = Instant::now();
        while streams.open() == 2 {
            assert!(begun.elapsed() < 2 * PATIENCE, "the unread stream is given up");
            read.frame().await.unwrap().unwrap();
        }
        assert!(begun.elapsed() >= PATIENCE, "after {:?}", begun.elapsed());
        assert_eq!(
            Arc::strong_count(&held),
            3,
            "ours, the service's, and that of the stream that is read"
        );
        for _ in 0..100 {
            read.frame().await.unwrap().unwrap();
        }
        let error = loop {
            match unread.frame().await.expect("not a proper end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_its_upstream_is_not_stalled() {
        let (mut client, _held, streams) = client(100 * PATIENCE).await;
        let mut body = get(&mut client).await;
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(streams.open(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_no_stalled_one() {
        let (mut client, _held, streams) = client(Duration::ZERO).await;
        let mut body = get(&mut client).await;
        for _ in 0..40 {
            // Windows open when half of what they let through was taken.
            for _ in 0..4 {
                body.frame().await.unwrap().unwrap();
            }
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
        }
        assert_eq!(streams.open(), 1);
    }

    const LONG: usize = 4 << 20;

    /// So many events of that length on a stream.
    struct Events(usize);

    impl Body for Events {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or(0);
            Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from_static(&[b'x'; LONG])))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn long_events_may_be_read_slowly() {
        let (mut client, _streams) = client_of(|| Events(2)).await;
        let mut body = get(&mut client).await;
        let (begun, mut length) = (Instant::now(), 0);
        while let Some(frame) = body.frame().await {
            length += frame.expect("it is being read").into_data().unwrap().len();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(length, 2 * LONG);
        assert!(begun.elapsed() > 10 * PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn ds_08_a_long_answer_in_one_piece_that_nobody_reads_is_not_held() {
        let whole = || http_body_util::Full::new(Bytes::from_static(&[b'x'; LONG]));
        let (mut client, streams) = client_of(whole).await;
        let mut unread = get(&mut client).await;
        tokio::time::sleep(PATIENCE / 2).await;
        assert_eq!(streams.open(), 1, "it is not all handed over");
        tokio::time::sleep(PATIENCE).await;
        assert_eq!(streams.open(), 0);
        while let Some(frame) = unread.frame().await {
            if let Err(error) = frame {
                assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
                return;
            }
        }
        panic!("half an answer is not a whole one");
    }
}
