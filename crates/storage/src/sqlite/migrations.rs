//! The schema's history: SQL files that are applied in order, counted by `PRAGMA user_version`.
//!
//! The count changes in the same transaction as the schema, so an interrupted migration did not happen.

use rusqlite::{Connection, TransactionBehavior, ffi};

/// "DWRD": marks a database as ours.
pub(crate) const APPLICATION_ID: i32 = 0x4457_5244;

/// "DWRB": marks a backup, so that one which is merely copied into place is not taken for the real thing. Then
/// everything that was revoked since would be good again.
pub(crate) const BACKUP_ID: i32 = 0x4457_5242;

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/001_first.sql"),
    include_str!("../../migrations/002_complete.sql"),
    include_str!("../../migrations/003_authenticated.sql"),
];

/// The schema version of this program.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// How many migrations a database has seen.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Applies the missing migrations, each in its own transaction. Another process that does the same at the
/// same time is waited for, and what it did is not done again. Foreign keys are on afterwards.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // Inside a transaction this would do nothing. With it on, replacing a table would take its children along.
    connection.pragma_update(None, "foreign_keys", false)?;
    let migrated = apply_missing(connection);
    connection.pragma_update(None, "foreign_keys", true)?;
    migrated
}

fn apply_missing(connection: &mut Connection) -> rusqlite::Result<()> {
    for (before, sql) in (0..).zip(MIGRATIONS) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? == before {
            transaction.execute_batch(sql)?;
            if transaction.prepare("PRAGMA foreign_key_check")?.exists([])? {
                let orphan = ffi::Error::new(ffi::SQLITE_CONSTRAINT_FOREIGNKEY);
                return Err(rusqlite::Error::SqliteFailure(orphan, None));
            }
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", before + 1)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_strict_and_carries_a_tenant() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let mut statement = connection
            .prepare("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'")
            .unwrap();
        let tables: Vec<(String, bool)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(tables.len(), 15);
        for (table, strict) in tables {
            assert!(strict, "{table}");
            let tenants: i64 = connection
                .query_row(
                    "SELECT count(*) FROM pragma_table_info(?1) WHERE name = 'tenant' AND \"notnull\" = 1",
                    [&table],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(tenants, 1, "{table}");
        }
    }

    /// Everything that a 001 database can hold is there afterwards: replacing a table takes no child along.
    #[test]
    fn a_database_of_the_first_version_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let rows = "
            INSERT INTO meta VALUES ('default', 'master_key_id', x'01');
            INSERT INTO users VALUES (zeroblob(16), 'default', 'alice', NULL, '[]', 1, 0, 5);
            INSERT INTO sessions VALUES (zeroblob(32), 'default', zeroblob(16), 6, 7);
            INSERT INTO clients VALUES ('dcr_1', 'default', 'dynamic', 'pending', '{}', 8, 9);
            INSERT INTO grants VALUES (zeroblob(16), 'default', zeroblob(16), 'dcr_1', 'h', 'r', '', '{}', 1, 2);
            INSERT INTO codes VALUES (zeroblob(32), 'default', zeroblob(16), zeroblob(16), 'dcr_1', 'u', 'c', 'r', '',
                1, 2, 'open', NULL, 0);
            INSERT INTO families VALUES (zeroblob(16), 'default', zeroblob(16), zeroblob(16), 'dcr_1', 'r', '',
                1, 2, NULL, 0);
            INSERT INTO refresh_tokens VALUES (zeroblob(32), 'default', zeroblob(16), 0, 'k2', 1, NULL);
            INSERT INTO revocations (tenant, kind, target, at, expires) VALUES ('default', 'client', 'x', 1, 2);
            INSERT INTO revocations (tenant, kind, target, at, expires) VALUES ('default', 'client', 'y', 1, 2);
            DELETE FROM revocations;
            INSERT INTO keys VALUES ('k1', 'default', 'access_token', 'active', x'aa', '{}', 3);
            INSERT INTO keys VALUES ('k2', 'default', 'refresh_token', 'retired', x'bb', NULL, 4);";
        connection.execute_batch(rows).unwrap();
        migrate(&mut connection).unwrap();
        for table in [
            "meta",
            "users",
            "sessions",
            "clients",
            "grants",
            "codes",
            "families",
            "refresh_tokens",
        ] {
            let count = format!("SELECT count(*) FROM {table}");
            let count: i64 = connection.query_row(&count, [], |row| row.get(0)).unwrap();
            assert_eq!(count, 1 + i64::from(table == "meta"), "{table}");
        }
        let client: (String, String, i64) = connection
            .query_row("SELECT status, introspects, last_used FROM clients", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!(client, ("pending".into(), "[]".into(), 9));
        let keys: Vec<(String, i64)> = connection
            .prepare("SELECT state, activated FROM keys ORDER BY id")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(keys, [("active".into(), 3), ("retired".into(), 4)]);
        // The feed's numbering goes on although every entry was swept.
        let next = "INSERT INTO revocations (tenant, kind, target, at, expires) \
                    VALUES ('default', 'everything', '', 1, 2) RETURNING sequence";
        let next: i64 = connection.query_row(next, [], |row| row.get(0)).unwrap();
        assert_eq!(next, 3);
        // Foreign keys are on again, and point at the tables that took the names.
        connection.execute("DELETE FROM clients", []).unwrap();
        let left: i64 = connection
            .query_row("SELECT count(*) FROM refresh_tokens", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn migrating_again_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), NEWEST);
    }
}
