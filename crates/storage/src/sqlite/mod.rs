//! The store on SQLite: one file, any number of processes.

mod apply;
mod check;
pub(crate) mod migrations;
pub(crate) mod open;
mod query;
mod readers;
mod rows;
#[cfg(test)]
mod tests;
mod values;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
use rusqlite::Connection;

pub use self::open::OpenError;
use self::readers::Readers;
use self::writer::Writer;
use crate::store::{CommitError, Committed, LoadError, Store};

/// A [`Store`] in a SQLite database. Dropping it finishes what is waiting and closes the file.
pub struct SqliteStore {
    // In this order: the last connection to close moves the log into the database and removes it.
    readers: Readers,
    watch: Arc<Mutex<Connection>>,
    writer: Writer,
    /// Last: others are kept out, or told that they are not alone, until everything is closed.
    _in_use: std::fs::File,
}

impl SqliteStore {
    /// Starts on the database at `path`, through a connection that [`open::inspect`] approved; applies
    /// migrations that are missing.
    pub(crate) fn start(
        path: &Path,
        inspected: Connection,
        in_use: std::fs::File,
    ) -> Result<Self, OpenError> {
        let writer = open::ready_writer(inspected)?;
        Ok(Self {
            readers: Readers::open(path)?,
            watch: Arc::new(Mutex::new(open::reader(path)?)),
            writer: Writer::start(writer).map_err(|_| OpenError::Failed("no thread can be started"))?,
            _in_use: in_use,
        })
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        self.writer.commit(unit).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, LoadError> {
        self.readers.read(move |c| query::user(c, id)).await
    }

    async fn user_by_name(&self, username: &str) -> Result<Option<User>, LoadError> {
        let username = username.to_owned();
        self.readers
            .read(move |c| query::user_by_name(c, &username))
            .await
    }

    async fn users(&self) -> Result<Vec<User>, LoadError> {
        self.readers.read_many(query::users).await
    }

    async fn setup_link(&self, token: Digest) -> Result<Option<(SetupLink, User)>, LoadError> {
        self.readers.read(move |c| query::setup_link(c, token)).await
    }

    async fn session(&self, id: Digest) -> Result<Option<(Session, User)>, LoadError> {
        self.readers.read(move |c| query::session(c, id)).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>, LoadError> {
        let id = id.clone();
        self.readers.read(move |c| query::client(c, &id)).await
    }

    async fn client_and_sequence(&self, id: &ClientId) -> Result<(Option<Client>, u64), LoadError> {
        let id = id.clone();
        self.readers
            .read(move |c| Ok((query::client(c, &id)?, query::revocation_sequence(c)?)))
            .await
    }

    async fn clients(&self) -> Result<Vec<Client>, LoadError> {
        self.readers.read_many(query::clients).await
    }

    async fn decision(&self, nonce: Digest) -> Result<Option<Decision>, LoadError> {
        self.readers.read(move |c| query::decision(c, nonce)).await
    }

    async fn grant(
        &self,
        user: UserId,
        client: &ClientId,
        redirect_host: &str,
        resource: &ResourceUri,
    ) -> Result<Option<Grant>, LoadError> {
        let (client, redirect_host, resource) = (client.clone(), redirect_host.to_owned(), resource.clone());
        self.readers
            .read(move |c| query::grant(c, user, &client, &redirect_host, &resource))
            .await
    }

    async fn grant_by_id(&self, id: GrantId) -> Result<Option<Grant>, LoadError> {
        self.readers.read(move |c| query::grant_by_id(c, id)).await
    }

    async fn grants_of_client(&self, client: &ClientId) -> Result<Vec<Grant>, LoadError> {
        let client = client.clone();
        self.readers
            .read_many(move |c| query::grants_of_client(c, &client))
            .await
    }

    async fn code(&self, code: Digest) -> Result<Option<Code>, LoadError> {
        self.readers.read(move |c| query::code(c, code)).await
    }

    async fn code_facts(&self, code: Digest) -> Result<Option<CodeFacts>, LoadError> {
        self.readers.read(move |c| query::code_facts(c, code)).await
    }

    async fn grants(&self, filter: GrantFilter) -> Result<Vec<GrantFacts>, LoadError> {
        self.readers.read_many(move |c| query::grants(c, &filter)).await
    }

    async fn families_of_user(&self, user: UserId) -> Result<Vec<Family>, LoadError> {
        self.readers.read(move |c| query::families_of_user(c, user)).await
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, LoadError> {
        self.readers.read(move |c| query::sessions_of(c, user)).await
    }

    async fn authenticators(&self) -> Result<Vec<Authenticator>, LoadError> {
        self.readers.read_many(query::authenticators).await
    }

    async fn authenticators_of(&self, user: UserId) -> Result<Vec<Authenticator>, LoadError> {
        self.readers
            .read(move |c| query::authenticators_of(c, user))
            .await
    }

    async fn authenticator_by_lookup(
        &self,
        lookup: Digest,
    ) -> Result<Option<(Authenticator, User)>, LoadError> {
        self.readers
            .read(move |c| query::authenticator_by_lookup(c, lookup))
            .await
    }

    async fn replay(&self, key: Digest) -> Result<Option<Replay>, LoadError> {
        self.readers.read(move |c| query::replay(c, key)).await
    }

    async fn device_authorization(
        &self,
        device_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError> {
        self.readers
            .read(move |c| query::device_authorization(c, device_code))
            .await
    }

    async fn device_authorization_by_user_code(
        &self,
        user_code: Digest,
    ) -> Result<Option<DeviceAuthorization>, LoadError> {
        self.readers
            .read(move |c| query::device_authorization_by_user_code(c, user_code))
            .await
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        let name = name.to_owned();
        self.readers.read(move |c| query::meta(c, &name)).await
    }

    async fn family(&self, id: FamilyId) -> Result<Option<FamilyFacts>, LoadError> {
        self.readers.read(move |c| query::family(c, id)).await
    }

    async fn refresh_token(&self, token: Digest) -> Result<Option<RefreshFacts>, LoadError> {
        self.readers.read(move |c| query::refresh_token(c, token)).await
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, LoadError> {
        self.readers.read(query::keys).await
    }

    async fn revocations_after(&self, sequence: u64) -> Result<(Vec<Revocation>, u64), LoadError> {
        self.readers
            .read_many(move |c| query::revocations_after(c, sequence))
            .await
    }

    /// `PRAGMA data_version` of one connection that is kept for it and never writes: it changes with every
    /// commit of any other connection, our writer's and other processes' alike.
    async fn version(&self) -> Result<u64, LoadError> {
        let watch = Arc::clone(&self.watch);
        let look = move || {
            let watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(version)) => Ok(u64::try_from(version).unwrap_or(0)),
            Ok(Err(error)) => Err(LoadError::Unavailable(open::describe(&error).into())),
            Err(_) => Err(LoadError::Unavailable("a look-up stopped by a defect".into())),
        }
    }
}
