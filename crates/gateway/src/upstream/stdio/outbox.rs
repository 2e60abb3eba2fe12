//! A bounded way from a process to one client's stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

/// Most messages that wait for one client.
pub(super) const MESSAGES: usize = 128;
/// Most bytes that wait for one client. A single message may be longer.
pub(super) const BYTES: usize = 1 << 20;
/// How long a client that does not read may hold up the process, and all others that it serves.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client that reads a little now and then, while others wait, gets its time back as this part of all time only:
/// else it could hold them up for ever.
const REGAINED: u32 = 10;

/// One message for a client.
#[derive(Debug)]
pub(super) struct Item {
    /// The message, with the client's own identifiers.
    pub(super) line: Bytes,
    /// Set for the answer, which is the last message of its stream.
    pub(super) answer: Option<Outcome>,
}

/// How a call was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Result,
    /// With the JSON-RPC code, if it has a proper one.
    Error(Option<i64>),
    /// It was, but there is no room for the answer.
    Unread,
}

impl Item {
    pub(super) const fn message(line: Bytes) -> Self {
        Self { line, answer: None }
    }
}

/// Why a message did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// The client has gone.
    Left,
    /// The client does not read.
    Slow,
}

#[derive(Clone, Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<(Item, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    patience: Arc<Mutex<Patience>>,
}

/// What is left for a client to hold up the process.
#[derive(Debug)]
struct Patience {
    left: Duration,
    since: Instant,
}

impl Patience {
    fn now(&mut self) -> Duration {
        let now = Instant::now();
        let regained = now.duration_since(self.since) / REGAINED;
        self.left = (self.left + regained).min(PATIENCE);
        self.since = now;
        self.left
    }

    fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
        self.since = Instant::now();
    }
}

#[derive(Debug)]
pub(super) struct Inbox(mpsc::Receiver<(Item, OwnedSemaphorePermit)>);

pub(super) fn channel() -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let room = Arc::new(Semaphore::new(BYTES));
    let patience = Arc::new(Mutex::new(Patience {
        left: PATIENCE,
        since: Instant::now(),
    }));
    let outbox = Outbox {
        sender,
        room,
        patience,
    };
    (outbox, Inbox(receiver))
}

fn weight(item: &Item) -> u32 {
    u32::try_from(item.line.len().min(BYTES)).unwrap_or(u32::MAX)
}

impl Outbox {
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Waits for room, but not for ever; and while `others` wait for the process, not again and again.
    pub(super) async fn put(&self, item: Item, others: bool) -> Result<(), NotSent> {
        if !others {
            return self.put_within(item, PATIENCE).await;
        }
        let begun = Instant::now();
        let patience = self.patience().now();
        let put = self.put_within(item, patience).await;
        self.patience().spend(begun.elapsed());
        put
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put_within(&self, item: Item, patience: Duration) -> Result<(), NotSent> {
        let putting = async {
            let room = Arc::clone(&self.room).acquire_many_owned(weight(&item)).await;
            let room = room.map_err(|_| NotSent::Left)?;
            self.sender.send((item, room)).await.map_err(|_| NotSent::Left)
        };
        tokio::select! {
            biased;
            put = putting => put,
            () = self.sender.closed() => Err(NotSent::Left),
            () = tokio::time::sleep(patience) => Err(NotSent::Slow),
        }
    }

    /// Puts it in only if there is room now.
    pub(super) fn try_put(&self, item: Item) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight(&item));
        room.is_ok_and(|room| self.sender.try_send((item, room)).is_ok())
    }
}

impl Inbox {
    /// `None`: nothing more will come.
    pub(super) async fn next(&mut self) -> Option<Item> {
        self.0.recv().await.map(|(item, _)| item)
    }

    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.poll_recv(context).map(|item| item.map(|(item, _)| item))
    }
}
