//! The thread that starts children.
//!
//! A child is killed when its parent ends, and to the kernel the parent is the *thread* that started it
//! (`PR_SET_PDEATHSIG`). The runtime's threads come and go; this one lives as long as anybody may need it.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;

use crate::mark;

#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    jobs: Sender<Job>,
}

enum Job {
    Start {
        command: Box<Command>,
        // What is sent here kills itself when it is dropped: the caller may go away after the sending and before the
        // receiving, and nobody else would know of the process.
        started: oneshot::Sender<io::Result<Spawned>>,
        jobs: Sender<Job>,
    },
    /// Nobody wants it any more.
    Reap(Child),
}

impl Spawner {
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, waiting) = channel();
        std::thread::Builder::new()
            .name("children".to_owned())
            .spawn(move || work(&waiting))?;
        Ok(Self { jobs })
    }

    /// Starts a process.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Spawned> {
        let (started, starting) = oneshot::channel();
        let command = Box::new(command);
        let over = |_| io::Error::other("the thread that starts processes has ended");
        let start = Job::Start {
            command,
            started,
            jobs: self.jobs.clone(),
        };
        self.jobs.send(start).map_err(|_| over(()))?;
        starting.await.map_err(|_| over(()))?
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Start {
                mut command,
                started,
                jobs,
            } => {
                let child = command.spawn().map(|child| Spawned {
                    child: Some(child),
                    jobs,
                });
                drop(started.send(child));
            }
            Job::Reap(child) => reap(child),
        }
    }
}

fn reap(mut child: Child) {
    // These can only fail if it has been waited for.
    let _: io::Result<()> = child.kill();
    // It may be the program by now, and have started others. Its number is its own until it is waited for.
    if let Ok(leader) = i32::try_from(child.id()) {
        if let Some(group) = Pid::from_raw(leader) {
            let _: rustix::io::Result<()> = kill_process_group(group, Signal::KILL);
        }
        mark::kill(&BTreeSet::from([leader]));
    }
    let _: io::Result<_> = child.wait();
}

/// A started process; killed and waited for when dropped. Keeps the thread alive that it depends on.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Option<Child>,
    jobs: Sender<Job>,
}

impl Spawned {
    /// Its process id, which is nobody else's until [`Spawned::reap`].
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Takes the exit status of a process that has ended.
    pub(crate) fn reap(mut self) -> io::Result<std::process::ExitStatus> {
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::Error::other("waited for twice")),
        }
    }

    /// Leaves alone a process that cannot be killed: waiting for it would take for ever.
    pub(crate) fn abandon(mut self) -> Option<std::process::ExitStatus> {
        self.child = None;
        None
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(child) = self.child.take()
            && let Err(gone) = self.jobs.send(Job::Reap(child))
            && let Job::Reap(child) = gone.0
        {
            reap(child);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    use super::*;

    struct Woken(SyncSender<()>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let _: Result<(), _> = self.0.try_send(());
        }
    }

    #[test]
    fn a_process_that_is_handed_over_to_nobody_is_killed() {
        let spawner = Spawner::new().unwrap();
        let (woken, waking) = sync_channel(1);
        let waker = Waker::from(Arc::new(Woken(woken)));
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let (mut output, held) = std::io::pipe().unwrap();
        sleep.stdout(held);
        {
            let mut starting = pin!(spawner.spawn(sleep));
            assert!(
                starting
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            // The process is in the channel now, and nobody takes it out.
            waking.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        // Ends when the process does, which held the other end.
        let (ended, ending) = sync_channel(1);
        std::thread::spawn(move || {
            let _: io::Result<u64> = io::copy(&mut output, &mut io::sink());
            let _: Result<(), _> = ended.send(());
        });
        ending.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
