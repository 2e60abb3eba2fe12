//! Locks between processes that die with their process.
//!
//! A lock is a file of the store that is open and locked (`flock`): the system lets go of it when the process ends, however
//! it ends, so there is no stale one to clean up. What the holder writes into the file is only for the words that others
//! say while they wait, and for telling those that waited how it ended.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::store::{Store, StoreError};

/// How often who waits looks again.
const BETWEEN: Duration = Duration::from_millis(50);
/// A note is a few hundred bytes.
const LONGEST_NOTE: u64 = 64 * 1024;

/// What a lock is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockName {
    kind: &'static str,
    about: Vec<String>,
}

impl LockName {
    /// Logging in `user` to the MCP server at `server`: one browser tab.
    #[must_use]
    pub fn login(server: &str, user: &str) -> Self {
        Self {
            kind: "login",
            about: vec![server.to_owned(), user.to_owned()],
        }
    }

    /// Using a refresh token: each one once (A27).
    #[must_use]
    pub fn refresh(issuer: &str, resource: &str, user: &str) -> Self {
        Self {
            kind: "refresh",
            about: vec![issuer.to_owned(), resource.to_owned(), user.to_owned()],
        }
    }

    fn open(&self, store: &Store) -> Result<File, StoreError> {
        let about: Vec<&str> = self.about.iter().map(String::as_str).collect();
        store.lock_file(self.kind, &about)
    }
}

/// What the holder of a lock says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its process id.
    pub pid: u32,
    /// Tells its attempts apart from those of others and from its earlier ones.
    pub attempt: String,
    /// Where its user is logging in.
    pub authorization_url: Option<String>,
    /// Why it did not work out.
    pub failed: Option<String>,
}

/// A lock that is held until this is dropped, or the process ends.
#[derive(Debug)]
pub struct Held(File);

impl Held {
    /// Tells those that wait. That it cannot be written (a full disk) is no reason to stop: only words are lost.
    pub fn tell(&mut self, note: &Note) {
        if let Ok(text) = serde_json::to_vec(note) {
            let file = &mut self.0;
            let _: std::io::Result<()> = file
                .set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .and_then(|_| file.write_all(&text));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.0.unlock();
    }
}

/// Takes a lock if nobody holds it.
pub fn try_take(store: &Store, name: &LockName) -> Result<Option<Held>, StoreError> {
    let file = name.open(store)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(StoreError::Inaccessible {
            path: store.path().into(),
            why,
        }),
    }
}

/// What the holder, or the last one, said.
#[must_use]
pub fn note(store: &Store, name: &LockName) -> Option<Note> {
    let mut text = Vec::new();
    let file = name.open(store).ok()?;
    file.take(LONGEST_NOTE).read_to_end(&mut text).ok()?;
    // Half a note is none: it is being written.
    serde_json::from_slice(&text).ok()
}

/// Takes a lock, waiting for `within` at most. While it waits, `waiting` gets what the holder says, each time that it
/// says something new (and once when there is nothing to read). `None` when the time is over.
pub async fn take(
    store: &Store,
    name: &LockName,
    within: Duration,
    mut waiting: impl FnMut(Option<&Note>) + Send,
) -> Result<Option<Held>, StoreError> {
    let deadline = Instant::now() + within;
    let mut told: Option<Option<Note>> = None;
    loop {
        if let Some(held) = try_take(store, name)? {
            return Ok(Some(held));
        }
        let now = note(store, name);
        if told.as_ref() != Some(&now) {
            waiting(now.as_ref());
            told = Some(now);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

#[cfg(test)]
mod tests;
