//! The one thread that writes.
//!
//! It takes every unit that is waiting, applies each in its own savepoint inside one transaction, commits
//! once, and only then answers all of them: many units share one sync of the disk, and no caller hears
//! "done" before what it asked for is durable.

use std::thread::JoinHandle;

use doorward_records::Unit;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::apply::{ApplyError, apply};
use super::open::describe;
use super::query;
use crate::store::{CommitError, Committed};

/// Units that may wait. More are refused at once, so that a stuck disk does not pile up memory.
const WAITING: usize = 1024;

/// Units that share one transaction: bounds how long the first one waits for the others.
const TOGETHER: usize = 256;

type Outcome = Result<Committed, CommitError>;

/// What the thread is asked.
enum Job {
    Apply(Unit, oneshot::Sender<Outcome>),
    /// Lets a test meddle with the writing connection.
    #[cfg(test)]
    Meddle(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// The handle of the thread; dropping it lets the thread finish what is waiting, then end.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection that was made ready.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("doorward-writer".into())
            .spawn(move || run(connection, waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Applies `unit`; answers after the commit.
    pub(super) async fn commit(&self, unit: Unit) -> Outcome {
        let gone = || CommitError::Unavailable("the writer has stopped".into());
        let (reply, outcome) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.try_send(Job::Apply(unit, reply))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    CommitError::Unavailable("too many changes are waiting".into())
                }
                mpsc::error::TrySendError::Closed(_) => gone(),
            })?;
        outcome.await.map_err(|_| gone())?
    }

    #[cfg(test)]
    pub(super) async fn meddle(&self, with: impl FnOnce(&mut Connection) + Send + 'static) {
        let (done, waited) = oneshot::channel();
        let job = Job::Meddle(Box::new(move |connection| {
            with(connection);
            done.send(()).unwrap();
        }));
        self.jobs.as_ref().unwrap().send(job).await.ok().unwrap();
        waited.await.unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the storage writer stopped by a defect");
        }
    }
}

fn run(mut connection: Connection, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(TOGETHER);
    while waiting.blocking_recv_many(&mut jobs, TOGETHER) > 0 {
        let mut units = Vec::with_capacity(jobs.len());
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match job {
                Job::Apply(unit, reply) => {
                    units.push(unit);
                    replies.push(reply);
                }
                #[cfg(test)]
                Job::Meddle(with) => with(&mut connection),
            }
        }
        let outcomes = if units.is_empty() {
            Vec::new()
        } else {
            transact(&mut connection, &units)
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // A caller that went away is not told; what it asked for is done.
            drop(reply.send(outcome));
        }
    }
}

/// Applies `units` in one transaction. A conflict undoes only its own unit; whatever stops the transaction
/// stops all of them.
fn transact(connection: &mut Connection, units: &[Unit]) -> Vec<Outcome> {
    match try_transact(connection, units) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let why = describe(&error);
            tracing::warn!(why, units = units.len(), "a commit failed; nothing of it is kept");
            units
                .iter()
                .map(|_| Err(CommitError::Unavailable(why.into())))
                .collect()
        }
    }
}

fn try_transact(connection: &mut Connection, units: &[Unit]) -> rusqlite::Result<Vec<Outcome>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(units.len());
    for unit in units {
        let savepoint = transaction.savepoint()?;
        let applied = apply(&savepoint, unit).and_then(|()| Ok(query::revocation_sequence(&savepoint)?));
        let outcome = match applied {
            Ok(revocation_sequence) => {
                savepoint.commit()?;
                Ok(Committed { revocation_sequence })
            }
            Err(ApplyError::Failed(error)) => return Err(error),
            Err(refusal) => {
                // Not left to the drop, which would swallow an error: the next units share the transaction.
                savepoint.finish()?;
                Err(match refusal {
                    ApplyError::Refused(why) => CommitError::Unavailable(why.into()),
                    _ => CommitError::Conflict,
                })
            }
        };
        outcomes.push(outcome);
    }
    transaction.commit()?;
    Ok(outcomes)
}
