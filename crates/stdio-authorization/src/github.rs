//! GitHub's tokens are opaque, and there is no introspection: the API itself says whether one is good, and what it may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doorward_outbound::{ClientError, Destination, GuardedClient};
use doorward_types::digest::Digest;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use url::Url;

use crate::providers::{GITHUB, SCOPES_IN_HEADER};
use crate::verify::{NotVerified, Verified, Verify};

/// How long a verdict is believed. What GitHub refuses in between is found at the call itself.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long nobody asks again after a rate limit that does not say how long.
const AFTER_LIMIT: Duration = Duration::from_mins(1);
/// How long at most.
const LONGEST_LIMIT: Duration = Duration::from_mins(5);
/// Verdicts that are remembered: one person has few tokens; over HTTP there are more.
const REMEMBERED: usize = 1024;
/// The most that is read of an answer about a token.
const MAX_BODY: usize = 256 * 1024;
/// How long GitHub may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Verifies tokens by GitHub's own word.
pub struct GitHubTokens {
    client: GuardedClient,
    /// `GET` of it with the token answers whether it is good.
    user: Url,
    /// The OAuth App that tokens must belong to, where its secret is known: the question whose token it is, which `GET /user`
    /// leaves open (token substitution, RFC 9700 §4.7).
    app: Option<App>,
    clock: Arc<dyn Clock>,
    remembered: Mutex<Remembered>,
}

/// What was said of tokens, and until when it is believed.
type Remembered = HashMap<Digest, (Duration, Result<Verified, NotVerified>)>;

/// What was found out, and how long it is believed.
struct Verdict {
    said: Result<Verified, NotVerified>,
    believed: Duration,
}

impl From<NotVerified> for Verdict {
    /// What GitHub refuses now it may take in a moment: nothing is remembered.
    fn from(why: NotVerified) -> Self {
        Self {
            said: Err(why),
            believed: Duration::ZERO,
        }
    }
}

struct App {
    check: Url,
    authorization: HeaderValue,
}

impl GitHubTokens {
    /// Asks the API at `api`.
    ///
    /// # Errors
    /// When `api` is no base of URLs.
    pub fn new(client: GuardedClient, api: &Url, clock: Arc<dyn Clock>) -> Result<Self, url::ParseError> {
        Ok(Self {
            client,
            user: at(api, "user")?,
            app: None,
            clock,
            remembered: Mutex::default(),
        })
    }

    /// Accepts only tokens that were issued to this OAuth App or GitHub App ("Check a token" of the REST API).
    ///
    /// # Errors
    /// When the client id is none that fits into a URL.
    pub fn of_app(mut self, api: &Url, client_id: &str, secret: &Secret) -> Result<Self, url::ParseError> {
        use base64::Engine as _;
        let pair = format!("{client_id}:{}", secret.expose());
        let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let mut authorization = HeaderValue::try_from(value).map_err(|_| url::ParseError::IdnaError)?;
        authorization.set_sensitive(true);
        let check = at(api, &format!("applications/{client_id}/token"))?;
        self.app = Some(App { check, authorization });
        Ok(self)
    }

    fn key(token: &Secret) -> Digest {
        token.digest()
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<(StatusCode, HeaderMap, Bytes), NotVerified> {
        let asking = async {
            // Where the API is, the configuration says. Redirects are not followed: they come back as what they are.
            let response = self.client.send(request, Destination::Configured).await?;
            let (head, body) = response.into_parts();
            let body = body.read(MAX_BODY).await?;
            Ok::<_, ClientError>((head.status, head.headers, body))
        };
        let unavailable =
            |why: String| NotVerified::Unavailable(format!("GitHub cannot be asked about the token: {why}"));
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable("it did not answer in time".to_owned())),
        }
    }

    /// Whether the token was issued to our app.
    async fn is_ours(&self, app: &App, token: &Secret) -> Result<(), Verdict> {
        let body = serde_json::json!({ "access_token": token.expose() }).to_string();
        let mut request = request(&app.check, app.authorization.clone())?;
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = body.into();
        let (status, headers, body) = self.ask(request).await?;
        match status {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Err(NotVerified::Refused(
                "the access token does not belong to this app, or does not work any more".to_owned(),
            )
            .into()),
            status => Err(limited(status, &headers, &body).unwrap_or_else(|| {
                NotVerified::Unavailable(format!(
                    "GitHub answered {} to the question whose token this is: check the client id and its secret",
                    status.as_u16()
                ))
                .into()
            })),
        }
    }

    async fn verified(&self, token: &Secret) -> Result<Verified, Verdict> {
        if let Some(app) = &self.app {
            self.is_ours(app, token).await?;
        }
        let (status, headers, body) = self.ask(request(&self.user, bearer(token)?)?).await?;
        match status {
            StatusCode::OK => {
                let scopes = headers
                    .get("x-oauth-scopes")
                    .and_then(|value| value.to_str().ok());
                let scopes = GITHUB.scopes_of(scopes, token);
                tracing::debug!(
                    provider = GITHUB.name,
                    quirk = SCOPES_IN_HEADER.id,
                    known = scopes.is_some(),
                    "providers: a token's scopes"
                );
                let user = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
                Ok(Verified {
                    scopes,
                    // The number stays when the login changes.
                    subject: user
                        .get("id")
                        .and_then(serde_json::Value::as_i64)
                        .map(|id| id.to_string()),
                    name: user
                        .get("login")
                        .and_then(serde_json::Value::as_str)
                        .map(str::to_owned),
                    expires: None,
                })
            }
            StatusCode::UNAUTHORIZED => {
                Err(NotVerified::Refused("GitHub says that the access token does not work".to_owned()).into())
            }
            // Those of installations, for instance: they work, and are nobody's.
            StatusCode::FORBIDDEN if says(&body, "not accessible") => Err(NotVerified::Refused(
                "GitHub says that the access token is none of a person".to_owned(),
            )
            .into()),
            status => Err(limited(status, &headers, &body).unwrap_or_else(|| {
                NotVerified::Unavailable(format!(
                    "GitHub answered {} to the question whether the token works",
                    status.as_u16()
                ))
                .into()
            })),
        }
    }
}

#[async_trait]
impl Verify for GitHubTokens {
    async fn verify(&self, token: &Secret) -> Result<Verified, NotVerified> {
        let (key, now) = (Self::key(token), self.clock.monotonic());
        if let Some((until, said)) = self.remembered().get(&key)
            && now < *until
        {
            return said.clone();
        }
        let Verdict { said, believed } = match self.verified(token).await {
            Ok(verified) => Verdict {
                said: Ok(verified),
                believed: BELIEVED,
            },
            Err(verdict) => verdict,
        };
        let mut remembered = self.remembered();
        remembered.retain(|_, (until, _)| now < *until);
        if remembered.len() < REMEMBERED && !believed.is_zero() {
            remembered.insert(key, (now.saturating_add(believed), said.clone()));
        }
        said
    }

    fn forget(&self, token: &Secret) {
        self.remembered().remove(&Self::key(token));
    }
}

/// Too many requests, if that is what it is: nobody asks again before GitHub wants to be asked, or it only gets worse (REST API,
/// "Rate limits": integrations that go on are banned).
fn limited(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Verdict> {
    if !is_rate_limit(status, headers, body) {
        return None;
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds
        .and_then(|text| text.parse().ok())
        .map_or(AFTER_LIMIT, Duration::from_secs);
    Some(Verdict {
        said: Err(NotVerified::Unavailable(
            "GitHub's rate limit is used up, so it cannot be asked about the token".to_owned(),
        )),
        believed: seconds.min(LONGEST_LIMIT),
    })
}

/// Whether an answer says that there were too many requests: the primary limit, or a secondary one, with or without `Retry-After`.
#[must_use]
pub fn is_rate_limit(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
    let nothing_remains = || {
        headers
            .get("x-ratelimit-remaining")
            .is_some_and(|value| value == "0")
    };
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN
            && (headers.contains_key(RETRY_AFTER) || nothing_remains() || says(body, "rate limit"))
}

/// Whether the message of an error has these words.
fn says(body: &[u8], words: &str) -> bool {
    let said = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let message = said.get("message").and_then(serde_json::Value::as_str);
    message.is_some_and(|message| message.to_ascii_lowercase().contains(words))
}

fn at(api: &Url, path: &str) -> Result<Url, url::ParseError> {
    // Enterprise Server has its API below a path: `https://HOST/api/v3`.
    Url::parse(&format!("{}/{path}", api.as_str().trim_end_matches('/')))
}

fn bearer(token: &Secret) -> Result<HeaderValue, NotVerified> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
        NotVerified::Refused("the access token holds characters that no token has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn request(url: &Url, authorization: HeaderValue) -> Result<Request<Bytes>, NotVerified> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = http::Uri::try_from(url.as_str()).map_err(|_| {
        NotVerified::Unavailable("the address of GitHub's API is not one that HTTP can ask".to_owned())
    })?;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r01_every_rate_limit_is_known_as_one() {
        let headers = |name: &'static str, value: &str| -> HeaderMap {
            std::iter::once((http::HeaderName::from_static(name), value.parse().unwrap())).collect()
        };
        let said = br#"{"message":"You have exceeded a secondary Rate Limit. Please wait a few minutes"}"#;
        for (status, headers, body, expected) in [
            (403, headers("retry-after", "30"), &b"{}"[..], Some(30)),
            (403, headers("retry-after", "86400"), b"{}", Some(300)),
            (
                403,
                headers("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"),
                b"{}",
                Some(60),
            ),
            (403, headers("x-ratelimit-remaining", "0"), b"{}", Some(60)),
            (403, HeaderMap::new(), said, Some(60)),
            (429, HeaderMap::new(), b"<html>", Some(60)),
            (
                403,
                headers("x-ratelimit-remaining", "17"),
                br#"{"message":"SAML"}"#,
                None,
            ),
            (502, headers("retry-after", "30"), said, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let verdict = limited(status, &headers, body).map(|verdict| verdict.believed.as_secs());
            assert_eq!(verdict, expected, "{status} {headers:?}");
        }
    }
}
