//! Stores that are another store, and do something more when a unit is committed.

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
use doorward_records::replay::Replay;
use doorward_records::revocation::Revocation;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, UserId};
use doorward_types::url::ResourceUri;

use crate::store::{CommitError, Committed, LoadError, Store};

/// A store around another one. Look-ups go through; [`Store::commit`] is [`Decorated::commit_around`].
#[async_trait]
pub trait Decorated: Send + Sync + 'static {
    /// The store inside.
    fn inner(&self) -> &dyn Store;

    /// What a commit does: to be written with `self.inner().commit(unit)` in it.
    async fn commit_around(&self, unit: Unit) -> Result<Committed, CommitError>;
}

#[async_trait]
impl<Around: Decorated> Store for Around {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        self.commit_around(unit).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, LoadError> {
        self.inner().user(id).await
    }

    async fn user_by_name(&self, username: &str) -> Result<Option<User>, LoadError> {
        self.inner().user_by_name(username).await
    }

    async fn users(&self) -> Result<Vec<User>, LoadError> {
        self.inner().users().await
    }

    async fn setup_link(&self, token: Digest) -> Result<Option<(SetupLink, User)>, LoadError> {
        self.inner().setup_link(token).await
    }

    async fn session(&self, id: Digest) -> Result<Option<(Session, User)>, LoadError> {
        self.inner().session(id).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>, LoadError> {
        self.inner().client(id).await
    }

    async fn client_and_sequence(&self, id: &ClientId) -> Result<(Option<Client>, u64), LoadError> {
        self.inner().client_and_sequence(id).await
    }

    async fn clients(&self) -> Result<Vec<Client>, LoadError> {
        self.inner().clients().await
    }

    async fn decision(&self, nonce: Digest) -> Result<Option<Decision>, LoadError> {
        self.inner().decision(nonce).await
    }

    async fn grant(
        &self,
        user: UserId,
        client: &ClientId,
        redirect_host: &str,
        resource: &ResourceUri,
    ) -> Result<Option<Grant>, LoadError> {
        self.inner().grant(user, client, redirect_host, resource).await
    }

    async fn grant_by_id(&self, id: GrantId) -> Result<Option<Grant>, LoadError> {
        self.inner().grant_by_id(id).await
    }

    async fn grants_of_client(&self, client: &ClientId) -> Result<Vec<Grant>, LoadError> {
        self.inner().grants_of_client(client).await
    }

    async fn code(&self, code: Digest) -> Result<Option<Code>, LoadError> {
        self.inner().code(code).await
    }

    async fn code_facts(&self, code: Digest) -> Result<Option<CodeFacts>, LoadError> {
        self.inner().code_facts(code).await
    }

    async fn grants(&self, filter: GrantFilter) -> Result<Vec<GrantFacts>, LoadError> {
        self.inner().grants(filter).await
    }

    async fn families_of_user(&self, user: UserId) -> Result<Vec<Family>, LoadError> {
        self.inner().families_of_user(user).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, LoadError> {
        self.inner().sessions_of(user).await
    }

    async fn authenticators(&self) -> Result<Vec<Authenticator>, LoadError> {
        self.inner().authenticators().await
    }

    async fn authenticators_of(&self, user: UserId) -> Result<Vec<Authenticator>, LoadError> {
        self.inner().authenticators_of(user).await
    }

    async fn authenticator_by_lookup(
        &self,
        lookup: Digest,
    ) -> Result<Option<(Authenticator, User)>, LoadError> {
        self.inner().authenticator_by_lookup(lookup).await
    }

    async fn replay(&self, key: Digest) -> Result<Option<Replay>, LoadError> {
        self.inner().replay(key).await
    }

    async fn device_authorization(
        &self,
        device_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError> {
        self.inner().device_authorization(device_code).await
    }

    async fn device_authorization_by_user_code(
        &self,
        user_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError> {
        self.inner().device_authorization_by_user_code(user_code).await
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        self.inner().meta(name).await
    }

    async fn family(&self, id: FamilyId) -> Result<Option<FamilyFacts>, LoadError> {
        self.inner().family(id).await
    }

    async fn refresh_token(&self, token: Digest) -> Result<Option<RefreshFacts>, LoadError> {
        self.inner().refresh_token(token).await
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, LoadError> {
        self.inner().keys().await
    }

    async fn revocations_after(&self, sequence: u64) -> Result<(Vec<Revocation>, u64), LoadError> {
        self.inner().revocations_after(sequence).await
    }

    async fn version(&self) -> Result<u64, LoadError> {
        self.inner().version().await
    }
}
