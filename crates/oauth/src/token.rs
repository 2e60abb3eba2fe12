//! Token requests and responses (RFC 6749 §4.1.3, §5.1 and §6).

use std::time::Duration;

use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;

use crate::form::Form;

/// The parameters of a token request as they were sent; nothing is judged yet.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// `grant_type`.
    pub grant_type: Option<String>,
    /// `client_id`.
    pub client_id: Option<String>,
    /// `code`.
    pub code: Option<Secret>,
    /// `redirect_uri`: OAuth 2.1 no longer asks for it, clients still send it.
    pub redirect_uri: Option<String>,
    /// `code_verifier`.
    pub code_verifier: Option<Secret>,
    /// `refresh_token`.
    pub refresh_token: Option<Secret>,
    /// `device_code` (RFC 8628 §3.4).
    pub device_code: Option<Secret>,
    /// `scope`.
    pub scope: Option<String>,
    /// `resource`, each one.
    pub resource: Vec<String>,
}

impl TokenRequest {
    /// Picks the parameters out of a form; unknown ones are ignored (RFC 6749 §3.2).
    #[must_use]
    pub fn read(form: &Form) -> Self {
        let get = |name| form.get(name).map(str::to_owned);
        let secret = |name| form.get(name).map(Secret::new);
        Self {
            grant_type: get("grant_type"),
            client_id: get("client_id"),
            code: secret("code"),
            redirect_uri: get("redirect_uri"),
            code_verifier: secret("code_verifier"),
            refresh_token: secret("refresh_token"),
            device_code: secret("device_code"),
            scope: get("scope"),
            resource: form.all("resource").map(str::to_owned).collect(),
        }
    }
}

/// A successful answer (RFC 6749 §5.1).
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The signed access token.
    pub access_token: Secret,
    /// How long it works.
    pub expires_in: Duration,
    /// The refresh token, for clients that registered for one.
    pub refresh_token: Option<Secret>,
    /// What was granted. Always told, because it may be less than what was asked (RFC 6749 §3.3).
    pub scope: ScopeSet,
}

impl TokenResponse {
    /// The JSON body. It holds the secrets: answer with `Cache-Control: no-store`, never log it.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        let mut body = serde_json::json!({
            "access_token": self.access_token.expose(),
            "token_type": "Bearer",
            "expires_in": self.expires_in.as_secs(),
            "scope": self.scope,
        });
        if let (Some(refresh_token), Some(body)) = (&self.refresh_token, body.as_object_mut()) {
            body.insert("refresh_token".into(), refresh_token.expose().into());
        }
        Secret::new(body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_answer_of_rfc_6749() {
        let response = TokenResponse {
            access_token: Secret::new("a.b.c"),
            expires_in: Duration::from_mins(10),
            refresh_token: Some(Secret::new("dwr_x")),
            scope: "mcp".parse().unwrap(),
        };
        let body: serde_json::Value = serde_json::from_str(response.to_json().expose()).unwrap();
        let expected = serde_json::json!({
            "access_token": "a.b.c", "token_type": "Bearer", "expires_in": 600, "refresh_token": "dwr_x", "scope": "mcp"
        });
        assert_eq!(body, expected);
        assert!(!format!("{response:?}").contains("dwr_x"));
    }
}
