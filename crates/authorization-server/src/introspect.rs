//! POST `/introspect`: what a token is worth at this moment (RFC 7662).
//!
//! The caller is told about a token in two cases: it is a resource server that the operator let introspect, and the
//! token is for it; or the token is its own. Everything else is "not active", whatever the truth is, so that nobody
//! learns anything about tokens of others (RFC 7662 §4; CVE-2026-37979).

use doorward_oauth::access_token::TokenSubject;
use doorward_oauth::client_auth::Presented;
use doorward_oauth::introspect::{self as message, ActiveToken, IntrospectionResponse};
use doorward_records::client::{Client, ClientStatus};
use doorward_records::facts::{FamilyFacts, RefreshFacts};
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use crate::call::{self, CallRefusal, HttpRequest};
use crate::client_auth::{Authenticated, ClientAuthRefusal};
use crate::settings::{Settings, admits};

/// A request that was read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The token that is asked about.
    pub token: Secret,
    /// Who asks, not yet authenticated.
    pub presented: Presented,
}

/// Reads a request. `token_type_hint` is not looked at: our tokens say themselves what they are.
pub fn parse(http: &HttpRequest<'_>) -> Result<Request, CallRefusal> {
    let call = call::read(http, &[])?;
    let token = message::token(&call.form).ok_or(CallRefusal::Missing("token"))?;
    Ok(Request {
        token,
        presented: call.presented,
    })
}

/// What a token says of itself that it is. It decides what to look for, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A refresh token of ours.
    Refresh,
    /// A signed token.
    Access,
    /// A secret of ours of another kind: a code, a client's secret, a registration token.
    Other,
    /// Nothing of ours.
    Unknown,
}

impl TokenKind {
    /// The kind of `token`.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        let text = token.expose();
        if text.starts_with("dwr_") {
            Self::Refresh
        } else if text.bytes().filter(|byte| *byte == b'.').count() == 2 {
            Self::Access
        } else if text.starts_with("dw") && text.get(3..4) == Some("_") {
            Self::Other
        } else {
            Self::Unknown
        }
    }
}

/// Whether the caller may ask at all: it must have authenticated (RFC 7662 §2.1, against token scanning) and not be
/// switched off.
pub fn check_caller(caller: &Authenticated) -> Result<(), CallRefusal> {
    if !caller.is_confidential() {
        return Err(ClientAuthRefusal::Method.into());
    }
    match caller.client().status {
        ClientStatus::Approved => Ok(()),
        ClientStatus::Pending => Err(CallRefusal::Unauthorized),
        ClientStatus::Disabled => Err(ClientAuthRefusal::Disabled.into()),
    }
}

/// The rows behind an access token that was verified.
#[derive(Clone, Debug)]
pub enum Behind {
    /// Of a person's token: its chain.
    Family(Option<Box<FamilyFacts>>),
    /// Of a client's own token: the client.
    Client(Option<Box<Client>>),
}

/// What to tell about an access token that was verified and, as far as the revocation feed knows, is not revoked.
/// `behind` is what stands in the database now, which is newer than the feed.
#[must_use]
pub fn access_token(
    settings: &Settings,
    caller: &Authenticated,
    token: ActiveToken,
    behind: &Behind,
) -> IntrospectionResponse {
    let Some(server) = settings.server(&token.resource) else {
        return IntrospectionResponse::Inactive;
    };
    let client = caller.client();
    let asks_as_server = client.introspects.iter().any(|name| name == server.name.as_str());
    if !asks_as_server && token.client != client.id {
        return IntrospectionResponse::Inactive;
    }
    let stands = match (&token.subject, behind) {
        (TokenSubject::User(_), Behind::Family(Some(facts))) => {
            let person = facts.user.as_ref().is_some_and(|user| admits(server, user));
            person && family_stands(facts)
        }
        (TokenSubject::Client(id), Behind::Client(Some(client))) => {
            client.id == *id
                && client.status == ClientStatus::Approved
                && server.allow.admits_client(&client.id)
        }
        _ => false,
    };
    if stands {
        IntrospectionResponse::Active(Box::new(token))
    } else {
        IntrospectionResponse::Inactive
    }
}

/// What to tell about a refresh token: to the client that holds it, and to nobody else. A superseded one is not
/// active, although for some seconds it would still be answered.
#[must_use]
pub fn refresh_token(
    settings: &Settings,
    caller: &Authenticated,
    facts: Option<&RefreshFacts>,
    now: UnixTime,
) -> IntrospectionResponse {
    let Some(facts) = facts else {
        return IntrospectionResponse::Inactive;
    };
    let family = &facts.family.family;
    let lifetimes = &settings.lifetimes;
    let expires = family
        .last_used
        .plus(lifetimes.refresh_idle)
        .min(family.created.plus(lifetimes.refresh_absolute));
    let server = settings.server(&family.resource);
    let user = facts.family.user.as_ref();
    let stands = family.client == caller.client().id
        && facts.token.rotated.is_none()
        && now < expires
        && family_stands(&facts.family)
        && server.is_some_and(|server| user.is_some_and(|user| admits(server, user)));
    if !stands {
        return IntrospectionResponse::Inactive;
    }
    IntrospectionResponse::Active(Box::new(ActiveToken {
        id: None,
        is_access_token: false,
        issuer: settings.issuer.clone(),
        subject: TokenSubject::User(family.user),
        username: user.map(|user| user.username.clone()),
        client: family.client.clone(),
        resource: family.resource.clone(),
        scopes: family.scopes.clone(),
        issued: facts.token.issued,
        expires,
    }))
}

/// Whether nobody ended the chain, the consent, the account or the client.
fn family_stands(facts: &FamilyFacts) -> bool {
    let client = facts.client.as_ref();
    !facts.family.revoked
        && facts.grant.is_some()
        && facts.user.as_ref().is_some_and(|user| !user.disabled)
        && client.is_some_and(|client| client.status == ClientStatus::Approved)
}

#[cfg(test)]
mod tests;
