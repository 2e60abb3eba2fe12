//! Who calls an endpoint for programs: loading what the rules need to tell, and slowing down who guesses.

use std::sync::Arc;
use std::time::Duration;

use doorward_authorization_server::call::CallRefusal;
use doorward_authorization_server::client_auth::{self, Authenticated, ClientAuthRefusal};
use doorward_limits::{Limiter, PeerAddress, Quota, Retry};
use doorward_oauth::client_auth::{Credential, Presented};
use doorward_records::client::{Client, ClientOrigin};
use doorward_storage::LoadError;
use doorward_types::digest::Digest;
use doorward_types::time::Clock;

use crate::commit::Unavailable;
use crate::state::WebState;

/// Failures that one client is allowed from one network within [`PER`].
const FAILURES: u32 = 20;
const PER: Duration = Duration::from_secs(60);
/// Pairs of client and network whose failures are counted.
const REMEMBERED: usize = 20_000;

/// Why a call goes no further.
#[derive(Debug)]
pub(crate) enum Refused {
    /// By a rule.
    Rule(CallRefusal),
    /// Because storage did not answer; nothing was changed.
    Storage(Unavailable),
}

impl From<CallRefusal> for Refused {
    fn from(refusal: CallRefusal) -> Self {
        Self::Rule(refusal)
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Self::Storage(error.into())
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::Storage(error)
    }
}

/// Counts failed authentications by client **and** network: whoever guesses slows down nobody but themselves, neither
/// other clients behind the same address nor the same client elsewhere.
pub(crate) struct Failures(Limiter<Digest>);

impl Failures {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let quota = Quota {
            burst: FAILURES,
            per: PER,
            capacity: REMEMBERED,
        };
        Self(Limiter::new(quota, Arc::clone(clock)))
    }

    fn key(presented: &Presented, peer: Option<PeerAddress>) -> Digest {
        let network = peer.map(|peer| peer.network().to_string()).unwrap_or_default();
        let client = presented.client_id().as_str();
        Digest::of_parts(&[network.as_bytes(), b"\0", client.as_bytes()])
    }
}

/// Authenticates the client of a call. `known` is the client if it was loaded already. Commit what follows with
/// [`Authenticated::using_up`].
pub(crate) async fn authenticate(
    state: &WebState,
    peer: Option<PeerAddress>,
    presented: &Presented,
    known: Option<&Client>,
) -> Result<Authenticated, Refused> {
    // Who shows nothing guesses nothing.
    let guess = !matches!(presented.credential(), Credential::None);
    let failures = &state.client_failures().0;
    let key = guess.then(|| Failures::key(presented, peer));
    if let Some(key) = &key
        && let Err(Retry(wait)) = failures.peek(key)
    {
        return Err(CallRefusal::TooMany(wait).into());
    }
    let judged = judge(state, presented, known).await;
    if let (Some(key), Err(Refused::Rule(_))) = (&key, &judged) {
        // Its last use of the quota may be this one: the answer stays the one of the rule.
        let _: Result<(), Retry> = failures.check(key);
    }
    judged
}

async fn judge(
    state: &WebState,
    presented: &Presented,
    known: Option<&Client>,
) -> Result<Authenticated, Refused> {
    let id = presented.client_id();
    let usable = |client: &&Client| client.id == *id && client.origin != ClientOrigin::MetadataDocument;
    let client = match known.filter(usable) {
        Some(client) => Some(client.clone()),
        None => state.documents().current(state, id).await?,
    };
    let keys = match (client_auth::wanted_key(presented, client.as_ref()), &client) {
        (Some(wanted), Some(client)) => match state.documents().keys_of(client, wanted.as_ref()).await {
            Ok(keys) => Some(keys),
            Err(error) => {
                tracing::warn!(client = ?id.as_str(), %error, "client authentication: no keys");
                None
            }
        },
        _ => None,
    };
    let (settings, now) = (state.settings(), state.now());
    let caller = client_auth::authenticate(settings, presented, client, keys.as_deref(), now)
        .map_err(CallRefusal::from)?;
    if let Some(replay) = caller.replay()
        && state.store().replay(replay.key).await?.is_some()
    {
        return Err(CallRefusal::from(ClientAuthRefusal::Replayed).into());
    }
    Ok(caller)
}
