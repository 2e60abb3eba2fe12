//! A backup becomes the database, and revives nothing: no token, no session, no consent, nobody who was disabled
//! or removed since.
//!
//! The new database is finished beside the old one and takes its name in one step, then the key does; what an
//! interruption leaves is told apart when the folder is next opened. The old files stay in a folder of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward_seal::MasterKey;
use doorward_types::random::{self, Random};
use doorward_types::time::UnixTime;
use rusqlite::{Connection, OptionalExtension as _};

use super::backup::{self, number, set_note, unmark};
use super::{
    DATABASE, DataFolderError, INSTALLATION, KEY, KEY_ID, NEW_DATABASE, NEW_KEY, files, in_use, note,
    read_key,
};
use crate::sqlite::{OpenError, migrations, open};

/// The name of the note that differs after every restore.
pub const EPOCH: &str = "epoch";

/// Longer than any access token lives.
const REVOKED_FOR: Duration = Duration::from_hours(24);

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was made.
    pub taken: Option<UnixTime>,
    /// How many people are in it now.
    pub users: u64,
    /// How many clients.
    pub clients: u64,
    /// Whether what was removed, disabled or used since the backup was known and stays so.
    pub merged: bool,
    /// People whose second factors were set up since the backup and are sealed under another master key than the one
    /// that is in place now: their passwords are enough again.
    pub weakened: Vec<String>,
    /// Whether a master key came back that had been replaced since the backup.
    pub older_key: bool,
    /// Where the files are that were in place before.
    pub aside: Option<PathBuf>,
}

/// Restores `file` into the data folder at `path`, making it if there is none. `key` is the master key of a
/// backup that does not hold its own; otherwise the folder's present one is tried. Blocks.
pub fn restore(
    path: &Path,
    file: &Path,
    key: Option<MasterKey>,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Restored, DataFolderError> {
    if !files::is_file(file)? {
        return Err(DataFolderError::BackupAbsent(file.into()));
    }
    files::make_folder(path)?;
    let _alone = in_use::alone(path)?;
    let _lock = files::lock(path)?;
    files::remove_left_overs(path, &[NEW_DATABASE])?;
    let restored = replace(path, file, key, now, random);
    if restored.is_err() {
        // It may hold a master key.
        files::remove_left_overs(path, &[NEW_DATABASE])?;
    }
    restored
}

fn replace(
    path: &Path,
    file: &Path,
    key: Option<MasterKey>,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Restored, DataFolderError> {
    let mut restored = Restored {
        taken: None,
        users: 0,
        clients: 0,
        merged: false,
        weakened: Vec::new(),
        older_key: false,
        aside: None,
    };
    let has_database = files::is_file(&path.join(DATABASE))?;
    let has_key = files::is_file(&path.join(KEY))?;
    let new_database = path.join(NEW_DATABASE);
    files::copy_new(file, &new_database)?;
    let of_backup = |why| DataFolderError::Backup {
        path: file.into(),
        why,
    };
    let (connection, contents) = backup::inspect(&new_database).map_err(of_backup)?;
    let present = if has_key {
        read_key(&path.join(KEY)).ok()
    } else {
        None
    };
    let given = contents.master.or(key);
    let fits = |master: &MasterKey| super::belongs(&connection, master).unwrap_or(false);
    let keeps_key = given.is_none() && present.as_ref().is_some_and(fits);
    let master = given
        .or(present)
        .filter(fits)
        .ok_or_else(|| DataFolderError::BackupKey(file.into()))?;
    restored.taken = contents.taken;
    let old = has_database.then(|| path.join(DATABASE));
    restored.merged = rewrite(connection, old.as_deref(), now, random, &mut restored).map_err(of_backup)?;
    files::sync(&new_database)?;

    if has_database || has_key {
        restored.aside = Some(files::keep_aside(path, &[DATABASE, KEY], now)?);
    }
    if !keeps_key {
        files::remove_left_overs(path, &[NEW_KEY])?;
        files::write_new(&path.join(NEW_KEY), master.to_text().expose().as_bytes())?;
    }
    files::remove_log(&path.join(DATABASE))?;
    files::rename(path, NEW_DATABASE, DATABASE)?;
    if !keeps_key {
        files::rename(path, NEW_KEY, KEY)?;
    }
    Ok(restored)
}

/// Turns the copy into a database from which nothing is revived. Whether the present one was taken into account.
fn rewrite(
    connection: Connection,
    present: Option<&Path>,
    now: UnixTime,
    random: &dyn Random,
    restored: &mut Restored,
) -> Result<bool, OpenError> {
    let mut connection = open::ready_writer(connection)?;
    // What is deleted is overwritten: the master key that a backup may hold does not stay in a free page.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    let attached = match present {
        Some(present) => attach(&connection, present)?,
        None => false,
    };
    let transaction = connection.transaction()?;
    if attached {
        keep_what_is_known(&transaction)?;
        restored.older_key = !keep_second_factors(&transaction)?;
        restored.weakened = weakened(&transaction)?;
    }
    end_everything(&transaction, now)?;
    let epoch: [u8; 16] = random::bytes(random);
    set_note(&transaction, EPOCH, &epoch)?;
    unmark(&transaction)?;
    let count = |sql| Ok::<_, OpenError>(u64::try_from(number(&transaction, sql)?).unwrap_or(0));
    restored.users = count("SELECT count(*) FROM users")?;
    restored.clients = count("SELECT count(*) FROM clients")?;
    transaction.commit()?;
    if attached {
        connection.execute_batch("DETACH present")?;
    }
    connection.close().map_err(|(_, error)| error)?;
    Ok(attached)
}

/// Attaches the database that is in place as `present`, if it can be read and is of the same installation. All that
/// its log holds moves into the file, so that the file alone can be kept.
fn attach(connection: &Connection, present: &Path) -> Result<bool, OpenError> {
    let Ok(old) = open::inspect(present) else {
        return Ok(false);
    };
    drop(old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    let same = |name| -> rusqlite::Result<bool> {
        let (ours, theirs) = (note(connection, name)?, note(&old, name)?);
        Ok(ours.is_some() && ours == theirs)
    };
    let version = migrations::version(&old)?;
    if version != migrations::NEWEST || !(same(INSTALLATION)? || same(KEY_ID)?) {
        return Ok(false);
    }
    drop(old);
    let name = present
        .to_str()
        .ok_or(OpenError::Failed("its name is not text"))?;
    connection.execute("ATTACH ?1 AS present", [name])?;
    Ok(true)
}

/// About people and clients, the present database knows better: who was removed, disabled, demoted or given
/// another secret since the backup stays so. What was used once stays used.
fn keep_what_is_known(c: &Connection) -> rusqlite::Result<()> {
    c.execute_batch(
        "DELETE FROM users WHERE id NOT IN (SELECT id FROM present.users);
         UPDATE users SET (password_hash, group_names, admin, disabled) =
             (SELECT password_hash, group_names, admin, disabled FROM present.users AS p WHERE p.id = users.id);
         DELETE FROM clients WHERE id NOT IN (SELECT id FROM present.clients);
         UPDATE clients SET (status, metadata, secret, registration_token, servers, introspects, expires, approved) =
             (SELECT status, metadata, secret, registration_token, servers, introspects, expires, approved
              FROM present.clients AS p WHERE p.id = clients.id);
         DELETE FROM authenticators WHERE id NOT IN (SELECT id FROM present.authenticators);
         UPDATE authenticators SET counter =
             max(counter, (SELECT counter FROM present.authenticators AS p WHERE p.id = authenticators.id));
         INSERT OR IGNORE INTO replays (key, tenant, expires) SELECT key, tenant, expires FROM present.replays;
         INSERT OR REPLACE INTO meta (tenant, name, value)
             SELECT tenant, name, value FROM present.meta WHERE name = 'clock';",
    )?;
    // The feed's numbers go on after the highest one that a token may carry.
    let highest = "SELECT max(seq) FROM (SELECT seq FROM main.sqlite_sequence WHERE name = 'revocations' \
                   UNION ALL SELECT seq FROM present.sqlite_sequence WHERE name = 'revocations')";
    let highest: Option<i64> = c.query_row(highest, [], |row| row.get(0))?;
    c.execute("DELETE FROM main.sqlite_sequence WHERE name = 'revocations'", [])?;
    c.execute(
        "INSERT INTO main.sqlite_sequence (name, seq) VALUES ('revocations', ?1)",
        [highest.unwrap_or(0)],
    )
    .map(|_| ())
}

/// Second factors that were set up since the backup stay too, or a password that leaked would be enough again. Those
/// that are sealed under a master key which is not the restored one cannot: then the answer is `false`.
fn keep_second_factors(c: &Connection) -> rusqlite::Result<bool> {
    let same = "SELECT main.meta.value = present.meta.value FROM main.meta JOIN present.meta USING (tenant, name) \
                WHERE name = ?1";
    let same: Option<bool> = c.query_row(same, [KEY_ID], |row| row.get(0)).optional()?;
    if same == Some(true) {
        c.execute(
            "INSERT OR REPLACE INTO authenticators SELECT * FROM present.authenticators \
             WHERE user_id IN (SELECT id FROM users)",
            [],
        )?;
    }
    Ok(same == Some(true))
}

/// Who had a second factor and has none any more.
fn weakened(c: &Connection) -> rusqlite::Result<Vec<String>> {
    c.prepare(
        "SELECT username FROM users \
         WHERE id IN (SELECT user_id FROM present.authenticators WHERE kind <> 'recovery_code') \
         AND id NOT IN (SELECT user_id FROM main.authenticators WHERE kind <> 'recovery_code') ORDER BY username",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// Signing keys and the keys of refresh tokens are made anew by the next start, so no token of before is good, whatever
/// else happens; everything that could become a token goes as well. Consents go with their chains: one that was
/// taken back after the backup must be asked for again.
fn end_everything(c: &Connection, now: UnixTime) -> rusqlite::Result<()> {
    c.execute_batch(
        "DELETE FROM keys; DELETE FROM grants; DELETE FROM sessions; DELETE FROM setup_links;
         DELETE FROM decisions; DELETE FROM codes; DELETE FROM device_authorizations;",
    )?;
    // Nobody could use it meanwhile: the time counts from now.
    c.execute(
        "UPDATE clients SET last_used = max(last_used, ?1)",
        [now.millis()],
    )?;
    let sql = "INSERT INTO revocations (tenant, kind, target, at, expires) \
               VALUES ('default', 'everything', '', ?1, ?2)";
    c.execute(sql, [now.millis(), now.plus(REVOKED_FOR).millis()])
        .map(|_| ())
}
