//! What people see on their account page and undo there; the units are also those of `doorward grant revoke`.
//!
//! | ends | rows | feed |
//! |---|---|---|
//! | one chain of an app | the chain is revoked | the chain |
//! | an app | its consent records with codes, chains and device codes | each of its live chains |
//! | a browser | its session | – (a session is looked up on every request) |
//! | everything | sessions, consent records with all under them | the user |
//!
//! Every unit is durable before anybody is told, and in force at this node when the commit returns.

use std::time::Duration;

use doorward_oauth::form::Form;
use doorward_records::account::{Session, User};
use doorward_records::facts::GrantFacts;
use doorward_records::grant::Family;
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId};
use doorward_types::time::UnixTime;

use crate::administer;
use crate::settings::Lifetimes;

/// What a person ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// One chain of tokens: an app on one device, as a rule.
    Chain(FamilyId),
    /// An app, with everything it was allowed.
    Client(ClientId),
    /// A browser that is signed in.
    Browser(Digest),
    /// Every app and every browser, this one too.
    Everything,
}

/// The form says nothing that can be ended, or something that is none of this person's: the same answer, so that
/// nobody learns what others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing of this account has that id")]
pub struct NotThere;

impl Ending {
    /// Reads `what` and `id`, from a form or a query string.
    pub fn parse(form: &Form) -> Result<Self, NotThere> {
        if form.repeated(&[]).is_some() {
            return Err(NotThere);
        }
        let id = form.get("id").unwrap_or_default();
        match form.get("what") {
            Some("chain") => id.parse().map(Self::Chain).map_err(|_| NotThere),
            Some("client") if !id.is_empty() => Ok(Self::Client(ClientId::new(id))),
            Some("browser") => id.parse().map(Self::Browser).map_err(|_| NotThere),
            Some("everything") => Ok(Self::Everything),
            _ => Err(NotThere),
        }
    }

    /// As [`Ending::parse`] reads it: `what` and `id`.
    #[must_use]
    pub fn fields(&self) -> (&'static str, String) {
        match self {
            Self::Chain(family) => ("chain", family.to_string()),
            Self::Client(client) => ("client", client.to_string()),
            Self::Browser(session) => ("browser", session.to_string()),
            Self::Everything => ("everything", String::new()),
        }
    }
}

/// Everything that belongs to a person, from a moment ago.
#[derive(Clone, Debug)]
pub struct AccountFacts {
    /// Who.
    pub user: User,
    /// Their consent records with the live chains under them.
    pub grants: Vec<GrantFacts>,
    /// Where they are signed in.
    pub sessions: Vec<Session>,
}

impl AccountFacts {
    /// The consent records of one app.
    pub fn of_client<'a>(&'a self, client: &'a ClientId) -> impl Iterator<Item = &'a GrantFacts> {
        self.grants
            .iter()
            .filter(move |facts| facts.grant.client == *client)
    }

    /// A live chain.
    #[must_use]
    pub fn chain(&self, id: FamilyId) -> Option<&Family> {
        let all = self.grants.iter().flat_map(|facts| &facts.families);
        all.into_iter().find(|family| family.id == id)
    }

    /// A session.
    #[must_use]
    pub fn browser(&self, id: Digest) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }
}

/// Ends what a person chose, if it is theirs. To be committed before anything is said; on a conflict load again.
pub fn end(
    ending: &Ending,
    facts: &AccountFacts,
    lifetimes: &Lifetimes,
    now: UnixTime,
) -> Result<Unit, NotThere> {
    match ending {
        Ending::Chain(id) => {
            let family = facts.chain(*id).ok_or(NotThere)?;
            Ok(end_chain(family, lifetimes.revocation(), now))
        }
        Ending::Client(client) => {
            let grants: Vec<&GrantFacts> = facts.of_client(client).collect();
            if grants.is_empty() {
                return Err(NotThere);
            }
            Ok(end_grants(grants, lifetimes.revocation(), now))
        }
        Ending::Browser(id) => {
            let session = facts.browser(*id).ok_or(NotThere)?;
            Ok(Unit::default()
                .given(Precondition::SessionExists(session.id))
                .then(Write::DeleteSession(session.id)))
        }
        Ending::Everything => Ok(administer::revoke_user(&facts.user, lifetimes, now)),
    }
}

/// Ends one chain: no refresh any more, and its access tokens are refused. `kept` is how long the feed names it: at
/// least as long as its tokens can live.
#[must_use]
pub fn end_chain(family: &Family, kept: Duration, now: UnixTime) -> Unit {
    Unit::default()
        .given(Precondition::FamilyLive(family.id))
        .then(Write::RevokeFamily(family.id))
        .then(refused(Revoked::Family(family.id), kept, now))
}

/// Ends consent records with all that lives under them. A code or a device that is being redeemed at this moment
/// makes a chain that is not among the loaded ones: then the unit conflicts, and is decided anew with it.
#[must_use]
pub fn end_grants<'a>(
    grants: impl IntoIterator<Item = &'a GrantFacts>,
    kept: Duration,
    now: UnixTime,
) -> Unit {
    let mut unit = Unit::default();
    for facts in grants {
        let id = facts.grant.id;
        let mut families: Vec<FamilyId> = facts.families.iter().map(|family| family.id).collect();
        families.sort_unstable();
        for family in &families {
            unit = unit.then(refused(Revoked::Family(*family), kept, now));
        }
        unit = unit
            .given(Precondition::GrantExists(id))
            .given(Precondition::LiveFamiliesOfGrantAre(id, families))
            .then(Write::DeleteGrant(id));
    }
    unit
}

fn refused(revoked: Revoked, kept: Duration, now: UnixTime) -> Write {
    Write::AppendRevocation {
        revoked,
        at: now,
        expires: now.plus(kept),
    }
}

#[cfg(test)]
mod tests;
