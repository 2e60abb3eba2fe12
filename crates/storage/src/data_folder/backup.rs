//! One file with everything that is in the database, of one moment, taken while servers run.

use std::path::Path;

use doorward_seal::MasterKey;
use doorward_types::time::UnixTime;
use rusqlite::{Connection, OptionalExtension as _};

use super::{DATABASE, DataFolder, DataFolderError, files};
use crate::sqlite::{OpenError, migrations, open};

const TAKEN: &str = "backup_taken";
const BACKUP_KEY: &str = "backup_master_key";

impl DataFolder {
    /// Writes the database as it is now to `file`, which must not be there and is for this user only. With
    /// `with_master_key` the file holds the key to what is sealed in it. Blocks.
    pub fn backup(&self, file: &Path, with_master_key: bool, now: UnixTime) -> Result<(), DataFolderError> {
        if files::is_file(file)? {
            return Err(DataFolderError::BackupExists(file.into()));
        }
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let partial = Path::new(&partial);
        files::remove_with_log(partial)?;
        files::write_new(partial, b"")?;
        let key = with_master_key.then(|| self.master.as_ref());
        let written = self
            .copy_to(partial, key, now)
            .map_err(|why| DataFolderError::Backup {
                path: file.into(),
                why,
            })
            .and_then(|()| files::sync(partial))
            .and_then(|()| files::name_new(partial, file));
        if written.is_err() {
            drop(files::remove_with_log(partial));
        }
        written
    }

    fn copy_to(&self, partial: &Path, key: Option<&MasterKey>, now: UnixTime) -> Result<(), OpenError> {
        let source = open::copier(&self.path.join(DATABASE))?;
        let target = partial
            .to_str()
            .ok_or(OpenError::Failed("its name is not text"))?;
        // One read transaction: what is committed meanwhile is in the file completely or not at all.
        source.execute("VACUUM INTO ?1", [target])?;
        let mut copy = Connection::open(partial)?;
        let transaction = copy.transaction()?;
        set_note(&transaction, TAKEN, now.millis().to_string().as_bytes())?;
        if let Some(key) = key {
            set_note(&transaction, BACKUP_KEY, key.to_text().expose().as_bytes())?;
        }
        transaction.pragma_update(None, "application_id", migrations::BACKUP_ID)?;
        transaction.commit()?;
        let verdict: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(OpenError::Damaged);
        }
        copy.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}

/// What a backup says about itself.
pub(super) struct Contents {
    pub(super) taken: Option<UnixTime>,
    pub(super) master: Option<MasterKey>,
}

/// Opens a copy of a backup and makes sure that it is one, known and whole.
pub(super) fn inspect(path: &Path) -> Result<(Connection, Contents), OpenError> {
    let connection = open::inspect_as(path, migrations::BACKUP_ID).map_err(|error| match error {
        OpenError::NotOurs => OpenError::NotABackup,
        other => other,
    })?;
    let text = |name| -> rusqlite::Result<Option<String>> {
        let noted = super::note(&connection, name)?;
        Ok(noted.and_then(|noted| String::from_utf8(noted).ok()))
    };
    let contents = Contents {
        taken: text(TAKEN)?
            .and_then(|text| text.parse().ok())
            .map(UnixTime::from_millis),
        master: text(BACKUP_KEY)?.and_then(|text| MasterKey::parse(&text).ok()),
    };
    Ok((connection, contents))
}

/// Makes a backup a database again.
pub(super) fn unmark(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "DELETE FROM meta WHERE tenant = 'default' AND name IN (?1, ?2)";
    connection.execute(sql, [TAKEN, BACKUP_KEY])?;
    connection.pragma_update(None, "application_id", migrations::APPLICATION_ID)
}

pub(super) fn set_note(connection: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (tenant, name, value) VALUES ('default', ?1, ?2) \
               ON CONFLICT (tenant, name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, (name, value)).map(|_| ())
}

/// A number, if there is a row.
pub(super) fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    let found: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}
