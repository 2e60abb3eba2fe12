//! The real network under [`Http`].

use async_trait::async_trait;
use bytes::Bytes;
use doorward_outbound::{ClientError, Destination, GuardedClient, ResponseBody};
use http::Request;

use crate::http::{Answer, Body, Http, SendError};

/// Sends through a guarded client, to the URL that the user wrote down.
#[derive(Clone)]
pub struct Network(GuardedClient);

impl Network {
    /// Over the connections of `client`, which others may use as well.
    #[must_use]
    pub const fn new(client: GuardedClient) -> Self {
        Self(client)
    }
}

struct Piecewise(ResponseBody);

#[async_trait]
impl Http for Network {
    async fn send(&self, request: Request<Bytes>) -> Result<Answer, SendError> {
        let answer = self
            .0
            .send(request, Destination::Configured)
            .await
            .map_err(|error: ClientError| SendError {
                maybe_processed: !error.nothing_sent(),
                words: error.to_string(),
            })?;
        let (head, body) = answer.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: Box::new(Piecewise(body)),
        })
    }
}

#[async_trait]
impl Body for Piecewise {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        let piece = self.0.chunk().await?;
        Some(piece.map_err(|error| error.to_string()))
    }
}
