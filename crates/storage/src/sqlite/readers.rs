//! A few connections that read, off the threads that serve requests.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::open::{self, OpenError};
use super::rows::RowError;
use crate::store::LoadError;

/// How many look-ups run at the same time.
const CONNECTIONS: usize = 4;

/// How long a look-up waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Readers {
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let connections = (0..CONNECTIONS)
            .map(|_| open::reader(path))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            turns: Arc::new(Semaphore::new(connections.len())),
            idle: Arc::new(Mutex::new(connections)),
        })
    }

    /// Runs `look_up` inside one read transaction: everything it reads is of one moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look_up: impl FnOnce(&Connection) -> Result<T, RowError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(LoadError::Unavailable("too many look-ups are waiting".into()));
        };
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let mut lent = Lent {
                connection: pop(&idle),
                idle,
            };
            let none_idle = || LoadError::Unavailable("no connection is idle".into());
            let transaction = match &mut lent.connection {
                Some(connection) => connection.transaction().map_err(RowError::from)?,
                None => return Err(none_idle()),
            };
            let read = look_up(&transaction).map_err(LoadError::from);
            drop(transaction);
            drop(lent);
            drop(turn);
            read
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(LoadError::Unavailable("a look-up stopped by a defect".into())))
    }
}

fn pop(idle: &Mutex<Vec<Connection>>) -> Option<Connection> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// A connection that goes back when dropped, whatever happened.
struct Lent {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}
