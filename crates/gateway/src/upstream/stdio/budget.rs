//! How much of what one process wrote may wait for its clients to read it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::ServerMessage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::outbox::{Item, Outcome};

/// Shorter messages are bounded well enough by the room of their streams.
const SHORT: usize = 64 << 10;
/// How long a long message waits for room, and all behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for the long messages of one process. It is given back when the last byte of a message is on its way,
/// wherever it waited until then.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    room: Arc<Semaphore>,
    bytes: u32,
}

struct Held {
    line: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.line
    }
}

impl Budget {
    pub(super) fn new(bytes: u32) -> Self {
        Self {
            room: Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(usize::MAX))),
            bytes,
        }
    }

    /// The message, holding its room. `Err`: there is none; what its client gets instead, if it has to get
    /// something.
    pub(super) async fn hold(&self, item: Item) -> Result<Item, Option<Item>> {
        if item.line.len() <= SHORT {
            return Ok(item);
        }
        // One that is longer than all the room waits until it is alone.
        let weight = u32::try_from(item.line.len()).unwrap_or(u32::MAX).min(self.bytes);
        let room = Arc::clone(&self.room).acquire_many_owned(weight);
        match timeout(PATIENCE, room).await {
            Ok(Ok(room)) => Ok(Item {
                line: Bytes::from_owner(Held {
                    line: item.line,
                    _room: room,
                }),
                answer: item.answer,
            }),
            _ => Err(item.answer.and_then(|_| refusal(&item.line))),
        }
    }
}

/// Answers the call whose answer finds no room.
fn refusal(line: &Bytes) -> Option<Item> {
    let message = ServerMessage::read(line.clone()).ok()?;
    let id = message.id()?;
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":503,"message":"the call was answered, but too many long answers of this MCP server wait to be read: read them first","data":{{"reason":"answers_unread","retry_after":5}}}}}}"#
    );
    Some(Item {
        line: text.into(),
        answer: Some(Outcome::Unread),
    })
}
