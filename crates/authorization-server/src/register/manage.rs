//! `/register/{client_id}`: a client looks at, replaces or removes its own registration (RFC 7592).
//!
//! Only registrations that authenticate have a token for it; public ones are their content, so that there is
//! nothing to change. The token is not rotated: a lost answer would lock the client out for good, and the
//! token goes nowhere but to this address. A registration that an operator switched off is out of its
//! client's hands until the operator switches it on again.

use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::metadata::endpoint;
use doorward_oauth::register::{RegistrationResponse, UpdateRequest};
use doorward_oauth::requirement::{self, Requirement};
use doorward_records::client::{Client, ClientStatus};
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::ClientId;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use super::metadata::judge;
use super::{Issued, RegistrationRefusal, has_secret, new_secret, read, response};
use crate::settings::{RegistrationMode, Settings};

/// Why a client may not manage a registration, or not like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagementRefusal {
    /// No such client, one without management, no token or another one: all alike (RFC 7592 §2.1).
    #[error("there is no registration here that this registration access token manages")]
    Unauthorized,
    /// An operator switched the client off.
    #[error("this client is switched off here: only the operator of this server can change that")]
    Disabled,
    /// `client_id` is missing or another one.
    #[error("client_id must be the one of the registration that is updated")]
    ClientId,
    /// `client_secret` is not the one it has: a client does not choose its secret.
    #[error("client_secret must be the one that the client has, or be left out")]
    Secret,
    /// A member that only we set.
    #[error("leave this member out of an update: {0}")]
    Forbidden(&'static str),
    /// What the registration would become is refused.
    #[error(transparent)]
    Registration(#[from] RegistrationRefusal),
}

impl ManagementRefusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Disabled => 403,
            Self::ClientId | Self::Secret | Self::Forbidden(_) => 400,
            Self::Registration(refusal) => refusal.status(),
        }
    }

    /// The challenge that goes with `401`.
    #[must_use]
    pub const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("Bearer realm=\"register\", error=\"invalid_token\""),
            Self::Registration(refusal) => refusal.challenge(),
            _ => None,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::Unauthorized => ErrorCode::InvalidToken,
            Self::Disabled => ErrorCode::AccessDenied,
            Self::ClientId | Self::Secret | Self::Forbidden(_) => ErrorCode::InvalidRequest,
            Self::Registration(refusal) => return refusal.body(),
        };
        ErrorBody::new(code, self.to_string())
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::Registration(refusal) => refusal.requirement(),
            _ => requirement::REGISTRATION_POLICY,
        }
    }
}

/// Where the registration of a client is managed.
#[must_use]
pub fn address(settings: &Settings, id: &ClientId) -> String {
    endpoint(&settings.issuer, &format!("/register/{id}"))
}

/// The registration that `bearer` manages, if that is `client`: the row of the id in the address.
pub fn authenticate<'a>(
    client: Option<&'a Client>,
    bearer: Option<&Secret>,
) -> Result<&'a Client, ManagementRefusal> {
    let shown = bearer.ok_or(ManagementRefusal::Unauthorized)?.digest();
    let client = client
        .filter(|client| client.registration_token == Some(shown))
        .ok_or(ManagementRefusal::Unauthorized)?;
    match client.status {
        ClientStatus::Disabled => Err(ManagementRefusal::Disabled),
        ClientStatus::Approved | ClientStatus::Pending => Ok(client),
    }
}

/// What a client reads of its registration (RFC 7592 §2.1). Its secret is not among it: of that we keep only
/// a digest. `bearer` is the token that [`authenticate`] accepted; the answer repeats it.
#[must_use]
pub fn show(settings: &Settings, client: &Client, bearer: Secret) -> RegistrationResponse {
    let mut response = response(client, client.metadata.redirect_uris.clone());
    let issued = Issued {
        secret: None,
        management: Some(bearer),
    };
    issued.tell(settings, client, &mut response);
    response
}

/// Replaces the registration (RFC 7592 §2.2): the whole policy judges it as if it was new. What needs an
/// operator's word now waits for it, unless the operator has allowed that much before.
pub fn replace(
    settings: &Settings,
    client: &Client,
    bearer: Secret,
    body: &[u8],
    now: UnixTime,
    random: &dyn Random,
) -> Result<(Unit, RegistrationResponse), ManagementRefusal> {
    if settings.registration.mode == RegistrationMode::Off {
        return Err(RegistrationRefusal::Off.into());
    }
    let request = read(body)?;
    let update: UpdateRequest = read(body)?;
    if let Some(name) = update.forbidden() {
        return Err(ManagementRefusal::Forbidden(name));
    }
    if update.client_id.as_deref() != Some(client.id.as_str()) {
        return Err(ManagementRefusal::ClientId);
    }
    if update
        .client_secret
        .as_ref()
        .is_some_and(|secret| client.secret != Some(secret.digest()))
    {
        return Err(ManagementRefusal::Secret);
    }
    let method = client.metadata.token_endpoint_auth_method.as_str();
    let judged = judge(settings, request, Some(method))?;
    let status = match judged.status {
        ClientStatus::Pending
            if client.status == ClientStatus::Approved && asks_no_more(&judged.metadata, client) =>
        {
            ClientStatus::Approved
        }
        status => status,
    };
    let secret = (has_secret(&judged.metadata) && client.secret.is_none()).then(|| new_secret(random));
    let kept = client.secret.filter(|_| has_secret(&judged.metadata));
    let next = Client {
        status,
        secret: secret.as_ref().map(Secret::digest).or(kept),
        metadata: judged.metadata,
        last_used: now,
        ..client.clone()
    };
    let mut response = response(&next, judged.redirect_uris);
    let issued = Issued {
        secret,
        management: Some(bearer),
    };
    issued.tell(settings, &next, &mut response);
    let ends = acts_alone(client) && !acts_alone(&next);
    let unit = Unit::default()
        .given(Precondition::ClientIs(client.clone()))
        .then(Write::UpdateClient(next));
    // What it gives up ends now: nothing would tell later that such tokens were ever given.
    let unit = if ends {
        unit.then(ended(settings, client, now))
    } else {
        unit
    };
    Ok((unit, response))
}

/// Whether it gets tokens without a person.
fn acts_alone(client: &Client) -> bool {
    client.status == ClientStatus::Approved && client.metadata.registered("client_credentials")
}

fn ended(settings: &Settings, client: &Client, now: UnixTime) -> Write {
    Write::AppendRevocation {
        revoked: Revoked::Client(client.id.clone()),
        at: now,
        expires: now.plus(settings.lifetimes.revocation()),
    }
}

/// Whether everything an operator looks at was there before.
fn asks_no_more(next: &doorward_records::client::ClientMetadata, client: &Client) -> bool {
    let known = &client.metadata;
    next.redirect_uris
        .iter()
        .all(|uri| known.redirect_uris.contains(uri))
        && next.grant_types.iter().all(|grant| known.registered(grant))
        && asks_no_more_scopes(next.scope.as_deref(), known.scope.as_deref())
}

/// No scope named means every scope, also for a token that no person is asked for.
fn asks_no_more_scopes(next: Option<&str>, known: Option<&str>) -> bool {
    let parse = |text: Option<&str>| text.unwrap_or_default().parse::<ScopeSet>().unwrap_or_default();
    let (next, known) = (parse(next), parse(known));
    known.is_empty() || (!next.is_empty() && next.intersection(&known) == next)
}

/// Removes the registration (RFC 7592 §2.3) with everything that was granted to it. `used` tells whether it
/// was ever granted anything: then the revocation feed ends the tokens that are out. For a client that never
/// got any there is nothing to end, and registering and removing in turn must not fill the feed.
#[must_use]
pub fn remove(settings: &Settings, client: &Client, used: bool, now: UnixTime) -> Unit {
    let unit = Unit::default()
        .given(Precondition::ClientIs(client.clone()))
        .then(Write::DeleteClient(client.id.clone()));
    if used || acts_alone(client) {
        unit.then(ended(settings, client, now))
    } else {
        unit
    }
}

#[cfg(test)]
mod tests;
