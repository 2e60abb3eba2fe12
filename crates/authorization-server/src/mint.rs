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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorward_jose::UnverifiedJws;
    use doorward_oauth::access_token::TokenSubject;
    use doorward_seal::MasterKey;
    use doorward_types::id::{ClientId, FamilyId, Tenant, TokenId};
    use doorward_types::random::CountingRandom;

    use super::*;
    use crate::fixture::{self, NOW};
    use crate::keys;

    #[test]
    fn tk_14_the_access_token_verifies_with_the_published_keys_and_names_one_audience() {
        let random = CountingRandom::default();
        let master = MasterKey::generate(&random);
        let mut tables = doorward_records::model::Tables::new();
        for unit in keys::missing(&[], &Tenant::default_tenant(), &master, NOW, &random).unwrap() {
            tables.apply(&unit).unwrap();
        }
        let ring = KeyRing::open(&tables.keys(), &master).unwrap();
        let (settings, user) = (fixture::settings(), fixture::user("alice", &["eng"]));
        let issue = Issue {
            subject: TokenSubject::User(user.id),
            username: Some(user.username),
            groups: Some(user.groups),
            client: ClientId::new("dcr_x"),
            resource: settings.servers[0].resource.clone(),
            scopes: "t:read".parse().unwrap(),
            family: Some(FamilyId::generate(NOW, &random)),
            authenticated: Some(NOW.minus(Duration::from_secs(30))),
            client_scopes: Some("t:read t:write".parse().unwrap()),
            token: TokenId::generate(NOW, &random),
            issued: NOW,
            expires_in: Duration::from_mins(10),
            refresh_token: Some(Secret::new("dwr_x")),
        };
        let response = mint(&ring, &settings.issuer, &issue, 3).unwrap();
        let jws = UnverifiedJws::parse(response.access_token.expose()).unwrap();
        assert_eq!(jws.key_id(), Some(ring.signing().key_id()));
        let verified = jws.verify_with(ring.public()).unwrap();
        assert!(verified.is_type("at+jwt"));
        let claims = verified.claims();
        assert_eq!(
            claims.required_string("aud").unwrap(),
            "https://mcp.example.com/a/mcp"
        );
        assert_eq!(claims.required_string("scope").unwrap(), "t:read");
        assert_eq!(claims.required_string("sub").unwrap(), user.id.to_string());
        assert_eq!(claims.required_integer("exp").unwrap(), NOW.seconds() + 600);
        assert_eq!(claims.required_integer("rev").unwrap(), 3);
        assert_eq!(claims.required_integer("auth_time").unwrap(), NOW.seconds() - 30);
        assert_eq!(claims.required_string("client_scope").unwrap(), "t:read t:write");
        assert_eq!(claims.strings("groups").unwrap(), Some(vec!["eng"]));
        assert_eq!(
            (response.expires_in.as_secs(), response.scope.to_string().as_str()),
            (600, "t:read")
        );
    }
}
