//! Rotating a refresh token (OAuth 2.1 draft 13 §4.3, RFC 9700 §4.14.2). The table is in [`super`].

use doorward_records::facts::RefreshFacts;
use doorward_records::refresh::RefreshToken;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::ClientId;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use super::{Allowed, Decided, check_resource, is_from_the_future, revoke};
use crate::authorize::is_ignored;
use crate::keys::RefreshKeys;
use crate::settings::Settings;
use crate::token::TokenRefusal;

/// A superseded token is answered late at most once in this time.
const LATE_REPEAT_INTERVAL: std::time::Duration = std::time::Duration::from_hours(24);

/// `grant_type=refresh_token`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The refresh token.
    pub refresh_token: Secret,
    /// `client_id`.
    pub client: ClientId,
    /// `scope`, if it was sent.
    pub scope: Option<String>,
    /// `resource`, each one.
    pub resource: Vec<String>,
}

impl Request {
    /// What to look the token up by.
    #[must_use]
    pub fn lookup(&self) -> Digest {
        self.refresh_token.digest()
    }
}

/// Decides what presenting a refresh token does. `facts` is what [`Request::lookup`] finds.
#[must_use]
pub fn decide(
    settings: &Settings,
    keys: &RefreshKeys,
    request: &Request,
    facts: Option<&RefreshFacts>,
    now: UnixTime,
    random: &dyn Random,
) -> Decided {
    let Some(facts) = facts.filter(|facts| facts.token.token == request.lookup()) else {
        return Decided::refuse(TokenRefusal::UnknownRefreshToken);
    };
    refresh(settings, keys, request, facts, now, random).unwrap_or_else(Decided::refuse)
}

fn refresh(
    settings: &Settings,
    keys: &RefreshKeys,
    request: &Request,
    facts: &RefreshFacts,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Decided, TokenRefusal> {
    let family = &facts.family.family;
    check_alive(settings, request, facts, now)?;
    let (user, client) = (facts.family.user.as_ref(), facts.family.client.as_ref());
    let consent = facts.family.grant.is_some();
    let allowed = Allowed::check(settings, user, client, consent, &family.resource)?;
    check_resource(&request.resource, &family.resource)?;
    let held = allowed.server.scopes.closure(&allowed.scopes(&family.scopes)?);
    let scopes = allowed.scopes(&narrowed(request, &family.scopes, &held)?)?;

    let Some((successor, writes)) = successor(settings, keys, request, facts, now)? else {
        return Ok(Decided::refuse_and(
            TokenRefusal::Replayed,
            revoke(&settings.lifetimes, family, now),
        ));
    };
    let unit = allowed
        .preconditions(writes)
        .given(Precondition::FamilyLive(family.id))
        .given(Precondition::GrantExists(family.grant))
        .then(Write::TouchFamily(family.id, now))
        .then(Write::TouchClient(family.client.clone(), now));
    let issue = allowed.issue(&settings.lifetimes, scopes, family, Some(successor), now, random);
    Ok(Decided {
        unit,
        outcome: Ok(issue),
    })
}

/// Refusals that are no sign of theft and do no harm: another client's token, a chain that ended.
fn check_alive(
    settings: &Settings,
    request: &Request,
    facts: &RefreshFacts,
    now: UnixTime,
) -> Result<(), TokenRefusal> {
    let family = &facts.family.family;
    if request.client != family.client {
        return Err(TokenRefusal::WrongClient);
    }
    if family.revoked {
        return Err(TokenRefusal::Revoked);
    }
    let idle = family.last_used.plus(settings.lifetimes.refresh_idle);
    let absolute = family.created.plus(settings.lifetimes.refresh_absolute);
    if now >= idle || now >= absolute || is_from_the_future(family.created, now) {
        return Err(TokenRefusal::Expired);
    }
    Ok(())
}

/// The scopes of the new access token: the family's `scopes`, or fewer, or what they imply (`held`), never more
/// (RFC 6749 §6). The family keeps its own, so that a narrowed token can be followed by a full one.
fn narrowed(request: &Request, scopes: &ScopeSet, held: &ScopeSet) -> Result<ScopeSet, TokenRefusal> {
    let requested: ScopeSet = request
        .scope
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|_| TokenRefusal::Scope)?;
    let requested: ScopeSet = requested
        .iter()
        .filter(|scope| !is_ignored(scope))
        .cloned()
        .collect();
    if requested.is_empty() {
        return Ok(scopes.clone());
    }
    if requested.is_subset(&scopes.union(held)) {
        Ok(requested)
    } else {
        Err(TokenRefusal::Scope)
    }
}

/// The refresh token to answer with, and what must be committed for it; `None` if this is a replay.
fn successor(
    settings: &Settings,
    keys: &RefreshKeys,
    request: &Request,
    facts: &RefreshFacts,
    now: UnixTime,
) -> Result<Option<(Secret, Unit)>, TokenRefusal> {
    let (token, lifetimes) = (&facts.token, &settings.lifetimes);
    let (Some(rotated), Some(head)) = (token.rotated, facts.later.last()) else {
        return rotate(keys, request, token, now).map(Some);
    };
    if is_from_the_future(rotated, now) {
        return Ok(None);
    }
    let still_head = Unit::default().given(Precondition::RefreshTokenRotatedIs(head.token, None));
    if now < rotated.plus(lifetimes.refresh_repeat) {
        return Ok(Some((recompute(keys, request, facts)?, still_head)));
    }
    let unused = facts.later.len() == 1;
    let family = &facts.family.family;
    let late = now < rotated.plus(lifetimes.refresh_late_repeat)
        && family
            .late_repeat
            .is_none_or(|last| now >= last.plus(LATE_REPEAT_INTERVAL));
    if !unused || !late {
        return Ok(None);
    }
    let unit = still_head
        .given(Precondition::FamilyLateRepeatIs(family.id, family.late_repeat))
        .then(Write::SetFamilyLateRepeat(family.id, now));
    Ok(Some((recompute(keys, request, facts)?, unit)))
}

/// The head moves on by one.
fn rotate(
    keys: &RefreshKeys,
    request: &Request,
    token: &RefreshToken,
    now: UnixTime,
) -> Result<(Secret, Unit), TokenRefusal> {
    let counter = token.counter.saturating_add(1);
    let successor = keys
        .successor(&token.key, token.family, counter, &request.refresh_token)
        .ok_or(TokenRefusal::KeyMissing)?;
    let unit = Unit::default()
        .given(Precondition::RefreshTokenRotatedIs(token.token, None))
        .then(Write::SetRefreshTokenRotated(token.token, now))
        .then(Write::InsertRefreshToken(RefreshToken {
            token: successor.digest(),
            family: token.family,
            counter,
            key: keys.active().clone(),
            issued: now,
            rotated: None,
        }));
    Ok((successor, unit))
}

/// The head of the chain, computed link by link from the presented token; each link must be the stored one.
/// If one is not, the keys are not those that made the chain, and nothing may be answered.
fn recompute(keys: &RefreshKeys, request: &Request, facts: &RefreshFacts) -> Result<Secret, TokenRefusal> {
    let mut key = &facts.token.key;
    let mut secret = request.refresh_token.clone();
    for link in &facts.later {
        secret = keys
            .successor(key, link.family, link.counter, &secret)
            .ok_or(TokenRefusal::KeyMissing)?;
        if secret.digest() != link.token {
            return Err(TokenRefusal::KeyMissing);
        }
        key = &link.key;
    }
    Ok(secret)
}

#[cfg(test)]
mod tests;
