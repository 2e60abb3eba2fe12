//! Writes to authenticators, used names, device authorizations and notes.

use doorward_records::Write;
use doorward_records::authenticator::Authenticator;
use doorward_records::device::DeviceAuthorization;
use doorward_types::id::{Tenant, TraceId};
use doorward_types::time::UnixTime;
use rusqlite::{Connection, params};

use super::super::values::{authenticator_kind, device_state, digest, integer, uuid};
use super::{Applied, ApplyError, any, row};

pub(super) fn write(c: &Connection, write: &Write) -> Applied {
    match write {
        Write::InsertAuthenticator(it) => insert_authenticator(c, it),
        Write::UpdateAuthenticator(it) => update_authenticator(c, it),
        Write::DeleteAuthenticator(id) => any(
            c,
            "DELETE FROM authenticators WHERE id = ?1",
            [uuid(id.as_uuid())],
        ),
        Write::DeleteAuthenticatorsOf(user) => any(
            c,
            "DELETE FROM authenticators WHERE user_id = ?1",
            [uuid(user.as_uuid())],
        ),
        Write::InsertReplay(replay) => {
            let sql = "INSERT INTO replays (key, tenant, expires) VALUES (?1, ?2, ?3)";
            let tenant = Tenant::default_tenant();
            row(
                c,
                sql,
                (digest(&replay.key), tenant.as_str(), replay.expires.millis()),
            )
        }
        Write::InsertDeviceAuthorization(it) => insert_device_authorization(c, it),
        Write::UpdateDeviceAuthorization(it) => update_device_authorization(c, it),
        Write::SetMeta { name, value } => {
            let sql = "INSERT INTO meta (tenant, name, value) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (tenant, name) DO UPDATE SET value = excluded.value";
            row(c, sql, (Tenant::default_tenant().as_str(), name, value))
        }
        Write::EndAll => end_all(c),
        _ => Err(ApplyError::Refused("an unknown write")),
    }
}

fn insert_authenticator(c: &Connection, it: &Authenticator) -> Applied {
    let sql = "INSERT INTO authenticators (id, tenant, user_id, kind, name, lookup, sealed, counter, created, \
               last_used) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let values = params![
        uuid(it.id.as_uuid()),
        it.tenant.as_str(),
        uuid(it.user.as_uuid()),
        authenticator_kind(it.kind),
        it.name,
        it.lookup.as_ref().map(digest),
        it.sealed,
        integer(it.counter),
        it.created.millis(),
        it.last_used.map(UnixTime::millis),
    ];
    row(c, sql, values)
}

fn update_authenticator(c: &Connection, it: &Authenticator) -> Applied {
    let sql = "UPDATE authenticators SET name = ?2, sealed = ?3, counter = ?4, last_used = ?5 WHERE id = ?1";
    let values = params![
        uuid(it.id.as_uuid()),
        it.name,
        it.sealed,
        integer(it.counter),
        it.last_used.map(UnixTime::millis),
    ];
    row(c, sql, values)
}

fn insert_device_authorization(c: &Connection, it: &DeviceAuthorization) -> Applied {
    let sql = "INSERT INTO device_authorizations (device_code, tenant, user_code, client_id, resource, offered, \
               created, expires, interval_seconds, last_poll, state, user_id, grant_id, scopes, family_id, \
               authenticated, trace) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
    let state = device_state(&it.state);
    let values = params![
        digest(&it.device_code),
        it.tenant.as_str(),
        digest(&it.user_code),
        it.client.as_str(),
        it.resource.as_str(),
        it.offered.to_string(),
        it.created.millis(),
        it.expires.millis(),
        integer(it.interval.as_secs()),
        it.last_poll.map(UnixTime::millis),
        state.state,
        state.user,
        state.grant,
        state.scopes,
        state.family,
        state.authenticated,
        it.trace.as_ref().map(TraceId::as_bytes),
    ];
    row(c, sql, values)
}

/// One that was denied or redeemed stays that: the condition is part of the statement, so that no caller can
/// redeem it twice.
fn update_device_authorization(c: &Connection, it: &DeviceAuthorization) -> Applied {
    let sql = "UPDATE device_authorizations SET interval_seconds = ?2, last_poll = ?3, state = ?4, \
               user_id = ?5, grant_id = ?6, scopes = ?7, family_id = ?8, authenticated = ?9 WHERE device_code = ?1 \
               AND (state NOT IN ('denied', 'redeemed') OR (state = ?4 AND family_id IS ?8))";
    let state = device_state(&it.state);
    let values = params![
        digest(&it.device_code),
        integer(it.interval.as_secs()),
        it.last_poll.map(UnixTime::millis),
        state.state,
        state.user,
        state.grant,
        state.scopes,
        state.family,
        state.authenticated,
    ];
    row(c, sql, values)
}

fn end_all(c: &Connection) -> Applied {
    any(c, "UPDATE families SET revoked = 1", [])?;
    any(c, "DELETE FROM sessions", [])?;
    any(c, "DELETE FROM setup_links", [])?;
    any(c, "DELETE FROM decisions", [])?;
    any(c, "DELETE FROM codes", [])?;
    any(c, "DELETE FROM device_authorizations", [])
}
