//! Bodies of requests to the pages and endpoints: they come soon, and as they are.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// Longest wait for a whole body: the forms and documents that are sent here are short (DS-02).
const PATIENCE: Duration = Duration::from_secs(25);

/// Nothing is unpacked here: a small body could become a large one (DS-09).
pub(super) fn is_packed(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// A body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    /// It did not come in time.
    #[error("the request's body did not come in time")]
    TooSlow,
    /// Its connection broke.
    #[error("the request's body was cut")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A body with a deadline.
pub(super) struct Upload<B> {
    body: B,
    /// Set when it is first waited for: most bodies are there already.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> Upload<B> {
    pub(super) const fn new(body: B) -> Self {
        Self { body, deadline: None }
    }
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| UploadError::Cut(error.into()))));
        }
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        deadline
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(UploadError::TooSlow)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    /// A body of which nothing comes.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ds_02_a_body_that_does_not_come_is_given_up() {
        let begun = tokio::time::Instant::now();
        let error = Upload::new(Never).collect().await.unwrap_err();
        assert!(matches!(error, UploadError::TooSlow), "{error}");
        assert_eq!(begun.elapsed(), PATIENCE);
        let whole = Upload::new(Full::new(Bytes::from_static(b"form")))
            .collect()
            .await
            .unwrap();
        assert_eq!(whole.to_bytes(), "form");
    }

    #[test]
    fn ds_09_packed_bodies_are_known() {
        for (codings, packed) in [
            (&[][..], false),
            (&["identity"], false),
            (&["gzip"], true),
            (&["identity", "br"], true),
            (&["identity, gzip"], true),
            (&[""], true),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(CONTENT_ENCODING, coding.parse().unwrap());
            }
            assert_eq!(is_packed(&headers), packed, "{codings:?}");
        }
    }
}
