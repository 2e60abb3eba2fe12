//! The authorization request and its answers (RFC 6749 §4.1.1 and §4.1.2, RFC 9207).

use std::fmt;

use doorward_types::secret::Secret;
use doorward_types::url::Issuer;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::form::Form;

/// Where the browser is sent: the client's redirect URI with the answer in its query, always with `iss`
/// ([`ISSUER_IN_RESPONSE`](crate::requirement::ISSUER_IN_RESPONSE)). It may hold a code, so it prints as
/// `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(Secret);

impl Location {
    /// The answer that carries a code (RFC 6749 §4.1.2, RFC 9207 §2).
    #[must_use]
    pub fn with_code(redirect_uri: &str, code: &Secret, state: Option<&str>, issuer: &Issuer) -> Self {
        Self::build(redirect_uri, &[("code", code.expose())], state, issuer)
    }

    /// The answer that carries an error (RFC 6749 §4.1.2.1, RFC 9207 §2).
    #[must_use]
    pub fn with_error(
        redirect_uri: &str,
        error: ErrorCode,
        description: &str,
        state: Option<&str>,
        issuer: &Issuer,
    ) -> Self {
        let answer = [("error", error.as_str()), ("error_description", description)];
        Self::build(redirect_uri, &answer, state, issuer)
    }

    /// The URL for the `Location` header.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Appends to the text and not to a parsed URL, so that what was registered stays byte for byte.
    fn build(redirect_uri: &str, answer: &[(&str, &str)], state: Option<&str>, issuer: &Issuer) -> Self {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(answer);
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer.as_str());
        let joint = match redirect_uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        Self(Secret::new(format!("{redirect_uri}{joint}{}", query.finish())))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The parameters of an authorization request as they were sent; nothing is judged yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// `client_id`.
    pub client_id: Option<String>,
    /// `redirect_uri`.
    pub redirect_uri: Option<String>,
    /// `response_type`.
    pub response_type: Option<String>,
    /// `response_mode`.
    pub response_mode: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `state`; none if it was sent more than once, because then none can be sent back.
    pub state: Option<String>,
    /// `code_challenge`.
    pub code_challenge: Option<String>,
    /// `code_challenge_method`.
    pub code_challenge_method: Option<String>,
    /// `resource`, each one.
    pub resource: Vec<String>,
    /// `prompt`.
    pub prompt: Option<String>,
    /// Whether a `request` object was sent.
    pub has_request: bool,
    /// Whether a `request_uri` was sent.
    pub has_request_uri: bool,
    /// Whether `client_id` or `redirect_uri` was sent more than once: then nobody can be answered.
    pub ambiguous_client: bool,
    /// Whether any parameter but `resource` was sent more than once.
    pub has_repeated: bool,
}

impl AuthorizationRequest {
    /// Picks the parameters out of a query string or body; unknown ones are ignored (RFC 6749 §3.1).
    #[must_use]
    pub fn read(form: &Form) -> Self {
        let get = |name| form.get(name).map(str::to_owned);
        let ambiguous_state = form.is_repeated("state");
        Self {
            client_id: get("client_id"),
            redirect_uri: get("redirect_uri"),
            response_type: get("response_type"),
            response_mode: get("response_mode"),
            scope: get("scope"),
            state: get("state").filter(|_| !ambiguous_state),
            code_challenge: get("code_challenge"),
            code_challenge_method: get("code_challenge_method"),
            resource: form.all("resource").map(str::to_owned).collect(),
            prompt: get("prompt"),
            has_request: form.has("request"),
            has_request_uri: form.has("request_uri"),
            ambiguous_client: form.is_repeated("client_id") || form.is_repeated("redirect_uri"),
            has_repeated: form.repeated(&["resource"]).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_az_09_every_answer_carries_iss_and_the_exact_state() {
        let issuer = Issuer::parse("https://as.example/t/a").unwrap();
        let state = "a b&c=d%é";
        let code = Secret::new("dwc_x");
        for (location, expected) in [
            (
                Location::with_code("https://c.example/cb", &code, Some(state), &issuer),
                "https://c.example/cb?code=dwc_x&state=a+b%26c%3Dd%25%C3%A9&iss=https%3A%2F%2Fas.example%2Ft%2Fa",
            ),
            (
                Location::with_code("com.example:/cb?k=v", &code, None, &issuer),
                "com.example:/cb?k=v&code=dwc_x&iss=https%3A%2F%2Fas.example%2Ft%2Fa",
            ),
            (
                Location::with_error("http://[::1]:9/?", ErrorCode::AccessDenied, "no", None, &issuer),
                "http://[::1]:9/?error=access_denied&error_description=no&iss=https%3A%2F%2Fas.example%2Ft%2Fa",
            ),
        ] {
            assert_eq!(location.expose(), expected);
            assert_eq!(format!("{location:?}"), "[redacted]");
        }
    }
}
