//! Codes and refresh tokens, as a small state machine over rows.
//!
//! # Authorization codes
//!
//! A *full match* is: the client, the verifier, and the redirect URI if one is sent, are those of the
//! authorization request.
//!
//! | state | presented with | answer | next |
//! |---|---|---|---|
//! | – (unknown) | anything | `invalid_grant` | – |
//! | open, expired or from a future that never came | anything | `invalid_grant` | void |
//! | open | another resource | `invalid_target` | open, nothing counted |
//! | open, misses < 4 | no full match | `invalid_grant` | open, one more miss |
//! | open, misses = 4 | no full match | `invalid_grant` | void |
//! | open | full match, no longer allowed | `invalid_grant` | open |
//! | open | full match | tokens | redeemed(new family) |
//! | redeemed(F) | full match | `invalid_grant` | redeemed(F), **F revoked** |
//! | redeemed(F) | no full match | `invalid_grant` | redeemed(F), F unharmed |
//! | void | anything | `invalid_grant` | void |
//!
//! # Refresh tokens
//!
//! A family is a chain R0, R1, …; its last token is the *head*, every other one was rotated at a time t to
//! its successor S = HMAC(key, family, counter of S, token), so the same answer can be computed again by
//! whoever holds the keys, and nothing is stored to repeat it. A token is *used* when it was rotated.
//!
//! | presented R | when | answer | next |
//! |---|---|---|---|
//! | unknown, another client's, family revoked, expired or from a future that never came, no longer allowed | | `invalid_grant` | unharmed |
//! | another resource / a wider scope | | `invalid_target` / `invalid_scope` | unharmed |
//! | head | | S | R rotated now, S is the head |
//! | rotated at t, S is the head | now < t + 30 s | S again | – |
//! | rotated at t, S is the head | now < t + 10 min, no late repeat within a day | S again | late repeat now |
//! | rotated at t, S was used | now < t + 30 s | the head, computed link by link | – |
//! | otherwise | | `invalid_grant` | **family revoked** |
//!
//! Every row that issues or harms is committed under the facts it was decided on, so of two requests that
//! saw the same state only one happens and the other decides again. `explore_tests.rs` walks every
//! interleaving of two clients, a thief, retries, lost replies, restarts and time within stated bounds.

pub mod authorization_code;
pub mod client_credentials;
pub mod device_code;
pub mod refresh_token;

use std::time::Duration;

use doorward_oauth::access_token::{AccessTokenClaims, TokenSubject};
use doorward_policy::ProtectedServer;
use doorward_records::account::User;
use doorward_records::client::{Client, ClientStatus};
use doorward_records::grant::Family;
use doorward_records::refresh::RefreshToken;
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::{ClientId, FamilyId, TokenId};
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};

use crate::client::{may_use, scope_limit, within_limit};
use crate::keys::RefreshKeys;
use crate::settings::{Lifetimes, Settings, admits, may_have};
use crate::token::TokenRefusal;

#[cfg(test)]
mod explore_tests;

/// What to commit, then to answer.
#[derive(Clone, Debug)]
pub struct Decided {
    /// To be committed before the answer is given, refusals included; may be empty.
    pub unit: Unit,
    /// The answer.
    pub outcome: Result<Box<Issue>, TokenRefusal>,
}

impl Decided {
    /// A refusal that changes nothing.
    #[must_use]
    pub fn refuse(refusal: TokenRefusal) -> Self {
        Self {
            unit: Unit::default(),
            outcome: Err(refusal),
        }
    }

    fn refuse_and(refusal: TokenRefusal, unit: Unit) -> Self {
        Self {
            unit,
            outcome: Err(refusal),
        }
    }
}

/// Tokens that were decided and, after the commit, are to be signed by [`crate::mint::mint`].
#[derive(Clone, Debug)]
pub struct Issue {
    /// Whom the access token speaks for.
    pub subject: TokenSubject,
    /// That person's name.
    pub username: Option<String>,
    /// That person's groups.
    pub groups: Option<Vec<String>>,
    /// The client.
    pub client: ClientId,
    /// The one audience.
    pub resource: ResourceUri,
    /// What was granted.
    pub scopes: ScopeSet,
    /// The chain; a client's own token belongs to none.
    pub family: Option<FamilyId>,
    /// When that person had signed in.
    pub authenticated: Option<UnixTime>,
    /// All the scopes that the client can have; none if there is no such limit.
    pub client_scopes: Option<ScopeSet>,
    /// The access token's id.
    pub token: TokenId,
    /// When it is issued.
    pub issued: UnixTime,
    /// How long it works.
    pub expires_in: Duration,
    /// The refresh token that goes with it.
    pub refresh_token: Option<Secret>,
}

impl Issue {
    /// The claims of the access token. `rev` is the revocation sequence number that the commit told.
    #[must_use]
    pub fn claims(&self, issuer: &Issuer, rev: u64) -> AccessTokenClaims {
        AccessTokenClaims {
            iss: issuer.clone(),
            sub: self.subject.clone(),
            aud: self.resource.clone(),
            exp: self.issued.plus(self.expires_in).seconds(),
            iat: self.issued.seconds(),
            jti: self.token,
            client_id: self.client.clone(),
            scope: self.scopes.clone(),
            rev,
            family: self.family,
            username: self.username.clone(),
            groups: self.groups.clone(),
            auth_time: self.authenticated.map(UnixTime::seconds),
            client_scope: self.client_scopes.clone(),
        }
    }
}

/// The facts under which tokens may be issued at all, for either grant.
struct Allowed<'a> {
    user: &'a User,
    client: &'a Client,
    server: &'a ProtectedServer,
}

impl<'a> Allowed<'a> {
    /// The account is enabled, the client approved and allowed to use the server, the consent stands, the server
    /// is configured and its access rule admits the person, all as of now (RT-06).
    fn check(
        settings: &'a Settings,
        user: Option<&'a User>,
        client: Option<&'a Client>,
        consent: bool,
        resource: &ResourceUri,
    ) -> Result<Self, TokenRefusal> {
        let refused = TokenRefusal::NoLongerAllowed;
        let user = user.filter(|user| !user.disabled).ok_or(refused)?;
        let client = client
            .filter(|client| client.status == ClientStatus::Approved)
            .ok_or(refused)?;
        let server = settings
            .server(resource)
            .filter(|server| consent && admits(server, user) && may_use(client, server))
            .ok_or(refused)?;
        Ok(Self { user, client, server })
    }

    /// Those of `scopes` that still exist and that this person and this client may still have; none left is a refusal.
    fn scopes(&self, scopes: &ScopeSet) -> Result<ScopeSet, TokenRefusal> {
        let left = within_limit(self.client, &self.server.scopes, scopes)
            .intersection(&may_have(self.server, self.user));
        if left.is_empty() {
            Err(TokenRefusal::NoLongerAllowed)
        } else {
            Ok(left)
        }
    }

    fn issue(
        &self,
        lifetimes: &Lifetimes,
        scopes: ScopeSet,
        family: &Family,
        refresh_token: Option<Secret>,
        now: UnixTime,
        random: &dyn Random,
    ) -> Box<Issue> {
        let refreshes = self.client.metadata.wants_refresh_tokens();
        Box::new(Issue {
            subject: TokenSubject::User(self.user.id),
            username: Some(self.user.username.clone()),
            groups: Some(self.user.groups.clone()),
            client: self.client.id.clone(),
            resource: self.server.resource.clone(),
            scopes,
            family: Some(family.id),
            authenticated: family.authenticated,
            client_scopes: scope_limit(self.client),
            token: TokenId::generate(now, random),
            issued: now,
            expires_in: if refreshes {
                lifetimes.access_token
            } else {
                lifetimes.access_token_without_refresh
            },
            refresh_token,
        })
    }

    /// Begins a chain: what `unit` says about whatever was redeemed for it, the family, its first refresh token if the
    /// client registered for one, and the tokens. `family` was created now.
    fn begin(
        &self,
        lifetimes: &Lifetimes,
        keys: &RefreshKeys,
        family: &Family,
        scopes: ScopeSet,
        unit: Unit,
        random: &dyn Random,
    ) -> Decided {
        let (id, now) = (family.id, family.created);
        let mut unit = self
            .preconditions(unit)
            .given(Precondition::GrantExists(family.grant))
            .then(Write::TouchClient(family.client.clone(), now))
            .then(Write::InsertFamily(family.clone()));
        let mut refresh_token = None;
        if self.client.metadata.wants_refresh_tokens() {
            let secret = Secret::generate_with_prefix("dwr_", random);
            unit = unit.then(Write::InsertRefreshToken(RefreshToken {
                token: secret.digest(),
                family: id,
                counter: 0,
                key: keys.active().clone(),
                issued: now,
                rotated: None,
            }));
            refresh_token = Some(secret);
        }
        Decided {
            unit,
            outcome: Ok(self.issue(lifetimes, scopes, family, refresh_token, now, random)),
        }
    }

    /// The same facts, to be checked again inside the transaction.
    fn preconditions(&self, unit: Unit) -> Unit {
        unit.given(Precondition::UserEnabled(self.user.id))
            .given(Precondition::ClientHasStatus(
                self.client.id.clone(),
                ClientStatus::Approved,
            ))
    }
}

/// Whether a row was made under a clock that turned out to be years ahead (FT-10): its end would come years late,
/// so it is over. A minute is what clocks of one house differ by.
fn is_from_the_future(made: UnixTime, now: UnixTime) -> bool {
    made.since(now) > Duration::from_mins(1)
}

/// Whether the `resource` parameters of a token request name `resource` or nothing (RFC 8707 §2.2).
fn check_resource(requested: &[String], resource: &ResourceUri) -> Result<(), TokenRefusal> {
    match requested {
        [] => Ok(()),
        [only] if resource.matches(only) => Ok(()),
        _ => Err(TokenRefusal::Resource),
    }
}

/// Ends a chain: no refresh any more, and every access token of it refused at once.
pub(crate) fn revoke(lifetimes: &Lifetimes, family: &Family, now: UnixTime) -> Unit {
    Unit::default()
        .given(Precondition::FamilyLive(family.id))
        .then(Write::RevokeFamily(family.id))
        .then(Write::AppendRevocation {
            revoked: Revoked::Family(family.id),
            at: now,
            expires: now.plus(lifetimes.revocation()),
        })
}
