//! Signing what was decided, after it was committed.

use doorward_jose::SigningError;
use doorward_oauth::access_token;
use doorward_oauth::token::TokenResponse;
use doorward_types::secret::Secret;
use doorward_types::url::Issuer;

use crate::grants::Issue;
use crate::keys::KeyRing;

/// Signs the access token of `issue` and builds the answer. `rev` is the revocation sequence number that
/// the commit told: a kill switch that was pressed later has a higher one.
pub fn mint(keys: &KeyRing, issuer: &Issuer, issue: &Issue, rev: u64) -> Result<TokenResponse, SigningError> {
    let access_token = keys
        .signing()
        .sign(access_token::TYPE, &issue.claims(issuer, rev))?;
    Ok(TokenResponse {
        access_token: Secret::new(access_token),
        expires_in: issue.expires_in,
        refresh_token: issue.refresh_token.clone(),
        scope: issue.scopes.clone(),
    })
}
