//! Lines in and out of pipes, each on a task of its own.

use std::io;

use bytes::Bytes;
use doorward_process::{LineError, Lines};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{LONGEST_LINE, Pipes};

/// Lines that wait for a slow reader. More than one, so that a line's writing and the next one's judging overlap.
pub(super) const WAITING: usize = 16;

/// A server that runs.
pub(super) struct Started {
    /// `None` after the host has ended: the server then sees the end of its input.
    pub(super) to_server: Option<mpsc::Sender<Bytes>>,
    pub(super) from_server: mpsc::Receiver<Result<Bytes, LineError>>,
    reading: JoinHandle<()>,
}

impl Started {
    pub(super) fn new(pipes: Pipes) -> Self {
        let (to_server, lines) = mpsc::channel(WAITING);
        let (sender, from_server) = mpsc::channel(1);
        tokio::spawn(async move {
            // A server that reads no more has ended, or will: its output says so.
            let _ended = write(pipes.input, lines).await;
        });
        let reading = tokio::spawn(read(pipes.output, sender));
        Self {
            to_server: Some(to_server),
            from_server,
            reading,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The writer ends by itself when its queue is closed, after it has written what is in it.
        self.to_server = None;
        self.reading.abort();
    }
}

/// Reads lines until the end.
pub(super) async fn read<R: AsyncRead + Unpin>(mut from: R, to: mpsc::Sender<Result<Bytes, LineError>>) {
    let mut lines = Lines::new(LONGEST_LINE);
    loop {
        loop {
            match lines.next_line() {
                Ok(Some(line)) => {
                    if to.send(Ok(line)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _gone = to.send(Err(error)).await;
                    return;
                }
            }
        }
        match from.read_buf(lines.room()).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let _gone = to.send(Err(LineError::Unreadable(error.kind()))).await;
                return;
            }
        }
    }
    if let Ok(Some(line)) = lines.rest() {
        let _gone = to.send(Ok(line)).await;
    }
}

/// Writes lines until there are no more.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut to: W,
    mut lines: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(line) = lines.recv().await {
        buffer.clear();
        buffer.extend_from_slice(&line);
        buffer.push(b'\n');
        // Lines that are there go in one write.
        while let Ok(line) = lines.try_recv() {
            buffer.extend_from_slice(&line);
            buffer.push(b'\n');
        }
        to.write_all(&buffer).await?;
        to.flush().await?;
        // A long line does not keep its room for ever.
        buffer.shrink_to(64 * 1024);
    }
    to.shutdown().await
}
