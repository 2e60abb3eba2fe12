//! What each write does.

use std::collections::BTreeMap;
use std::time::Duration;

use doorward_types::id::{ClientId, FamilyId, GrantId, UserId};
use doorward_types::time::UnixTime;

use super::{Conflict, Tables};
use crate::account::{SetupLink, User};
use crate::client::{Client, ClientStatus};
use crate::code::{Code, CodeState};
use crate::device::DeviceState;
use crate::grant::{Family, Grant};
use crate::key::KeyState;
use crate::refresh::RefreshToken;
use crate::revocation::{Revocation, Revoked};
use crate::unit::Write;

/// How long codes and revoked families are kept after they ended, so that a late replay is recognised.
const KEPT_AFTER_END: Duration = Duration::from_secs(24 * 60 * 60);

impl Tables {
    /// Makes one write.
    pub(super) fn write(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertUser(_)
            | Write::UpdateUser(_)
            | Write::DeleteUser(_)
            | Write::InsertSetupLink(_)
            | Write::DeleteSetupLink(_)
            | Write::DeleteSetupLinksOf(_)
            | Write::InsertSession(_)
            | Write::DeleteSession(_)
            | Write::DeleteSessionsOf(_) => self.write_account(write),
            Write::InsertClient(_)
            | Write::UpdateClient(_)
            | Write::SetClientStatus(..)
            | Write::TouchClient(..)
            | Write::DeleteClient(_)
            | Write::ReapClients { .. } => self.write_client(write),
            Write::InsertDecision(_)
            | Write::UpdateDecision(_)
            | Write::InsertGrant(_)
            | Write::UpdateGrant(_)
            | Write::DeleteGrant(_)
            | Write::DeleteGrantsOf(_)
            | Write::InsertCode(_)
            | Write::SetCodeState { .. } => self.write_authorization(write),
            Write::InsertKey(_)
            | Write::ActivateKey(..)
            | Write::RetireKey(..)
            | Write::DeleteKey(_)
            | Write::ReplaceSealed(..) => self.write_key(write),
            Write::InsertAuthenticator(_)
            | Write::UpdateAuthenticator(_)
            | Write::DeleteAuthenticator(_)
            | Write::DeleteAuthenticatorsOf(_) => self.write_authenticator(write),
            Write::InsertReplay(_)
            | Write::InsertDeviceAuthorization(_)
            | Write::UpdateDeviceAuthorization(_)
            | Write::SetMeta { .. }
            | Write::EndAll => self.write_other(write),
            _ => self.write_token(write),
        }
    }

    fn write_account(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertUser(user) => {
                self.username_is_free(user)?;
                insert(&mut self.users, user.id, user.clone())
            }
            Write::UpdateUser(user) => {
                self.username_is_free(user)?;
                let row = self.users.get_mut(&user.id).ok_or(Conflict)?;
                *row = User {
                    tenant: row.tenant.clone(),
                    created: row.created,
                    ..user.clone()
                };
                Ok(())
            }
            Write::DeleteUser(id) => {
                self.remove_user(*id);
                Ok(())
            }
            Write::InsertSetupLink(link) => self.insert_setup_link(link),
            Write::DeleteSetupLink(token) => {
                self.setup_links.remove(token);
                Ok(())
            }
            Write::DeleteSetupLinksOf(user) => {
                self.setup_links.retain(|_, link| link.user != *user);
                Ok(())
            }
            Write::InsertSession(session) => {
                parent(self.users.contains_key(&session.user))?;
                insert(&mut self.sessions, session.id, session.clone())
            }
            Write::DeleteSession(id) => {
                self.sessions.remove(id);
                Ok(())
            }
            Write::DeleteSessionsOf(user) => {
                self.sessions.retain(|_, session| session.user != *user);
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn write_client(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertClient(client) => insert(&mut self.clients, client.id.clone(), client.clone()),
            Write::UpdateClient(client) => {
                let row = self.clients.get_mut(&client.id).ok_or(Conflict)?;
                *row = Client {
                    tenant: row.tenant.clone(),
                    created: row.created,
                    ..client.clone()
                };
                Ok(())
            }
            Write::SetClientStatus(id, status) => {
                self.clients.get_mut(id).ok_or(Conflict)?.status = *status;
                Ok(())
            }
            Write::TouchClient(id, at) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.last_used = *at;
                }
                Ok(())
            }
            Write::DeleteClient(id) => {
                self.remove_client(id);
                Ok(())
            }
            Write::ReapClients { before, limit } => {
                self.reap_clients(*before, *limit);
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn write_authorization(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertDecision(decision) => insert(&mut self.decisions, decision.nonce, decision.clone()),
            Write::UpdateDecision(decision) => {
                *self.decisions.get_mut(&decision.nonce).ok_or(Conflict)? = decision.clone();
                Ok(())
            }
            Write::InsertGrant(grant) => self.insert_grant(grant),
            Write::UpdateGrant(grant) => {
                let row = self.grants.get_mut(&grant.id).ok_or(Conflict)?;
                row.scopes = grant.scopes.clone();
                row.evidence = grant.evidence.clone();
                row.updated = grant.updated;
                Ok(())
            }
            Write::DeleteGrant(id) => {
                self.remove_grants(|grant| grant.id == *id);
                Ok(())
            }
            Write::DeleteGrantsOf(user) => {
                self.remove_grants(|grant| grant.user == *user);
                Ok(())
            }
            Write::InsertCode(code) => self.insert_code(code),
            Write::SetCodeState { code, state, misses } => {
                let row = self.codes.get_mut(code).ok_or(Conflict)?;
                if row.state != CodeState::Open && row.state != *state {
                    return Err(Conflict);
                }
                row.state = *state;
                row.misses = *misses;
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn write_token(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertFamily(family) => self.insert_family(family),
            Write::TouchFamily(id, at) => {
                if let Some(family) = self.families.get_mut(id) {
                    family.last_used = *at;
                }
                Ok(())
            }
            Write::SetFamilyLateRepeat(id, at) => {
                self.families.get_mut(id).ok_or(Conflict)?.late_repeat = Some(*at);
                Ok(())
            }
            Write::RevokeFamily(id) => {
                if let Some(family) = self.families.get_mut(id) {
                    family.revoked = true;
                }
                Ok(())
            }
            Write::RevokeFamiliesOf(user) => {
                self.revoke_families_under(|grant| grant.user == *user);
                Ok(())
            }
            Write::RevokeFamiliesOfGrant(id) => {
                self.revoke_families_under(|grant| grant.id == *id);
                Ok(())
            }
            Write::RevokeFamiliesOfKey(key) => {
                let of_key = |token: &&RefreshToken| token.key == *key;
                let families: Vec<FamilyId> = self
                    .refresh_tokens
                    .values()
                    .filter(of_key)
                    .map(|token| token.family)
                    .collect();
                for family in self.families.values_mut() {
                    family.revoked |= families.contains(&family.id);
                }
                Ok(())
            }
            Write::RevokeFamiliesOfClient(client) => {
                self.revoke_families_under(|grant| grant.client == *client);
                Ok(())
            }
            Write::SetFamilyScopes(id, scopes) => {
                self.families.get_mut(id).ok_or(Conflict)?.scopes = scopes.clone();
                Ok(())
            }
            Write::InsertRefreshToken(token) => self.insert_refresh_token(token),
            Write::SetRefreshTokenRotated(token, at) => {
                let row = self.refresh_tokens.get_mut(token).ok_or(Conflict)?;
                if row.rotated.is_some() {
                    return Err(Conflict);
                }
                row.rotated = Some(*at);
                Ok(())
            }
            Write::AppendRevocation { revoked, at, expires } => {
                self.append_revocation(revoked, *at, *expires);
                Ok(())
            }
            Write::Sweep { .. } => {
                self.sweep(write);
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn write_key(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertKey(key) => {
                if key.state != KeyState::Retired && self.has_key_like(key, key.state) {
                    return Err(Conflict);
                }
                insert(&mut self.keys, key.id.clone(), key.clone())
            }
            Write::ActivateKey(id, at) => {
                let key = self.keys.get(id).ok_or(Conflict)?;
                if key.state != KeyState::Next || self.has_key_like(key, KeyState::Active) {
                    return Err(Conflict);
                }
                let row = self.keys.get_mut(id).ok_or(Conflict)?;
                row.state = KeyState::Active;
                row.activated = Some(*at);
                Ok(())
            }
            Write::RetireKey(id, at) => {
                let row = self.keys.get_mut(id).ok_or(Conflict)?;
                row.state = KeyState::Retired;
                row.retired = row.retired.or(Some(*at));
                Ok(())
            }
            Write::DeleteKey(id) => {
                self.keys.remove(id);
                Ok(())
            }
            Write::ReplaceSealed(id, sealed) => {
                self.keys.get_mut(id).ok_or(Conflict)?.sealed.clone_from(sealed);
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn write_authenticator(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertAuthenticator(row) => {
                parent(self.users.contains_key(&row.user))?;
                if row.lookup.is_some() && self.authenticators.values().any(|it| it.lookup == row.lookup) {
                    return Err(Conflict);
                }
                insert(&mut self.authenticators, row.id, row.clone())
            }
            Write::UpdateAuthenticator(changed) => {
                let row = self.authenticators.get_mut(&changed.id).ok_or(Conflict)?;
                row.name.clone_from(&changed.name);
                row.sealed.clone_from(&changed.sealed);
                row.counter = changed.counter;
                row.last_used = changed.last_used;
                Ok(())
            }
            Write::DeleteAuthenticator(id) => {
                self.authenticators.remove(id);
                Ok(())
            }
            Write::DeleteAuthenticatorsOf(user) => {
                self.authenticators.retain(|_, row| row.user != *user);
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn write_other(&mut self, write: &Write) -> Result<(), Conflict> {
        match write {
            Write::InsertReplay(replay) => insert(&mut self.replays, replay.key, *replay),
            Write::InsertDeviceAuthorization(row) => {
                parent(self.clients.contains_key(&row.client))?;
                self.approved_under_a_grant(&row.state)?;
                if self.device_authorization_by_user_code(row.user_code).is_some() {
                    return Err(Conflict);
                }
                insert(&mut self.device_authorizations, row.device_code, row.clone())
            }
            Write::UpdateDeviceAuthorization(changed) => {
                self.approved_under_a_grant(&changed.state)?;
                let row = self
                    .device_authorizations
                    .get_mut(&changed.device_code)
                    .ok_or(Conflict)?;
                let is_final = matches!(row.state, DeviceState::Denied | DeviceState::Redeemed { .. });
                if is_final && row.state != changed.state {
                    return Err(Conflict);
                }
                row.interval = changed.interval;
                row.last_poll = changed.last_poll;
                row.state = changed.state.clone();
                Ok(())
            }
            Write::SetMeta { name, value } => {
                self.meta.insert(name.clone(), value.clone());
                Ok(())
            }
            Write::EndAll => {
                for family in self.families.values_mut() {
                    family.revoked = true;
                }
                self.sessions.clear();
                self.setup_links.clear();
                self.decisions.clear();
                self.codes.clear();
                self.device_authorizations.clear();
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    fn approved_under_a_grant(&self, state: &DeviceState) -> Result<(), Conflict> {
        match state {
            DeviceState::Approved { grant, .. } => parent(self.grants.contains_key(grant)),
            _ => Ok(()),
        }
    }

    fn revoke_families_under(&mut self, of: impl Fn(&Grant) -> bool) {
        let grants: Vec<GrantId> = self.grants.values().filter(|g| of(g)).map(|g| g.id).collect();
        for family in self.families.values_mut() {
            family.revoked |= grants.contains(&family.grant);
        }
    }

    fn username_is_free(&self, user: &User) -> Result<(), Conflict> {
        let taken = self.users.values().any(|other| {
            other.id != user.id && other.tenant == user.tenant && other.username == user.username
        });
        if taken { Err(Conflict) } else { Ok(()) }
    }

    fn insert_setup_link(&mut self, link: &SetupLink) -> Result<(), Conflict> {
        parent(self.users.contains_key(&link.user))?;
        self.setup_links.retain(|_, other| other.user != link.user);
        insert(&mut self.setup_links, link.token, link.clone())
    }

    fn insert_grant(&mut self, grant: &Grant) -> Result<(), Conflict> {
        parent(self.users.contains_key(&grant.user) && self.clients.contains_key(&grant.client))?;
        if self
            .grant(grant.user, &grant.client, &grant.redirect_host, &grant.resource)
            .is_some()
        {
            return Err(Conflict);
        }
        insert(&mut self.grants, grant.id, grant.clone())
    }

    fn insert_code(&mut self, code: &Code) -> Result<(), Conflict> {
        parent(self.grants.contains_key(&code.grant))?;
        insert(&mut self.codes, code.code, code.clone())
    }

    fn insert_family(&mut self, family: &Family) -> Result<(), Conflict> {
        parent(self.grants.contains_key(&family.grant))?;
        insert(&mut self.families, family.id, family.clone())
    }

    fn insert_refresh_token(&mut self, token: &RefreshToken) -> Result<(), Conflict> {
        parent(self.families.contains_key(&token.family))?;
        let position_taken = self
            .refresh_tokens
            .values()
            .any(|other| other.family == token.family && other.counter == token.counter);
        if position_taken {
            return Err(Conflict);
        }
        insert(&mut self.refresh_tokens, token.token, token.clone())
    }

    fn append_revocation(&mut self, revoked: &Revoked, at: UnixTime, expires: UnixTime) {
        self.revocation_sequence += 1;
        let sequence = self.revocation_sequence;
        let entry = Revocation {
            sequence,
            revoked: revoked.clone(),
            at,
            expires,
        };
        self.revocations.insert(sequence, entry);
    }

    fn remove_user(&mut self, id: UserId) {
        self.users.remove(&id);
        self.setup_links.retain(|_, link| link.user != id);
        self.sessions.retain(|_, session| session.user != id);
        self.authenticators.retain(|_, row| row.user != id);
        self.remove_grants(|grant| grant.user == id);
    }

    fn remove_client(&mut self, id: &ClientId) {
        self.clients.remove(id);
        self.device_authorizations.retain(|_, row| row.client != *id);
        self.remove_grants(|grant| grant.client == *id);
    }

    fn remove_grants(&mut self, goes: impl Fn(&Grant) -> bool) {
        let gone: Vec<GrantId> = self.grants.values().filter(|g| goes(g)).map(|g| g.id).collect();
        self.grants.retain(|id, _| !gone.contains(id));
        self.codes.retain(|_, code| !gone.contains(&code.grant));
        self.device_authorizations.retain(
            |_, row| !matches!(&row.state, DeviceState::Approved { grant, .. } if gone.contains(grant)),
        );
        self.remove_families(|family| gone.contains(&family.grant));
    }

    fn remove_families(&mut self, goes: impl Fn(&Family) -> bool) {
        let gone: Vec<FamilyId> = self.families.values().filter(|f| goes(f)).map(|f| f.id).collect();
        self.families.retain(|id, _| !gone.contains(id));
        self.refresh_tokens
            .retain(|_, token| !gone.contains(&token.family));
    }

    /// Whether a client has a consent record.
    pub(super) fn has_grant(&self, client: &ClientId) -> bool {
        self.grants.values().any(|grant| grant.client == *client)
    }

    fn has_live_family(&self, client: &ClientId) -> bool {
        self.families
            .values()
            .any(|family| family.client == *client && !family.revoked)
    }

    /// Whether a client may go by itself: an operator's may not, nor one that an operator approved or switched
    /// off.
    pub(super) fn is_reapable(client: &Client) -> bool {
        client.origin.is_self_service()
            && client.status != ClientStatus::Disabled
            && client.approved.is_none()
    }

    fn reap_clients(&mut self, before: UnixTime, limit: u64) {
        let mut idle: Vec<&Client> = self
            .clients
            .values()
            .filter(|client| Self::is_reapable(client))
            .filter(|client| client.last_used < before && !self.has_grant(&client.id))
            .collect();
        idle.sort_by(|a, b| a.last_used.cmp(&b.last_used).then_with(|| a.id.cmp(&b.id)));
        idle.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let gone: Vec<ClientId> = idle.into_iter().map(|client| client.id.clone()).collect();
        for id in &gone {
            self.remove_client(id);
        }
    }

    fn sweep(&mut self, write: &Write) {
        let Write::Sweep {
            now,
            families_idle_since,
            families_created_before,
            clients_ungranted_since,
            clients_unused_since,
        } = write
        else {
            return;
        };
        let kept_since = now.minus(KEPT_AFTER_END);
        self.sessions.retain(|_, session| session.expires > *now);
        self.setup_links.retain(|_, link| link.expires > *now);
        self.decisions.retain(|_, decision| decision.expires > *now);
        self.revocations.retain(|_, entry| entry.expires > *now);
        self.replays.retain(|_, replay| replay.expires > *now);
        self.codes.retain(|_, code| code.expires > kept_since);
        self.device_authorizations.retain(|_, row| {
            let kept = match row.state {
                DeviceState::Redeemed { .. } => kept_since,
                _ => *now,
            };
            row.expires > kept
        });
        self.remove_families(|family| {
            family.last_used < *families_idle_since
                || family.created < *families_created_before
                || (family.revoked && family.last_used < kept_since)
        });
        let gone: Vec<ClientId> = self
            .clients
            .values()
            .filter(|client| Self::is_reapable(client))
            .filter(|client| {
                if client.expires.is_some_and(|expires| expires <= *now) {
                    true
                } else if self.has_grant(&client.id) {
                    client.last_used < *clients_unused_since && !self.has_live_family(&client.id)
                } else {
                    client.last_used < *clients_ungranted_since
                }
            })
            .map(|client| client.id.clone())
            .collect();
        for id in &gone {
            self.remove_client(id);
        }
    }
}

fn insert<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, row: V) -> Result<(), Conflict> {
    match table.entry(key) {
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(row);
            Ok(())
        }
        std::collections::btree_map::Entry::Occupied(_) => Err(Conflict),
    }
}

fn parent(is_there: bool) -> Result<(), Conflict> {
    if is_there { Ok(()) } else { Err(Conflict) }
}
