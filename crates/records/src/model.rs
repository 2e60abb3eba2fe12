//! What applying a [`Unit`] means, as a pure value: the reference that every store is compared with, and
//! the database of the exhaustive exploration of the code and refresh rules.
//!
//! The rules that hold whatever the caller asks for, here and in every store:
//! - preconditions first, then writes in order; one that fails undoes the whole unit;
//! - an insert of a row that is there, or that breaks a uniqueness (user name, consent record, position
//!   in a chain, active key per purpose), is a conflict; so is one whose parent row is missing;
//! - an update of a row that is missing is a conflict; deleting, touching or revoking one is nothing;
//! - a code leaves [`CodeState::Open`] once and for all, a refresh token is rotated once, a denied or redeemed
//!   device authorization stays that: a second time is a conflict, whatever the preconditions said.

mod apply;
mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, ClientId, FamilyId, GrantId, KeyId, UserId};
use doorward_types::url::ResourceUri;

use crate::account::{Session, SetupLink, User};
use crate::authenticator::Authenticator;
use crate::client::Client;
use crate::code::Code;
#[cfg(doc)]
use crate::code::CodeState;
use crate::decision::Decision;
use crate::device::DeviceAuthorization;
use crate::facts::{CodeFacts, FamilyFacts, GrantFacts, GrantFilter, RefreshFacts};
use crate::grant::{Family, Grant};
use crate::key::StoredKey;
use crate::refresh::RefreshToken;
use crate::replay::Replay;
use crate::revocation::Revocation;
use crate::unit::Unit;

/// What an applied unit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Applied {
    /// The highest revocation sequence number after this unit.
    pub revocation_sequence: u64,
}

/// A precondition did not hold, or a write could not be made. Nothing of the unit happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the rows changed in between")]
pub struct Conflict;

/// Every row there is. Two tables with the same rows are equal and hash alike, so visited states can be
/// kept in a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tables {
    users: BTreeMap<UserId, User>,
    setup_links: BTreeMap<Digest, SetupLink>,
    sessions: BTreeMap<Digest, Session>,
    clients: BTreeMap<ClientId, Client>,
    decisions: BTreeMap<Digest, Decision>,
    grants: BTreeMap<GrantId, Grant>,
    codes: BTreeMap<Digest, Code>,
    families: BTreeMap<FamilyId, Family>,
    refresh_tokens: BTreeMap<Digest, RefreshToken>,
    revocations: BTreeMap<u64, Revocation>,
    revocation_sequence: u64,
    keys: BTreeMap<KeyId, StoredKey>,
    authenticators: BTreeMap<AuthenticatorId, Authenticator>,
    replays: BTreeMap<Digest, Replay>,
    device_authorizations: BTreeMap<Digest, DeviceAuthorization>,
    meta: BTreeMap<String, Vec<u8>>,
}

impl Tables {
    /// Tables without a row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies `unit` as a whole, or leaves everything as it was.
    pub fn apply(&mut self, unit: &Unit) -> Result<Applied, Conflict> {
        if !unit
            .preconditions
            .iter()
            .all(|precondition| self.holds(precondition))
        {
            return Err(Conflict);
        }
        let mut next = self.clone();
        for write in &unit.writes {
            next.write(write)?;
        }
        *self = next;
        Ok(Applied {
            revocation_sequence: self.revocation_sequence,
        })
    }

    /// A user by id.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<User> {
        self.users.get(&id).cloned()
    }

    /// A user of the default tenant by name.
    #[must_use]
    pub fn user_by_name(&self, username: &str) -> Option<User> {
        self.users().into_iter().find(|user| user.username == username)
    }

    /// All users by name.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let mut users: Vec<_> = self.users.values().cloned().collect();
        users.sort_by(|a, b| a.username.cmp(&b.username));
        users
    }

    /// A setup link with its user.
    #[must_use]
    pub fn setup_link(&self, token: Digest) -> Option<(SetupLink, User)> {
        let link = self.setup_links.get(&token)?;
        Some((link.clone(), self.user(link.user)?))
    }

    /// A session with its user.
    #[must_use]
    pub fn session(&self, id: Digest) -> Option<(Session, User)> {
        let session = self.sessions.get(&id)?;
        Some((session.clone(), self.user(session.user)?))
    }

    /// A client.
    #[must_use]
    pub fn client(&self, id: &ClientId) -> Option<Client> {
        self.clients.get(id).cloned()
    }

    /// All clients, newest first.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        let mut clients: Vec<_> = self.clients.values().cloned().collect();
        clients.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        clients
    }

    /// The answer to a consent page.
    #[must_use]
    pub fn decision(&self, nonce: Digest) -> Option<Decision> {
        self.decisions.get(&nonce).cloned()
    }

    /// A consent record by what makes it unique.
    #[must_use]
    pub fn grant(
        &self,
        user: UserId,
        client: &ClientId,
        redirect_host: &str,
        resource: &ResourceUri,
    ) -> Option<Grant> {
        let is_it = |grant: &&Grant| {
            grant.user == user
                && grant.client == *client
                && grant.redirect_host == redirect_host
                && grant.resource == *resource
        };
        self.grants.values().find(is_it).cloned()
    }

    /// A consent record by id.
    #[must_use]
    pub fn grant_by_id(&self, id: GrantId) -> Option<Grant> {
        self.grants.get(&id).cloned()
    }

    /// All consent records of a client, oldest first.
    #[must_use]
    pub fn grants_of_client(&self, client: &ClientId) -> Vec<Grant> {
        self.grants
            .values()
            .filter(|grant| grant.client == *client)
            .cloned()
            .collect()
    }

    /// A code.
    #[must_use]
    pub fn code(&self, code: Digest) -> Option<Code> {
        self.codes.get(&code).cloned()
    }

    /// A code and what redeeming it depends on.
    #[must_use]
    pub fn code_facts(&self, code: Digest) -> Option<CodeFacts> {
        let code = self.code(code)?;
        let family = match code.state {
            crate::code::CodeState::Redeemed { family } => self.families.get(&family).cloned(),
            _ => None,
        };
        Some(CodeFacts {
            client: self.client(&code.client),
            user: self.user(code.user),
            grant: self.grant_by_id(code.grant),
            family,
            code,
        })
    }

    /// Consent records with their live families, by id.
    #[must_use]
    pub fn grants(&self, filter: &GrantFilter) -> Vec<GrantFacts> {
        let wanted = |grant: &&Grant| match filter {
            GrantFilter::All => true,
            GrantFilter::User(user) => grant.user == *user,
            GrantFilter::Client(client) => grant.client == *client,
        };
        let live = |id| {
            self.families
                .values()
                .filter(move |family| family.grant == id && !family.revoked)
        };
        self.grants
            .values()
            .filter(wanted)
            .map(|grant| GrantFacts {
                families: live(grant.id).cloned().collect(),
                grant: grant.clone(),
            })
            .collect()
    }

    /// A user's live families, by id.
    #[must_use]
    pub fn families_of_user(&self, user: UserId) -> Vec<Family> {
        let live = |family: &&Family| family.user == user && !family.revoked;
        self.families.values().filter(live).cloned().collect()
    }

    /// A user's sessions, by id.
    #[must_use]
    pub fn sessions_of(&self, user: UserId) -> Vec<Session> {
        let theirs = |session: &&Session| session.user == user;
        self.sessions.values().filter(theirs).cloned().collect()
    }

    /// All authenticators, by id.
    #[must_use]
    pub fn authenticators(&self) -> Vec<Authenticator> {
        self.authenticators.values().cloned().collect()
    }

    /// A user's authenticators, by id.
    #[must_use]
    pub fn authenticators_of(&self, user: UserId) -> Vec<Authenticator> {
        let theirs = |row: &&Authenticator| row.user == user;
        self.authenticators.values().filter(theirs).cloned().collect()
    }

    /// An authenticator by what it is found by, with its user.
    #[must_use]
    pub fn authenticator_by_lookup(&self, lookup: Digest) -> Option<(Authenticator, User)> {
        let found = self
            .authenticators
            .values()
            .find(|row| row.lookup == Some(lookup))?;
        Some((found.clone(), self.user(found.user)?))
    }

    /// A used name.
    #[must_use]
    pub fn replay(&self, key: Digest) -> Option<Replay> {
        self.replays.get(&key).copied()
    }

    /// A device authorization by what the device polls with.
    #[must_use]
    pub fn device_authorization(&self, device_code: Digest) -> Option<DeviceAuthorization> {
        self.device_authorizations.get(&device_code).cloned()
    }

    /// A device authorization by what the person types.
    #[must_use]
    pub fn device_authorization_by_user_code(&self, user_code: Digest) -> Option<DeviceAuthorization> {
        self.device_authorizations
            .values()
            .find(|row| row.user_code == user_code)
            .cloned()
    }

    /// A note.
    #[must_use]
    pub fn meta(&self, name: &str) -> Option<Vec<u8>> {
        self.meta.get(name).cloned()
    }

    /// A family and what it depends on.
    #[must_use]
    pub fn family(&self, id: FamilyId) -> Option<FamilyFacts> {
        let family = self.families.get(&id)?.clone();
        Some(FamilyFacts {
            grant: self.grant_by_id(family.grant),
            user: self.user(family.user),
            client: self.client(&family.client),
            family,
        })
    }

    /// A refresh token and its chain.
    #[must_use]
    pub fn refresh_token(&self, token: Digest) -> Option<RefreshFacts> {
        let token = self.refresh_tokens.get(&token)?.clone();
        let mut later: Vec<_> = self
            .refresh_tokens
            .values()
            .filter(|other| other.family == token.family && other.counter > token.counter)
            .cloned()
            .collect();
        later.sort_by_key(|token| token.counter);
        later.truncate(usize::try_from(crate::facts::LATER_LINKS).unwrap_or(usize::MAX));
        Some(RefreshFacts {
            family: self.family(token.family)?,
            later,
            token,
        })
    }

    /// All keys, newest first.
    #[must_use]
    pub fn keys(&self) -> Vec<StoredKey> {
        let mut keys: Vec<_> = self.keys.values().cloned().collect();
        keys.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        keys
    }

    /// Revocations after `sequence`, in order, and the highest sequence number ever given out.
    #[must_use]
    pub fn revocations_after(&self, sequence: u64) -> (Vec<Revocation>, u64) {
        let feed = self
            .revocations
            .values()
            .filter(|entry| entry.sequence > sequence)
            .cloned()
            .collect();
        (feed, self.revocation_sequence)
    }

    /// Every family, for invariants over all chains.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.values()
    }

    /// Every refresh token, for invariants over all chains.
    pub fn refresh_tokens(&self) -> impl Iterator<Item = &RefreshToken> {
        self.refresh_tokens.values()
    }

    /// Every code, for invariants over all codes.
    pub fn codes(&self) -> impl Iterator<Item = &Code> {
        self.codes.values()
    }
}
