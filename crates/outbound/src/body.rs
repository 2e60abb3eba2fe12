//! Bodies that stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::guarded::ClientError;

/// The body of an answer, as it comes.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    gap: Option<Duration>,
}

impl ResponseBody {
    pub(crate) fn new(incoming: Incoming, gap: Option<Duration>) -> Self {
        Self { incoming, gap }
    }

    /// The longest silence between two pieces; `None` for as long as it takes (an event stream).
    pub fn set_gap_timeout(&mut self, gap: Option<Duration>) {
        self.gap = gap;
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// The next piece, never empty; `None` at the end. Nothing is lost when the future is dropped before it is ready.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, ClientError>> {
        loop {
            let frame = match self.gap {
                Some(gap) => match tokio::time::timeout(gap, self.incoming.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Some(Err(ClientError::TimedOut("the rest of the answer"))),
                },
                None => self.incoming.frame().await,
            };
            match frame? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Some(Ok(data)),
                    // Trailers say nothing that anybody here listens to.
                    _ => {}
                },
                Err(error) => return Some(Err(ClientError::of_hyper(&error))),
            }
        }
    }

    /// All of it, if that is no more than `max` bytes.
    pub async fn read(mut self, max: usize) -> Result<Bytes, ClientError> {
        if self.incoming.size_hint().lower() > max as u64 {
            return Err(ClientError::TooLong(max));
        }
        let mut first = match self.chunk().await {
            None => return Ok(Bytes::new()),
            Some(chunk) => chunk?,
        };
        if first.len() > max {
            return Err(ClientError::TooLong(max));
        }
        if self.is_end() {
            return Ok(first);
        }
        let mut whole = BytesMut::from(first.split_to(first.len()));
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if whole.len().saturating_add(chunk.len()) > max {
                return Err(ClientError::TooLong(max));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}
