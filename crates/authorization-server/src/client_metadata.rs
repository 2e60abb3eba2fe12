//! Clients whose id is the URL of their metadata document (draft-ietf-oauth-client-id-metadata-document).
//!
//! A row of such a client is a copy. The shell asks [`standing`] what to do about a client id; if the answer is
//! to fetch, it does so **after** somebody signed in, and [`accept`] judges what came and says what to store.
//! What does not pass is stored nowhere, and never takes the place of a good copy.

use std::time::Duration;

use doorward_oauth::client_metadata::{Authentication, ClientIdUrl, ClientMetadataDocument, is_url};
use doorward_oauth::redirect::{RedirectKind, RedirectUri};
use doorward_records::client::{CachedDocument, Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::ClientId;
use doorward_types::time::UnixTime;

use crate::page::PageProblem;
use crate::settings::{RegistrationMode, Settings};

/// How long a copy is good when its source does not answer.
pub const LAST_GOOD: Duration = Duration::from_hours(24);
/// The longest that a copy is fresh, whatever its source says.
const LONGEST: Duration = Duration::from_hours(24);
/// The shortest: a source that forbids caching would be asked by every click.
const SHORTEST: Duration = Duration::from_secs(60);
/// What holds for a source that says nothing.
const UNSAID: Duration = Duration::from_mins(10);

/// What is done with a client id that is a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is used as the redirect rules of the registration policy say.
    Allow,
    /// It waits for `doorward client approve`.
    Ask,
    /// It is refused, unread.
    Deny,
}

/// Which hosts may vouch for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPolicy {
    /// Whether client ids may be URLs at all; advertised as `client_id_metadata_document_supported`.
    pub enabled: bool,
    /// Hosts whose clients are approved at once, wherever they redirect to.
    pub allow: Vec<HostPattern>,
    /// Hosts whose clients wait for approval.
    pub ask: Vec<HostPattern>,
    /// Hosts whose clients are refused.
    pub deny: Vec<HostPattern>,
    /// What holds for every other host.
    pub otherwise: Verdict,
}

impl Default for DocumentPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            allow: Vec::new(),
            ask: Vec::new(),
            deny: Vec::new(),
            otherwise: Verdict::Allow,
        }
    }
}

impl DocumentPolicy {
    /// The strictest list that names the host decides, then `otherwise`.
    fn verdict(&self, host: &str) -> Verdict {
        let named = |list: &[HostPattern]| list.iter().any(|pattern| pattern.holds(host));
        if named(&self.deny) {
            Verdict::Deny
        } else if named(&self.ask) {
            Verdict::Ask
        } else if named(&self.allow) {
            Verdict::Allow
        } else {
            self.otherwise
        }
    }

    /// Whether the operator named this host as one to allow.
    fn trusts(&self, host: &str) -> bool {
        self.verdict(host) == Verdict::Allow && self.allow.iter().any(|pattern| pattern.holds(host))
    }
}

/// A host name, or `*.` and a domain for every name below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

/// A text is not a host name in lower case, with or without `*.` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name such as app.example.com, or *.example.com for every name below one")]
pub struct NotAHostPattern;

impl HostPattern {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, NotAHostPattern> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let label = |label: &str| !label.is_empty() && label.len() < 64 && label.bytes().all(plain);
        if name.len() < 254 && name.split('.').all(label) {
            Ok(Self(text.into()))
        } else {
            Err(NotAHostPattern)
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn holds(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(tail) => host.len() > tail.len() && host.ends_with(tail),
            None => host == self.0,
        }
    }
}

/// What a client id is, before anything is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What was loaded decides: an ordinary client, or a copy that is fresh.
    AsLoaded,
    /// The document has to be fetched, once somebody is signed in.
    Fetch(ClientIdUrl),
    /// It goes no further.
    Refused(PageProblem),
}

/// Judges a client id. `cached` is the row under it.
#[must_use]
pub fn standing(settings: &Settings, id: &ClientId, cached: Option<&Client>, now: UnixTime) -> Standing {
    let preregistered = cached.is_some_and(|client| client.origin != ClientOrigin::MetadataDocument);
    if preregistered || !is_url(id.as_str()) {
        return Standing::AsLoaded;
    }
    let policy = &settings.client_metadata_documents;
    if !policy.enabled {
        return Standing::Refused(PageProblem::DocumentsOff);
    }
    let url = match ClientIdUrl::parse(id.as_str()) {
        Ok(url) => url,
        Err(error) => return Standing::Refused(PageProblem::DocumentAddress(error)),
    };
    if policy.verdict(url.host()) == Verdict::Deny {
        return Standing::Refused(PageProblem::DocumentHostDenied(url.host().into()));
    }
    let fresh = cached.is_some_and(|client| match &client.document {
        // Switched off by an operator: nothing that stands there could change that.
        _ if client.status == ClientStatus::Disabled => true,
        // A copy from the future was made before the clock was set back.
        Some(copy) => copy.fetched <= now && now < copy.fresh_until,
        None => false,
    });
    if fresh {
        Standing::AsLoaded
    } else {
        Standing::Fetch(url)
    }
}

/// Whether a copy may still be used where nobody is there to sign in (token endpoint): the source is asked
/// again when it is stale, and while it does not answer the last good copy holds for a day.
#[must_use]
pub fn is_usable(settings: &Settings, client: &Client, now: UnixTime) -> bool {
    if client.origin != ClientOrigin::MetadataDocument {
        return true;
    }
    let policy = &settings.client_metadata_documents;
    let allowed = |url: ClientIdUrl| policy.verdict(url.host()) != Verdict::Deny;
    let kept = |copy: &CachedDocument| copy.fetched <= now && now < copy.fetched.plus(LAST_GOOD);
    policy.enabled
        && ClientIdUrl::parse(client.id.as_str()).is_ok_and(allowed)
        && client.document.as_ref().is_some_and(kept)
}

/// A document that was just fetched.
#[derive(Clone, Copy, Debug)]
pub struct FetchedDocument<'a> {
    /// Its bytes.
    pub body: &'a [u8],
    /// How long it is fresh by its own headers, if they say so.
    pub fresh_for: Option<Duration>,
}

/// A document that passed: commit the unit, then go on with the client.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What to store. If it conflicts, somebody else stored a copy: load it.
    pub unit: Unit,
    /// The client as it is stored.
    pub client: Client,
}

/// Judges a document. `cached` is the row that was loaded under its URL.
pub fn accept(
    settings: &Settings,
    url: &ClientIdUrl,
    fetched: FetchedDocument<'_>,
    cached: Option<&Client>,
    now: UnixTime,
) -> Result<Accepted, PageProblem> {
    let schemes = &settings.registration.custom_schemes;
    let document =
        ClientMetadataDocument::parse(url, fetched.body, schemes).map_err(PageProblem::DocumentRefused)?;
    let status = status(settings, url, &document.redirect_uris);
    let fresh_for = fetched.fresh_for.unwrap_or(UNSAID).clamp(SHORTEST, LONGEST);
    let copy = CachedDocument {
        fetched: now,
        fresh_until: now.plus(fresh_for),
        jwks: None,
        jwks_fetched: None,
        jwks_fresh_until: None,
    };
    let metadata = metadata(document);
    Ok(match cached {
        Some(cached) => update(cached, metadata, copy, status),
        None => insert(settings, url, metadata, copy, status, now),
    })
}

fn update(
    cached: &Client,
    metadata: ClientMetadata,
    copy: CachedDocument,
    by_rule: ClientStatus,
) -> Accepted {
    let status = match cached.status {
        ClientStatus::Disabled => ClientStatus::Disabled,
        // An operator approved this URL, not this version of it.
        _ if cached.approved.is_some() => ClientStatus::Approved,
        _ => by_rule,
    };
    let client = Client {
        status,
        metadata,
        document: Some(copy),
        ..cached.clone()
    };
    let unit = Unit::default()
        .given(Precondition::ClientIs(cached.clone()))
        .then(Write::UpdateClient(client.clone()));
    Accepted { unit, client }
}

fn insert(
    settings: &Settings,
    url: &ClientIdUrl,
    metadata: ClientMetadata,
    copy: CachedDocument,
    status: ClientStatus,
    now: UnixTime,
) -> Accepted {
    let id = ClientId::new(url.as_str());
    let client = Client {
        tenant: settings.tenant.clone(),
        status,
        document: Some(copy),
        ..Client::new(id.clone(), ClientOrigin::MetadataDocument, metadata, now)
    };
    let unit = Unit::default()
        .given(Precondition::ClientAbsent(id))
        .given(Precondition::UngrantedClientsBelow(
            settings.registration.ungranted_limit,
        ))
        .then(Write::InsertClient(client.clone()));
    Accepted { unit, client }
}

/// Clients without a grant make room for a new copy, as they do for a registration.
#[must_use]
pub fn make_room(settings: &Settings, now: UnixTime) -> Unit {
    Unit::writes(vec![Write::ReapClients {
        before: now.minus(settings.registration.ungranted_minimum),
        limit: 100,
    }])
}

/// The redirect rules of registration hold for documents as well, unless the operator named the host.
fn status(settings: &Settings, url: &ClientIdUrl, redirects: &[RedirectUri]) -> ClientStatus {
    let policy = &settings.client_metadata_documents;
    let registration = &settings.registration;
    let known = |uri: &RedirectUri| match uri.kind() {
        RedirectKind::Loopback | RedirectKind::CustomScheme(_) => true,
        RedirectKind::Web(host) => registration.known_hosts.contains(host),
    };
    let approved = match policy.verdict(url.host()) {
        Verdict::Ask | Verdict::Deny => false,
        Verdict::Allow => {
            policy.trusts(url.host())
                || registration.mode == RegistrationMode::Open
                || redirects.iter().all(known)
        }
    };
    if approved {
        ClientStatus::Approved
    } else {
        ClientStatus::Pending
    }
}

/// In the same form as a registration's.
fn metadata(document: ClientMetadataDocument) -> ClientMetadata {
    let mut redirect_uris: Vec<String> = document
        .redirect_uris
        .iter()
        .map(|uri| uri.registered().into())
        .collect();
    redirect_uris.sort_unstable();
    redirect_uris.dedup();
    let (method, jwks, jwks_uri) = match document.authentication {
        Authentication::None => ("none", None, None),
        Authentication::Keys(set) => ("private_key_jwt", Some(set), None),
        Authentication::KeysAt(url) => ("private_key_jwt", None, Some(url)),
    };
    ClientMetadata {
        client_name: Some(document.client_name),
        client_uri: document.client_uri,
        grant_types: document.grant_types,
        token_endpoint_auth_method: method.into(),
        application_type: document.application_type,
        scope: document.scope,
        software_id: document.software_id,
        jwks,
        jwks_uri,
        token_endpoint_auth_signing_alg: document.signing_alg,
        ..ClientMetadata::public(redirect_uris)
    }
}

#[cfg(test)]
mod tests;
