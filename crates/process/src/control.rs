//! Stopping a child, and how it ended.

use std::sync::Arc;

use tokio::sync::watch;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why.
    pub reason: ExitReason,
}

/// Why a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Nobody asked it to.
    ItsOwn,
    /// [`Control::stop`], or its last [`Control`] was dropped.
    Stopped,
    /// Killed: its processes together took more than [`Caps::memory`](crate::Caps::memory).
    MemoryCap,
    /// Killed: it had more processes than [`Caps::processes`](crate::Caps::processes).
    ProcessCap,
    /// Killed: it wrote a line longer than [`Caps::line`](crate::Caps::line).
    LineTooLong,
}

impl ExitReason {
    /// One word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ItsOwn => "its_own",
            Self::Stopped => "stopped",
            Self::MemoryCap => "memory_cap",
            Self::ProcessCap => "process_cap",
            Self::LineTooLong => "line_too_long",
        }
    }
}

/// Stops a child and tells how it ended. When the last clone is dropped, the child is stopped: keep one for as long as
/// the child shall live.
#[derive(Clone, Debug)]
pub struct Control {
    handle: Arc<Handle>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>, pid: Option<u32>) -> Self {
        Self {
            handle: Arc::new(Handle { shared, pid }),
        }
    }

    /// The child's process id, for logs. None if there is no real process behind it.
    pub fn pid(&self) -> Option<u32> {
        self.handle.pid
    }

    /// Waits until the child and all processes of its session are gone.
    pub async fn exited(&self) -> Exit {
        self.handle.shared.exited().await
    }

    /// Asks the child to end: its input is closed; after 2 s its processes get SIGTERM, after 2 s more SIGKILL.
    /// Returns at once; further calls change nothing.
    pub fn stop(&self) {
        self.handle.shared.ask(ExitReason::Stopped);
    }
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    pid: Option<u32>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.ask(ExitReason::Stopped);
    }
}

/// What the tasks around one child tell each other.
#[derive(Debug)]
pub(crate) struct Shared {
    asked: watch::Sender<Option<ExitReason>>,
    exit: watch::Sender<Option<Exit>>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: watch::Sender::new(None),
            exit: watch::Sender::new(None),
        })
    }

    /// Asks for the end. The first reason counts.
    pub(crate) fn ask(&self, reason: ExitReason) {
        self.asked.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(reason);
            }
            first
        });
    }

    /// Tells everybody that it is over.
    pub(crate) fn finish(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    /// Waits until somebody asks for the end.
    pub(crate) async fn asked(&self) -> ExitReason {
        let mut asked = self.asked.subscribe();
        let reason = asked
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| *reason);
        reason.unwrap_or(ExitReason::Stopped)
    }

    /// Waits until it is over.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        ended.unwrap_or(Exit {
            code: None,
            signal: None,
            reason: ExitReason::Stopped,
        })
    }

    /// Waits until nobody shall talk to the child any more: its end was asked for, or has come.
    pub(crate) async fn closing(&self) {
        tokio::select! {
            _ = self.asked() => {}
            _ = self.exited() => {}
        }
    }
}
