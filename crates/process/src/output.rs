//! Lines from the child.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control::{ExitReason, Shared};
use crate::framing::{LineError, Lines};

/// After the child's end its pipe is read for so long, if something keeps it open: a process that left the session.
const REMAINDER: Duration = Duration::from_secs(1);

/// Lines from the child's standard output. The child is read only as fast as [`Output::next`] is called: nobody but
/// itself waits if nobody calls.
#[derive(Debug)]
pub struct Output {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Pipe(Box<Pipe>),
    Channel(mpsc::Receiver<Result<Bytes, LineError>>),
}

#[derive(Debug)]
struct Pipe {
    pipe: pipe::Receiver,
    lines: Lines,
    shared: Arc<Shared>,
    /// When to stop reading after the child's end.
    until: Option<Instant>,
    ended: bool,
}

impl Output {
    pub(crate) fn new(pipe: pipe::Receiver, limit: usize, shared: Arc<Shared>) -> Self {
        Self {
            source: Source::Pipe(Box::new(Pipe {
                pipe,
                lines: Lines::new(limit),
                shared,
                until: None,
                ended: false,
            })),
        }
    }

    pub(crate) fn from_channel(lines: mpsc::Receiver<Result<Bytes, LineError>>) -> Self {
        Self {
            source: Source::Channel(lines),
        }
    }

    /// The next line, without its newline and never empty. None at the end of the output; nothing comes after an
    /// error. May be dropped before it is ready without losing anything.
    pub async fn next(&mut self) -> Option<Result<Bytes, LineError>> {
        match &mut self.source {
            Source::Pipe(pipe) => pipe.next().await,
            Source::Channel(lines) => lines.recv().await,
        }
    }
}

impl Pipe {
    async fn next(&mut self) -> Option<Result<Bytes, LineError>> {
        if self.ended {
            return None;
        }
        let line = self.read().await;
        if !matches!(line, Ok(Some(_))) {
            self.ended = true;
        }
        if let Err(LineError::TooLong { limit }) = line {
            tracing::warn!(target: "child", limit, "killed: it wrote a longer line than it may");
            self.shared.ask(ExitReason::LineTooLong);
        }
        line.transpose()
    }

    async fn read(&mut self) -> Result<Option<Bytes>, LineError> {
        // One read may hold thousands of lines: whoever asks for one after the other must not keep a thread to itself.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(Some(line));
            }
            let given_up = async {
                if self.until.is_none() {
                    self.shared.exited().await;
                }
                let until = *self.until.get_or_insert_with(|| Instant::now() + REMAINDER);
                tokio::time::sleep_until(until).await;
            };
            let read = tokio::select! {
                () = given_up => Ok(0),
                read = self.pipe.read_buf(self.lines.room()) => read,
            };
            match read {
                Ok(0) => return self.rest(),
                Ok(_) => {}
                Err(error) => return Err(LineError::Unreadable(error.kind())),
            }
        }
    }

    fn rest(&mut self) -> Result<Option<Bytes>, LineError> {
        self.ended = true;
        self.lines.rest()
    }
}
