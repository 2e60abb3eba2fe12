//! The schema's history: SQL files that are applied in order, counted by `PRAGMA user_version`.
//!
//! The count changes in the same transaction as the schema, so an interrupted migration did not happen.

use rusqlite::{Connection, TransactionBehavior};

/// "DWRD": marks a database as ours.
pub(crate) const APPLICATION_ID: i32 = 0x4457_5244;

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/001_first.sql"),
    include_str!("../../migrations/002_complete.sql"),
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
                return Err(rusqlite::Error::ExecuteReturnedResults);
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

    #[test]
    fn migrating_again_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), NEWEST);
    }
}
