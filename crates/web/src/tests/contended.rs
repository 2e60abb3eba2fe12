//! A store on which others are always a little faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use doorward_records::Unit;
use doorward_records::account::{Session, SetupLink, User};
use doorward_records::client::Client;
use doorward_records::code::Code;
use doorward_records::decision::Decision;
use doorward_records::grant::Grant;
use doorward_records::key::StoredKey;
use doorward_records::revocation::Revocation;
use doorward_storage::memory::MemoryStore;
use doorward_storage::{CommitError, Committed, FamilyFacts, LoadError, RefreshFacts, Store};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, UserId};
use doorward_types::url::ResourceUri;

/// Answers the next `conflicts` commits with a conflict.
pub(super) struct Contended {
    pub(super) store: Arc<MemoryStore>,
    pub(super) conflicts: &'static AtomicU32,
}

#[async_trait::async_trait]
impl Store for Contended {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        let left = self
            .conflicts
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            Err(CommitError::Conflict)
        } else {
            self.store.commit(unit).await
        }
    }
    async fn user(&self, id: UserId) -> Result<Option<User>, LoadError> {
        self.store.user(id).await
    }
    async fn user_by_name(&self, username: &str) -> Result<Option<User>, LoadError> {
        self.store.user_by_name(username).await
    }
    async fn users(&self) -> Result<Vec<User>, LoadError> {
        self.store.users().await
    }
    async fn setup_link(&self, token: Digest) -> Result<Option<(SetupLink, User)>, LoadError> {
        self.store.setup_link(token).await
    }
    async fn session(&self, id: Digest) -> Result<Option<(Session, User)>, LoadError> {
        self.store.session(id).await
    }
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, LoadError> {
        self.store.client(id).await
    }
    async fn clients(&self) -> Result<Vec<Client>, LoadError> {
        self.store.clients().await
    }
    async fn decision(&self, nonce: Digest) -> Result<Option<Decision>, LoadError> {
        self.store.decision(nonce).await
    }
    async fn grant(
        &self,
        user: UserId,
        client: &ClientId,
        redirect_host: &str,
        resource: &ResourceUri,
    ) -> Result<Option<Grant>, LoadError> {
        self.store.grant(user, client, redirect_host, resource).await
    }
    async fn grant_by_id(&self, id: GrantId) -> Result<Option<Grant>, LoadError> {
        self.store.grant_by_id(id).await
    }
    async fn grants_of_client(&self, client: &ClientId) -> Result<Vec<Grant>, LoadError> {
        self.store.grants_of_client(client).await
    }
    async fn code(&self, code: Digest) -> Result<Option<Code>, LoadError> {
        self.store.code(code).await
    }
    async fn family(&self, id: FamilyId) -> Result<Option<FamilyFacts>, LoadError> {
        self.store.family(id).await
    }
    async fn refresh_token(&self, token: Digest) -> Result<Option<RefreshFacts>, LoadError> {
        self.store.refresh_token(token).await
    }
    async fn keys(&self) -> Result<Vec<StoredKey>, LoadError> {
        self.store.keys().await
    }
    async fn revocations_after(&self, sequence: u64) -> Result<(Vec<Revocation>, u64), LoadError> {
        self.store.revocations_after(sequence).await
    }
    async fn version(&self) -> Result<u64, LoadError> {
        self.store.version().await
    }
}
