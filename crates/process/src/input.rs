//! Lines to the child.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::control::Shared;

/// Lines that wait for a child to read them. The next sender waits.
pub(crate) const QUEUE: usize = 16;

/// The child takes no more input: it is gone or about to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process takes no more input")]
pub struct Gone;

/// Lines to the child's standard input. When the last clone is dropped, it reads the end of its input.
#[derive(Clone, Debug)]
pub struct Input {
    queue: mpsc::Sender<Bytes>,
}

impl Input {
    pub(crate) fn new(queue: mpsc::Sender<Bytes>) -> Self {
        Self { queue }
    }

    /// Queues one message without its newline; waits while the child is behind with reading.
    ///
    /// `Ok` says that it is queued, not that the child reads it. Dropping the future before it is ready queues nothing.
    /// A newline inside (legal between JSON tokens) becomes a space, so that one message stays one line.
    ///
    /// # Errors
    /// [`Gone`] once the child has ended or is being stopped.
    pub async fn send(&self, line: Bytes) -> Result<(), Gone> {
        self.queue.send(on_one_line(line)).await.map_err(|_gone| Gone)
    }
}

/// The message as one line.
fn on_one_line(line: Bytes) -> Bytes {
    match spaced(&line) {
        Cow::Borrowed(_) => line,
        Cow::Owned(spaced) => spaced.into(),
    }
}

fn spaced(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', line).is_none() {
        return Cow::Borrowed(line);
    }
    let space = |byte: &u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    };
    Cow::Owned(line.iter().map(space).collect())
}

/// Writes the queue into the pipe until either ends; then the child reads the end of its input.
pub(crate) async fn write(mut pipe: pipe::Sender, mut queue: mpsc::Receiver<Bytes>, shared: Arc<Shared>) {
    let writing = async {
        while let Some(line) = queue.recv().await {
            let written = async {
                pipe.write_all(&line).await?;
                pipe.write_all(b"\n").await
            };
            if let Err(error) = written.await {
                // It closed its input, or is gone: the exit tells.
                tracing::debug!(%error, "a child takes no more input");
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = shared.closing() => {}
        () = writing => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_one_line() {
        let same = Bytes::from_static(b"{\"a\":1}");
        assert_eq!(on_one_line(same.clone()).as_ptr(), same.as_ptr(), "not copied");
        let split = Bytes::from_static(b"{\"a\":\r\n1}\n");
        assert_eq!(on_one_line(split), &b"{\"a\":  1} "[..]);
    }
}
