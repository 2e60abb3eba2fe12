//! Token introspection messages (RFC 7662 §2).

use doorward_types::id::{ClientId, TokenId};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde_json::{Value, json};

use crate::access_token::TokenSubject;
use crate::form::Form;

/// The token that is asked about, here and at the revocation endpoint. Its `token_type_hint` is not read: our tokens
/// say themselves what they are, and a wrong hint must not change the answer (RFC 7662 §2.1, RFC 7009 §2.1).
#[must_use]
pub fn token(form: &Form) -> Option<Secret> {
    form.get("token").map(Secret::new)
}

/// What is told about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntrospectionResponse {
    /// It is not a token, not good any more, or none of the caller's business: the caller cannot tell which (RFC 7662
    /// §2.2, §4).
    Inactive,
    /// It works.
    Active(Box<ActiveToken>),
}

/// A token that works (RFC 7662 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveToken {
    /// The token's own id; none for refresh tokens.
    pub id: Option<TokenId>,
    /// Whether it is an access token; `token_type` is told for those.
    pub is_access_token: bool,
    /// Who issued it.
    pub issuer: Issuer,
    /// Whom it speaks for.
    pub subject: TokenSubject,
    /// That person's name.
    pub username: Option<String>,
    /// The client that holds it.
    pub client: ClientId,
    /// The one resource it is good for.
    pub resource: ResourceUri,
    /// What it may do.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it stops working.
    pub expires: UnixTime,
}

impl IntrospectionResponse {
    /// The JSON body. It holds personal data: answer with `Cache-Control: no-store`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self::Active(token) = self else {
            return json!({ "active": false }).to_string();
        };
        let mut body = json!({
            "active": true,
            "iss": token.issuer,
            "sub": token.subject,
            "client_id": token.client,
            "aud": token.resource,
            "scope": token.scopes,
            "iat": token.issued.seconds(),
            "exp": token.expires.seconds(),
        });
        let optional = [
            ("jti", token.id.map(|id| Value::from(id.to_string()))),
            ("username", token.username.clone().map(Value::from)),
            ("token_type", token.is_access_token.then(|| Value::from("Bearer"))),
        ];
        if let Some(body) = body.as_object_mut() {
            body.extend(
                optional
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?))),
            );
        }
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ex_04_an_inactive_token_is_told_nothing_about() {
        assert_eq!(IntrospectionResponse::Inactive.to_json(), r#"{"active":false}"#);
    }

    #[test]
    fn writes_the_answer_of_rfc_7662() {
        let token = ActiveToken {
            id: Some("0198c0de-0000-7000-8000-000000000000".parse().unwrap()),
            is_access_token: true,
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: TokenSubject::Client(ClientId::new("reports")),
            username: None,
            client: ClientId::new("reports"),
            resource: ResourceUri::parse("https://as.example/mcp").unwrap(),
            scopes: "mcp".parse().unwrap(),
            issued: UnixTime::from_seconds(1),
            expires: UnixTime::from_seconds(601),
        };
        let read = |token: ActiveToken| -> Value {
            serde_json::from_str(&IntrospectionResponse::Active(Box::new(token)).to_json()).unwrap()
        };
        let expected = json!({
            "active": true, "iss": "https://as.example", "sub": "reports", "client_id": "reports",
            "aud": "https://as.example/mcp", "scope": "mcp", "iat": 1, "exp": 601,
            "jti": "0198c0de-0000-7000-8000-000000000000", "token_type": "Bearer",
        });
        assert_eq!(read(token.clone()), expected);
        let refresh = read(ActiveToken {
            id: None,
            is_access_token: false,
            username: Some("alice".into()),
            ..token
        });
        assert_eq!(refresh["username"], "alice");
        assert!(refresh.get("jti").is_none() && refresh.get("token_type").is_none());
    }
}
