//! The one thread that writes.
//!
//! It takes every unit that is waiting, applies each in its own savepoint inside one transaction, commits
//! once, and only then answers all of them: many units share one sync of the disk, and no caller hears
//! "done" before what it asked for is durable.

use std::thread::JoinHandle;

use doorward_records::Unit;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::apply::{ApplyError, SWEPT_AT_ONCE, apply};
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

fn run(
    #[cfg_attr(not(test), expect(unused_mut, reason = "tests meddle"))] mut connection: Connection,
    mut waiting: mpsc::Receiver<Job>,
) {
    let mut jobs = Vec::with_capacity(TOGETHER);
    while let Some(first) = waiting.blocking_recv() {
        jobs.push(first);
        // Whoever is about to ask gets to, and shares the sync: on a busy machine that makes batches larger, on
        // an idle one it costs nothing.
        std::thread::yield_now();
        while jobs.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            jobs.push(next);
        }
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
            transact(&connection, &units)
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // A caller that went away is not told; what it asked for is done.
            drop(reply.send(outcome));
        }
    }
}

/// Applies `units` in one transaction. A conflict undoes only its own unit; whatever stops the transaction
/// stops all of them.
fn transact(connection: &Connection, units: &[Unit]) -> Vec<Outcome> {
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

fn try_transact(connection: &Connection, units: &[Unit]) -> rusqlite::Result<Vec<Outcome>> {
    run_kept(connection, "BEGIN IMMEDIATE")?;
    let transaction = Transaction(connection);
    let mut outcomes = Vec::with_capacity(units.len());
    for unit in units {
        run_kept(connection, "SAVEPOINT unit")?;
        let changes = connection.total_changes();
        let applied = apply(connection, unit).and_then(|()| Ok(query::revocation_sequence(connection)?));
        let outcome = match applied {
            Ok(revocation_sequence) => Ok(Committed {
                revocation_sequence,
                more_to_sweep: sweeps(unit)
                    && connection.total_changes().saturating_sub(changes) >= SWEPT_AT_ONCE,
            }),
            Err(ApplyError::Failed(error)) => return Err(error),
            Err(refusal) => {
                run_kept(connection, "ROLLBACK TO unit")?;
                Err(match refusal {
                    ApplyError::Refused(why) => CommitError::Unavailable(why.into()),
                    _ => CommitError::Conflict,
                })
            }
        };
        run_kept(connection, "RELEASE unit")?;
        outcomes.push(outcome);
    }
    run_kept(connection, "COMMIT")?;
    drop(transaction);
    Ok(outcomes)
}

fn sweeps(unit: &Unit) -> bool {
    unit.writes
        .iter()
        .any(|write| matches!(write, doorward_records::Write::Sweep { .. }))
}

/// Runs a statement that stays prepared: parsing these was a good part of what a small unit cost.
fn run_kept(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Undoes what was not committed, however its end is reached. After some errors SQLite has undone it already.
struct Transaction<'a>(&'a Connection);

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = run_kept(self.0, "ROLLBACK")
        {
            tracing::error!(why = describe(&error), "a transaction could not be undone");
        }
    }
}
