//! Redeeming an authorization code (OAuth 2.1 draft 13 §4.1.3). The table is in [`super`].

use doorward_oauth::pkce::CodeChallenge;
use doorward_records::account::User;
use doorward_records::client::Client;
use doorward_records::code::{Code, CodeState};
use doorward_records::facts;
use doorward_records::grant::{Family, Grant};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId};
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use super::{Allowed, Decided, check_resource, is_from_the_future, revoke};
use crate::keys::RefreshKeys;
use crate::settings::Settings;
use crate::token::TokenRefusal;

/// So many presentations that do not match void a code.
pub const MAX_MISSES: u32 = 5;

/// `grant_type=authorization_code`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The code.
    pub code: Secret,
    /// `client_id`.
    pub client: ClientId,
    /// `redirect_uri`, if it was sent.
    pub redirect_uri: Option<String>,
    /// `code_verifier`, if it was sent.
    pub code_verifier: Option<Secret>,
    /// `resource`, each one.
    pub resource: Vec<String>,
    /// What the client's side calls itself, for the account page.
    pub device: Option<String>,
}

impl Request {
    /// What to look the code up by.
    #[must_use]
    pub fn lookup(&self) -> Digest {
        self.code.digest()
    }

    /// Whether client, verifier and redirect URI (if sent) are those of the authorization request.
    fn matches(&self, code: &Code) -> bool {
        let redirect = self
            .redirect_uri
            .as_ref()
            .is_none_or(|uri| *uri == code.redirect_uri);
        let verifier = match (CodeChallenge::parse(&code.code_challenge), &self.code_verifier) {
            (Ok(challenge), Some(verifier)) => challenge.is_answered_by(verifier.expose()),
            _ => false,
        };
        self.client == code.client && redirect && verifier
    }
}

/// What to load for a request: the code under [`Request::lookup`] and, if there is one, the rows it names.
#[derive(Clone, Debug, Default)]
pub struct CodeFacts {
    /// The code.
    pub code: Option<Code>,
    /// [`Code::client`].
    pub client: Option<Client>,
    /// [`Code::user`].
    pub user: Option<User>,
    /// [`Code::grant`].
    pub grant: Option<Grant>,
    /// The family of a redeemed code.
    pub family: Option<Family>,
}

impl From<facts::CodeFacts> for CodeFacts {
    fn from(facts: facts::CodeFacts) -> Self {
        Self {
            code: Some(facts.code),
            client: facts.client,
            user: facts.user,
            grant: facts.grant,
            family: facts.family,
        }
    }
}

/// Decides what presenting a code does.
#[must_use]
pub fn decide(
    settings: &Settings,
    keys: &RefreshKeys,
    request: &Request,
    facts: &CodeFacts,
    now: UnixTime,
    random: &dyn Random,
) -> Decided {
    let Some(code) = facts.code.as_ref().filter(|code| code.code == request.lookup()) else {
        return Decided::refuse(TokenRefusal::UnknownCode);
    };
    match code.state {
        CodeState::Void => return Decided::refuse(TokenRefusal::CodeVoid),
        CodeState::Redeemed { family } => return redeemed(settings, request, code, family, facts, now),
        CodeState::Open => {}
    }
    if now >= code.expires || is_from_the_future(code.issued, now) {
        // Voided, so that it stays expired if the clock is set back.
        return Decided::refuse_and(
            TokenRefusal::CodeExpired,
            moved(code, CodeState::Void, code.misses),
        );
    }
    if let Err(refusal) = check_resource(&request.resource, &code.resource) {
        return Decided::refuse(refusal);
    }
    if !request.matches(code) {
        let misses = code.misses.saturating_add(1);
        let state = if misses >= MAX_MISSES {
            CodeState::Void
        } else {
            CodeState::Open
        };
        return Decided::refuse_and(TokenRefusal::CodeMismatch, moved(code, state, misses));
    }
    redeem(settings, keys, request, code, facts, now, random).unwrap_or_else(Decided::refuse)
}

/// Presented again. Whoever knows client, verifier and redirect URI is the client, or has everything the
/// client has: what the code made is revoked (OAuth 2.1 draft 13 §4.1.3). Anybody else harms nothing.
fn redeemed(
    settings: &Settings,
    request: &Request,
    code: &Code,
    family: FamilyId,
    facts: &CodeFacts,
    now: UnixTime,
) -> Decided {
    let unit = match &facts.family {
        Some(live) if live.id == family && !live.revoked && request.matches(code) => {
            revoke(&settings.lifetimes, live, now)
        }
        _ => Unit::default(),
    };
    Decided::refuse_and(TokenRefusal::CodeRedeemed, unit)
}

fn redeem(
    settings: &Settings,
    keys: &RefreshKeys,
    request: &Request,
    code: &Code,
    facts: &CodeFacts,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Decided, TokenRefusal> {
    let consent = facts.grant.as_ref().is_some_and(|grant| grant.id == code.grant);
    let allowed = Allowed::check(
        settings,
        facts.user.as_ref(),
        facts.client.as_ref(),
        consent,
        &code.resource,
    )?;
    let scopes = allowed.scopes(&code.scopes)?;
    let family = Family {
        tenant: code.tenant.clone(),
        id: FamilyId::generate(now, random),
        grant: code.grant,
        user: code.user,
        client: code.client.clone(),
        resource: code.resource.clone(),
        scopes: code.scopes.clone(),
        created: now,
        last_used: now,
        late_repeat: None,
        revoked: false,
        authenticated: code.authenticated,
        trace: code.trace,
        device: request.device.clone(),
    };
    let unit = moved(code, CodeState::Redeemed { family: family.id }, code.misses);
    Ok(allowed.begin(&settings.lifetimes, keys, &family, scopes, unit, random))
}

/// Moves an open code, if it is still what was loaded: of two presentations only one happens.
fn moved(code: &Code, state: CodeState, misses: u32) -> Unit {
    Unit::default()
        .given(Precondition::CodeIs {
            code: code.code,
            state: code.state,
            misses: code.misses,
        })
        .then(Write::SetCodeState {
            code: code.code,
            state,
            misses,
        })
}

#[cfg(test)]
mod tests;
