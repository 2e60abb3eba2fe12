//! What each write does, inside the writing transaction.

mod key;
mod other;

use std::time::Duration;

use doorward_records::account::{Session, SetupLink, User};
use doorward_records::client::Client;
use doorward_records::code::{Code, CodeState};
use doorward_records::decision::{Answer, Decision};
use doorward_records::grant::{Family, Grant};
use doorward_records::refresh::RefreshToken;
use doorward_records::revocation::Revoked;
use doorward_records::{Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{FamilyId, Tenant, TraceId};
use doorward_types::time::UnixTime;
use rusqlite::{Connection, ErrorCode, Params, ffi, params};

use super::rows::RowError;
use super::values::{code_state, digest, integer, origin, status, uuid};
use super::{check, open};

/// How long codes and revoked families are kept after they ended, so that a late replay is recognised.
const KEPT_AFTER_END: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a unit was not applied.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// A precondition did not hold, a row was there, or a parent or the row itself was not.
    Conflict,
    /// This unit cannot be applied, others can.
    Refused(&'static str),
    /// The transaction cannot go on.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error() else {
            return Self::Refused(open::describe(&error));
        };
        match code.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Self::Conflict,
            _ if code.code == ErrorCode::ConstraintViolation => Self::Refused(open::describe(&error)),
            _ => Self::Failed(error),
        }
    }
}

impl From<RowError> for ApplyError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Sqlite(error) => error.into(),
            RowError::Column(_) => Self::Refused("a stored row cannot be read"),
        }
    }
}

type Applied = Result<(), ApplyError>;

/// Checks every precondition, then makes every write. On an error the caller rolls back.
pub(super) fn apply(c: &Connection, unit: &Unit) -> Applied {
    for precondition in &unit.preconditions {
        if !check::holds(c, precondition)? {
            return Err(ApplyError::Conflict);
        }
    }
    unit.writes
        .iter()
        .try_for_each(|write| write_account_or(c, write))
}

fn write_account_or(c: &Connection, write: &Write) -> Applied {
    match write {
        Write::InsertUser(user) => insert_user(c, user),
        Write::UpdateUser(user) => update_user(c, user),
        Write::DeleteUser(id) => any(c, "DELETE FROM users WHERE id = ?1", [uuid(id.as_uuid())]),
        Write::InsertSetupLink(link) => insert_setup_link(c, link),
        Write::DeleteSetupLink(token) => any(c, "DELETE FROM setup_links WHERE token = ?1", [digest(token)]),
        Write::DeleteSetupLinksOf(user) => any(
            c,
            "DELETE FROM setup_links WHERE user_id = ?1",
            [uuid(user.as_uuid())],
        ),
        Write::InsertSession(session) => insert_session(c, session),
        Write::DeleteSession(id) => any(c, "DELETE FROM sessions WHERE id = ?1", [digest(id)]),
        Write::DeleteSessionsOf(user) => any(
            c,
            "DELETE FROM sessions WHERE user_id = ?1",
            [uuid(user.as_uuid())],
        ),
        _ => write_client_or(c, write),
    }
}

fn write_client_or(c: &Connection, write: &Write) -> Applied {
    match write {
        Write::InsertClient(client) => insert_client(c, client),
        Write::UpdateClient(client) => update_client(c, client),
        Write::SetClientStatus(id, to) => row(
            c,
            "UPDATE clients SET status = ?2 WHERE id = ?1",
            [id.as_str(), status(*to)],
        ),
        Write::TouchClient(id, at) => any(
            c,
            "UPDATE clients SET last_used = ?2 WHERE id = ?1",
            (id.as_str(), at.millis()),
        ),
        Write::DeleteClient(id) => any(c, "DELETE FROM clients WHERE id = ?1", [id.as_str()]),
        Write::ReapClients { before, limit } => {
            let sql = "DELETE FROM clients WHERE id IN (SELECT id FROM clients WHERE last_used < ?1 \
                       AND origin IN ('dynamic', 'confidential', 'metadata_document') \
                       AND status <> 'disabled' AND approved IS NULL AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id) \
                       ORDER BY last_used, id LIMIT ?2)";
            any(c, sql, (before.millis(), integer(*limit)))
        }
        _ => write_authorization_or(c, write),
    }
}

fn write_authorization_or(c: &Connection, write: &Write) -> Applied {
    match write {
        Write::InsertDecision(decision) => insert_decision(c, decision),
        Write::UpdateDecision(decision) => update_decision(c, decision),
        Write::InsertGrant(grant) => insert_grant(c, grant),
        Write::UpdateGrant(grant) => update_grant(c, grant),
        Write::DeleteGrant(id) => any(c, "DELETE FROM grants WHERE id = ?1", [uuid(id.as_uuid())]),
        Write::DeleteGrantsOf(user) => {
            any(c, "DELETE FROM grants WHERE user_id = ?1", [uuid(user.as_uuid())])
        }
        Write::InsertCode(code) => insert_code(c, code),
        Write::SetCodeState { code, state, misses } => set_code_state(c, code, state, *misses),
        _ => write_token(c, write),
    }
}

fn write_token(c: &Connection, write: &Write) -> Applied {
    match write {
        Write::InsertFamily(family) => insert_family(c, family),
        Write::TouchFamily(id, at) => any(
            c,
            "UPDATE families SET last_used = ?2 WHERE id = ?1",
            (uuid(id.as_uuid()), at.millis()),
        ),
        Write::SetFamilyLateRepeat(id, at) => row(
            c,
            "UPDATE families SET late_repeat = ?2 WHERE id = ?1",
            (uuid(id.as_uuid()), at.millis()),
        ),
        Write::RevokeFamily(id) => any(
            c,
            "UPDATE families SET revoked = 1 WHERE id = ?1",
            [uuid(id.as_uuid())],
        ),
        Write::RevokeFamiliesOf(user) => {
            let sql = "UPDATE families SET revoked = 1 \
                       WHERE grant_id IN (SELECT id FROM grants WHERE user_id = ?1)";
            any(c, sql, [uuid(user.as_uuid())])
        }
        Write::RevokeFamiliesOfGrant(id) => any(
            c,
            "UPDATE families SET revoked = 1 WHERE grant_id = ?1",
            [uuid(id.as_uuid())],
        ),
        Write::RevokeFamiliesOfKey(key) => {
            let sql = "UPDATE families SET revoked = 1 \
                       WHERE id IN (SELECT family_id FROM refresh_tokens WHERE key_id = ?1)";
            any(c, sql, [key.as_str()])
        }
        Write::RevokeFamiliesOfClient(client) => {
            let sql = "UPDATE families SET revoked = 1 \
                       WHERE grant_id IN (SELECT id FROM grants WHERE client_id = ?1)";
            any(c, sql, [client.as_str()])
        }
        Write::SetFamilyScopes(id, scopes) => {
            let sql = "UPDATE families SET scopes = ?2 WHERE id = ?1";
            row(c, sql, (uuid(id.as_uuid()), scopes.to_string()))
        }
        Write::InsertRefreshToken(token) => insert_refresh_token(c, token),
        Write::SetRefreshTokenRotated(token, at) => {
            let sql = "UPDATE refresh_tokens SET rotated = ?2 WHERE token = ?1 AND rotated IS NULL";
            row(c, sql, (digest(token), at.millis()))
        }
        Write::AppendRevocation { revoked, at, expires } => append_revocation(c, revoked, *at, *expires),
        Write::Sweep { .. } => sweep(c, write),
        _ => key::write_or(c, write),
    }
}

fn insert_user(c: &Connection, user: &User) -> Applied {
    let sql = "INSERT INTO users (id, tenant, username, password_hash, group_names, admin, disabled, created) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let values = params![
        uuid(user.id.as_uuid()),
        user.tenant.as_str(),
        user.username,
        user.password_hash,
        json(&user.groups)?,
        user.admin,
        user.disabled,
        user.created.millis(),
    ];
    row(c, sql, values)
}

fn update_user(c: &Connection, user: &User) -> Applied {
    let sql = "UPDATE users SET username = ?2, password_hash = ?3, group_names = ?4, admin = ?5, \
               disabled = ?6 WHERE id = ?1";
    let values = params![
        uuid(user.id.as_uuid()),
        user.username,
        user.password_hash,
        json(&user.groups)?,
        user.admin,
        user.disabled,
    ];
    row(c, sql, values)
}

fn insert_setup_link(c: &Connection, link: &SetupLink) -> Applied {
    let user = uuid(link.user.as_uuid());
    any(c, "DELETE FROM setup_links WHERE user_id = ?1", [user])?;
    let sql = "INSERT INTO setup_links (token, tenant, user_id, expires) \
               VALUES (?1, (SELECT tenant FROM users WHERE id = ?2), ?2, ?3)";
    needs_parent(c, "SELECT 1 FROM users WHERE id = ?1", [user])?;
    row(c, sql, (digest(&link.token), user, link.expires.millis()))
}

fn insert_session(c: &Connection, session: &Session) -> Applied {
    let user = uuid(session.user.as_uuid());
    needs_parent(c, "SELECT 1 FROM users WHERE id = ?1", [user])?;
    let sql = "INSERT INTO sessions (id, tenant, user_id, authenticated_at, expires, device, methods) \
               VALUES (?1, (SELECT tenant FROM users WHERE id = ?2), ?2, ?3, ?4, ?5, ?6)";
    let values = params![
        digest(&session.id),
        user,
        session.authenticated_at.millis(),
        session.expires.millis(),
        session.device,
        json(&session.methods)?,
    ];
    row(c, sql, values)
}

fn insert_client(c: &Connection, client: &Client) -> Applied {
    let sql = "INSERT INTO clients (id, tenant, origin, status, metadata, created, last_used, secret, \
               registration_token, servers, introspects, document, expires, approved) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let values = params![
        client.id.as_str(),
        client.tenant.as_str(),
        origin(client.origin),
        status(client.status),
        json(&client.metadata)?,
        client.created.millis(),
        client.last_used.millis(),
        client.secret.as_ref().map(digest),
        client.registration_token.as_ref().map(digest),
        client.servers.as_ref().map(json).transpose()?,
        json(&client.introspects)?,
        client.document.as_ref().map(json).transpose()?,
        client.expires.map(UnixTime::millis),
        client.approved.map(UnixTime::millis),
    ];
    row(c, sql, values)
}

fn update_client(c: &Connection, client: &Client) -> Applied {
    let sql = "UPDATE clients SET origin = ?2, status = ?3, metadata = ?4, last_used = ?5, secret = ?6, \
               registration_token = ?7, servers = ?8, introspects = ?9, document = ?10, expires = ?11, \
               approved = ?12 WHERE id = ?1";
    let values = params![
        client.id.as_str(),
        origin(client.origin),
        status(client.status),
        json(&client.metadata)?,
        client.last_used.millis(),
        client.secret.as_ref().map(digest),
        client.registration_token.as_ref().map(digest),
        client.servers.as_ref().map(json).transpose()?,
        json(&client.introspects)?,
        client.document.as_ref().map(json).transpose()?,
        client.expires.map(UnixTime::millis),
        client.approved.map(UnixTime::millis),
    ];
    row(c, sql, values)
}

fn answer_columns(answer: &Answer) -> (&'static str, Option<String>, Option<&[u8]>) {
    match answer {
        Answer::Approved { scopes, code } => ("approved", Some(scopes.to_string()), Some(digest(code))),
        Answer::Denied => ("denied", None, None),
    }
}

fn insert_decision(c: &Connection, decision: &Decision) -> Applied {
    let sql = "INSERT INTO decisions (nonce, tenant, session_id, answer, scopes, code, decided, expires) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (answer, scopes, code) = answer_columns(&decision.answer);
    let tenant = Tenant::default_tenant();
    let values = params![
        digest(&decision.nonce),
        tenant.as_str(),
        digest(&decision.session),
        answer,
        scopes,
        code,
        decision.decided.millis(),
        decision.expires.millis(),
    ];
    row(c, sql, values)
}

fn update_decision(c: &Connection, decision: &Decision) -> Applied {
    let sql = "UPDATE decisions SET session_id = ?2, answer = ?3, scopes = ?4, code = ?5, decided = ?6, \
               expires = ?7 WHERE nonce = ?1";
    let (answer, scopes, code) = answer_columns(&decision.answer);
    let values = params![
        digest(&decision.nonce),
        digest(&decision.session),
        answer,
        scopes,
        code,
        decision.decided.millis(),
        decision.expires.millis(),
    ];
    row(c, sql, values)
}

fn insert_grant(c: &Connection, grant: &Grant) -> Applied {
    let sql = "INSERT INTO grants (id, tenant, user_id, client_id, redirect_host, resource, scopes, \
               evidence, created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let values = params![
        uuid(grant.id.as_uuid()),
        grant.tenant.as_str(),
        uuid(grant.user.as_uuid()),
        grant.client.as_str(),
        grant.redirect_host,
        grant.resource.as_str(),
        grant.scopes.to_string(),
        json(&grant.evidence)?,
        grant.created.millis(),
        grant.updated.millis(),
    ];
    row(c, sql, values)
}

fn update_grant(c: &Connection, grant: &Grant) -> Applied {
    let sql = "UPDATE grants SET scopes = ?2, evidence = ?3, updated = ?4 WHERE id = ?1";
    let values = params![
        uuid(grant.id.as_uuid()),
        grant.scopes.to_string(),
        json(&grant.evidence)?,
        grant.updated.millis(),
    ];
    row(c, sql, values)
}

fn insert_code(c: &Connection, code: &Code) -> Applied {
    let sql = "INSERT INTO codes (code, tenant, grant_id, user_id, client_id, redirect_uri, \
               code_challenge, resource, scopes, issued, expires, state, family_id, misses, authenticated, \
               trace) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let (state, family) = code_state(&code.state);
    let values = params![
        digest(&code.code),
        code.tenant.as_str(),
        uuid(code.grant.as_uuid()),
        uuid(code.user.as_uuid()),
        code.client.as_str(),
        code.redirect_uri,
        code.code_challenge,
        code.resource.as_str(),
        code.scopes.to_string(),
        code.issued.millis(),
        code.expires.millis(),
        state,
        family.map(|family| uuid(family.as_uuid())),
        code.misses,
        code.authenticated.map(UnixTime::millis),
        code.trace.as_ref().map(TraceId::as_bytes),
    ];
    row(c, sql, values)
}

/// A code leaves `open` once and for all: the condition is part of the statement, so that no caller can
/// redeem it twice.
fn set_code_state(c: &Connection, code: &Digest, state: &CodeState, misses: u32) -> Applied {
    let sql = "UPDATE codes SET state = ?2, family_id = ?3, misses = ?4 \
               WHERE code = ?1 AND (state = 'open' OR (state = ?2 AND family_id IS ?3))";
    let (state, family) = code_state(state);
    let family = family.map(|family: &FamilyId| uuid(family.as_uuid()));
    row(c, sql, (digest(code), state, family, misses))
}

fn insert_family(c: &Connection, family: &Family) -> Applied {
    let sql = "INSERT INTO families (id, tenant, grant_id, user_id, client_id, resource, scopes, created, \
               last_used, late_repeat, revoked, authenticated, trace, device) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let values = params![
        uuid(family.id.as_uuid()),
        family.tenant.as_str(),
        uuid(family.grant.as_uuid()),
        uuid(family.user.as_uuid()),
        family.client.as_str(),
        family.resource.as_str(),
        family.scopes.to_string(),
        family.created.millis(),
        family.last_used.millis(),
        family.late_repeat.map(UnixTime::millis),
        family.revoked,
        family.authenticated.map(UnixTime::millis),
        family.trace.as_ref().map(TraceId::as_bytes),
        family.device,
    ];
    row(c, sql, values)
}

fn insert_refresh_token(c: &Connection, token: &RefreshToken) -> Applied {
    let family = uuid(token.family.as_uuid());
    needs_parent(c, "SELECT 1 FROM families WHERE id = ?1", [family])?;
    let sql = "INSERT INTO refresh_tokens (token, tenant, family_id, counter, key_id, issued, rotated) \
               VALUES (?1, (SELECT tenant FROM families WHERE id = ?2), ?2, ?3, ?4, ?5, ?6)";
    let values = params![
        digest(&token.token),
        family,
        integer(token.counter),
        token.key.as_str(),
        token.issued.millis(),
        token.rotated.map(UnixTime::millis),
    ];
    row(c, sql, values)
}

fn append_revocation(c: &Connection, revoked: &Revoked, at: UnixTime, expires: UnixTime) -> Applied {
    let (kind, target) = match revoked {
        Revoked::Family(id) => ("family", id.to_string()),
        Revoked::User(id) => ("user", id.to_string()),
        Revoked::Client(id) => ("client", id.to_string()),
        Revoked::Token(id) => ("token", id.to_string()),
        Revoked::Everything => ("everything", String::new()),
    };
    let sql = "INSERT INTO revocations (tenant, kind, target, at, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
    let tenant = Tenant::default_tenant();
    row(
        c,
        sql,
        (tenant.as_str(), kind, target, at.millis(), expires.millis()),
    )
}

/// Rows of one kind that one unit sweeps: a server that was away for weeks, or a flood that ended, leaves millions, and
/// everybody who waits for a commit would wait for all of them. Whoever sweeps asks again while a unit changed so many.
pub(super) const SWEPT_AT_ONCE: u64 = 5_000;

fn sweep(c: &Connection, write: &Write) -> Applied {
    let Write::Sweep {
        now,
        families_idle_since,
        families_created_before,
        clients_ungranted_since,
        clients_unused_since,
    } = write
    else {
        return Ok(());
    };
    let kept_since = now.minus(KEPT_AFTER_END).millis();
    let now = now.millis();
    sweep_ended(c, "sessions", "id", now)?;
    sweep_ended(c, "setup_links", "token", now)?;
    sweep_ended(c, "decisions", "nonce", now)?;
    sweep_ended(c, "revocations", "sequence", now)?;
    sweep_ended(c, "replays", "key", now)?;
    sweep_ended(c, "codes", "code", kept_since)?;
    sweep_devices(c, now, kept_since)?;
    sweep_families(c, *families_idle_since, *families_created_before, kept_since)?;
    // With a consent record: idle and without a live chain. Without one: idle. Or its registration ended.
    let clients = "DELETE FROM clients WHERE id IN (SELECT id FROM clients \
                   WHERE origin IN ('dynamic', 'confidential', 'metadata_document') \
                   AND status <> 'disabled' AND approved IS NULL AND CASE \
                   WHEN expires <= ?3 THEN 1 \
                   WHEN EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id) \
                   THEN last_used < ?2 AND NOT EXISTS (SELECT 1 FROM families \
                   WHERE families.client_id = clients.id AND revoked = 0) \
                   ELSE last_used < ?1 END LIMIT ?4)";
    any(
        c,
        clients,
        (
            clients_ungranted_since.millis(),
            clients_unused_since.millis(),
            now,
            integer(SWEPT_AT_ONCE),
        ),
    )
}

/// Rows of `table` that ended by `until`.
fn sweep_ended(c: &Connection, table: &'static str, key: &'static str, until: i64) -> Applied {
    let sql = format!(
        "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE expires <= ?1 LIMIT ?2)"
    );
    any(c, &sql, (until, integer(SWEPT_AT_ONCE)))
}

/// Only a redeemed one is kept to recognise its code again. The others went to nobody, and while they are there they
/// count against the number of devices that may wait, which a flood of them fills.
fn sweep_devices(c: &Connection, now: i64, kept_since: i64) -> Applied {
    let sql = "DELETE FROM device_authorizations WHERE device_code IN (SELECT device_code \
               FROM device_authorizations WHERE expires <= ?1 AND (state <> 'redeemed' OR expires <= ?2) LIMIT ?3)";
    any(c, sql, (now, kept_since, integer(SWEPT_AT_ONCE)))
}

/// Chains that ended. A chain may have thousands of links, so those go first, a part at a time; it counts as revoked
/// from the beginning, so that what is left of it is no chain, whatever lifetimes are configured meanwhile.
fn sweep_families(c: &Connection, idle: UnixTime, created: UnixTime, revoked: i64) -> Applied {
    let (idle, created, most) = (idle.millis(), created.millis(), integer(SWEPT_AT_ONCE));
    let ended = "UPDATE families SET revoked = 1 WHERE revoked = 0 AND (last_used < ?1 OR created < ?2)";
    any(c, ended, (idle, created))?;
    let links = "DELETE FROM refresh_tokens WHERE token IN (SELECT token FROM families \
                 JOIN refresh_tokens ON refresh_tokens.family_id = families.id \
                 WHERE families.last_used < ?1 OR families.created < ?2 \
                 OR (families.revoked = 1 AND families.last_used < ?3) LIMIT ?4)";
    any(c, links, (idle, created, revoked, most))?;
    let families = "DELETE FROM families WHERE id IN (SELECT id FROM families \
                    WHERE (last_used < ?1 OR created < ?2 OR (revoked = 1 AND last_used < ?3)) \
                    AND NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE family_id = families.id) LIMIT ?4)";
    any(c, families, (idle, created, revoked, most))
}

/// A statement that must change a row: otherwise the row is not (or no longer) what the caller took it for.
fn row(c: &Connection, sql: &str, parameters: impl Params) -> Applied {
    match c.prepare_cached(sql)?.execute(parameters)? {
        0 => Err(ApplyError::Conflict),
        _ => Ok(()),
    }
}

/// A statement that may find nothing to change.
fn any(c: &Connection, sql: &str, parameters: impl Params) -> Applied {
    c.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

/// The tenant of a child is its parent's, so the parent is looked for before NOT NULL is.
fn needs_parent(c: &Connection, sql: &str, parameters: impl Params) -> Applied {
    if super::query::exists(c, sql, parameters)? {
        Ok(())
    } else {
        Err(ApplyError::Conflict)
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, ApplyError> {
    serde_json::to_string(value).map_err(|_| ApplyError::Refused("a value cannot be written"))
}
