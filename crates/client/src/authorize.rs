//! The authorization request (OAuth 2.1 §4.1.1, RFC 7636, RFC 8707).

use doorward_oauth::pkce::{CodeChallenge, METHOD};
use doorward_oauth::redirect::RedirectUri;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use url::Url;

use crate::discover::Discovered;
use crate::error::{Error, Hop, Refusal};
use crate::provider::{ClientInformation, Pending};
use crate::scope::asks_offline_access;
use crate::sign_on::PendingSignOn;
use crate::text::shown;

/// Parameters that only this client sets.
const OURS: [&str; 11] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "dpop_jkt",
    "request",
    "request_uri",
];

/// What an authorization request is made of.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The client, with the method that it will authenticate with.
    pub client: &'a ClientInformation,
    /// Where the answer goes, byte for byte as it was registered.
    pub redirect_uri: &'a str,
    /// What is asked for; nothing if empty.
    pub scope: &'a ScopeSet,
    /// Parameters that the user wants sent as well (`prompt`, `audience`, `login_hint`, …).
    pub extra: &'a [(String, String)],
    /// The thumbprint of the key that the token is to be bound to (RFC 9449 §10).
    pub dpop_jkt: Option<&'a str>,
}

/// The URL to show the user, and what has to be kept until the answer comes. The issuer is recorded with it, before anybody
/// is sent anywhere (A13).
pub fn request(discovered: &Discovered, ask: Ask<'_>, random: &dyn Random) -> Result<(Url, Pending), Error> {
    let server = &discovered.authorization_server;
    let endpoint = match &discovered.sign_on {
        None => server.code_flow()?,
        Some(_) => server.sign_on_flow()?,
    };
    judge_query(endpoint, discovered.sign_on.is_some())?;
    // S4: a code goes to this machine, to an https site or to an app, never over the network in the clear.
    RedirectUri::parse(ask.redirect_uri, &[]).map_err(|why| {
        Error::NeedsUser(format!(
            "the redirect URI {} cannot be used: {why}",
            shown(ask.redirect_uri)
        ))
    })?;
    let (verifier, state) = (Secret::generate(random), Secret::generate(random));
    let challenge = CodeChallenge::of(verifier.expose());
    let sign_on = discovered.sign_on.as_ref().map(|sign_on| PendingSignOn {
        nonce: Secret::generate(random),
        jwks_uri: sign_on.jwks_uri.clone(),
    });
    let mut url = endpoint.clone();
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &ask.client.client_id)
            .append_pair("redirect_uri", ask.redirect_uri)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", METHOD)
            .append_pair("state", state.expose());
        match &sign_on {
            None => query.append_pair("resource", &discovered.resource),
            // An identity provider knows no resources of ours; it knows the nonce.
            Some(sign_on) => query.append_pair("nonce", sign_on.nonce.expose()),
        };
        if !ask.scope.is_empty() {
            query.append_pair("scope", &ask.scope.to_string());
        }
        if let Some(thumbprint) = ask.dpop_jkt {
            query.append_pair("dpop_jkt", thumbprint);
        }
        for (name, value) in ask.extra {
            if OURS.contains(&name.as_str()) || (sign_on.is_some() && name == "nonce") {
                return Err(Error::NeedsUser(format!(
                    "the parameter {} of the authorization request is set by this client and cannot be given",
                    shown(name)
                )));
            }
            query.append_pair(name, value);
        }
        let says_prompt = ask.extra.iter().any(|(name, _)| name == "prompt");
        if asks_offline_access(ask.scope) && !says_prompt {
            // OpenID Connect Core §11: without it the scope is ignored.
            query.append_pair("prompt", "consent");
        }
    }
    let pending = Pending {
        issuer: server.issuer.clone(),
        iss_required: server.authorization_response_iss_parameter_supported,
        token_endpoint: server.token_endpoint.clone(),
        resource: discovered.resource.clone(),
        verifier,
        state,
        redirect_uri: ask.redirect_uri.into(),
        requested: ask.scope.clone(),
        client: ask.client.clone(),
        dpop: ask.dpop_jkt.is_some(),
        sign_on,
    };
    Ok((url, pending))
}

/// An endpoint may have a query (RFC 6749 §3.1), but none that answers for us.
fn judge_query(endpoint: &Url, signs_on: bool) -> Result<(), Error> {
    match endpoint
        .query_pairs()
        .find(|(name, _)| OURS.contains(&name.as_ref()) || (signs_on && name == "nonce"))
    {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::new(
            Hop::ServerMetadata,
            Some(endpoint),
            ("A2", "RFC 6749 §3.1"),
            format!("the query of authorization_endpoint holds {name}, which is for the client to say"),
            "its operator must name an authorization_endpoint without it",
        )
        .into()),
    }
}

#[cfg(test)]
mod tests;
