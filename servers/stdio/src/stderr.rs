//! Stderr that nobody waits for: a host that does not read it must not be able to stop what is between it and its server.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Pieces that wait to be written. Further ones are dropped.
const WAITING: usize = 1024;
/// How long the end of the process waits for the last ones.
const FLUSH: Duration = Duration::from_secs(1);

enum Piece {
    Bytes(Vec<u8>),
    Flushed(SyncSender<()>),
}

/// Writes by a thread of its own.
#[derive(Clone)]
pub(crate) struct Stderr(SyncSender<Piece>);

impl Stderr {
    /// Starts the thread. Without one, everything is dropped and service goes on.
    pub(crate) fn start() -> Self {
        let (send, receive) = sync_channel(WAITING);
        drop(std::thread::Builder::new().spawn(move || copy(&receive)));
        Self(send)
    }

    /// Waits until everything is written, but not long.
    pub(crate) fn settle(&self) {
        let (send, receive) = sync_channel(1);
        if self.0.try_send(Piece::Flushed(send)).is_ok() {
            let _late = receive.recv_timeout(FLUSH);
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _dropped = self.0.try_send(Piece::Bytes(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn copy(pieces: &Receiver<Piece>) {
    while let Ok(piece) = pieces.recv() {
        match piece {
            // Nobody may read it any more.
            Piece::Bytes(bytes) => drop(io::stderr().write_all(&bytes)),
            Piece::Flushed(done) => drop(done.send(())),
        }
    }
}
