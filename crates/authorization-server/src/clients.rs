//! Clients that an operator defines, by command or in the configuration file, and what an operator does to any
//! client, as units.
//!
//! What ends something ends all of it: codes, chains of refresh tokens, and by an entry in the revocation feed
//! every access token that is already out (R35).

use std::time::Duration;

use doorward_oauth::redirect::{RedirectError, RedirectUri};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::grant::Grant;
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, UserId};
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde_json::Value;

use crate::client::scope_limit;
use crate::register::{KeyProblem, MAX_REDIRECT_URIS, key_address, key_set, new_secret};
use crate::settings::Lifetimes;

/// The longest id of a client that an operator names.
pub const MAX_ID: usize = 100;
/// The fewest characters of a secret that an operator chooses: it is kept as a plain digest, which only a
/// secret that nobody can guess survives.
pub const MIN_SECRET: usize = 32;

/// How long a revocation of a client is kept at least. An administrator's command may run with another
/// configuration than the server: it cannot know how long the tokens that are out will last.
const KEPT_AT_LEAST: Duration = Duration::from_hours(90 * 24);

/// Grant types that an operator can give a client.
pub const GRANT_TYPES: [&str; 4] = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
];

/// How a client that an operator defines authenticates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Not at all: a public client.
    #[default]
    None,
    /// With the secret of this digest, in a header.
    Secret(Digest),
    /// With the secret of this digest, in the body: as MCP's client-credentials extension has it.
    SecretInBody(Digest),
    /// With a key of this JWK set.
    Keys(Value),
    /// With a key of the set at this address.
    KeysAt(String),
}

/// A client as an operator describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Where people are sent back to.
    pub redirect_uris: Vec<String>,
    /// What it may use; none named: codes and refresh tokens if it has a redirect URI.
    pub grant_types: Vec<String>,
    /// How it authenticates.
    pub credential: Credential,
    /// Scopes it may ask for, separated by spaces; none named: any.
    pub scope: Option<String>,
    /// Names of the servers it may get tokens for; `None`: all.
    pub servers: Option<Vec<String>>,
    /// Names of the servers whose tokens it may introspect.
    pub introspects: Vec<String>,
}

/// Why a definition is not accepted. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionProblem {
    /// Not an id, or one that could be mistaken for another kind of client or for a person.
    #[error(
        "a client id has 1 to 100 letters, digits or . _ ~ - and is no UUID; `dcr_` and `dcc_` begin the ids of clients that register themselves"
    )]
    Id,
    /// Too many redirect URIs.
    #[error("a client has at most 32 redirect URIs")]
    RedirectCount,
    /// A redirect URI that may not be used.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// An unknown grant type, or refresh tokens alone.
    #[error(
        "grant types are authorization_code, refresh_token (with another one), client_credentials and urn:ietf:params:oauth:grant-type:device_code"
    )]
    GrantType,
    /// Codes without a place to send them to.
    #[error("authorization_code needs a redirect URI")]
    NoRedirect,
    /// Neither a grant nor introspection.
    #[error(
        "this client could do nothing: give it a redirect URI, client_credentials, or a server to introspect for"
    )]
    Nothing,
    /// Something that only a client can have that proves who it is.
    #[error("{0} needs a client that authenticates: give it a secret, jwks or jwks_uri")]
    Public(&'static str),
    /// Keys that cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyProblem),
    /// Not a list of scopes.
    #[error("scopes are words of printable ASCII without quotes and backslashes")]
    Scope,
    /// Too long.
    #[error("a name has at most 200 characters")]
    Name,
}

/// Judges a definition: the row it stands for, approved, without times. `custom_schemes` are allowed for
/// redirect URIs besides `https`, loopback and reversed domain names.
pub fn judge(
    definition: &Definition,
    origin: ClientOrigin,
    custom_schemes: &[String],
) -> Result<Client, DefinitionProblem> {
    check_id(&definition.id)?;
    if definition
        .name
        .as_ref()
        .is_some_and(|name| name.chars().count() > 200)
    {
        return Err(DefinitionProblem::Name);
    }
    if definition.redirect_uris.len() > MAX_REDIRECT_URIS {
        return Err(DefinitionProblem::RedirectCount);
    }
    let mut redirect_uris = Vec::new();
    for uri in &definition.redirect_uris {
        redirect_uris.push(RedirectUri::parse(uri, custom_schemes)?.registered().to_owned());
    }
    redirect_uris.sort_unstable();
    redirect_uris.dedup();
    let grant_types = grant_types(definition)?;
    let registered = |grant: &str| grant_types.iter().any(|known| known == grant);
    let public = definition.credential == Credential::None;
    if registered("authorization_code") && redirect_uris.is_empty() {
        return Err(DefinitionProblem::NoRedirect);
    }
    if public && registered("client_credentials") {
        return Err(DefinitionProblem::Public("client_credentials"));
    }
    if public && !definition.introspects.is_empty() {
        return Err(DefinitionProblem::Public("introspection"));
    }
    if grant_types.is_empty() && definition.introspects.is_empty() {
        return Err(DefinitionProblem::Nothing);
    }
    let scope = definition.scope.clone().filter(|scope| !scope.is_empty());
    if scope
        .as_ref()
        .is_some_and(|scope| scope.parse::<ScopeSet>().is_err())
    {
        return Err(DefinitionProblem::Scope);
    }
    let response_types = registered("authorization_code").then(|| "code".to_owned());
    let (method, secret, jwks, jwks_uri) = credential(&definition.credential)?;
    let metadata = ClientMetadata {
        client_name: definition.name.clone(),
        grant_types,
        response_types: response_types.into_iter().collect(),
        token_endpoint_auth_method: method.into(),
        scope,
        jwks,
        jwks_uri,
        ..ClientMetadata::public(redirect_uris)
    };
    let id = ClientId::new(definition.id.as_str());
    Ok(Client {
        secret,
        servers: definition.servers.clone(),
        introspects: definition.introspects.clone(),
        ..Client::new(id, origin, metadata, UnixTime::EPOCH)
    })
}

type Proof = (&'static str, Option<Digest>, Option<String>, Option<String>);

fn credential(credential: &Credential) -> Result<Proof, KeyProblem> {
    Ok(match credential {
        Credential::None => ("none", None, None, None),
        Credential::Secret(digest) => ("client_secret_basic", Some(*digest), None, None),
        Credential::SecretInBody(digest) => ("client_secret_post", Some(*digest), None, None),
        Credential::Keys(keys) => ("private_key_jwt", None, Some(key_set(keys)?), None),
        Credential::KeysAt(uri) => ("private_key_jwt", None, None, Some(key_address(uri)?)),
    })
}

fn check_id(id: &str) -> Result<(), DefinitionProblem> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    let plain = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(good);
    // A client's tokens carry its id as `sub`, where a person's carry a UUID (RFC 9068 §5).
    let mistaken = id.starts_with("dcr_") || id.starts_with("dcc_") || id.parse::<UserId>().is_ok();
    if plain && !mistaken {
        Ok(())
    } else {
        Err(DefinitionProblem::Id)
    }
}

fn grant_types(definition: &Definition) -> Result<Vec<String>, DefinitionProblem> {
    let asked = &definition.grant_types;
    if asked.is_empty() && !definition.redirect_uris.is_empty() {
        return Ok(vec!["authorization_code".into(), "refresh_token".into()]);
    }
    if !asked.iter().all(|grant| GRANT_TYPES.contains(&grant.as_str())) {
        return Err(DefinitionProblem::GrantType);
    }
    let known = GRANT_TYPES
        .into_iter()
        .filter(|known| asked.iter().any(|grant| grant == known));
    let known: Vec<String> = known.map(str::to_owned).collect();
    if known.iter().map(String::as_str).eq(["refresh_token"]) {
        return Err(DefinitionProblem::GrantType);
    }
    Ok(known)
}

/// A new id for a client that an operator adds without naming one.
#[must_use]
pub fn new_id(random: &dyn Random) -> String {
    let word = Secret::generate_with_prefix("app_", random);
    word.expose().chars().take(26).collect()
}

/// A new secret for a client that an operator adds.
#[must_use]
pub fn generate_secret(random: &dyn Random) -> Secret {
    new_secret(random)
}

/// Adds a judged client. A conflict means that the id is taken.
#[must_use]
pub fn add(client: Client, now: UnixTime) -> (Client, Unit) {
    let client = Client {
        created: now,
        last_used: now,
        approved: Some(now),
        ..client
    };
    let unit = Unit::default()
        .given(Precondition::ClientAbsent(client.id.clone()))
        .then(Write::InsertClient(client.clone()));
    (client, unit)
}

/// Lets a client that waits start authorizations, for good: from now on it is not forgotten, however long
/// nobody uses it. One that the policy approved is kept like that, too.
#[must_use]
pub fn approve(client: &Client, now: UnixTime) -> Unit {
    Unit::default()
        .given(Precondition::ClientIs(client.clone()))
        .then(Write::UpdateClient(Client {
            status: ClientStatus::Approved,
            approved: Some(now),
            last_used: now,
            ..client.clone()
        }))
}

/// Switches a client off: no authorization, no refresh, no token of its own, and the tokens that are out end.
/// Neither registering again nor a new start with the same configuration switches it on.
#[must_use]
pub fn disable(client: &Client, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = Unit::default().given(Precondition::ClientExists(client.id.clone()));
    let unit = if client.expires.is_some() && client.origin == ClientOrigin::Configured {
        // It was off because the file does not name it; from now on it is off whatever the file says.
        unit.then(Write::UpdateClient(Client {
            status: ClientStatus::Disabled,
            expires: None,
            ..client.clone()
        }))
    } else {
        unit.then(Write::SetClientStatus(client.id.clone(), ClientStatus::Disabled))
    };
    end(unit, client, lifetimes, now)
}

/// Switches a client on again; what it could use before stays revoked. Not for one that the file stopped to
/// name: see [`is_withdrawn`].
#[must_use]
pub fn enable(client: &Client, now: UnixTime) -> Unit {
    approve(client, now)
}

/// Whether the configuration file named this client once and does not any more.
#[must_use]
pub fn is_withdrawn(client: &Client) -> bool {
    client.origin == ClientOrigin::Configured
        && client.status == ClientStatus::Disabled
        && client.expires.is_some()
}

/// Ends everything that was granted to a client and keeps the client: its people are asked again. `grants` are
/// its consent records.
#[must_use]
pub fn revoke(client: &Client, grants: &[Grant], lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = Unit::default().given(Precondition::ClientExists(client.id.clone()));
    let unit = end(unit, client, lifetimes, now);
    // With them go the codes that nobody has redeemed yet.
    grants
        .iter()
        .fold(unit, |unit, grant| unit.then(Write::DeleteGrant(grant.id)))
}

/// Removes a client with every consent it was given. If it registers again it starts from nothing.
#[must_use]
pub fn remove(client: &Client, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = Unit::default()
        .given(Precondition::ClientExists(client.id.clone()))
        .then(Write::DeleteClient(client.id.clone()));
    feed(unit, client, lifetimes, now)
}

/// Gives a client with a secret another one; the one before is void at once, and so are the access tokens that are
/// out, because somebody else may have got them with it. `None` if it has none.
#[must_use]
pub fn rotate_secret(
    client: &Client,
    lifetimes: &Lifetimes,
    now: UnixTime,
    random: &dyn Random,
) -> Option<(Secret, Unit)> {
    client.secret?;
    let secret = new_secret(random);
    let unit = Unit::default()
        .given(Precondition::ClientIs(client.clone()))
        .then(Write::UpdateClient(Client {
            secret: Some(secret.digest()),
            ..client.clone()
        }));
    Some((secret, feed(unit, client, lifetimes, now)))
}

/// An id of the configuration file belongs to a client that came by another way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client id `{0}` belongs to a client that was added by a command")]
pub struct IdTaken(pub ClientId);

/// What the clients of the configuration file change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuring {
    /// To be committed, each by itself.
    pub units: Vec<Unit>,
    /// Clients of the file that an operator's command switched off: they stay off.
    pub switched_off: Vec<ClientId>,
    /// Clients that the file does not name any more: they are switched off now.
    pub withdrawn: Vec<ClientId>,
}

/// Compares the clients that the configuration file defines (judged) with those that exist. One that is gone
/// from the file is switched off, with its tokens; back in the file it works again, unless a command switched it
/// off.
pub fn configure(
    existing: &[Client],
    defined: Vec<Client>,
    lifetimes: &Lifetimes,
    now: UnixTime,
) -> Result<Configuring, IdTaken> {
    let mut changes = Configuring::default();
    let is_defined = |client: &Client| defined.iter().any(|entry| entry.id == client.id);
    for client in existing {
        let ours = client.origin == ClientOrigin::Configured && client.status != ClientStatus::Disabled;
        if ours && !is_defined(client) {
            changes.units.push(withdraw(client, lifetimes, now));
            changes.withdrawn.push(client.id.clone());
        }
    }
    for entry in defined {
        let Some(known) = existing.iter().find(|client| client.id == entry.id) else {
            changes.units.push(add(entry, now).1);
            continue;
        };
        if known.origin != ClientOrigin::Configured {
            return Err(IdTaken(entry.id));
        }
        let switched_off = known.status == ClientStatus::Disabled && !is_withdrawn(known);
        if switched_off {
            changes.switched_off.push(known.id.clone());
        }
        let next = Client {
            status: if switched_off {
                ClientStatus::Disabled
            } else {
                ClientStatus::Approved
            },
            created: known.created,
            last_used: known.last_used,
            approved: known.approved.or(Some(now)),
            ..entry
        };
        if next != *known {
            let unit = Unit::default().given(Precondition::ClientIs(known.clone()));
            let narrower = loses(known, &next);
            let unit = unit.then(Write::UpdateClient(next));
            changes.units.push(if narrower {
                // Its people stay connected: what is refreshed from now on is within the new limits.
                feed(unit, known, lifetimes, now)
            } else {
                unit
            });
        }
    }
    Ok(changes)
}

/// Whether the client may do less than before, so that tokens that are out may do more than it.
fn loses(before: &Client, after: &Client) -> bool {
    let scopes = match (scope_limit(before), scope_limit(after)) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => !before.is_subset(&after),
    };
    let servers = match (&before.servers, &after.servers) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => before.iter().any(|server| !after.contains(server)),
    };
    // A credential that is replaced may be replaced because somebody else has it. A key more is no such thing.
    let keys_lost = match (keys(before), keys(after)) {
        (Some(before), Some(after)) => before.iter().any(|key| !after.contains(key)),
        (before, _) => before.is_some(),
    };
    let replaced = keys_lost
        || before.secret.is_some() && before.secret != after.secret
        || before.metadata.jwks_uri.is_some() && before.metadata.jwks_uri != after.metadata.jwks_uri;
    let (before, after) = (&before.metadata.grant_types, &after.metadata.grant_types);
    scopes || servers || replaced || before.iter().any(|grant| !after.contains(grant))
}

/// The keys that a client was registered with.
fn keys(client: &Client) -> Option<Vec<Value>> {
    let set: Value = serde_json::from_str(client.metadata.jwks.as_deref()?).ok()?;
    set.get("keys")?.as_array().cloned()
}

fn withdraw(client: &Client, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = Unit::default()
        .given(Precondition::ClientIs(client.clone()))
        .then(Write::UpdateClient(Client {
            status: ClientStatus::Disabled,
            expires: Some(now),
            ..client.clone()
        }));
    end(unit, client, lifetimes, now)
}

/// Ends its chains and the access tokens that are out.
fn end(unit: Unit, client: &Client, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    let unit = unit.then(Write::RevokeFamiliesOfClient(client.id.clone()));
    feed(unit, client, lifetimes, now)
}

fn feed(unit: Unit, client: &Client, lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    unit.then(Write::AppendRevocation {
        revoked: Revoked::Client(client.id.clone()),
        at: now,
        expires: now.plus(lifetimes.revocation().max(KEPT_AT_LEAST)),
    })
}

#[cfg(test)]
mod tests;
