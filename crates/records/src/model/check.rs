//! Which preconditions hold.

use doorward_types::id::Tenant;

use super::Tables;
use crate::grant::Family;
use crate::key::{KeyState, StoredKey};
use crate::unit::Precondition;

impl Tables {
    /// Whether `precondition` holds now.
    pub(super) fn holds(&self, precondition: &Precondition) -> bool {
        match precondition {
            Precondition::UserEnabled(id) => self.users.get(id).is_some_and(|user| !user.disabled),
            Precondition::UsernameFree(name) => {
                let tenant = Tenant::default_tenant();
                !self
                    .users
                    .values()
                    .any(|user| user.tenant == tenant && user.username == *name)
            }
            Precondition::UserExists(id) => self.users.contains_key(id),
            Precondition::UserIs(user) => self.users.get(&user.id) == Some(user),
            Precondition::SetupLinkExists(token) => self.setup_links.contains_key(token),
            Precondition::SessionExists(id) => self.sessions.contains_key(id),
            Precondition::ClientHasStatus(id, status) => self
                .clients
                .get(id)
                .is_some_and(|client| client.status == *status),
            Precondition::ClientExists(id) => self.clients.contains_key(id),
            Precondition::ClientAbsent(id) => !self.clients.contains_key(id),
            Precondition::ClientIs(client) => self.clients.get(&client.id) == Some(client),
            Precondition::UngrantedClientsBelow(limit) => {
                let may_go = self.clients.values().filter(|client| Self::is_reapable(client));
                below(
                    may_go.filter(|client| !self.has_grant(&client.id)).count(),
                    *limit,
                )
            }
            Precondition::DecisionAbsent(nonce) => !self.decisions.contains_key(nonce),
            Precondition::DecisionIs(decision) => self.decisions.get(&decision.nonce) == Some(decision),
            Precondition::GrantExists(id) => self.grants.contains_key(id),
            Precondition::LiveFamiliesOfGrantAre(id, expected) => {
                let live = |family: &&Family| family.grant == *id && !family.revoked;
                self.families
                    .values()
                    .filter(live)
                    .map(|family| family.id)
                    .eq(expected.iter().copied())
            }
            Precondition::GrantAbsent(grant) => self
                .grant(grant.user, &grant.client, &grant.redirect_host, &grant.resource)
                .is_none(),
            Precondition::CodeIs { code, state, misses } => self
                .codes
                .get(code)
                .is_some_and(|row| row.state == *state && row.misses == *misses),
            Precondition::FamilyLive(id) => self.families.get(id).is_some_and(|family| !family.revoked),
            Precondition::FamilyLateRepeatIs(id, at) => self
                .families
                .get(id)
                .is_some_and(|family| family.late_repeat == *at),
            Precondition::RefreshTokenRotatedIs(token, at) => self
                .refresh_tokens
                .get(token)
                .is_some_and(|row| row.rotated == *at),
            Precondition::NoActiveKeyLike(key) => !self.has_key_like(key, KeyState::Active),
            Precondition::KeyHasState(id, state) => self.keys.get(id).is_some_and(|key| key.state == *state),
            Precondition::AuthenticatorIs(row) => self.authenticators.get(&row.id) == Some(row),
            Precondition::ReplayAbsent(key) => !self.replays.contains_key(key),
            Precondition::DeviceAuthorizationIs(row) => {
                self.device_authorizations.get(&row.device_code) == Some(row)
            }
            Precondition::DeviceAuthorizationsBelow(limit) => below(self.device_authorizations.len(), *limit),
            Precondition::UserCodeFree(code) => self.device_authorization_by_user_code(*code).is_none(),
            Precondition::MetaIs { name, value } => self.meta.get(name) == value.as_ref(),
        }
    }

    /// Whether another key of the same purpose has this state.
    pub(super) fn has_key_like(&self, key: &StoredKey, state: KeyState) -> bool {
        self.keys
            .values()
            .any(|other| other.tenant == key.tenant && other.purpose == key.purpose && other.state == state)
    }
}

fn below(count: usize, limit: u64) -> bool {
    u64::try_from(count).is_ok_and(|count| count < limit)
}
