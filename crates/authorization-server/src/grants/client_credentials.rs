//! A token for the client itself (OAuth 2.1 draft 13 §4.2; MCP extension oauth-client-credentials).
//!
//! There is no person, so there is no consent: an operator has to have wanted it. That is a client that an operator
//! added (`doorward client add`, `[[clients]]`) or approved, or one that the server's `allow` rule names
//! (`client:ID`). A server whose rule names people and groups only admits no client. The token has no chain and no
//! refresh token: a client that can authenticate can ask again.

use std::time::Duration;

use doorward_oauth::access_token::TokenSubject;
use doorward_policy::ProtectedServer;
use doorward_records::client::{Client, ClientOrigin, ClientStatus};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::TokenId;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;

use super::{Decided, Issue};
use crate::authorize::is_ignored;
use crate::client::registered_scopes;
use crate::client_auth::Authenticated;
use crate::settings::{Settings, client_may_have};
use crate::token::TokenRefusal;

/// How exactly the last use of a client is known: a client that asks all the time makes no more writes than this.
const TOUCHED: Duration = Duration::from_mins(5);

/// `grant_type=client_credentials`.
#[derive(Clone, Debug)]
pub struct Request {
    /// `scope`, if it was sent.
    pub scope: Option<String>,
    /// `resource`, each one.
    pub resource: Vec<String>,
}

/// Decides whether the client gets a token of its own. The unit is often empty: then nothing needs to be committed,
/// but the revocation sequence number of the token must have been read before the client was.
#[must_use]
pub fn decide(
    settings: &Settings,
    request: &Request,
    caller: &Authenticated,
    now: UnixTime,
    random: &dyn Random,
) -> Decided {
    issue(settings, request, caller, now, random).unwrap_or_else(Decided::refuse)
}

fn issue(
    settings: &Settings,
    request: &Request,
    caller: &Authenticated,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Decided, TokenRefusal> {
    let client = caller.client();
    if !caller.is_confidential() || client.status != ClientStatus::Approved {
        return Err(TokenRefusal::NotForItself);
    }
    let server = settings
        .requested_server(&request.resource)
        .ok_or(TokenRefusal::Resource)?;
    if !admits(server, client) {
        return Err(TokenRefusal::NotForItself);
    }
    let scopes = scopes(server, client, request.scope.as_deref())?;
    let mut unit = Unit::default();
    if now.since(client.last_used) >= TOUCHED {
        unit = unit
            .given(Precondition::ClientHasStatus(
                client.id.clone(),
                ClientStatus::Approved,
            ))
            .then(Write::TouchClient(client.id.clone(), now));
    }
    let lifetimes = &settings.lifetimes;
    let outcome = Ok(Box::new(Issue {
        subject: TokenSubject::Client(client.id.clone()),
        username: None,
        groups: None,
        client: client.id.clone(),
        resource: server.resource.clone(),
        scopes,
        family: None,
        authenticated: None,
        client_scopes: registered_scopes(client),
        token: TokenId::generate(now, random),
        issued: now,
        expires_in: if client.metadata.wants_refresh_tokens() {
            lifetimes.access_token
        } else {
            lifetimes.access_token_without_refresh
        },
        refresh_token: None,
    }));
    Ok(Decided { unit, outcome })
}

/// Whether an operator wanted this client to use this server by itself.
fn admits(server: &ProtectedServer, client: &Client) -> bool {
    let within = client
        .servers
        .as_ref()
        .is_none_or(|names| names.iter().any(|name| name == server.name.as_str()));
    let wanted = matches!(client.origin, ClientOrigin::Operator | ClientOrigin::Configured)
        || client.approved.is_some()
        || server.allow.names_client(&client.id);
    within && wanted && server.allow.admits_client(&client.id)
}

/// The scopes asked for, of those that the server knows and the client registered; the default ones if none are asked
/// for. Nobody sees what is left out and can object, so nothing left is a refusal.
fn scopes(
    server: &ProtectedServer,
    client: &Client,
    requested: Option<&str>,
) -> Result<ScopeSet, TokenRefusal> {
    let parse = |text: Option<&str>| {
        text.unwrap_or_default()
            .parse::<ScopeSet>()
            .map_err(|_| TokenRefusal::Scope)
    };
    let requested: ScopeSet = parse(requested)?
        .iter()
        .filter(|scope| !is_ignored(scope))
        .cloned()
        .collect();
    let asked = if requested.is_empty() {
        server.scopes.defaults()
    } else {
        requested
    };
    let had = asked.intersection(&client_may_have(server, &client.id));
    let granted = match registered_scopes(client) {
        Some(registered) => had.intersection(&server.scopes.closure(&registered)),
        None => had,
    };
    if granted.is_empty() {
        Err(TokenRefusal::Scope)
    } else {
        Ok(granted)
    }
}

#[cfg(test)]
mod tests;
