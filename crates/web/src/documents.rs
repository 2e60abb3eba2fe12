//! Clients that are known by the URL of their metadata document: when it is fetched, and what is done with
//! what came. The rules are [`client_metadata`]'s.

use std::sync::Arc;
use std::time::Duration;

use doorward_authorization_server::PageProblem;
use doorward_authorization_server::client_metadata::{self, Accepted, FetchedDocument, Standing};
use doorward_jose::{JwkSet, JwkSetError};
use doorward_limits::{Limiter, Quota};
use doorward_oauth::client_metadata::ClientIdUrl;
use doorward_outbound::{Destination, Fetch, FetchError, JwksCache};
use doorward_records::client::{Client, ClientOrigin, ClientStatus};
use doorward_storage::{CommitError, LoadError};
use doorward_types::id::{ClientId, KeyId, UserId};
use doorward_types::time::Clock;

use crate::commit::Unavailable;
use crate::pages::message::Problem;
use crate::state::WebState;

/// Documents that one person can make us fetch within [`PER`].
const PER_PERSON: u32 = 30;
const PER: Duration = Duration::from_secs(60);
/// People whose fetches are counted.
const PEOPLE: usize = 10_000;
/// How often a copy is stored anew when the row changes meanwhile.
const ROUNDS: u32 = 4;
/// How long a program that wants a token waits for a stale copy to be renewed; then the last good one does.
const RENEWAL: Duration = Duration::from_millis(1500);

/// Why there are no keys to check a client's signature with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    /// It registered none.
    #[error("the client has no keys")]
    None,
    /// It waits for the operator or is switched off: nobody is knocked on for it.
    #[error("the client is not approved, so its keys are not fetched")]
    NotApproved,
    /// Its key set could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Its inline key set is not one.
    #[error(transparent)]
    Set(#[from] JwkSetError),
}

/// The way to documents and key sets of clients.
pub(crate) struct Documents {
    fetch: Arc<dyn Fetch>,
    keys: JwksCache,
    per_person: Limiter<UserId>,
    named: Destination,
}

impl Documents {
    /// Over `fetch`. `on_loopback`: this server is only reached over loopback, so that documents may be there,
    /// too (draft section 6.5).
    pub(crate) fn new(fetch: Arc<dyn Fetch>, clock: &Arc<dyn Clock>, on_loopback: bool) -> Self {
        let quota = Quota {
            burst: PER_PERSON,
            per: PER,
            capacity: PEOPLE,
        };
        Self {
            keys: JwksCache::new(Arc::clone(&fetch), Arc::clone(clock)),
            per_person: Limiter::new(quota, Arc::clone(clock)),
            fetch,
            named: Destination::Named {
                by_loopback_peer: on_loopback,
            },
        }
    }

    /// The client of an authorization request for somebody who is signed in: its document is fetched if there is
    /// no fresh copy of it. There is no way back to a copy that is not fresh: what people are shown is what
    /// stands there now.
    pub(crate) async fn for_person(
        &self,
        state: &WebState,
        id: &ClientId,
        person: UserId,
    ) -> Result<Option<Client>, Problem> {
        let cached = state.store().client(id).await?;
        let url = match client_metadata::standing(state.settings(), id, cached.as_ref(), state.now()) {
            Standing::AsLoaded => return Ok(cached),
            Standing::Refused(problem) => return Err(problem.into()),
            Standing::Fetch(url) => url,
        };
        if self.per_person.check(&person).is_err() {
            let client = id.as_str();
            tracing::warn!(?client, user = %person, "client document: too many by one person, not fetched");
            return Err(PageProblem::DocumentUnread("too many by one person".into()).into());
        }
        match self.renew(state, &url, cached).await? {
            Ok(client) => Ok(Some(client)),
            Err(problem) => Err(problem.into()),
        }
    }

    /// The client of a program's request (token, revocation, …). What is not cached is not fetched: nobody signed
    /// in. A stale copy is renewed in the background of a short wait; while its source does not answer the last
    /// good copy holds for a day, and then the client is unknown.
    pub(crate) async fn current(&self, state: &WebState, id: &ClientId) -> Result<Option<Client>, LoadError> {
        let cached = state.store().client(id).await?;
        let Some(client) = cached else {
            return Ok(None);
        };
        if client.origin != ClientOrigin::MetadataDocument {
            return Ok(Some(client));
        }
        let (settings, now) = (state.settings(), state.now());
        let standing = client_metadata::standing(settings, id, Some(&client), now);
        let client = match standing {
            Standing::Fetch(url) => {
                let (of, known) = (state.clone(), client.clone());
                let renewal = tokio::spawn(async move { of.documents().renew(&of, &url, Some(known)).await });
                match tokio::time::timeout(RENEWAL, renewal).await {
                    Ok(Ok(Ok(Ok(renewed)))) => renewed,
                    _ => client,
                }
            }
            Standing::AsLoaded | Standing::Refused(_) => client,
        };
        Ok(Some(client).filter(|client| client_metadata::is_usable(settings, client, now)))
    }

    /// The keys that a client signs its assertions with: those it registered, or those at its `jwks_uri`.
    /// `wanted` is the key id that the assertion names.
    pub(crate) async fn keys_of(
        &self,
        client: &Client,
        wanted: Option<&KeyId>,
    ) -> Result<Arc<JwkSet>, KeysError> {
        let metadata = &client.metadata;
        if let Some(inline) = &metadata.jwks {
            return Ok(Arc::new(JwkSet::parse(inline.as_bytes())?));
        }
        let url = metadata.jwks_uri.as_deref().ok_or(KeysError::None)?;
        if client.status != ClientStatus::Approved {
            return Err(KeysError::NotApproved);
        }
        let destination = match client.origin {
            ClientOrigin::Operator | ClientOrigin::Configured => Destination::Configured,
            ClientOrigin::Dynamic | ClientOrigin::Confidential | ClientOrigin::MetadataDocument => self.named,
        };
        Ok(self.keys.keys(url, destination, wanted).await?)
    }

    /// Fetches, judges and stores.
    async fn renew(
        &self,
        state: &WebState,
        url: &ClientIdUrl,
        mut cached: Option<Client>,
    ) -> Result<Result<Client, PageProblem>, Unavailable> {
        let client = url.as_str();
        let fetched = match self.fetch.fetch(url.url(), self.named).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let problem = PageProblem::DocumentUnread(error.to_string());
                let rule = problem.requirement().id;
                tracing::warn!(rule, ?client, reason = ?error.to_string(), "client document: not read");
                return Ok(Err(problem));
            }
        };
        let id = ClientId::new(client);
        for _ in 0..ROUNDS {
            let document = FetchedDocument {
                body: &fetched.body,
                fresh_for: fetched.fresh_for,
            };
            let accepted =
                client_metadata::accept(state.settings(), url, document, cached.as_ref(), state.now());
            let Accepted { unit, client: stored } = match accepted {
                Ok(accepted) => accepted,
                Err(problem) => {
                    let rule = problem.requirement().id;
                    tracing::warn!(rule, ?client, reason = ?problem.to_string(), "client document: refused");
                    return Ok(Err(problem));
                }
            };
            match state.store().commit(unit).await {
                Ok(_) => {
                    tracing::info!(?client, status = ?stored.status, "client document: read");
                    return Ok(Ok(stored));
                }
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(Unavailable::Commit(error)),
            }
            let was_new = cached.is_none();
            cached = state.store().client(&id).await?;
            // Somebody else was first, with the same document or a later one.
            let standing = client_metadata::standing(state.settings(), &id, cached.as_ref(), state.now());
            if let (Standing::AsLoaded, Some(stored)) = (standing, &cached) {
                return Ok(Ok(stored.clone()));
            }
            if was_new && cached.is_none() {
                // Not the row: the number of clients without a grant is at its limit.
                let room = client_metadata::make_room(state.settings(), state.now());
                match state.store().commit(room).await {
                    Ok(_) | Err(CommitError::Conflict) => {}
                    Err(error) => return Err(Unavailable::Commit(error)),
                }
            }
        }
        Err(Unavailable::Contended)
    }
}
