//! The look-ups, each on one connection. Those that read more than one table are run inside one read
//! transaction by the caller.

use doorward_records::account::{Session, SetupLink, User};
use doorward_records::authenticator::Authenticator;
use doorward_records::client::Client;
use doorward_records::code::{Code, CodeState};
use doorward_records::decision::Decision;
use doorward_records::device::DeviceAuthorization;
use doorward_records::facts::{CodeFacts, FamilyFacts, GrantFacts, GrantFilter, LATER_LINKS, RefreshFacts};
use doorward_records::grant::{Family, Grant};
use doorward_records::key::StoredKey;
use doorward_records::replay::Replay;
use doorward_records::revocation::Revocation;
use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, ClientId, FamilyId, GrantId, UserId};
use doorward_types::url::ResourceUri;
use rusqlite::{Connection, Params, Row};

use super::rows::{self, RowError};
use super::values::{digest, integer, uuid};

type Read<T> = Result<T, RowError>;

pub(super) fn user(c: &Connection, id: UserId) -> Read<Option<User>> {
    one(
        c,
        "SELECT * FROM users WHERE id = ?1",
        [uuid(id.as_uuid())],
        rows::user,
    )
}

pub(super) fn user_by_name(c: &Connection, username: &str) -> Read<Option<User>> {
    one(
        c,
        "SELECT * FROM users WHERE tenant = 'default' AND username = ?1",
        [username],
        rows::user,
    )
}

pub(super) fn users(c: &Connection) -> Read<Vec<User>> {
    many(c, "SELECT * FROM users ORDER BY username", [], rows::user)
}

pub(super) fn setup_link(c: &Connection, token: Digest) -> Read<Option<(SetupLink, User)>> {
    let sql = "SELECT * FROM setup_links WHERE token = ?1";
    let Some(link) = one(c, sql, [digest(&token)], rows::setup_link)? else {
        return Ok(None);
    };
    Ok(user(c, link.user)?.map(|user| (link, user)))
}

pub(super) fn session(c: &Connection, id: Digest) -> Read<Option<(Session, User)>> {
    let sql = "SELECT * FROM sessions WHERE id = ?1";
    let Some(session) = one(c, sql, [digest(&id)], rows::session)? else {
        return Ok(None);
    };
    Ok(user(c, session.user)?.map(|user| (session, user)))
}

pub(super) fn client(c: &Connection, id: &ClientId) -> Read<Option<Client>> {
    one(
        c,
        "SELECT * FROM clients WHERE id = ?1",
        [id.as_str()],
        rows::client,
    )
}

pub(super) fn clients(c: &Connection) -> Read<Vec<Client>> {
    many(
        c,
        "SELECT * FROM clients ORDER BY created DESC, id",
        [],
        rows::client,
    )
}

pub(super) fn decision(c: &Connection, nonce: Digest) -> Read<Option<Decision>> {
    one(
        c,
        "SELECT * FROM decisions WHERE nonce = ?1",
        [digest(&nonce)],
        rows::decision,
    )
}

pub(super) fn grant(
    c: &Connection,
    user: UserId,
    client: &ClientId,
    redirect_host: &str,
    resource: &ResourceUri,
) -> Read<Option<Grant>> {
    let sql = "SELECT * FROM grants \
               WHERE user_id = ?1 AND client_id = ?2 AND redirect_host = ?3 AND resource = ?4";
    one(
        c,
        sql,
        (
            uuid(user.as_uuid()),
            client.as_str(),
            redirect_host,
            resource.as_str(),
        ),
        rows::grant,
    )
}

pub(super) fn grant_by_id(c: &Connection, id: GrantId) -> Read<Option<Grant>> {
    one(
        c,
        "SELECT * FROM grants WHERE id = ?1",
        [uuid(id.as_uuid())],
        rows::grant,
    )
}

pub(super) fn grants_of_client(c: &Connection, client: &ClientId) -> Read<Vec<Grant>> {
    many(
        c,
        "SELECT * FROM grants WHERE client_id = ?1 ORDER BY id",
        [client.as_str()],
        rows::grant,
    )
}

pub(super) fn code(c: &Connection, code: Digest) -> Read<Option<Code>> {
    one(
        c,
        "SELECT * FROM codes WHERE code = ?1",
        [digest(&code)],
        rows::code,
    )
}

pub(super) fn code_facts(c: &Connection, presented: Digest) -> Read<Option<CodeFacts>> {
    let Some(code) = code(c, presented)? else {
        return Ok(None);
    };
    let family = match code.state {
        CodeState::Redeemed { family } => family_row(c, family)?,
        CodeState::Open | CodeState::Void => None,
    };
    Ok(Some(CodeFacts {
        client: client(c, &code.client)?,
        user: user(c, code.user)?,
        grant: grant_by_id(c, code.grant)?,
        family,
        code,
    }))
}

pub(super) fn grants(c: &Connection, filter: &GrantFilter) -> Read<Vec<GrantFacts>> {
    let grants = match filter {
        GrantFilter::All => many(c, "SELECT * FROM grants ORDER BY id", [], rows::grant)?,
        GrantFilter::User(user) => {
            let sql = "SELECT * FROM grants WHERE user_id = ?1 ORDER BY id";
            many(c, sql, [uuid(user.as_uuid())], rows::grant)?
        }
        GrantFilter::Client(client) => grants_of_client(c, client)?,
    };
    grants
        .into_iter()
        .map(|grant| {
            let families = live_families_under(c, grant.id)?;
            Ok(GrantFacts { grant, families })
        })
        .collect()
}

pub(super) fn live_families_under(c: &Connection, grant: GrantId) -> Read<Vec<Family>> {
    let sql = "SELECT * FROM families WHERE grant_id = ?1 AND revoked = 0 ORDER BY id";
    many(c, sql, [uuid(grant.as_uuid())], rows::family)
}

pub(super) fn families_of_user(c: &Connection, user: UserId) -> Read<Vec<Family>> {
    let sql = "SELECT * FROM families WHERE user_id = ?1 AND revoked = 0 ORDER BY id";
    many(c, sql, [uuid(user.as_uuid())], rows::family)
}

pub(super) fn sessions_of(c: &Connection, user: UserId) -> Read<Vec<Session>> {
    let sql = "SELECT * FROM sessions WHERE user_id = ?1 ORDER BY id";
    many(c, sql, [uuid(user.as_uuid())], rows::session)
}

pub(super) fn authenticator(c: &Connection, id: AuthenticatorId) -> Read<Option<Authenticator>> {
    let sql = "SELECT * FROM authenticators WHERE id = ?1";
    one(c, sql, [uuid(id.as_uuid())], rows::authenticator)
}

pub(super) fn authenticators(c: &Connection) -> Read<Vec<Authenticator>> {
    many(
        c,
        "SELECT * FROM authenticators ORDER BY id",
        [],
        rows::authenticator,
    )
}

pub(super) fn authenticators_of(c: &Connection, user: UserId) -> Read<Vec<Authenticator>> {
    let sql = "SELECT * FROM authenticators WHERE user_id = ?1 ORDER BY id";
    many(c, sql, [uuid(user.as_uuid())], rows::authenticator)
}

pub(super) fn authenticator_by_lookup(c: &Connection, lookup: Digest) -> Read<Option<(Authenticator, User)>> {
    let sql = "SELECT * FROM authenticators WHERE lookup = ?1";
    let Some(found) = one(c, sql, [digest(&lookup)], rows::authenticator)? else {
        return Ok(None);
    };
    Ok(user(c, found.user)?.map(|user| (found, user)))
}

pub(super) fn replay(c: &Connection, key: Digest) -> Read<Option<Replay>> {
    let sql = "SELECT * FROM replays WHERE key = ?1";
    one(c, sql, [digest(&key)], rows::replay)
}

pub(super) fn device_authorization(c: &Connection, device_code: Digest) -> Read<Option<DeviceAuthorization>> {
    let sql = "SELECT * FROM device_authorizations WHERE device_code = ?1";
    one(c, sql, [digest(&device_code)], rows::device_authorization)
}

pub(super) fn device_authorization_by_user_code(
    c: &Connection,
    user_code: Digest,
) -> Read<Option<DeviceAuthorization>> {
    let sql = "SELECT * FROM device_authorizations WHERE user_code = ?1";
    one(c, sql, [digest(&user_code)], rows::device_authorization)
}

pub(super) fn meta(c: &Connection, name: &str) -> Read<Option<Vec<u8>>> {
    let sql = "SELECT value FROM meta WHERE tenant = 'default' AND name = ?1";
    one(c, sql, [name], |row| Ok(row.get(0)?))
}

pub(super) fn family(c: &Connection, id: FamilyId) -> Read<Option<FamilyFacts>> {
    let Some(family) = family_row(c, id)? else {
        return Ok(None);
    };
    Ok(Some(FamilyFacts {
        grant: grant_by_id(c, family.grant)?,
        user: user(c, family.user)?,
        client: client(c, &family.client)?,
        family,
    }))
}

fn family_row(c: &Connection, id: FamilyId) -> Read<Option<Family>> {
    one(
        c,
        "SELECT * FROM families WHERE id = ?1",
        [uuid(id.as_uuid())],
        rows::family,
    )
}

pub(super) fn refresh_token(c: &Connection, token: Digest) -> Read<Option<RefreshFacts>> {
    let sql = "SELECT * FROM refresh_tokens WHERE token = ?1";
    let Some(token) = one(c, sql, [digest(&token)], rows::refresh_token)? else {
        return Ok(None);
    };
    let Some(family) = family(c, token.family)? else {
        return Ok(None);
    };
    let sql = "SELECT * FROM refresh_tokens WHERE family_id = ?1 AND counter > ?2 ORDER BY counter LIMIT ?3";
    let position = (uuid(token.family.as_uuid()), integer(token.counter), LATER_LINKS);
    let later = many(c, sql, position, rows::refresh_token)?;
    Ok(Some(RefreshFacts { token, later, family }))
}

pub(super) fn keys(c: &Connection) -> Read<Vec<StoredKey>> {
    many(c, "SELECT * FROM keys ORDER BY created DESC, id", [], rows::key)
}

pub(super) fn revocations_after(c: &Connection, sequence: u64) -> Read<(Vec<Revocation>, u64)> {
    let sql = "SELECT * FROM revocations WHERE sequence > ?1 ORDER BY sequence";
    let feed = many(c, sql, [integer(sequence)], rows::revocation)?;
    Ok((feed, revocation_sequence(c)?))
}

/// The highest number ever given out, 0 before the first.
pub(super) fn revocation_sequence(c: &Connection) -> Read<u64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'revocations'";
    let highest: i64 = c.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    u64::try_from(highest).map_err(|_| RowError::Column("sequence"))
}

/// The first row, as `read` understands it.
pub(super) fn one<T>(
    c: &Connection,
    sql: &str,
    parameters: impl Params,
    read: fn(&Row<'_>) -> Read<T>,
) -> Read<Option<T>> {
    let mut statement = c.prepare_cached(sql)?;
    let mut found = statement.query(parameters)?;
    found.next()?.map(read).transpose()
}

fn many<T>(
    c: &Connection,
    sql: &str,
    parameters: impl Params,
    read: fn(&Row<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    let mut statement = c.prepare_cached(sql)?;
    let mut found = statement.query(parameters)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

/// Whether there is a row.
pub(super) fn exists(c: &Connection, sql: &str, parameters: impl Params) -> Read<bool> {
    Ok(c.prepare_cached(sql)?.exists(parameters)?)
}
