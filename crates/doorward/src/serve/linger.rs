//! Bodies that nobody wanted are still taken off the wire, so that the connection can be used again.
//!
//! A refusal does not wait for the body: the head alone says no. But a body that is dropped before all of it
//! is there makes hyper close the connection after the answer, without a word, and a client that sends head and
//! body apart finds its next request, the first step of the login, on a dead connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Most bytes that are read only to be thrown away. For more, a new connection is cheaper.
const MOST: u64 = 1024 * 1024;
/// Longest time that is spent on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request's body that is read to its end, within limits, when it is dropped before.
pub(crate) struct Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    body: Option<B>,
    is_wanted: bool,
}

impl<B> Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// The same request. Streams of HTTP/2 end each by itself, and who expects `100 Continue` sends nothing
    /// before it (RFC 9110 §10.1.1): their bodies are left alone until they are read.
    pub(crate) fn over(request: Request<B>) -> Request<Self> {
        let is_wanted = request.version() < Version::HTTP_2 && !request.headers().contains_key(EXPECT);
        request.map(|body| Self {
            body: Some(body),
            is_wanted,
        })
    }
}

impl<B> Body for Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl<B> Drop for Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if !self.is_wanted || body.is_end_stream() || body.size_hint().lower() > MOST {
            return;
        }
        // Without a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(PATIENCE, discard(body)));
        }
    }
}

async fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > MOST {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Comes in pieces of a kilobyte, one for each look at it, and counts them.
    struct Pieces {
        left: u64,
        taken: Arc<AtomicU64>,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            self.taken.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1024])))))
        }
    }

    /// How many of `pieces` are read when the request is dropped.
    async fn read(pieces: u64, version: Version, expect: bool) -> u64 {
        let taken = Arc::new(AtomicU64::new(0));
        let body = Pieces {
            left: pieces,
            taken: Arc::clone(&taken),
        };
        let mut request = Request::new(body);
        *request.version_mut() = version;
        if expect {
            let value = http::HeaderValue::from_static("100-continue");
            request.headers_mut().insert(EXPECT, value);
        }
        drop(Lingering::over(request));
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        taken.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn an_unwanted_body_is_read_within_limits() {
        assert_eq!(read(3, Version::HTTP_11, false).await, 3);
        assert_eq!(read(5000, Version::HTTP_11, false).await, 1025, "a megabyte");
        assert_eq!(read(3, Version::HTTP_2, false).await, 0);
        assert_eq!(read(3, Version::HTTP_11, true).await, 0);
    }
}
