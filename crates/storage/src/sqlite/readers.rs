//! A few connections that read.
//!
//! A look-up takes some ten microseconds, and handing it to another thread costs more than that. So it is made
//! where it is asked for, as long as that cannot hold up everything else: it never waits for another process
//! there, and at least one thread that serves requests is always left. Whatever does not fit waits its turn on
//! threads that may block.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::Semaphore;

use super::open::{self, BUSY_TIMEOUT, OpenError};
use super::rows::RowError;
use crate::store::LoadError;

/// How many look-ups run at the same time.
const CONNECTIONS: usize = 4;

/// How long a look-up waits for its turn. With [`BUSY_TIMEOUT`], it stays under the five seconds within which callers
/// are told that storage is unavailable.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Readers {
    turns: Arc<Semaphore>,
    here: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let connections = (0..CONNECTIONS)
            .map(|_| open::reader(path))
            .collect::<Result<Vec<_>, _>>()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            turns: Arc::new(Semaphore::new(connections.len())),
            here: Semaphore::new(threads.saturating_sub(1).clamp(1, CONNECTIONS)),
            idle: Arc::new(Mutex::new(connections)),
        })
    }

    /// Runs `look_up`, which is quick, inside one read transaction: everything it reads is of one moment. It may be
    /// run a second time if the database was locked at first.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look_up: impl Fn(&Connection) -> Result<T, RowError> + Send + 'static,
    ) -> Result<T, LoadError> {
        if let (Ok(_here), Ok(_turn)) = (self.here.try_acquire(), self.turns.try_acquire()) {
            match Lent::from(&self.idle).read(&look_up) {
                Err(error) if is_busy(&error) => {}
                read => return read.map_err(LoadError::from),
            }
        }
        self.read_elsewhere(look_up).await
    }

    /// The same for a look-up that may read many rows.
    pub(super) async fn read_many<T: Send + 'static>(
        &self,
        look_up: impl Fn(&Connection) -> Result<T, RowError> + Send + 'static,
    ) -> Result<T, LoadError> {
        self.read_elsewhere(look_up).await
    }

    async fn read_elsewhere<T: Send + 'static>(
        &self,
        look_up: impl Fn(&Connection) -> Result<T, RowError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(LoadError::Unavailable("too many look-ups are waiting".into()));
        };
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let mut lent = Lent::from(&idle);
            let read = lent.read_patiently(&look_up).map_err(LoadError::from);
            drop(lent);
            drop(turn);
            read
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(LoadError::Unavailable("a look-up stopped by a defect".into())))
    }
}

fn is_busy(error: &RowError) -> bool {
    let RowError::Sqlite(error) = error else {
        return false;
    };
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// A connection that goes back when dropped, whatever happened.
struct Lent {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Lent {
    /// Callers hold a turn, so one is idle.
    fn from(idle: &Arc<Mutex<Vec<Connection>>>) -> Self {
        Self {
            connection: idle.lock().unwrap_or_else(PoisonError::into_inner).pop(),
            idle: Arc::clone(idle),
        }
    }

    fn read<T>(&self, look_up: impl Fn(&Connection) -> Result<T, RowError>) -> Result<T, RowError> {
        let Some(connection) = &self.connection else {
            return Err(rusqlite::Error::InvalidQuery.into());
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let read = look_up(connection);
        connection.prepare_cached("COMMIT")?.execute([])?;
        read
    }

    /// Waits for a process that has locked the database.
    fn read_patiently<T>(
        &mut self,
        look_up: impl Fn(&Connection) -> Result<T, RowError>,
    ) -> Result<T, RowError> {
        let wait = |lent: &Self, time| match &lent.connection {
            Some(connection) => connection.busy_timeout(time),
            None => Ok(()),
        };
        wait(self, BUSY_TIMEOUT)?;
        let read = self.read(look_up);
        wait(self, Duration::ZERO)?;
        read
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            if !connection.is_autocommit() {
                // An error leaves nothing open: the connection was only reading.
                drop(connection.execute_batch("ROLLBACK"));
            }
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}
