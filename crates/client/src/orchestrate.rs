//! One entry to a login: discover, renew, register, redirect, finish (R21, R22).
//!
//! [`authorize()`] ends with tokens, or with the URL that its user was shown; then [`finish`] takes what came back to the redirect
//! URI. Both find everything else through [`Environment`].

use std::sync::Arc;

use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use url::Url;

use crate::authorize::{self, Ask};
use crate::callback::{CallbackError, CallbackParameters};
use crate::challenge::Challenge;
use crate::client_assertion::ClientKey;
use crate::client_auth::{self, ClientAuthentication, Method};
pub use crate::decide::{Decision, Known, Why, authorization, decide};
use crate::discover::{Discovered, FindResource, FindServer, FoundResource, ServerChoice};
use crate::dpop::Dpop;
use crate::error::{Error, Hop, Refusal};
use crate::grant::Grant;
use crate::http::Http;
use crate::machine::{drive, reached};
use crate::named_url::UrlPolicy;
use crate::obtain::Asking;
use crate::proven::{Proof, ProvenRequest};
use crate::provider::{ClientInformation, ClientOrigin, Pending, Provider, Tokens};
use crate::refresh::{self, Failure};
use crate::registration::{self, Application, Kept, Registration};
use crate::sign_on::{self, Belongs, Expected};
use crate::token::TokenRequest;
use crate::{revoke, scope};

/// How many of the listed authorization servers are looked up among those that there are credentials for.
const MAX_LOOKUPS: usize = 16;

/// What a login runs with.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Where things are kept, and how the user is shown the way.
    pub provider: &'a dyn Provider,
    /// The network.
    pub http: &'a dyn Http,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Chance.
    pub random: &'a dyn Random,
}

impl<'a> Environment<'a> {
    /// What goes with a token request.
    #[must_use]
    pub const fn proof(&self, dpop: Option<&'a Dpop>) -> Proof<'a> {
        Proof {
            dpop,
            clock: self.clock,
            random: self.random,
        }
    }
}

/// Who logs in where, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The MCP server, as its user calls it.
    pub server: Url,
    /// Where authorization responses come to.
    pub redirect_uri: String,
    /// What this application is.
    pub application: Application,
    /// How tokens are come by.
    pub grant: Grant,
    /// The scopes that its user wants instead of what the server names.
    pub scope: Option<ScopeSet>,
    /// More parameters of the authorization request.
    pub extra: Vec<(String, String)>,
    /// Whether refresh tokens are wanted.
    pub wants_refresh: bool,
    /// Whether the server may be one of revision 2025-03-26, without resource metadata.
    pub legacy: bool,
    /// Whether its user said that plain `http` to a `server` elsewhere than on this machine is meant (B11).
    pub allow_insecure_http: bool,
    /// The key that the client authenticates with (`private_key_jwt`).
    pub key: Option<Arc<ClientKey>>,
    /// The key that tokens are bound to where that is asked for.
    pub dpop: Option<Dpop>,
    /// Whether tokens are bound wherever the authorization server can do it, and not only where they must be.
    pub prefer_dpop: bool,
}

/// What [`authorize()`] ends with.
#[derive(Debug)]
pub enum Outcome {
    /// There are tokens.
    Authorized(Tokens),
    /// The user was sent to this URL; [`finish`] takes the answer.
    Redirect(Url),
}

impl Options {
    /// Which URLs are used (B11, B20).
    pub fn policy(&self) -> Result<UrlPolicy, Error> {
        let policy = if self.allow_insecure_http {
            UrlPolicy::with_insecure_host_of(&self.server)
        } else {
            UrlPolicy::strict()
        };
        match policy.judge(self.server.as_str()) {
            Ok(_) => Ok(policy),
            Err(why) => Err(Refusal::new(
                Hop::McpServer,
                Some(&self.server),
                ("B11", "MCP security best practices; OAuth 2.1 §1.5"),
                format!("the URL of the MCP server is not used: {why}"),
                "use the https URL of the server; plain http is for this machine, or where it is allowed by hand",
            )
            .into()),
        }
    }

    /// Whether tokens that are kept are of the kind that the server takes and this client can use.
    fn can_use(&self, tokens: &Tokens, discovered: &Discovered, why: &Why) -> bool {
        if tokens.dpop {
            self.dpop.is_some()
        } else {
            !requires_dpop(discovered, why.challenge.as_ref())
        }
    }

    /// The key that tokens of this server are bound to, if they are to be. An error if they must be and cannot.
    fn binding(
        &self,
        discovered: &Discovered,
        challenge: Option<&Challenge>,
    ) -> Result<Option<&Dpop>, Error> {
        let required = requires_dpop(discovered, challenge);
        let listed = &discovered.authorization_server.dpop_signing_alg_values_supported;
        let offered = listed
            .as_ref()
            .is_some_and(|listed| listed.iter().any(|name| name == crate::dpop::ALGORITHM));
        match &self.dpop {
            Some(dpop) if required || (offered && self.prefer_dpop) => Ok(Some(dpop)),
            None if required => Err(Error::NeedsUser(format!(
                "{} takes only tokens that are bound to a key (DPoP), and this client has none to bind them to",
                self.server
            ))),
            _ => Ok(None),
        }
    }
}

fn requires_dpop(discovered: &Discovered, challenge: Option<&Challenge>) -> bool {
    discovered.requires_dpop() || challenge.is_some_and(Challenge::requires_dpop)
}

/// Finds the authorization server (D3 to D7). Always asks anew: a server may have moved to another one (G14).
pub async fn discover(
    env: &Environment<'_>,
    options: &Options,
    challenge: Option<&Challenge>,
) -> Result<Discovered, Error> {
    let policy = options.policy()?;
    let mut resource = FindResource::new(&options.server, challenge, &policy);
    let found = drive(&mut resource, env.http).await?;
    let choice = ServerChoice {
        known: known_issuers(env, options, &found).await?,
        code_flow: options.grant.uses_browser(),
        legacy: options.legacy && challenge.is_none_or(|challenge| challenge.resource_metadata.is_none()),
    };
    drive(
        &mut FindServer::new(&options.server, found, choice, &policy),
        env.http,
    )
    .await
}

/// The listed issuers that there are credentials for.
async fn known_issuers(
    env: &Environment<'_>,
    options: &Options,
    found: &FoundResource,
) -> Result<Vec<String>, Error> {
    let FoundResource::Metadata(metadata) = found else {
        return Ok(Vec::new());
    };
    let mut known = Vec::new();
    if let Some(given) = &options.application.pre_registered {
        known.extend(pinned_issuer(env, options).await?);
        known.extend(given.issuer.clone());
    }
    for issuer in metadata.authorization_servers.iter().take(MAX_LOOKUPS) {
        let has_tokens = env.provider.tokens(issuer, &metadata.resource).await?.is_some();
        if has_tokens || env.provider.client(issuer).await?.is_some() {
            known.push(issuer.clone());
        }
    }
    Ok(known)
}

async fn pinned_issuer(env: &Environment<'_>, options: &Options) -> Result<Option<String>, Error> {
    match &options.application.pre_registered {
        Some(given) => Ok(env.provider.issuer_of(&given.client_id).await?),
        None => Ok(None),
    }
}

/// Comes by tokens: those that are kept if they are good, renewed ones, or new ones. With a grant that needs a browser it ends
/// with [`Outcome::Redirect`] when somebody has to log in.
pub async fn authorize(env: &Environment<'_>, options: &Options, why: &Why) -> Result<Outcome, Error> {
    let discovered = discover(env, options, why.challenge.as_ref()).await?;
    authorize_at(env, options, why, &discovered).await
}

/// [`authorize()`] with an authorization server that was just found.
pub async fn authorize_at(
    env: &Environment<'_>,
    options: &Options,
    why: &Why,
    discovered: &Discovered,
) -> Result<Outcome, Error> {
    let dpop = options.binding(discovered, why.challenge.as_ref())?;
    let issuer = &discovered.authorization_server.issuer;
    let kept = env.provider.tokens(issuer, &discovered.resource).await?;
    if let Some(tokens) = kept
        .as_ref()
        .filter(|tokens| options.can_use(tokens, discovered, why))
        && let Some(tokens) = reuse(env, options, why, discovered, tokens.clone()).await?
    {
        return Ok(Outcome::Authorized(tokens));
    }
    let scope = match (&why.scope, &kept) {
        (Some(union), _) => union.clone(),
        (None, kept) => {
            let before = kept.as_ref().map(|tokens| &tokens.requested);
            scope::initial(options.scope.as_ref(), before, why.challenge.as_ref(), discovered)
        }
    };
    scope::bounded(&scope, discovered)?;
    let (client, redirect_uri) = client(env, options, discovered).await?;
    if !options.grant.uses_browser() {
        let tokens = obtain(env, options, (discovered, dpop), &client, &scope).await?;
        return Ok(Outcome::Authorized(tokens));
    }
    let scope = scope::with_offline_access(scope, discovered, options.wants_refresh);
    let method = client_auth::choose(&discovered.authorization_server, &client, options.key.is_some())?;
    let client = ClientInformation {
        token_endpoint_auth_method: Some(method.name().into()),
        ..client
    };
    let thumbprint = dpop.map(Dpop::thumbprint);
    let ask = Ask {
        client: &client,
        redirect_uri: &redirect_uri,
        scope: &scope,
        extra: &options.extra,
        dpop_jkt: thumbprint.as_deref(),
    };
    let (url, pending) = authorize::request(discovered, ask, env.random)?;
    env.provider.save_pending(Some(&pending)).await?;
    env.provider.redirect(&url).await?;
    Ok(Outcome::Redirect(url))
}

/// The tokens that are kept, if they do, or renewed ones. `None`: somebody has to log in.
async fn reuse(
    env: &Environment<'_>,
    options: &Options,
    why: &Why,
    discovered: &Discovered,
    tokens: Tokens,
) -> Result<Option<Tokens>, Error> {
    if why
        .scope
        .as_ref()
        .is_some_and(|needed| !needed.is_subset(&tokens.scope))
    {
        return Ok(None);
    }
    let now = env.clock.now();
    let rejected = why.rejected.as_ref() == Some(&tokens.access_token);
    if !rejected && !refresh::is_due(&tokens, now) {
        return Ok(Some(tokens));
    }
    if rejected && why.no_refresh {
        return Ok(None);
    }
    match renew(env, options, discovered, &tokens).await {
        Ok(Some(renewed)) => Ok(Some(renewed)),
        Ok(None) if rejected || refresh::is_over(&tokens, now) => Ok(None),
        Ok(None) => Ok(Some(tokens)),
        Err(error) => match refresh::failure(&error) {
            Failure::Passing if rejected || refresh::is_over(&tokens, now) => Err(error),
            Failure::Passing => Ok(Some(tokens)),
            failure => {
                tracing::debug!(%error, "the refresh token is not good any more");
                if failure == Failure::Client {
                    env.provider.forget_client(&tokens.issuer).await?;
                }
                env.provider
                    .forget_tokens(&tokens.issuer, &tokens.resource)
                    .await?;
                Ok(None)
            }
        },
    }
}

/// Renews tokens and keeps them. `None` if that is not possible: no refresh token, or the client that they were issued to is
/// not known any more.
pub async fn renew(
    env: &Environment<'_>,
    options: &Options,
    discovered: &Discovered,
    tokens: &Tokens,
) -> Result<Option<Tokens>, Error> {
    let Some(refresh_token) = &tokens.refresh_token else {
        return Ok(None);
    };
    let Some(client) = client_of(env, options, discovered, &tokens.client_id).await? else {
        return Ok(None);
    };
    let method = client_auth::choose(&discovered.authorization_server, &client, options.key.is_some())?;
    let request = || {
        let authentication = authenticate(env, options, &tokens.issuer, &client, method)?;
        refresh::request(discovered, tokens, refresh_token, &authentication)
    };
    let proof = env.proof(options.dpop.as_ref().filter(|_| tokens.dpop));
    let response = drive(&mut ProvenRequest::new(proof, request), env.http).await?;
    let id_token = response.id_token.clone();
    let mut renewed = refresh::renewed(tokens, response, env.clock.now());
    if let Some(sign_on) = &discovered.sign_on {
        let Some(believed) = renewed_identity(env, &sign_on.jwks_uri, tokens, (id_token, renewed)).await?
        else {
            return Ok(None);
        };
        renewed = believed;
    }
    env.provider.save_tokens(&renewed).await?;
    Ok(Some(renewed))
}

/// What an identity provider renewed, with the ID token in its place; `None` if it gives none that can be believed: then a person is asked
/// from now on, and not the provider each time.
async fn renewed_identity(
    env: &Environment<'_>,
    jwks_uri: &Url,
    before: &Tokens,
    (id_token, renewed): (Option<Secret>, Tokens),
) -> Result<Option<Tokens>, Error> {
    let with = |refresh_token: Option<Secret>| Tokens {
        refresh_token,
        ..before.clone()
    };
    // OpenID Connect Core §12.2 leaves it to the provider whether there is one.
    if id_token.is_none() {
        env.provider.save_tokens(&with(None)).await?;
        return Ok(None);
    }
    // Its keys are yet to be fetched, and the refresh token of before may be used up already (A27).
    env.provider
        .save_tokens(&with(renewed.refresh_token.clone()))
        .await?;
    let expected = Expected {
        issuer: &before.issuer,
        client_id: &before.client_id,
        belongs: Belongs::SamePerson(&before.access_token),
    };
    match sign_on::identified(env, (id_token, expected), jwks_uri, renewed).await {
        Ok(believed) => Ok(Some(believed)),
        Err(Error::Refused(why)) => {
            tracing::warn!(%why, "not renewed");
            env.provider.save_tokens(&with(None)).await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What is known about the client `client_id` of this authorization server.
async fn client_of(
    env: &Environment<'_>,
    options: &Options,
    discovered: &Discovered,
    client_id: &str,
) -> Result<Option<ClientInformation>, Error> {
    let server = &discovered.authorization_server;
    let kept = env.provider.client(&server.issuer).await?;
    if let Some(kept) = kept.filter(|kept| kept.client_id == client_id && kept.issuer == server.issuer) {
        return Ok(Some(kept));
    }
    // A pre-registered client and a metadata document are not looked up but given: the same choice as at the login.
    let application = Application {
        may_register: false,
        ..options.application.clone()
    };
    let kept = Kept {
        client: None,
        pinned_to: pinned_issuer(env, options).await?,
    };
    match registration::choose(server, &application, kept, &options.redirect_uri, env.clock.now()) {
        Ok(Registration::Client(client)) if client.client_id == client_id => Ok(Some(client)),
        Ok(_) | Err(Error::NeedsUser(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The client to log in with (G1), registered if need be, and kept; and the redirect URI to log in with.
async fn client(
    env: &Environment<'_>,
    options: &Options,
    discovered: &Discovered,
) -> Result<(ClientInformation, String), Error> {
    let server = &discovered.authorization_server;
    let kept = Kept {
        client: env.provider.client(&server.issuer).await?,
        pinned_to: pinned_issuer(env, options).await?,
    };
    let redirect_uri = env
        .provider
        .redirect_uri()
        .unwrap_or_else(|| options.redirect_uri.clone());
    let may_register = options.application.may_register && options.grant.may_register();
    let application = Application {
        may_register,
        ..options.application.clone()
    };
    if application.pre_registered.is_none()
        && let Some(client) = options.grant.nameless_client(&server.issuer)
    {
        return Ok((client, redirect_uri));
    }
    match registration::choose(server, &application, kept, &redirect_uri, env.clock.now())? {
        Registration::Client(client) => {
            if client.origin == ClientOrigin::PreRegistered {
                env.provider.save_client(&client).await?;
            }
            Ok((client, redirect_uri))
        }
        Registration::Register(mut register) => {
            let client = drive(register.as_mut(), env.http).await?;
            env.provider.save_client(&client).await?;
            Ok((client, redirect_uri))
        }
    }
}

fn authenticate(
    env: &Environment<'_>,
    options: &Options,
    issuer: &str,
    client: &ClientInformation,
    method: Method,
) -> Result<ClientAuthentication, Error> {
    client_auth::authenticate(
        issuer,
        client,
        method,
        options.key.as_deref(),
        env.clock.now(),
        env.random,
    )
}

/// Takes the answer that came to the redirect URI and exchanges its code for tokens, which are kept. An answer that is not for
/// the request under way ([`CallbackError::NotOurs`]) changes nothing; any other ends the request: its code is used once, here
/// or nowhere.
pub async fn finish(
    env: &Environment<'_>,
    options: &Options,
    answer: &CallbackParameters,
) -> Result<Tokens, CallbackError> {
    let pending = env.provider.pending().await.map_err(Error::from)?;
    let pending = pending.ok_or(CallbackError::NotOurs)?;
    if !answer.belongs_to(&pending) {
        return Err(CallbackError::NotOurs);
    }
    env.provider.save_pending(None).await.map_err(Error::from)?;
    let code = answer.judge(&pending)?;
    Ok(exchange_code(env, options, &pending, &code).await?)
}

async fn exchange_code(
    env: &Environment<'_>,
    options: &Options,
    pending: &Pending,
    code: &doorward_types::secret::Secret,
) -> Result<Tokens, Error> {
    let client = &pending.client;
    let named = client
        .token_endpoint_auth_method
        .as_deref()
        .and_then(Method::from_name);
    let request = || {
        let method = named.unwrap_or(Method::None);
        let authentication = authenticate(env, options, &pending.issuer, client, method)?;
        let request = TokenRequest::new(&pending.token_endpoint, "authorization_code")
            .with_secret("code", code)
            .with("redirect_uri", &pending.redirect_uri)
            .with_secret("code_verifier", &pending.verifier)
            .authenticated(&authentication);
        Ok(match &pending.sign_on {
            None => request.with("resource", &pending.resource),
            Some(_) => request,
        })
    };
    let proof = env.proof(options.dpop.as_ref().filter(|_| pending.dpop));
    let response = match drive(&mut ProvenRequest::new(proof, request), env.http).await {
        Ok(response) => response,
        Err(error) => {
            // The next login registers anew (G12): a server that forgot its clients would be met for ever otherwise.
            if refresh::failure(&error) == Failure::Client && client.origin == ClientOrigin::Dynamic {
                env.provider.forget_client(&pending.issuer).await?;
            }
            return Err(error);
        }
    };
    let whose = (
        pending.issuer.as_str(),
        pending.resource.as_str(),
        client.client_id.as_str(),
    );
    let id_token = response.id_token.clone();
    let mut tokens = refresh::issued(whose, &pending.requested, response, env.clock.now());
    if let Some(sign_on) = &pending.sign_on {
        let expected = Expected {
            issuer: &pending.issuer,
            client_id: &client.client_id,
            belongs: Belongs::Nonce(&sign_on.nonce),
        };
        tokens = sign_on::identified(env, (id_token, expected), &sign_on.jwks_uri, tokens).await?;
    }
    env.provider.save_tokens(&tokens).await?;
    Ok(tokens)
}

/// Tokens by a grant without a browser, kept.
async fn obtain(
    env: &Environment<'_>,
    options: &Options,
    (discovered, dpop): (&Discovered, Option<&Dpop>),
    client: &ClientInformation,
    scope: &ScopeSet,
) -> Result<Tokens, Error> {
    let asking = Asking {
        env,
        server: &discovered.authorization_server,
        resource: &discovered.resource,
        scope,
        client,
        key: options.key.as_deref(),
        dpop,
        policy: &options.policy()?,
    };
    let response = asking.obtain(&options.grant).await?;
    let issuer = discovered.authorization_server.issuer.as_str();
    let whose = (issuer, discovered.resource.as_str(), client.client_id.as_str());
    let tokens = refresh::issued(whose, scope, response, env.clock.now());
    env.provider.save_tokens(&tokens).await?;
    Ok(tokens)
}

/// Gives tokens back and forgets them (RFC 7009). They are forgotten whatever the server answers; the error says that the
/// server may still know them.
pub async fn log_out(env: &Environment<'_>, options: &Options, discovered: &Discovered) -> Result<(), Error> {
    let server = &discovered.authorization_server;
    let Some(tokens) = env.provider.tokens(&server.issuer, &discovered.resource).await? else {
        return Ok(());
    };
    env.provider
        .forget_tokens(&server.issuer, &discovered.resource)
        .await?;
    let authentication = match client_of(env, options, discovered, &tokens.client_id).await? {
        Some(client) => {
            let method = client_auth::choose(server, &client, options.key.is_some())?;
            authenticate(env, options, &server.issuer, &client, method)?
        }
        // A metadata document that nobody named this time, or a registration that was lost: the id is known still, and a server that
        // wants more than that says so.
        None => ClientAuthentication::None {
            client_id: tokens.client_id.clone(),
        },
    };
    let mut result = Ok(());
    let mut requests = revoke::requests(server, &tokens, &authentication);
    if discovered.sign_on.is_some() {
        // An ID token cannot be revoked: it ends by itself.
        requests.truncate(tokens.refresh_token.iter().count());
    }
    for request in requests {
        let answer = reached(env.http.send(request.build()).await, request.hop(), request.url());
        let revoked = answer.and_then(|response| revoke::process(&request, &response));
        result = result.and(revoked);
    }
    result
}

#[cfg(test)]
mod tests;
