//! Writes to keys.

use doorward_records::Write;
use doorward_records::key::StoredKey;
use doorward_types::time::UnixTime;
use rusqlite::{Connection, params};

use super::super::values::{key_state, purpose};
use super::{Applied, any, other, row};

pub(super) fn write_or(c: &Connection, write: &Write) -> Applied {
    match write {
        Write::InsertKey(key) => insert(c, key),
        Write::ActivateKey(id, at) => {
            let sql = "UPDATE keys SET state = 'active', activated = ?2 WHERE id = ?1 AND state = 'next'";
            row(c, sql, (id.as_str(), at.millis()))
        }
        Write::RetireKey(id, at) => {
            let sql = "UPDATE keys SET state = 'retired', retired = coalesce(retired, ?2) WHERE id = ?1";
            row(c, sql, (id.as_str(), at.millis()))
        }
        Write::DeleteKey(id) => any(c, "DELETE FROM keys WHERE id = ?1", [id.as_str()]),
        Write::ReplaceSealed(id, sealed) => row(
            c,
            "UPDATE keys SET sealed = ?2 WHERE id = ?1",
            (id.as_str(), sealed),
        ),
        _ => other::write(c, write),
    }
}

fn insert(c: &Connection, key: &StoredKey) -> Applied {
    let sql = "INSERT INTO keys (id, tenant, purpose, state, sealed, public_jwk, created, activated, retired) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = params![
        key.id.as_str(),
        key.tenant.as_str(),
        purpose(key.purpose),
        key_state(key.state),
        key.sealed,
        key.public_jwk,
        key.created.millis(),
        key.activated.map(UnixTime::millis),
        key.retired.map(UnixTime::millis),
    ];
    row(c, sql, values)
}
