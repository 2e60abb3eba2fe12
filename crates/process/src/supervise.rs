//! Watching over one child until nothing of it is left.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::Instant;

use crate::control::{Exit, ExitReason, Shared};
use crate::family::{Family, Looks, Seen};
use crate::mark;
use crate::spawner::Spawned;
use crate::spec::Caps;

/// How often the caps are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// So many processes that ended, and that their parents do not wait for, count as one: they take a number each.
const ENDED: usize = 8;
/// What a child gets to end after its input was closed, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long SIGKILL may take: longer only if the kernel is stuck in a file system.
const KILLING: Duration = Duration::from_secs(10);
/// How often to look whether an end has come.
const POLL: Duration = Duration::from_millis(20);

/// A running child and all that it started. If this is dropped early, they are killed.
pub(crate) struct Running {
    child: Option<Spawned>,
    pid: Pid,
    /// SIGCHLD: some child of ours has ended.
    ends: Signals,
    family: Family,
    caps: Caps,
    shared: Arc<Shared>,
    looks: Arc<Looks>,
}

impl Running {
    /// Must be called inside the runtime.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(
        child: Spawned,
        caps: Caps,
        shared: Arc<Shared>,
        looks: Arc<Looks>,
    ) -> std::io::Result<Self> {
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = id.ok_or_else(|| std::io::Error::other("no process"))?;
        Ok(Self {
            child: Some(child),
            pid,
            ends: signal(SignalKind::child())?,
            family: Family::new(pid),
            caps,
            shared,
            looks,
        })
    }

    /// Until all is over.
    pub(crate) async fn supervise(mut self) {
        let reason = self.watch().await;
        // Whoever still writes to it shall stop.
        self.shared.ask(reason);
        self.end(reason).await;
        // As long as it is not waited for, the group's number is nobody else's. The last shot at what no look shows.
        self.family.signal(&[], Signal::KILL);
        let marked = BTreeSet::from([self.pid.as_raw_nonzero().get()]);
        // An error only at the end of the runtime.
        let _: Result<(), _> = tokio::task::spawn_blocking(move || mark::kill(&marked)).await;
        let ended = self.has_ended();
        let status = self
            .child
            .take()
            .and_then(|child| if ended { child.reap().ok() } else { child.abandon() });
        let exit = Exit {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            reason,
        };
        tracing::debug!(pid = self.pid.as_raw_nonzero().get(), ?exit, "a child has ended");
        self.shared.finish(exit);
    }

    /// Waits for a reason to end.
    async fn watch(&mut self) -> ExitReason {
        let mut looks = tokio::time::interval(WATCH);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                reason = self.shared.asked() => return reason,
                () = leader_ended(self.pid, &mut self.ends) => return ExitReason::ItsOwn,
                _ = looks.tick() => {}
            }
            if let Some(reason) = self.over_a_cap().await {
                return reason;
            }
        }
    }

    async fn over_a_cap(&mut self) -> Option<ExitReason> {
        let members = self.members(WATCH / 2).await;
        let memory: u64 = members.iter().map(Seen::bytes).sum();
        let processes = members.iter().filter(|seen| !seen.zombie).count();
        let pid = self.pid.as_raw_nonzero().get();
        if memory > self.caps.memory {
            let cap = self.caps.memory;
            tracing::warn!(target: "child", pid, memory, cap, "killed: it takes more memory than it may");
            return Some(ExitReason::MemoryCap);
        }
        let ended = members.len() - processes;
        let most = usize::try_from(self.caps.processes).unwrap_or(usize::MAX);
        if processes > most || ended / ENDED > most {
            let cap = self.caps.processes;
            tracing::warn!(target: "child", pid, processes, cap, "killed: it has more processes than it may");
            return Some(ExitReason::ProcessCap);
        }
        None
    }

    /// Brings all processes to their end, gently if nothing speaks against it.
    async fn end(&mut self, reason: ExitReason) {
        let gentle = matches!(reason, ExitReason::Stopped | ExitReason::ItsOwn);
        // Its input is closed by now; one that ended by itself has no use for that any more.
        if reason == ExitReason::Stopped && self.gone_within(GRACE).await {
            return;
        }
        if gentle {
            let members = self.members(Duration::ZERO).await;
            if members.iter().all(|seen| seen.zombie) && self.has_ended() {
                return;
            }
            self.family.signal(&members, Signal::TERM);
            if self.gone_within(GRACE).await {
                return;
            }
        }
        let until = Instant::now() + KILLING;
        while Instant::now() < until {
            let members = self.members(Duration::ZERO).await;
            self.family.signal(&members, Signal::KILL);
            if self.gone_within(POLL * 5).await {
                return;
            }
        }
        let pid = self.pid.as_raw_nonzero().get();
        tracing::error!(target: "child", pid, "cannot be killed: a process of it hangs in the kernel");
    }

    /// Whether the child and all it started end within that time.
    async fn gone_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        if tokio::time::timeout_at(until, leader_ended(self.pid, &mut self.ends))
            .await
            .is_err()
        {
            return false;
        }
        loop {
            // Many may be ending at once: they share looks.
            if self.members(POLL / 2).await.iter().all(|seen| seen.zombie) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn members(&mut self, age: Duration) -> Vec<Seen> {
        let look = self.looks.recent(age).await;
        self.family.members(&look)
    }

    fn has_ended(&self) -> bool {
        has_ended(self.pid)
    }
}

/// Waits for the end of the child itself, and leaves it unreaped: so its id stays its own, and names its session.
async fn leader_ended(pid: Pid, ends: &mut Signals) {
    while !has_ended(pid) {
        // The listener may be younger than the signal.
        let _: Result<_, tokio::time::error::Elapsed> = tokio::time::timeout(WATCH, ends.recv()).await;
    }
}

fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match rustix::process::waitid(WaitId::Pid(pid), options) {
        Ok(status) => status.is_some(),
        // Nothing to wait for any more.
        Err(errno) => errno == rustix::io::Errno::CHILD,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.family.signal(&[], Signal::KILL);
        }
    }
}
