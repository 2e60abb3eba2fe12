//! A connection's bytes on their way to the HTTP library: a second, independent look at where messages
//! begin and end, and the deadlines of slow peers.
//!
//! The look is not a second implementation of HTTP: it decides nothing but "this message is not framed as
//! we want it" (HTTP/1, `http1`) and "this peer sends nothing but overhead" (HTTP/2, `http2`).

mod http1;
mod http2;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::limits::Place;

/// Longest wait for the rest of a head (HTTP/1), or of a frame or header block (HTTP/2), and for the first
/// request (DS-02).
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(25);
/// How long, and how many bytes of, a message that was refused are still read. A connection that is closed
/// while bytes come in is reset, and the reset can overtake the answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// What the service learns about its connection.
#[derive(Debug)]
pub(super) struct Seen {
    /// Requests that began: heads of HTTP/1, `HEADERS` frames of HTTP/2.
    requests: AtomicU64,
    /// The first HTTP/1 request that must be refused, counted from zero.
    refused_from: AtomicU64,
    http2: AtomicBool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            refused_from: AtomicU64::new(u64::MAX),
            http2: AtomicBool::new(false),
        }
    }
}

impl Seen {
    /// Whether the connection speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// Requests that began so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether both readers agree that HTTP/1 request `number` is there, and nothing is odd about how it,
    /// and all before it, are framed.
    pub(super) fn is_plainly_framed(&self, number: u64) -> bool {
        number < self.requests() && number < self.refused_from.load(Ordering::Relaxed)
    }

    fn began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Refuses request `number` and all after it.
    fn refuse_from(&self, number: u64) {
        self.refused_from.fetch_min(number, Ordering::Relaxed);
    }
}

enum Reader {
    /// So many bytes of HTTP/2's preface came.
    Preface(usize),
    Http1(http1::Messages),
    Http2(http2::Frames),
}

/// A connection that is looked at. It holds the connection's place until the last byte.
pub(super) struct Wire<IO: Socket> {
    io: Option<IO>,
    place: Option<Place>,
    seen: Arc<Seen>,
    reader: Reader,
    deadline: Pin<Box<Sleep>>,
    /// The head, frame or block that the deadline is for; they are counted.
    timed: Option<u64>,
}

/// What connections run on.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for IO {}

impl<IO: Socket> Wire<IO> {
    pub(super) fn new(io: IO, place: Option<Place>) -> Self {
        Self {
            io: Some(io),
            place,
            seen: Arc::default(),
            reader: Reader::Preface(0),
            deadline: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)),
            timed: Some(0),
        }
    }

    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Reader::Preface(matched) = &mut self.reader {
            let expected = http2::PREFACE.get(*matched..).unwrap_or_default();
            let length = expected.len().min(bytes.len());
            if expected.get(..length) != bytes.get(..length) {
                let mut messages = http1::Messages::default();
                messages.read(http2::PREFACE.get(..*matched).unwrap_or_default(), &self.seen);
                messages.read(bytes, &self.seen);
                self.reader = Reader::Http1(messages);
                return Ok(());
            }
            *matched += length;
            if *matched < http2::PREFACE.len() {
                return Ok(());
            }
            self.seen.http2.store(true, Ordering::Relaxed);
            let mut frames = http2::Frames::new(Instant::now());
            let rest = frames.read(bytes.get(length..).unwrap_or_default(), &self.seen);
            self.reader = Reader::Http2(frames);
            return rest;
        }
        match &mut self.reader {
            Reader::Preface(_) => Ok(()),
            Reader::Http1(messages) => {
                messages.read(bytes, &self.seen);
                Ok(())
            }
            Reader::Http2(frames) => frames.read(bytes, &self.seen),
        }
    }

    /// What must be complete soon.
    fn unfinished(&self) -> Option<u64> {
        match &self.reader {
            _ if self.seen.requests() == 0 => Some(0),
            Reader::Preface(_) => Some(0),
            Reader::Http1(messages) => messages.in_head().then(|| self.seen.requests()),
            Reader::Http2(frames) => frames.unfinished(),
        }
    }

    fn set_deadline(&mut self) {
        let unfinished = self.unfinished();
        if unfinished != self.timed {
            self.timed = unfinished;
            if unfinished.is_some() {
                self.deadline.as_mut().reset(Instant::now() + HEAD_TIMEOUT);
            }
        }
    }
}

impl<IO: Socket> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Some(io) = self.io.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        match Pin::new(io).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                self.look(buffer.filled().get(before..).unwrap_or_default())?;
                self.set_deadline();
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.timed.is_some() && self.deadline.as_mut().poll(context).is_ready() => {
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer is too slow",
                )))
            }
            other => other,
        }
    }
}

impl<IO: Socket> AsyncWrite for Wire<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.io.as_mut() {
            Some(io) => Pin::new(io).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.io.as_mut() {
            Some(io) => Pin::new(io).poll_write_vectored(context, pieces),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io.as_mut() {
            Some(io) => Pin::new(io).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io.as_mut() {
            Some(io) => Pin::new(io).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<IO: Socket> Drop for Wire<IO> {
    fn drop(&mut self) {
        let in_message = matches!(&self.reader, Reader::Http1(messages) if messages.in_message());
        if let Some(io) = self.io.take()
            && in_message
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let place = self.place.take();
            runtime.spawn(async move {
                linger(io).await;
                drop(place);
            });
        }
    }
}

/// Ends our side and reads a little more, so that the answer is not lost to a reset.
pub(super) async fn linger(mut io: impl Socket) {
    let reading = async {
        // An error means that the peer is gone, which is what is waited for.
        let _: io::Result<()> = tokio::io::AsyncWriteExt::shutdown(&mut io).await;
        let mut buffer = vec![0; 16 << 10];
        let mut left = LINGER_BYTES;
        while let Ok(count @ 1..) = io.read(&mut buffer).await {
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What is still not over is cut.
    let _: Result<(), tokio::time::error::Elapsed> = tokio::time::timeout(LINGER, reading).await;
}

#[cfg(test)]
mod tests;
