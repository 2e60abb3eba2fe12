//! The [`Store`] trait and its errors.

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

/// Why a look-up failed. Nothing is known then, so callers refuse (`503`).
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database did not answer: locked, full, gone, broken.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
    /// A row does not mean anything to this version.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
}

/// Why a unit was not applied. Nothing of it happened.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A precondition did not hold, or an inserted row was there: load again, decide again.
    #[error("the rows changed in between")]
    Conflict,
    /// The database did not answer, or could not make it durable.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
}

/// What a commit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The highest revocation sequence number after this unit.
    pub revocation_sequence: u64,
    /// Whether a sweep left something for the next one: it takes a bounded part at a time.
    pub more_to_sweep: bool,
}

/// Where everything is kept. Look-ups see one consistent state each.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies a unit in one durable transaction. When this returns `Ok`, a crash loses nothing of it.
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError>;

    /// A user by id.
    async fn user(&self, id: UserId) -> Result<Option<User>, LoadError>;
    /// A user by name.
    async fn user_by_name(&self, username: &str) -> Result<Option<User>, LoadError>;
    /// All users by name.
    async fn users(&self) -> Result<Vec<User>, LoadError>;
    /// A setup link with its user.
    async fn setup_link(&self, token: Digest) -> Result<Option<(SetupLink, User)>, LoadError>;
    /// A session with its user.
    async fn session(&self, id: Digest) -> Result<Option<(Session, User)>, LoadError>;
    /// A client.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, LoadError>;
    /// A client, and the highest sequence number of the revocation feed at the same moment.
    async fn client_and_sequence(&self, id: &ClientId) -> Result<(Option<Client>, u64), LoadError>;
    /// All clients, newest first.
    async fn clients(&self) -> Result<Vec<Client>, LoadError>;
    /// The answer to a consent page.
    async fn decision(&self, nonce: Digest) -> Result<Option<Decision>, LoadError>;
    /// A consent record by what makes it unique.
    async fn grant(
        &self,
        user: UserId,
        client: &ClientId,
        redirect_host: &str,
        resource: &ResourceUri,
    ) -> Result<Option<Grant>, LoadError>;
    /// A consent record by id.
    async fn grant_by_id(&self, id: GrantId) -> Result<Option<Grant>, LoadError>;
    /// All consent records of a client.
    async fn grants_of_client(&self, client: &ClientId) -> Result<Vec<Grant>, LoadError>;
    /// A code.
    async fn code(&self, code: Digest) -> Result<Option<Code>, LoadError>;
    /// A code and what redeeming it depends on.
    async fn code_facts(&self, code: Digest) -> Result<Option<CodeFacts>, LoadError>;
    /// Consent records with their live families, by id.
    async fn grants(&self, filter: GrantFilter) -> Result<Vec<GrantFacts>, LoadError>;
    /// A user's live families, by id.
    async fn families_of_user(&self, user: UserId) -> Result<Vec<Family>, LoadError>;
    /// A user's sessions, by id.
    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, LoadError>;
    /// All authenticators, by id.
    async fn authenticators(&self) -> Result<Vec<Authenticator>, LoadError>;
    /// A user's authenticators, by id: oldest first.
    async fn authenticators_of(&self, user: UserId) -> Result<Vec<Authenticator>, LoadError>;
    /// An authenticator by what it is found by, with its user.
    async fn authenticator_by_lookup(
        &self,
        lookup: Digest,
    ) -> Result<Option<(Authenticator, User)>, LoadError>;
    /// A used name.
    async fn replay(&self, key: Digest) -> Result<Option<Replay>, LoadError>;
    /// A device authorization by what the device polls with.
    async fn device_authorization(
        &self,
        device_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError>;
    /// A device authorization by what the person types.
    async fn device_authorization_by_user_code(
        &self,
        user_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError>;
    /// A note.
    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError>;
    /// A family and what it depends on.
    async fn family(&self, id: FamilyId) -> Result<Option<FamilyFacts>, LoadError>;
    /// A refresh token and its chain.
    async fn refresh_token(&self, token: Digest) -> Result<Option<RefreshFacts>, LoadError>;
    /// All keys, newest first.
    async fn keys(&self) -> Result<Vec<StoredKey>, LoadError>;
    /// Revocations after `sequence`, in order, and the highest sequence number ever given out.
    async fn revocations_after(&self, sequence: u64) -> Result<(Vec<Revocation>, u64), LoadError>;
    /// A number that changes when another process (or this one) commits. Cheap: for polling.
    async fn version(&self) -> Result<u64, LoadError>;
}
