//! What the account page shows of a person's rows.

use doorward_authorization_server::account::AccountFacts;
use doorward_authorization_server::device::NO_REDIRECT;
use doorward_authorization_server::settings::{Lifetimes, Settings};
use doorward_policy::ProtectedServer;
use doorward_records::account::Session;
use doorward_records::client::{Client, ClientOrigin};
use doorward_records::facts::GrantFacts;
use doorward_records::grant::{Family, Grant};
use doorward_types::id::ClientId;
use doorward_types::scope::Scope;
use doorward_types::time::UnixTime;
use url::Url;

use crate::pages::consent::client_name;
use crate::scope_view::description;
use crate::session::SignedIn;
use crate::text::{LONG, SHORT, shown};
use crate::when::ShownTime;

/// So many sign-ins of one consent record, and so many browsers, are listed; the rest is counted.
const LISTED: usize = 20;

/// An app that may do something for the person.
pub(super) struct ShownApp {
    /// Where ending it is asked about.
    pub(super) end: String,
    /// Its id, fit to be shown.
    pub(super) shown_id: String,
    /// How it calls itself.
    pub(super) name: String,
    /// Who says that this is its name.
    pub(super) vouched: String,
    /// What it may do, where.
    pub(super) uses: Vec<ShownUse>,
}

/// One consent record.
pub(super) struct ShownUse {
    pub(super) server: String,
    pub(super) resource: String,
    pub(super) goes_to: String,
    /// It goes to no address, but to a device on which a code was read.
    pub(super) by_code: bool,
    /// Scopes in words.
    pub(super) may: Vec<String>,
    pub(super) first_approved: ShownTime,
    pub(super) last_used: Option<ShownTime>,
    pub(super) chains: Vec<ShownChain>,
    pub(super) older: usize,
}

/// One live chain of tokens.
pub(super) struct ShownChain {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) created: ShownTime,
    pub(super) last_used: ShownTime,
}

/// A browser that is signed in.
pub(super) struct ShownBrowser {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) since: ShownTime,
    pub(super) this: bool,
}

/// The apps, the one with the newest approval first.
pub(super) fn apps(
    settings: &Settings,
    facts: &AccountFacts,
    clients: &[Client],
    now: UnixTime,
) -> Vec<ShownApp> {
    let mut ids: Vec<&ClientId> = Vec::new();
    for found in &facts.grants {
        if !ids.contains(&&found.grant.client) {
            ids.push(&found.grant.client);
        }
    }
    let app = |id: &ClientId| {
        let client = clients.iter().find(|client| client.id == *id);
        let uses = facts.of_client(id).map(|facts| shown_use(settings, facts, now));
        ShownApp {
            end: end_link(id),
            shown_id: shown(id.as_str(), LONG),
            name: app_name(client),
            vouched: vouched(client, id),
            uses: uses.collect(),
        }
    };
    ids.into_iter().map(app).collect()
}

/// A client id may hold anything that a URL does.
fn end_link(id: &ClientId) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("what", "client")
        .append_pair("id", id.as_str())
        .finish();
    format!("/account/end?{query}")
}

/// How an app calls itself.
pub(super) fn app_name(client: Option<&Client>) -> String {
    client_name(client.and_then(|client| client.metadata.client_name.as_deref()))
}

/// Who says that an app is what it calls itself, as a sentence without its full stop.
pub(crate) fn vouched(client: Option<&Client>, id: &ClientId) -> String {
    match client.map(|client| client.origin) {
        Some(ClientOrigin::MetadataDocument) => {
            let url = Url::parse(id.as_str()).ok();
            let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
            format!("{} describes it under this name", shown(host, SHORT))
        }
        Some(ClientOrigin::Operator | ClientOrigin::Configured) => {
            "Whoever runs this site added it under this name".into()
        }
        _ => "It chose this name itself; nobody vouches for it".into(),
    }
}

fn shown_use(settings: &Settings, facts: &GrantFacts, now: UnixTime) -> ShownUse {
    let grant = &facts.grant;
    let server = settings.server(&grant.resource);
    let may = may(server, grant);
    let mut live: Vec<&Family> = facts
        .families
        .iter()
        .filter(|family| lives(family, &settings.lifetimes, now))
        .collect();
    live.sort_by_key(|family| std::cmp::Reverse(family.last_used));
    let last = live.first().map(|family| ShownTime::new(family.last_used, now));
    ShownUse {
        server: server.map_or_else(
            || "A server that is not here any more".into(),
            |server| shown(server.name.as_str(), SHORT),
        ),
        resource: shown(grant.resource.as_str(), LONG),
        by_code: grant.redirect_host == NO_REDIRECT,
        goes_to: if grant.redirect_host == NO_REDIRECT {
            "the device on which you read a code".into()
        } else {
            shown(&grant.redirect_host, SHORT)
        },
        may,
        first_approved: ShownTime::new(grant.created, now),
        last_used: last,
        older: live.len().saturating_sub(LISTED),
        chains: live
            .iter()
            .take(LISTED)
            .map(|family| chain(family, now))
            .collect(),
    }
}

/// What a consent record stands for today, in words: also what its scopes imply, and what became of those that the
/// server does not have any more.
fn may(server: Option<&ProtectedServer>, grant: &Grant) -> Vec<String> {
    let gone = |scope: &Scope| format!("{} (nothing any more)", shown(scope.as_str(), SHORT));
    let Some(server) = server else {
        return grant.scopes.iter().map(gone).collect();
    };
    let closure = server.scopes.closure(&grant.scopes);
    let entries = server.scopes.entries().iter();
    let opened = entries.filter(|entry| closure.contains(&entry.scope));
    let lost = grant
        .scopes
        .iter()
        .filter(|scope| server.scopes.get(scope).is_none());
    opened.map(description).chain(lost.map(gone)).collect()
}

/// Whether it can still be refreshed; storage forgets the others only from time to time.
fn lives(family: &Family, lifetimes: &Lifetimes, now: UnixTime) -> bool {
    !family.revoked
        && now < family.last_used.plus(lifetimes.refresh_idle)
        && now < family.created.plus(lifetimes.refresh_absolute)
}

fn chain(family: &Family, now: UnixTime) -> ShownChain {
    ShownChain {
        id: family.id.to_string(),
        device: device(family.device.as_deref(), "A device that did not say what it is"),
        created: ShownTime::new(family.created, now),
        last_used: ShownTime::new(family.last_used, now),
    }
}

/// The words for a device, or words for none.
pub(super) fn device(text: Option<&str>, absent: &str) -> String {
    let text = shown(text.unwrap_or_default(), SHORT);
    if text.is_empty() { absent.into() } else { text }
}

/// The browsers, this one first, and how many more there are.
pub(super) fn browsers(
    facts: &AccountFacts,
    signed_in: &SignedIn,
    now: UnixTime,
) -> (Vec<ShownBrowser>, usize) {
    let mut all: Vec<&Session> = facts.sessions.iter().collect();
    let this = |session: &Session| session.id == signed_in.session.id;
    all.sort_by_key(|session| (!this(session), std::cmp::Reverse(session.authenticated_at)));
    let shown = all.iter().take(LISTED).map(|session| ShownBrowser {
        id: session.id.to_string(),
        device: device(session.device.as_deref(), "A browser"),
        since: ShownTime::new(session.authenticated_at, now),
        this: this(session),
    });
    (shown.collect(), all.len().saturating_sub(LISTED))
}
