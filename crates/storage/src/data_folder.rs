//! The data folder: `doorward.db` and `master.key`, which belong together.
//!
//! Making one is a matter of two files, so it can be interrupted between them. Both are written completely
//! and synced under temporary names (`doorward.db.new`, `master.key.new`), then the database gets its name,
//! then the key. So what an interruption leaves can be told apart from what a person lost:
//!
//! | found | means | done |
//! |---|---|---|
//! | neither | never finished: nothing was ever answered from it | left-overs removed, made anew |
//! | database and `master.key.new` that fits it | interrupted between the two names | the key gets its name |
//! | database, no fitting key | the key was lost | refused |
//! | key, no database | the database was lost | refused |
//!
//! A lost half is never replaced: a new key could not read the old database, and a new database would
//! forget every revocation.
//!
//! A new master key takes its place the same way: it lies beside as `master.key.new`, one transaction seals everything
//! under it and notes its id in the database, then it gets its name. Both halves of a restored backup, too.

mod backup;
mod files;
mod in_use;
mod restore;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_records::{Precondition, Unit, Write};
use doorward_seal::{MasterKey, NotAMasterKey};
use doorward_types::random::Random;
use rusqlite::{Connection, OptionalExtension as _};

pub use self::restore::{EPOCH, Restored, restore};
use crate::sqlite::{OpenError, SqliteStore, open};
use crate::store::{CommitError, Store as _};

const DATABASE: &str = "doorward.db";
const KEY: &str = "master.key";
const NEW_DATABASE: &str = "doorward.db.new";
const NEW_KEY: &str = "master.key.new";

/// Name of the row that tells which master key a database belongs to.
const KEY_ID: &str = "master_key_id";

/// Name of the row that stays the same as long as a database is a copy of the same one.
const INSTALLATION: &str = "installation";

/// Why a data folder cannot be used. The texts are for the person who runs the program: they name files.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// There is none, and none was to be made.
    #[error("{0} does not exist: name the data folder with --data, or run `doorward serve` to make one")]
    Absent(PathBuf),
    /// Something else has its name.
    #[error("{0} is not a folder: name another one with --data")]
    NotAFolder(PathBuf),
    /// It cannot be read, or written to.
    #[error(
        "{path} cannot be used ({why}): give this user read and write access, or name another folder with --data"
    )]
    Inaccessible {
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The database is there, its key is not.
    #[error(
        "{0} has a doorward.db but no master.key: the database cannot be read without the key it was made with. \
         Put master.key back from your backup, or move doorward.db away to start anew"
    )]
    KeyMissing(PathBuf),
    /// The key is there, its database is not.
    #[error(
        "{0} has a master.key but no doorward.db: accounts and revocations were in it. \
         Put doorward.db back from your backup, or move master.key away to start anew"
    )]
    DatabaseMissing(PathBuf),
    /// Both are there and do not belong together.
    #[error(
        "the master.key in {0} is not the one that its doorward.db was made with. Put the pair back from one backup"
    )]
    OtherKey(PathBuf),
    /// The key file holds something else.
    #[error("{path}: {why}. Put it back from your backup")]
    KeyUnreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: NotAMasterKey,
    },
    /// Others on this machine may read or write it.
    #[error(
        "{path} is open to other users (mode {mode:03o}): run `chmod go-rwx {path}`", path = path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else works on it.
    #[error("{0} is in use: stop `doorward serve` on it first, then run this again")]
    InUse(PathBuf),
    /// Somebody works on it alone.
    #[error("{0} is being restored, or gets a new master key: try again when that is done")]
    BeingReplaced(PathBuf),
    /// There is no such backup.
    #[error("{0} is not there: name the file that `doorward data backup` wrote")]
    BackupAbsent(PathBuf),
    /// A backup never replaces another file.
    #[error("{0} is there already: name another file")]
    BackupExists(PathBuf),
    /// A backup cannot be written or read.
    #[error("the backup {path}: {why}")]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: OpenError,
    },
    /// The key that a backup was made under is not at hand.
    #[error(
        "the backup {0} does not hold its master key, and the folder does not have it either: \
         name a copy of that master.key with --master-key"
    )]
    BackupKey(PathBuf),
    /// The new master key was not put in place.
    #[error("the master key was not replaced, and the one before stays in use: {0}")]
    KeyNotReplaced(CommitError),
    /// The database cannot be opened.
    #[error("{path}: {why}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: OpenError,
    },
}

/// An opened data folder.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    master: Arc<MasterKey>,
    store: Arc<SqliteStore>,
    clock_mark: Option<Vec<u8>>,
}

/// The name of the note with the time that a server knew last.
pub const CLOCK_MARK: &str = "clock";

impl DataFolder {
    /// Opens the data folder at `path`; makes it (0700) with both its files (0600) if there is none, or an
    /// empty one. Blocks: it reads and checks files.
    pub fn open_or_create(path: &Path, random: &dyn Random) -> Result<Self, DataFolderError> {
        files::make_folder(path)?;
        let in_use = in_use::together(path)?;
        {
            let lock = files::lock(path)?;
            if settle(path)? == Found::Nothing {
                create(path, random)?;
            }
            drop(lock);
        }
        open_both(path, in_use)
    }

    /// Opens the data folder at `path`; refuses if there is none. Blocks.
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        Self::open_as(path, in_use::together)
    }

    /// The same for one who must be alone: refuses while any other process works on it, and keeps others out
    /// until the store is dropped.
    pub fn open_alone(path: &Path) -> Result<Self, DataFolderError> {
        Self::open_as(path, in_use::alone)
    }

    fn open_as(
        path: &Path,
        take: fn(&Path) -> Result<std::fs::File, DataFolderError>,
    ) -> Result<Self, DataFolderError> {
        let has = |name| files::is_file(&path.join(name));
        if files::is_absent(path)? || !(has(DATABASE)? || has(KEY)?) {
            return Err(DataFolderError::Absent(path.into()));
        }
        let in_use = take(path)?;
        {
            let lock = files::lock(path)?;
            if settle(path)? == Found::Nothing {
                return Err(DataFolderError::Absent(path.into()));
            }
            drop(lock);
        }
        open_both(path, in_use)
    }

    /// Puts `new` in the place of the master key. `resealed` is the unit that seals everything under it. To be called
    /// on a folder that was opened alone. Killed at any point, the folder opens with the key that fits.
    pub async fn replace_master_key(self, new: &MasterKey, resealed: Unit) -> Result<(), DataFolderError> {
        files::remove_left_overs(&self.path, &[NEW_KEY])?;
        files::write_new(&self.path.join(NEW_KEY), new.to_text().expose().as_bytes())?;
        let unit = resealed
            .given(Precondition::MetaIs {
                name: KEY_ID.into(),
                value: Some(self.master.id().to_vec()),
            })
            .then(Write::SetMeta {
                name: KEY_ID.into(),
                value: new.id().to_vec(),
            });
        if let Err(why) = self.store.commit(unit).await {
            files::remove_left_overs(&self.path, &[NEW_KEY])?;
            return Err(DataFolderError::KeyNotReplaced(why));
        }
        files::rename(&self.path, NEW_KEY, KEY)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key from which all others are derived.
    #[must_use]
    pub fn master_key(&self) -> &Arc<MasterKey> {
        &self.master
    }

    /// The note under [`CLOCK_MARK`] as it was at opening: whoever works on these data asks for the time only
    /// after reading it.
    #[must_use]
    pub fn clock_mark(&self) -> Option<&[u8]> {
        self.clock_mark.as_deref()
    }

    /// What is kept.
    #[must_use]
    pub fn store(&self) -> Arc<SqliteStore> {
        Arc::clone(&self.store)
    }
}

#[derive(PartialEq, Eq)]
enum Found {
    Both,
    Nothing,
}

/// Finds out what is there; finishes or clears away what an interruption left.
fn settle(folder: &Path) -> Result<Found, DataFolderError> {
    let has_database = files::is_file(&folder.join(DATABASE))?;
    let has_key = files::is_file(&folder.join(KEY))?;
    match (has_database, has_key) {
        (true, true) => {
            files::remove_left_overs(folder, &[NEW_DATABASE])?;
            if files::is_file(&folder.join(NEW_KEY))? {
                settle_keys(folder)?;
            }
            Ok(Found::Both)
        }
        (false, true) => Err(DataFolderError::DatabaseMissing(folder.into())),
        (true, false) => {
            if !files::is_file(&folder.join(NEW_KEY))? {
                return Err(DataFolderError::KeyMissing(folder.into()));
            }
            let master = read_key(&folder.join(NEW_KEY))?;
            let database = inspect(folder)?;
            if !belongs(&database, &master).map_err(|why| database_error(folder, why.into()))? {
                return Err(DataFolderError::KeyMissing(folder.into()));
            }
            drop(database);
            files::rename(folder, NEW_KEY, KEY)?;
            Ok(Found::Both)
        }
        (false, false) => {
            files::remove_left_overs(folder, &[NEW_DATABASE, NEW_KEY])?;
            Ok(Found::Nothing)
        }
    }
}

/// A new key lies beside the old one: the database says which of them it is sealed under.
fn settle_keys(folder: &Path) -> Result<(), DataFolderError> {
    let database = inspect(folder)?;
    let fits = |name| -> Result<bool, DataFolderError> {
        let Ok(master) = read_key(&folder.join(name)) else {
            return Ok(false);
        };
        belongs(&database, &master).map_err(|why| database_error(folder, why.into()))
    };
    if fits(KEY)? {
        files::remove_left_overs(folder, &[NEW_KEY])
    } else if fits(NEW_KEY)? {
        files::rename(folder, NEW_KEY, KEY)
    } else {
        Ok(())
    }
}

fn create(folder: &Path, random: &dyn Random) -> Result<(), DataFolderError> {
    let master = MasterKey::generate(random);
    files::write_new(&folder.join(NEW_KEY), master.to_text().expose().as_bytes())?;
    let new_database = folder.join(NEW_DATABASE);
    files::write_new(&new_database, b"")?;
    let note_key = |connection: &Connection| {
        let sql = "INSERT INTO meta (tenant, name, value) VALUES ('default', ?1, ?2)";
        connection
            .execute(sql, (KEY_ID, master.id().as_slice()))
            .map(|_| ())
    };
    open::initialise(&new_database, note_key).map_err(|why| DataFolderError::Database {
        path: new_database.clone(),
        why,
    })?;
    files::sync(&new_database)?;
    files::rename(folder, NEW_DATABASE, DATABASE)?;
    files::rename(folder, NEW_KEY, KEY)
}

fn open_both(folder: &Path, in_use: std::fs::File) -> Result<DataFolder, DataFolderError> {
    let database = folder.join(DATABASE);
    files::refuse_writable_by_others(folder)?;
    files::refuse_open_to_others(&folder.join(KEY))?;
    files::refuse_open_to_others(&database)?;
    let master = read_key(&folder.join(KEY))?;
    let connection = inspect(folder)?;
    // Before anything is migrated: with a foreign key the database is left as it is.
    if !belongs(&connection, &master).map_err(|why| database_error(folder, why.into()))? {
        return Err(DataFolderError::OtherKey(folder.into()));
    }
    let clock_mark = note(&connection, CLOCK_MARK).map_err(|why| database_error(folder, why.into()))?;
    let store =
        SqliteStore::start(&database, connection, in_use).map_err(|why| database_error(folder, why))?;
    Ok(DataFolder {
        path: folder.into(),
        master: Arc::new(master),
        store: Arc::new(store),
        clock_mark,
    })
}

fn inspect(folder: &Path) -> Result<Connection, DataFolderError> {
    open::inspect(&folder.join(DATABASE)).map_err(|why| database_error(folder, why))
}

fn database_error(folder: &Path, why: OpenError) -> DataFolderError {
    DataFolderError::Database {
        path: folder.join(DATABASE),
        why,
    }
}

fn read_key(path: &Path) -> Result<MasterKey, DataFolderError> {
    let text = files::read(path)?;
    MasterKey::parse(text.expose()).map_err(|why| DataFolderError::KeyUnreadable {
        path: path.into(),
        why,
    })
}

/// Whether the database was made with this key.
fn belongs(database: &Connection, master: &MasterKey) -> rusqlite::Result<bool> {
    Ok(note(database, KEY_ID)?.is_some_and(|noted| noted == master.id()))
}

fn note(database: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM meta WHERE tenant = 'default' AND name = ?1";
    database.query_row(sql, [name], |row| row.get(0)).optional()
}
