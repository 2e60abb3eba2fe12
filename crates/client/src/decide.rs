//! What a refusal of the MCP server asks for: one decision, without I/O.

use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::authorizer::Attempt;
use crate::challenge::Challenge;
use crate::error::Error;
use crate::provider::Tokens;
use crate::step_up::StepUps;

/// How often one message is sent at most.
pub const MAX_TRIES: u8 = 3;

/// Why somebody is to be authorized.
#[derive(Clone, Debug, Default)]
pub struct Why {
    /// What the MCP server answered.
    pub challenge: Option<Challenge>,
    /// The access token that it refused: it is not used again.
    pub rejected: Option<Secret>,
    /// What a step-up has to ask for.
    pub scope: Option<ScopeSet>,
    /// A renewed token was refused, too: another renewal would bring nothing.
    pub no_refresh: bool,
}

/// What is known of our side when a refusal comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The tokens that are kept by now.
    pub tokens: Option<&'a Tokens>,
    /// The access token that a login (no renewal) in this process brought, if it did.
    pub from_login: Option<&'a Secret>,
    /// Whether nothing has succeeded since the last login in this process: another one would be for nothing (CL-13).
    pub in_vain: bool,
    /// Whether the answer brought a `DPoP-Nonce` that was not known.
    pub new_nonce: bool,
}

/// What to do about a refusal.
#[derive(Debug)]
pub enum Decision {
    /// Send the same message again: there are other tokens by now, or a nonce to go with.
    Again,
    /// Come by other tokens (renew, or log in), then send the same message again.
    Authorize(Box<Why>),
    /// Give up.
    GiveUp(Error),
}

/// Decides what to do about `attempt`, whose challenge is `challenge`.
pub fn decide(
    attempt: &Attempt<'_>,
    challenge: &Challenge,
    known: Known<'_>,
    step_ups: &mut StepUps,
) -> Decision {
    let give_up = |why: String| {
        Decision::GiveUp(Error::GaveUp {
            tries: attempt.tries,
            why,
        })
    };
    if attempt.tries >= MAX_TRIES {
        return give_up(describe(attempt, challenge));
    }
    let sent = access_token(attempt.sent);
    // RFC 9449 §9; a nonce that comes with every answer is not a reason by itself.
    if challenge.asks_for_nonce() && sent.is_some() {
        // Of several requests at once only one finds the nonce new; the others went without it as well.
        return if known.new_nonce || attempt.tries == 1 {
            Decision::Again
        } else {
            give_up(describe(attempt, challenge))
        };
    }
    let current = known.tokens.map(|tokens| &tokens.access_token);
    if current.is_some() && current != sent.as_ref() {
        return Decision::Again;
    }
    let wants_scope =
        challenge.asks_for_scope() || (attempt.status == StatusCode::FORBIDDEN && challenge.scope.is_some());
    let why = Why {
        challenge: Some(challenge.clone()),
        rejected: sent.clone(),
        scope: None,
        no_refresh: attempt.tries > 1,
    };
    match (attempt.status, known.tokens) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(tokens)) if wants_scope => {
            let scopes = (&tokens.requested, &tokens.scope);
            match step_ups.next(&tokens.resource, attempt.operation, challenge, scopes) {
                Ok(scope) => Decision::Authorize(Box::new(Why {
                    scope: Some(scope),
                    ..why
                })),
                Err(error) => Decision::GiveUp(error),
            }
        }
        (StatusCode::UNAUTHORIZED, _) => {
            let from_login = attempt.tries > 1 && sent.is_some() && known.from_login == sent.as_ref();
            if known.in_vain || from_login {
                return give_up(format!(
                    "{}: the MCP server refuses the tokens that a login brought",
                    describe(attempt, challenge)
                ));
            }
            Decision::Authorize(Box::new(why))
        }
        // 403 before anybody logged in, as some servers answer instead of 401.
        (StatusCode::FORBIDDEN, None) if challenge.bearer || challenge.dpop => {
            Decision::Authorize(Box::new(why))
        }
        _ => give_up(describe(attempt, challenge)),
    }
}

/// The access token of an `Authorization` header of ours.
fn access_token(headers: &HeaderMap) -> Option<Secret> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, token) = text.split_once(' ')?;
    Some(Secret::new(token))
}

/// The `Authorization` header for tokens (RFC 6750 §2.1, RFC 9449 §7.1). `None` if the token does not fit into a header.
#[must_use]
pub fn authorization(tokens: &Tokens) -> Option<HeaderValue> {
    let scheme = if tokens.dpop { "DPoP" } else { "Bearer" };
    let text = zeroize::Zeroizing::new(format!("{scheme} {}", tokens.access_token.expose()));
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn describe(attempt: &Attempt<'_>, challenge: &Challenge) -> String {
    let mut text = format!("the MCP server answered {}", attempt.status);
    for part in [&challenge.error, &challenge.error_description]
        .into_iter()
        .flatten()
    {
        text.push_str(": ");
        text.push_str(&crate::text::shown(part));
    }
    text
}

#[cfg(test)]
mod tests;
