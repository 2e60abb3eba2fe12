//! The thread that writes hops. Whoever records never waits for it: a full queue drops and counts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_types::time::{Clock, UnixTime};

use crate::file::{File, FileError};
use crate::hop::Hop;
use crate::join::Joins;
use crate::recorder::Limits;

/// Hops that wait to be written. Further ones are dropped and counted.
const QUEUE: usize = 2048;
/// Most hops of one transaction.
const BATCH: usize = 512;
/// Shortest time between two transactions, so that a busy server writes few large ones.
const PACE: Duration = Duration::from_millis(50);
/// How long a file that cannot be used is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// How long the end of the process waits for the last hops.
const FLUSH: Duration = Duration::from_secs(1);

enum Message {
    Hop(Box<Hop>),
    Flush(SyncSender<()>),
}

/// The way to the thread. It ends when the last of these is gone.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    pub(crate) fn start(
        path: PathBuf,
        limits: Limits,
        clock: Arc<dyn Clock>,
        joins: Arc<Mutex<Joins>>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            path,
            limits,
            clock,
            joins,
            dropped: Arc::clone(&dropped),
            file: None,
            given_up: None,
            warned: false,
        };
        std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, dropped })
    }

    pub(crate) fn push(&self, hop: Hop) {
        if self.sender.try_send(Message::Hop(Box::new(hop))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            // Late is as good as never: nobody waits longer for it.
            let _: Result<(), RecvTimeoutError> = wait.recv_timeout(FLUSH);
        }
    }
}

struct Writer {
    path: PathBuf,
    limits: Limits,
    clock: Arc<dyn Clock>,
    joins: Arc<Mutex<Joins>>,
    dropped: Arc<AtomicU64>,
    file: Option<File>,
    /// Until when the file is left alone.
    given_up: Option<UnixTime>,
    /// Whether it was told that the file cannot be used.
    warned: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        self.open();
        while let Ok(first) = receiver.recv() {
            let mut batch = Vec::new();
            let mut waiting = Vec::new();
            let mut take = |message| match message {
                Message::Hop(hop) => batch.push(*hop),
                Message::Flush(done) => waiting.push(done),
            };
            let is_flush = matches!(first, Message::Flush(_));
            take(first);
            receiver.try_iter().take(BATCH).for_each(take);
            self.write(&batch);
            for done in waiting {
                // Who has stopped waiting need not be told.
                let _: Result<(), std::sync::mpsc::TrySendError<()>> = done.try_send(());
            }
            if !is_flush {
                std::thread::park_timeout(PACE);
            }
        }
    }

    fn write(&mut self, batch: &[Hop]) {
        if batch.is_empty() {
            return;
        }
        if self.file.as_ref().is_some_and(|file| !file.is_still_there()) {
            self.file = None;
        }
        if self.file.is_none() {
            self.open();
        }
        let now = self.clock.now();
        let written = match &mut self.file {
            None => false,
            Some(file) => match file.write(batch, now) {
                Ok(()) => true,
                Err(error) => {
                    self.fail(&error);
                    false
                }
            },
        };
        let lost = self.dropped.swap(0, Ordering::Relaxed);
        if written && self.warned {
            self.warned = false;
            tracing::info!("traces of logins are written down again");
        }
        if lost > 0 {
            tracing::warn!(
                lost,
                "steps of logins came faster than they could be written down"
            );
        }
    }

    /// A file that is broken is made anew: what is in it is of no value that a backup would protect.
    fn open(&mut self) {
        let now = self.clock.now();
        if self.given_up.is_some_and(|until| now < until) {
            return;
        }
        self.given_up = None;
        match File::open(&self.path, self.limits, now) {
            Ok(file) => {
                let families = file.families().unwrap_or_default();
                let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
                for (family, trace) in families {
                    if joins.of_family(family).is_none() {
                        joins.remember_family(family, trace);
                    }
                }
                drop(joins);
                self.file = Some(file);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &FileError) {
        self.file = None;
        self.given_up = Some(self.clock.now().plus(PAUSE));
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                cause = %error,
                "traces of logins cannot be written down for now; nothing else is affected"
            );
        }
    }
}
