//! A network that hides what is different at a provider: answers come out as the specifications write them.

use async_trait::async_trait;
use doorward_client::error::Hop;
use doorward_client::http::{Http, HttpRequest, HttpResponse, TransportError};
use doorward_types::secret::Secret;
use http::StatusCode;
use serde_json::{Map, Value};
use std::sync::Arc;

use super::{APPS_HAVE_NO_SCOPES, COMMA_SCOPES, ERROR_IN_200, FORM_ENCODED, NO_EXPIRY, Provider};

/// Sends through another network, and puts token answers of a provider right.
pub struct Corrected {
    http: Arc<dyn Http>,
    provider: &'static Provider,
}

impl Corrected {
    /// For requests to this provider alone.
    #[must_use]
    pub fn new(http: Arc<dyn Http>, provider: &'static Provider) -> Self {
        Self { http, provider }
    }

    fn used(&self, quirk: &str) {
        tracing::info!(
            provider = self.provider.name,
            quirk,
            "providers: an answer is put right"
        );
    }

    fn token_answer(&self, mut response: HttpResponse) -> HttpResponse {
        let json = serde_json::from_slice::<Map<String, Value>>(&response.body);
        let mut members = match json {
            Ok(members) => members,
            Err(_) if is_form(&response) => {
                self.used(FORM_ENCODED.id);
                let pairs = url::form_urlencoded::parse(&response.body);
                pairs
                    .map(|(name, value)| (name.into_owned(), number_or_text(&value)))
                    .collect()
            }
            Err(_) => return response,
        };
        if response.status == StatusCode::OK && members.contains_key("error") {
            self.used(ERROR_IN_200.id);
            response.status = StatusCode::BAD_REQUEST;
            if let Some(error) = members.get("error").and_then(Value::as_str).and_then(standard) {
                members.insert("error".to_owned(), error.into());
            }
        }
        let scopes = members
            .get("scope")
            .and_then(Value::as_str)
            .map(|text| self.provider.scopes(text));
        match scopes {
            // Permissions in place of scopes: as if nothing was said. An OAuth App that was granted nothing says so.
            Some(scopes) if scopes.is_empty() && !has_scopes(&members) => {
                self.used(APPS_HAVE_NO_SCOPES.id);
                members.remove("scope");
            }
            Some(scopes) => {
                self.used(COMMA_SCOPES.id);
                members.insert("scope".to_owned(), scopes.to_string().into());
            }
            None => {}
        }
        if members.contains_key("access_token") && !members.contains_key("expires_in") {
            self.used(NO_EXPIRY.id);
        }
        response.headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        response.headers.remove(http::header::CONTENT_LENGTH);
        response.body = Value::Object(members).to_string().into();
        response
    }
}

/// Whether the token is of a kind that has scopes.
fn has_scopes(members: &Map<String, Value>) -> bool {
    let token = members.get("access_token").and_then(Value::as_str);
    token.is_some_and(|token| Provider::has_scopes(&Secret::new(token)))
}

/// GitHub's words for what RFC 6749 §5.2 has words for.
fn standard(error: &str) -> Option<&'static str> {
    match error {
        "bad_verification_code" | "bad_refresh_token" | "redirect_uri_mismatch" => Some("invalid_grant"),
        "incorrect_client_credentials" => Some("invalid_client"),
        _ => None,
    }
}

fn is_form(response: &HttpResponse) -> bool {
    let value = response
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"))
}

fn number_or_text(value: &str) -> Value {
    value.parse::<u64>().map_or_else(|_| value.into(), Value::from)
}

#[async_trait]
impl Http for Corrected {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let is_token = matches!(request.hop, Hop::Token | Hop::DeviceAuthorization);
        let response = self.http.send(request).await?;
        Ok(if is_token {
            self.token_answer(response)
        } else {
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::providers::GITHUB;

    struct Nobody;

    #[async_trait]
    impl Http for Nobody {
        async fn send(&self, _: HttpRequest) -> Result<HttpResponse, TransportError> {
            Err(TransportError::NotHttps)
        }
    }

    fn put_right(status: u16, content_type: &str, body: &'static str) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        let response = HttpResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.into(),
        };
        let answer = Corrected::new(Arc::new(Nobody), &GITHUB).token_answer(response);
        (
            answer.status.as_u16(),
            serde_json::from_slice(&answer.body).unwrap_or_default(),
        )
    }

    #[test]
    fn answers_come_out_as_rfc_6749_writes_them() {
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let expected =
            serde_json::json!({ "access_token": "gho_x", "scope": "gist repo", "token_type": "bearer" });
        let json = r#"{"access_token":"gho_x","scope":"repo,gist","token_type":"bearer"}"#;
        assert_eq!(put_right(200, "application/json", json), (200, expected.clone()));
        let text = "access_token=gho_x&scope=repo%2Cgist&token_type=bearer";
        assert_eq!(put_right(200, form, text), (200, expected));
        let (_, with_expiry) = put_right(200, form, "access_token=ghu_x&expires_in=28800&token_type=bearer");
        assert_eq!(with_expiry["expires_in"], 28800);
    }

    #[test]
    fn errors_in_200_are_errors() {
        for (theirs, expected) in [
            ("bad_verification_code", "invalid_grant"),
            ("bad_refresh_token", "invalid_grant"),
            ("incorrect_client_credentials", "invalid_client"),
            ("slow_down", "slow_down"),
        ] {
            let body: &'static str = Box::leak(format!(r#"{{"error":"{theirs}"}}"#).into_boxed_str());
            let (status, answer) = put_right(200, "application/json", body);
            assert_eq!((status, answer["error"].as_str()), (400, Some(expected)));
        }
        // What is no answer at all stays one.
        assert_eq!(put_right(502, "text/html", "<html>").0, 502);
    }
}
