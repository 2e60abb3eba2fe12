//! Which preconditions hold, inside the writing transaction.

use doorward_records::Precondition;
use rusqlite::Connection;

use super::query::{self, exists};
use super::rows::RowError;
use super::values::{code_state, digest, integer, key_state, purpose, status, uuid};

/// Whether `precondition` holds now.
pub(super) fn holds(c: &Connection, precondition: &Precondition) -> Result<bool, RowError> {
    match precondition {
        Precondition::UserEnabled(id) => exists(
            c,
            "SELECT 1 FROM users WHERE id = ?1 AND disabled = 0",
            [uuid(id.as_uuid())],
        ),
        Precondition::UsernameFree(name) => Ok(query::user_by_name(c, name)?.is_none()),
        Precondition::UserExists(id) => exists(c, "SELECT 1 FROM users WHERE id = ?1", [uuid(id.as_uuid())]),
        Precondition::UserIs(user) => Ok(query::user(c, user.id)?.as_ref() == Some(user)),
        Precondition::SetupLinkExists(token) => {
            exists(c, "SELECT 1 FROM setup_links WHERE token = ?1", [digest(token)])
        }
        Precondition::SessionExists(id) => exists(c, "SELECT 1 FROM sessions WHERE id = ?1", [digest(id)]),
        Precondition::ClientHasStatus(id, wanted) => {
            let sql = "SELECT 1 FROM clients WHERE id = ?1 AND status = ?2";
            exists(c, sql, [id.as_str(), status(*wanted)])
        }
        Precondition::ClientExists(id) => exists(c, "SELECT 1 FROM clients WHERE id = ?1", [id.as_str()]),
        Precondition::ClientAbsent(id) => {
            Ok(!exists(c, "SELECT 1 FROM clients WHERE id = ?1", [id.as_str()])?)
        }
        Precondition::ClientIs(client) => Ok(query::client(c, &client.id)?.as_ref() == Some(client)),
        Precondition::UngrantedClientsBelow(limit) => ungranted_clients_below(c, *limit),
        Precondition::DecisionAbsent(nonce) => Ok(!exists(
            c,
            "SELECT 1 FROM decisions WHERE nonce = ?1",
            [digest(nonce)],
        )?),
        Precondition::DecisionIs(decision) => {
            Ok(query::decision(c, decision.nonce)?.as_ref() == Some(decision))
        }
        Precondition::GrantExists(id) => {
            exists(c, "SELECT 1 FROM grants WHERE id = ?1", [uuid(id.as_uuid())])
        }
        Precondition::LiveFamiliesOfGrantAre(id, expected) => Ok(query::live_families_under(c, *id)?
            .iter()
            .map(|family| family.id)
            .eq(expected.iter().copied())),
        Precondition::GrantAbsent(grant) => {
            let found = query::grant(
                c,
                grant.user,
                &grant.client,
                &grant.redirect_host,
                &grant.resource,
            )?;
            Ok(found.is_none())
        }
        Precondition::CodeIs { code, state, misses } => {
            let (state, family) = code_state(state);
            let family = family.map(|family| uuid(family.as_uuid()));
            let sql = "SELECT 1 FROM codes \
                       WHERE code = ?1 AND state = ?2 AND family_id IS ?3 AND misses = ?4";
            exists(c, sql, (digest(code), state, family, misses))
        }
        Precondition::FamilyLive(id) => exists(
            c,
            "SELECT 1 FROM families WHERE id = ?1 AND revoked = 0",
            [uuid(id.as_uuid())],
        ),
        Precondition::FamilyLateRepeatIs(id, at) => {
            let sql = "SELECT 1 FROM families WHERE id = ?1 AND late_repeat IS ?2";
            exists(c, sql, (uuid(id.as_uuid()), at.map(|at| at.millis())))
        }
        Precondition::RefreshTokenRotatedIs(token, at) => {
            let sql = "SELECT 1 FROM refresh_tokens WHERE token = ?1 AND rotated IS ?2";
            exists(c, sql, (digest(token), at.map(|at| at.millis())))
        }
        Precondition::NoActiveKeyLike(key) => {
            let sql = "SELECT 1 FROM keys WHERE tenant = ?1 AND purpose = ?2 AND state = 'active'";
            Ok(!exists(c, sql, [key.tenant.as_str(), purpose(key.purpose)])?)
        }
        Precondition::KeyHasState(id, state) => {
            let sql = "SELECT 1 FROM keys WHERE id = ?1 AND state = ?2";
            exists(c, sql, [id.as_str(), key_state(*state)])
        }
        _ => holds_other(c, precondition),
    }
}

fn holds_other(c: &Connection, precondition: &Precondition) -> Result<bool, RowError> {
    match precondition {
        Precondition::AuthenticatorIs(row) => Ok(query::authenticator(c, row.id)?.as_ref() == Some(row)),
        Precondition::ReplayAbsent(key) => Ok(query::replay(c, *key)?.is_none()),
        Precondition::DeviceAuthorizationIs(row) => {
            Ok(query::device_authorization(c, row.device_code)?.as_ref() == Some(row))
        }
        Precondition::DeviceAuthorizationsBelow(limit) => {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM device_authorizations LIMIT ?1)";
            counted_below(c, sql, *limit)
        }
        Precondition::UserCodeFree(code) => Ok(query::device_authorization_by_user_code(c, *code)?.is_none()),
        Precondition::MetaIs { name, value } => Ok(query::meta(c, name)? == *value),
        // A fact that is not known does not hold.
        _ => Ok(false),
    }
}

fn ungranted_clients_below(c: &Connection, limit: u64) -> Result<bool, RowError> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM clients \
               WHERE origin IN ('dynamic', 'confidential', 'metadata_document') AND status <> 'disabled' \
               AND approved IS NULL AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id) LIMIT ?1)";
    counted_below(c, sql, limit)
}

fn counted_below(c: &Connection, sql: &str, limit: u64) -> Result<bool, RowError> {
    let counted: i64 = c
        .prepare_cached(sql)?
        .query_row([integer(limit)], |row| row.get(0))?;
    Ok(counted < integer(limit))
}
