//! Opening a database file: is it ours, whole, writable, and set so that a commit is durable?

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::migrations;

/// How long a statement waits for another process. Twice this (the batch before, then one's own) stays
/// under the five seconds within which callers are told that storage is unavailable.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Older ones can lose commits when a write-ahead log is reset under two connections.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Up to this size the whole database is checked at each start, indexes included; above, only its
/// structure.
const FULLY_CHECKED_BYTES: i64 = 32 * 1024 * 1024;

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// The SQLite in this program is older than 3.51.3.
    #[error("this build contains SQLite {0}, which is older than 3.51.3: build it with the bundled one")]
    SqliteTooOld(&'static str),
    /// Another program's database, or an empty file.
    #[error("the file is empty or not a Doorward database: restore it from a backup")]
    NotOurs,
    /// A backup was put in the place of a database.
    #[error(
        "the file is a backup: put it in place with `doorward data restore`, so that nothing which was revoked \
         since is good again"
    )]
    IsABackup,
    /// Something else was named as a backup.
    #[error("the file is not a backup of Doorward: name the file that `doorward data backup` wrote")]
    NotABackup,
    /// A later version migrated it.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: run the newer \
         program again, or restore the backup made before the upgrade"
    )]
    NewerSchema {
        /// What the database says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// The file cannot be written.
    #[error("the database is read-only: give this user write access to the file and its folder")]
    ReadOnly,
    /// The file is cut off or altered.
    #[error("the database is damaged: restore it from a backup")]
    Damaged,
    /// It refuses to be set up for durable commits.
    #[error("the database did not accept {0}: is it on a network file system?")]
    NotDurable(&'static str),
    /// Anything else.
    #[error("the database cannot be opened: {0}")]
    Failed(&'static str),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            _ => Self::Failed(describe(&error)),
        }
    }
}

/// What happened, without SQL, paths or values.
pub(crate) fn describe(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "locked by another process",
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::SystemIoFailure) => "input or output failed",
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "it is damaged",
        Some(ErrorCode::ReadOnly) => "it is read-only",
        Some(ErrorCode::CannotOpen) => "a file cannot be opened",
        Some(ErrorCode::PermissionDenied) => "access is denied",
        Some(ErrorCode::OutOfMemory) => "out of memory",
        Some(ErrorCode::ConstraintViolation) => "a value was refused",
        _ => "a statement failed",
    }
}

/// Makes the database in an existing empty file and closes it. Nothing but the file itself is left.
pub(crate) fn initialise(
    path: &Path,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(), OpenError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    configure_writer(&connection)?;
    migrations::migrate(&mut connection)?;
    fill(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Opens an existing database and makes sure that it is ours, known, writable and whole. Changes nothing.
pub(crate) fn inspect(path: &Path) -> Result<Connection, OpenError> {
    inspect_as(path, migrations::APPLICATION_ID)
}

/// The same for a file that is marked as `expected`.
pub(crate) fn inspect_as(path: &Path, expected: i32) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::SqliteTooOld(rusqlite::version()));
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if connection.is_readonly(MAIN_DB)? {
        return Err(OpenError::ReadOnly);
    }
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application == migrations::BACKUP_ID && expected != application {
        return Err(OpenError::IsABackup);
    }
    if application != expected {
        return Err(OpenError::NotOurs);
    }
    let found = migrations::version(&connection)?;
    if found > migrations::NEWEST {
        return Err(OpenError::NewerSchema {
            found,
            known: migrations::NEWEST,
        });
    }
    check_integrity(path, &connection)?;
    Ok(connection)
}

/// Brings an inspected connection up to date and sets it up as the one that writes.
pub(crate) fn ready_writer(mut connection: Connection) -> Result<Connection, OpenError> {
    configure_writer(&connection)?;
    migrations::migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that cannot write, and that does not wait for another process unless it is told to.
pub(crate) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// A connection to copy from (`VACUUM INTO` counts as a write, although it leaves this database as it is).
pub(crate) fn copier(path: &Path) -> Result<Connection, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> Result<(), OpenError> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NotDurable("write-ahead logging"));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // macOS: fsync alone leaves the data in the drive's cache. Elsewhere these do nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if synchronous != 2 {
        return Err(OpenError::NotDurable("synchronous = FULL"));
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    let foreign_keys: bool = connection.pragma_query_value(None, "foreign_keys", |row| row.get(0))?;
    if !foreign_keys {
        return Err(OpenError::NotDurable("foreign keys"));
    }
    let _: i64 =
        connection.pragma_update_and_check(None, "journal_size_limit", 64 * 1024 * 1024, |row| row.get(0))?;
    Ok(())
}

fn check_integrity(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    // One read transaction, so that another process does not move pages between the questions.
    let transaction = connection.unchecked_transaction()?;
    let pages: i64 = transaction.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_size: i64 = transaction.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let bytes = pages.saturating_mul(page_size);
    if log_is_empty(path) && file_size(path) != u64::try_from(bytes).ok() {
        // SQLite takes the missing end of the last page for zeros.
        return Err(OpenError::Damaged);
    }
    let small = bytes <= FULLY_CHECKED_BYTES;
    let check = if small {
        "PRAGMA integrity_check(1)"
    } else {
        "PRAGMA quick_check(1)"
    };
    let verdict: String = transaction.query_row(check, [], |row| row.get(0))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(OpenError::Damaged)
    }
}

fn file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.len())
}

/// Whether the write-ahead log holds nothing, so that the database file alone must be whole.
fn log_is_empty(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    file_size(Path::new(&log)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(folder: &tempfile::TempDir) -> std::path::PathBuf {
        let path = folder.path().join("test.db");
        std::fs::File::create(&path).unwrap();
        initialise(&path, |_| Ok(())).unwrap();
        path
    }

    #[test]
    fn the_bundled_sqlite_is_new_enough() {
        assert!(
            rusqlite::version_number() >= OLDEST_SQLITE,
            "{}",
            rusqlite::version()
        );
    }

    #[test]
    fn ft_01_commits_are_synced_before_they_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = fresh(&folder);
        let writer = ready_writer(inspect(&path).unwrap()).unwrap();
        let text =
            |name: &str| -> String { writer.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
        let number = |name: &str| -> i64 { writer.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
        assert_eq!(text("journal_mode"), "wal");
        assert_eq!(number("synchronous"), 2);
        assert_eq!(number("foreign_keys"), 1);
        assert!(number("busy_timeout") <= 5000);
    }

    #[test]
    fn initialising_leaves_one_file() {
        let folder = tempfile::tempdir().unwrap();
        fresh(&folder);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn ft_09_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        std::fs::write(&path, "").unwrap();
        assert_eq!(inspect(&path).unwrap_err(), OpenError::NotOurs);
        std::fs::write(
            &path,
            "surely not a database, and long enough to have a header".repeat(40),
        )
        .unwrap();
        assert_eq!(inspect(&path).unwrap_err(), OpenError::Damaged);
        std::fs::remove_file(&path).unwrap();
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        assert_eq!(inspect(&path).unwrap_err(), OpenError::NotOurs);
    }

    #[test]
    fn ft_09_a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = fresh(&folder);
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", NEWEST_PLUS_ONE)
            .unwrap();
        let known = migrations::NEWEST;
        assert_eq!(
            inspect(&path).unwrap_err(),
            OpenError::NewerSchema {
                found: known + 1,
                known
            }
        );
    }

    const NEWEST_PLUS_ONE: u32 = migrations::NEWEST + 1;

    #[test]
    fn ft_09_a_truncated_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = fresh(&folder);
        let whole = std::fs::read(&path).unwrap();
        for keep in (512..whole.len()).step_by(2048).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..keep]).unwrap();
            assert_eq!(
                inspect(&path).unwrap_err(),
                OpenError::Damaged,
                "{keep} of {}",
                whole.len()
            );
        }
        // A lone byte counts as empty, and an empty file is not ours either.
        std::fs::write(&path, &whole[..1]).unwrap();
        assert_eq!(inspect(&path).unwrap_err(), OpenError::NotOurs);
    }

    #[test]
    fn ft_09_a_flipped_bit_in_the_structure_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = fresh(&folder);
        let whole = std::fs::read(&path).unwrap();
        // The magic; the page count; the b-tree page type of the schema page; the type of the last page.
        for at in [3, 28, 100, whole.len() - 4096] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(inspect(&path).unwrap_err(), OpenError::Damaged, "byte {at}");
        }
    }

    #[test]
    fn readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = fresh(&folder);
        assert!(reader(&path).unwrap().execute("DELETE FROM users", []).is_err());
    }
}
