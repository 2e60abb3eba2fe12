//! `traces.db`: SQLite without any care for durability. What is in it explains logins; nothing depends on it.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward_types::id::TraceId;
use doorward_types::time::UnixTime;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use uuid::Uuid;

use crate::hop::{Hop, Joined};
use crate::recorder::Limits;

/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(2);
/// Version of the table. Another one is made anew.
const VERSION: i64 = 1;
const PAGE: u64 = 4096;
/// Hops between two looks at the limits.
const LOOK: u32 = 500;
/// Families that are read at the start.
const FAMILIES: u32 = 32_768;

/// How often room is made for one batch.
const MAKING_ROOM: u32 = 6;
const OLDEST_QUARTER: &str =
    "DELETE FROM hops WHERE id <= (SELECT min(id) + (max(id) - min(id)) / 4 FROM hops)";

const TABLE: &str = "
CREATE TABLE hops (
    id       INTEGER PRIMARY KEY,
    trace    BLOB NOT NULL,
    at       INTEGER NOT NULL,
    decision BLOB,
    parent   BLOB,
    family   BLOB,
    hop      TEXT NOT NULL
) STRICT;
CREATE INDEX hops_by_trace ON hops (trace);
CREATE INDEX hops_by_age ON hops (at);
CREATE INDEX hops_by_decision ON hops (decision) WHERE decision IS NOT NULL;
CREATE INDEX hops_by_parent ON hops (parent) WHERE parent IS NOT NULL;
CREATE INDEX hops_by_family ON hops (family) WHERE family IS NOT NULL;
";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    System(#[from] std::io::Error),
    #[error("a step could not be encoded")]
    Encoding(#[from] serde_json::Error),
    #[error("it was made by another version")]
    Version,
}

impl FileError {
    /// Whether a new file would do.
    fn is_broken(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
            ),
            Self::Version => true,
            Self::System(_) | Self::Encoding(_) => false,
        }
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    inode: u64,
    connection: Connection,
    limits: Limits,
    since_look: u32,
}

impl File {
    /// Opens it; makes it (0600) if there is none, or if what is there cannot be read.
    pub(crate) fn open(path: &Path, limits: Limits, now: UnixTime) -> Result<Self, FileError> {
        let mut file = match Self::try_open(path, limits) {
            Err(error) if error.is_broken() => {
                remove(path)?;
                Self::try_open(path, limits)?
            }
            other => other?,
        };
        file.prune(now)?;
        Ok(file)
    }

    fn try_open(path: &Path, limits: Limits) -> Result<Self, FileError> {
        let created = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let inode = created.metadata()?.ino();
        drop(created);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
        connection.pragma_update(
            None,
            "max_page_count",
            i64::try_from(limits.bytes / PAGE).unwrap_or(i64::MAX).max(64),
        )?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLE} PRAGMA user_version = {VERSION}; COMMIT;"
            ))?;
        } else if version != VERSION {
            return Err(FileError::Version);
        }
        Ok(Self {
            path: path.into(),
            inode,
            connection,
            limits,
            since_look: 0,
        })
    }

    /// Whether the name still leads to the file that is open.
    pub(crate) fn is_still_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// Adds hops. When the file is full the oldest make room.
    pub(crate) fn write(&mut self, hops: &[Hop], now: UnixTime) -> Result<(), FileError> {
        let mut written = self.insert(hops);
        for _ in 0..MAKING_ROOM {
            match &written {
                Err(error) if error.is_full() => {
                    self.connection.execute(OLDEST_QUARTER, [])?;
                }
                Err(error) if error.is_broken() => {
                    remove(&self.path)?;
                    *self = Self::try_open(&self.path, self.limits)?;
                }
                _ => break,
            }
            written = self.insert(hops);
        }
        written?;
        self.since_look = self
            .since_look
            .saturating_add(u32::try_from(hops.len()).unwrap_or(u32::MAX));
        if self.since_look >= LOOK {
            self.prune(now)?;
        }
        Ok(())
    }

    fn insert(&mut self, hops: &[Hop]) -> Result<(), FileError> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO hops (trace, at, decision, parent, family, hop) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for hop in hops {
                let family = match hop.joined {
                    Joined::Exact => issued(hop),
                    Joined::ByAddress => None,
                };
                insert.execute(params![
                    hop.trace.as_bytes().as_slice(),
                    hop.at.millis(),
                    hop.decision.as_ref().map(|id| id.as_bytes().as_slice()),
                    hop.parent.as_ref().map(|id| id.as_bytes().as_slice()),
                    family.as_ref().map(|id| id.as_bytes().as_slice()),
                    serde_json::to_string(hop)?,
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets what is too old or too much.
    fn prune(&mut self, now: UnixTime) -> Result<(), FileError> {
        self.since_look = 0;
        let horizon = now.minus(self.limits.age).millis();
        self.connection
            .execute("DELETE FROM hops WHERE at < ?1", [horizon])?;
        self.connection.execute(
            "DELETE FROM hops WHERE id <= (SELECT max(id) FROM hops) - ?1",
            [self.limits.hops],
        )?;
        Ok(())
    }

    /// The newest token families with their traces.
    pub(crate) fn families(&self) -> Result<Vec<(Uuid, TraceId)>, FileError> {
        let mut select = self.connection.prepare(
            "SELECT family, trace FROM hops WHERE family IS NOT NULL GROUP BY family ORDER BY max(id) DESC LIMIT ?1",
        )?;
        let mut rows = select.query([FAMILIES])?;
        let mut families = Vec::new();
        while let Some(row) = rows.next()? {
            let (family, trace): ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(1)?);
            families.extend(TraceId::from_bytes(trace).map(|trace| (Uuid::from_bytes(family), trace)));
        }
        families.reverse();
        Ok(families)
    }
}

/// What the hop is about: a family, or a token that has none.
fn issued(hop: &Hop) -> Option<Uuid> {
    let id = |name: &str| hop.field(name).and_then(|text| text.parse().ok());
    id("family").or_else(|| id("token"))
}

fn remove(path: &Path) -> Result<(), FileError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
