//! A body as rmcp's stream of events, bounded.

use std::collections::VecDeque;

use doorward_mcp::sse::EventReader;
use doorward_outbound::ResponseBody;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use rmcp::transport::streamable_http_client::SseError;
use sse_stream::Sse;

struct Reading {
    body: ResponseBody,
    reader: EventReader,
    ready: VecDeque<Result<Sse, SseError>>,
    /// What rmcp was told last: where to resume, and when.
    told: (String, Option<u64>),
    ended: bool,
}

/// The events of `body`, none of them longer than `limit` bytes. However long it is silent, it stays open: that is how
/// a server waits.
pub(crate) fn events(mut body: ResponseBody, limit: usize) -> BoxStream<'static, Result<Sse, SseError>> {
    body.set_gap_timeout(None);
    let reading = Reading {
        body,
        reader: EventReader::new(limit),
        ready: VecDeque::new(),
        told: (String::new(), None),
        ended: false,
    };
    stream::unfold(reading, |mut reading| async {
        let next = reading.next().await?;
        Some((next, reading))
    })
    .boxed()
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Sse, SseError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let piece = match self.body.chunk().await? {
                Ok(piece) => piece,
                Err(error) => {
                    self.fail(error);
                    continue;
                }
            };
            // Line by line, so that what is complete is not lost with what comes after it and is too long.
            for line in piece.split_inclusive(|byte| *byte == b'\n') {
                match self.reader.push(line) {
                    Ok(events) => self.take(events),
                    Err(error) => {
                        self.fail(error);
                        break;
                    }
                }
            }
        }
    }

    fn fail(&mut self, error: impl std::error::Error + Send + Sync + 'static) {
        self.ended = true;
        self.ready.push_back(Err(SseError::Body(Box::new(error))));
    }

    fn take(&mut self, events: Vec<doorward_mcp::sse::Event>) {
        for event in events {
            event.id.clone_into(&mut self.told.0);
            self.ready.push_back(Ok(Sse {
                event: (!event.kind.is_empty()).then_some(event.kind),
                data: Some(event.data),
                id: (!event.id.is_empty()).then_some(event.id),
                retry: None,
            }));
        }
        // An id or a `retry` counts also where no data comes with it: that is how a server says where to resume.
        let retry = self.reader.retry();
        let id = self.reader.last_event_id();
        if self.told.0 != id || self.told.1 != retry {
            self.told = (id.to_owned(), retry);
            self.ready.push_back(Ok(Sse {
                event: None,
                data: None,
                id: (!id.is_empty()).then(|| id.to_owned()),
                retry,
            }));
        }
    }
}
