//! A [`Store`] over the in-memory tables, for tests that need no file. It forgets everything when dropped.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use doorward_records::Unit;
use doorward_records::account::{Session, SetupLink, User};
use doorward_records::authenticator::Authenticator;
use doorward_records::client::Client;
use doorward_records::code::Code;
use doorward_records::decision::Decision;
use doorward_records::device::DeviceAuthorization;
use doorward_records::facts::{CodeFacts, FamilyFacts, GrantFacts, GrantFilter, RefreshFacts};
use doorward_records::grant::{Family, Grant};
use doorward_records::key::StoredKey;
use doorward_records::model::Tables;
use doorward_records::replay::Replay;
use doorward_records::revocation::Revocation;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, UserId};
use doorward_types::url::ResourceUri;

use crate::store::{CommitError, Committed, LoadError, Store};

/// Tables behind a lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    version: u64,
    unavailable: bool,
}

impl MemoryStore {
    /// A store without a row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of every row, to look at.
    #[must_use]
    pub fn tables(&self) -> Tables {
        self.state().tables.clone()
    }

    /// Makes every look-up and commit fail (or work again), as a lost database would.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, look_up: impl FnOnce(&Tables) -> T) -> Result<T, LoadError> {
        let state = self.state();
        if state.unavailable {
            return Err(LoadError::Unavailable("switched off".into()));
        }
        Ok(look_up(&state.tables))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        let mut state = self.state();
        if state.unavailable {
            return Err(CommitError::Unavailable("switched off".into()));
        }
        let applied = state.tables.apply(&unit).map_err(|_| CommitError::Conflict)?;
        state.version += 1;
        Ok(Committed {
            revocation_sequence: applied.revocation_sequence,
            more_to_sweep: false,
        })
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, LoadError> {
        self.read(|tables| tables.user(id))
    }

    async fn user_by_name(&self, username: &str) -> Result<Option<User>, LoadError> {
        self.read(|tables| tables.user_by_name(username))
    }

    async fn users(&self) -> Result<Vec<User>, LoadError> {
        self.read(Tables::users)
    }

    async fn setup_link(&self, token: Digest) -> Result<Option<(SetupLink, User)>, LoadError> {
        self.read(|tables| tables.setup_link(token))
    }

    async fn session(&self, id: Digest) -> Result<Option<(Session, User)>, LoadError> {
        self.read(|tables| tables.session(id))
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>, LoadError> {
        self.read(|tables| tables.client(id))
    }

    async fn client_and_sequence(&self, id: &ClientId) -> Result<(Option<Client>, u64), LoadError> {
        self.read(|tables| (tables.client(id), tables.revocations_after(u64::MAX).1))
    }

    async fn clients(&self) -> Result<Vec<Client>, LoadError> {
        self.read(Tables::clients)
    }

    async fn decision(&self, nonce: Digest) -> Result<Option<Decision>, LoadError> {
        self.read(|tables| tables.decision(nonce))
    }

    async fn grant(
        &self,
        user: UserId,
        client: &ClientId,
        redirect_host: &str,
        resource: &ResourceUri,
    ) -> Result<Option<Grant>, LoadError> {
        self.read(|tables| tables.grant(user, client, redirect_host, resource))
    }

    async fn grant_by_id(&self, id: GrantId) -> Result<Option<Grant>, LoadError> {
        self.read(|tables| tables.grant_by_id(id))
    }

    async fn grants_of_client(&self, client: &ClientId) -> Result<Vec<Grant>, LoadError> {
        self.read(|tables| tables.grants_of_client(client))
    }

    async fn code(&self, code: Digest) -> Result<Option<Code>, LoadError> {
        self.read(|tables| tables.code(code))
    }

    async fn code_facts(&self, code: Digest) -> Result<Option<CodeFacts>, LoadError> {
        self.read(|tables| tables.code_facts(code))
    }

    async fn grants(&self, filter: GrantFilter) -> Result<Vec<GrantFacts>, LoadError> {
        self.read(|tables| tables.grants(&filter))
    }

    async fn families_of_user(&self, user: UserId) -> Result<Vec<Family>, LoadError> {
        self.read(|tables| tables.families_of_user(user))
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, LoadError> {
        self.read(|tables| tables.sessions_of(user))
    }

    async fn authenticators(&self) -> Result<Vec<Authenticator>, LoadError> {
        self.read(Tables::authenticators)
    }

    async fn authenticators_of(&self, user: UserId) -> Result<Vec<Authenticator>, LoadError> {
        self.read(|tables| tables.authenticators_of(user))
    }

    async fn authenticator_by_lookup(
        &self,
        lookup: Digest,
    ) -> Result<Option<(Authenticator, User)>, LoadError> {
        self.read(|tables| tables.authenticator_by_lookup(lookup))
    }

    async fn replay(&self, key: Digest) -> Result<Option<Replay>, LoadError> {
        self.read(|tables| tables.replay(key))
    }

    async fn device_authorization(
        &self,
        device_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError> {
        self.read(|tables| tables.device_authorization(device_code))
    }

    async fn device_authorization_by_user_code(
        &self,
        user_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError> {
        self.read(|tables| tables.device_authorization_by_user_code(user_code))
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        self.read(|tables| tables.meta(name))
    }

    async fn family(&self, id: FamilyId) -> Result<Option<FamilyFacts>, LoadError> {
        self.read(|tables| tables.family(id))
    }

    async fn refresh_token(&self, token: Digest) -> Result<Option<RefreshFacts>, LoadError> {
        self.read(|tables| tables.refresh_token(token))
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, LoadError> {
        self.read(Tables::keys)
    }

    async fn revocations_after(&self, sequence: u64) -> Result<(Vec<Revocation>, u64), LoadError> {
        self.read(|tables| tables.revocations_after(sequence))
    }

    async fn version(&self) -> Result<u64, LoadError> {
        let version = self.state().version;
        self.read(|_| version)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        crate::contract::all(|| async { Arc::new(MemoryStore::new()) as Arc<dyn Store> }).await;
    }
}
