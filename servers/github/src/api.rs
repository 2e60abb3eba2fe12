//! The two corners of GitHub's REST API that the tools use.

use std::time::Duration;

use bytes::Bytes;
use doorward_outbound::{Destination, GuardedClient};
use doorward_stdio_authorization::is_rate_limit;
use doorward_stdio_authorization::providers::GITHUB;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use http::header::{ACCEPT, AUTHORIZATION, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

/// The most that is read of an answer: a hundred repositories are about half a megabyte.
const MAX_BODY: usize = 4 << 20;
/// How long GitHub may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why GitHub did not do what was asked. The words are for the person who asked; none of them comes from GitHub unescaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 401: the token was revoked, or never worked.
    #[error("GitHub does not take the access token (any more): log in again")]
    TokenRefused,
    /// 403 or 404 because of scopes.
    #[error("GitHub asks for more than the access token was granted: one of {needed}")]
    MissingScope {
        /// Any one of these is enough.
        needed: ScopeSet,
    },
    /// 403 or 429: too many requests.
    #[error("GitHub's rate limit is used up: try again {when}")]
    RateLimited {
        /// When, in words.
        when: String,
    },
    /// 403 for another reason, such as an organization's policy.
    #[error("GitHub refuses this: {0}")]
    Forbidden(String),
    /// 4xx about what was asked.
    #[error("GitHub does not understand what was asked ({status}): {message}")]
    Rejected {
        /// Its status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// 5xx.
    #[error("GitHub has an outage (it answered {0}): try again later, https://www.githubstatus.com")]
    Outage(u16),
    /// No answer.
    #[error("GitHub cannot be reached: {0}")]
    Unreachable(String),
    /// A redirect, or something that is not what the API promises.
    #[error("GitHub's answer cannot be used: {0}")]
    Unusable(String),
}

/// What `get_github_user_info` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The name that one logs in with.
    pub login: String,
    /// GitHub's number of the account. It stays when the login changes.
    pub id: i64,
    /// The full name.
    pub name: Option<String>,
    /// The address, as far as the token may see it.
    pub email: Option<String>,
    /// Where they work.
    pub company: Option<String>,
    /// Where they live.
    pub location: Option<String>,
    /// What they say about themselves.
    pub bio: Option<String>,
    /// The profile page.
    pub html_url: String,
    /// Public repositories.
    pub public_repos: i64,
    /// Who follows them.
    pub followers: i64,
    /// Whom they follow.
    pub following: i64,
    /// When the account was made (RFC 3339).
    pub created_at: String,
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repository {
    /// `owner/name`.
    pub full_name: String,
    /// What it is.
    pub description: Option<String>,
    /// Whether only some may see it.
    pub private: bool,
    /// Its page.
    pub html_url: String,
    /// The main programming language.
    pub language: Option<String>,
    /// Whether it is a copy of another.
    pub fork: bool,
    /// Whether it is read-only.
    pub archived: bool,
    /// Stars.
    pub stargazers_count: i64,
    /// Copies.
    pub forks_count: i64,
    /// Issues and pull requests that are open.
    pub open_issues_count: i64,
    /// The branch that one gets.
    pub default_branch: String,
    /// When it was last changed (RFC 3339).
    pub updated_at: Option<String>,
    /// When somebody last pushed (RFC 3339).
    pub pushed_at: Option<String>,
}

/// A page of repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Page {
    /// The repositories, in the order that was asked for.
    pub repositories: Vec<Repository>,
    /// The number of this page.
    pub page: u32,
    /// The number of the next one, if there is one.
    pub next_page: Option<u32>,
}

/// What to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Whatever the token may see.
    #[default]
    All,
    /// What everybody may see.
    Public,
    /// What only some may see.
    Private,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// When it was made.
    Created,
    /// When it was last changed.
    Updated,
    /// When somebody last pushed.
    Pushed,
    /// By name.
    #[default]
    FullName,
}

/// Which way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Smallest, oldest, first letter first.
    Asc,
    /// The other way round.
    Desc,
}

/// Everything about one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which.
    pub visibility: Visibility,
    /// In which order.
    pub sort: Sort,
    /// Which way round; GitHub's own choice for the order if `None`.
    pub direction: Option<Direction>,
    /// How many, 1 to 100.
    pub per_page: u32,
    /// Which page, from 1.
    pub page: u32,
}

/// The API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: GuardedClient,
    base: Url,
}

impl Api {
    /// The API at `base`: `https://api.github.com`, or `https://HOST/api/v3` of an Enterprise Server.
    #[must_use]
    pub const fn new(client: GuardedClient, base: Url) -> Self {
        Self { client, base }
    }

    /// Who the token belongs to.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn user(&self, token: &Secret) -> Result<User, ApiError> {
        Ok(self.get(self.at("user", &[])?, token).await?.0)
    }

    /// A page of what its owner can reach.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn repositories(&self, token: &Secret, listing: &Listing) -> Result<Page, ApiError> {
        let word = |value: serde_json::Result<serde_json::Value>| {
            value
                .ok()
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let mut query = vec![
            ("visibility", word(serde_json::to_value(listing.visibility))),
            ("sort", word(serde_json::to_value(listing.sort))),
            ("per_page", listing.per_page.to_string()),
            ("page", listing.page.to_string()),
        ];
        if let Some(direction) = listing.direction {
            query.push(("direction", word(serde_json::to_value(direction))));
        }
        let (repositories, headers) = self.get(self.at("user/repos", &query)?, token).await?;
        // GitHub leaves out what the token may not see, without a word. Who asks for private ones is told.
        let granted = headers
            .get("x-oauth-scopes")
            .and_then(|value| value.to_str().ok());
        let sees_private = GITHUB
            .scopes_of(granted, token)
            .is_none_or(|granted| GITHUB.scopes("repo").is_subset(&granted));
        if listing.visibility == Visibility::Private && !sees_private {
            return Err(ApiError::MissingScope {
                needed: GITHUB.scopes("repo"),
            });
        }
        Ok(Page {
            repositories,
            page: listing.page,
            next_page: next_page(&headers).filter(|next| *next > listing.page),
        })
    }

    fn at(&self, path: &str, query: &[(&str, String)]) -> Result<Url, ApiError> {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let mut url = Url::parse(&text).map_err(|error| ApiError::Unreachable(error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, token: &Secret) -> Result<(T, HeaderMap), ApiError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() =
            Uri::try_from(url.as_str()).map_err(|error| ApiError::Unreachable(error.to_string()))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| ApiError::TokenRefused)?;
        bearer.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        let asking = async {
            let response = self.client.send(request, Destination::Configured).await?;
            let (head, body) = response.into_parts();
            Ok::<_, doorward_outbound::ClientError>((head, body.read(MAX_BODY).await?))
        };
        let (head, body) = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer.map_err(|error| ApiError::Unreachable(error.to_string()))?,
            Err(_) => return Err(ApiError::Unreachable("it did not answer in time".to_owned())),
        };
        if head.status != StatusCode::OK {
            return Err(refusal(head.status, &head.headers, &body, token));
        }
        let value = serde_json::from_slice(&body).map_err(|error| ApiError::Unusable(error.to_string()))?;
        Ok((value, head.headers))
    }
}

/// What a status other than 200 means (REST API, "Troubleshooting", "Rate limits").
fn refusal(status: StatusCode, headers: &HeaderMap, body: &Bytes, token: &Secret) -> ApiError {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    match status.as_u16() {
        401 => ApiError::TokenRefused,
        403 | 429 if is_rate_limit(status, headers, body) => {
            let seconds = retry_after.and_then(|text| text.parse::<u64>().ok());
            let reset = text("x-ratelimit-reset").and_then(|text| text.parse::<i64>().ok());
            let when = match (seconds, reset) {
                (Some(seconds), _) => format!("in {seconds} seconds"),
                (None, Some(reset)) if text("x-ratelimit-remaining") == Some("0") => {
                    format!("after the Unix time {reset}")
                }
                // REST API, "Rate limits": at least a minute, if nothing is said.
                (None, _) => "in a minute".to_owned(),
            };
            ApiError::RateLimited { when }
        }
        403 | 404 => {
            let accepted = GITHUB.scopes(text("x-accepted-oauth-scopes").unwrap_or_default());
            let granted = GITHUB.scopes_of(text("x-oauth-scopes"), token);
            match granted {
                Some(granted) if !accepted.is_empty() && accepted.intersection(&granted).is_empty() => {
                    ApiError::MissingScope { needed: accepted }
                }
                _ => ApiError::Forbidden(message(body)),
            }
        }
        300..=399 => ApiError::Unusable("it is a redirect, which is not followed with a token".to_owned()),
        500.. => ApiError::Outage(status.as_u16()),
        _ => ApiError::Rejected {
            status: status.as_u16(),
            message: message(body),
        },
    }
}

/// GitHub's own words, without what could be more than words.
fn message(body: &Bytes) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let said = serde_json::from_slice::<Said>(body).map(|said| said.message);
    let said = said.unwrap_or_else(|_| "it gives no reason".to_owned());
    said.chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect()
}

/// The page that `Link: <…?page=3>; rel="next"` names (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<u32> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let (_, rest) = next.split_once('<')?;
    let (url, _) = rest.split_once('>')?;
    let url = Url::parse("https://api.github.com/").ok()?.join(url).ok()?;
    let (_, page) = url.query_pairs().find(|(name, _)| name == "page")?;
    page.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_next_page_is_the_one_that_the_link_names() {
        for (link, expected) in [
            (
                r#"<https://api.github.com/user/repos?per_page=30&page=3>; rel="next", <https://api.github.com/user/repos?page=9>; rel="last""#,
                Some(3),
            ),
            (
                r#"<https://api.github.com/user/repos?page=1>; rel="prev", </user/repos?page=3>; rel="next""#,
                Some(3),
            ),
            (r#"<https://api.github.com/user/repos?page=1>; rel="first""#, None),
            (r#"<x?page=-1>; rel="next""#, None),
            // Another host is nowhere that a token goes: all that counts is the number.
            (r#"<https://evil.test/user/repos?page=2>; rel="next""#, Some(2)),
            ("garbage", None),
        ] {
            assert_eq!(next_page(&headers(&[("link", link)])), expected, "{link}");
        }
    }

    #[test]
    fn every_failure_has_its_words() {
        let of = |status: u16, lines: &[(&'static str, &str)], body: &'static str| {
            refusal(
                StatusCode::from_u16(status).unwrap(),
                &headers(lines),
                &Bytes::from_static(body.as_bytes()),
                &Secret::new("gho_x"),
            )
        };
        assert_eq!(of(401, &[], "{}"), ApiError::TokenRefused);
        assert_eq!(
            of(
                403,
                &[
                    ("x-oauth-scopes", "gist"),
                    ("x-accepted-oauth-scopes", "repo, public_repo")
                ],
                "{}"
            ),
            ApiError::MissingScope {
                needed: GITHUB.scopes("repo,public_repo")
            }
        );
        // What the token has is enough, so it is something else.
        assert_eq!(
            of(
                403,
                &[
                    ("x-oauth-scopes", "repo"),
                    ("x-accepted-oauth-scopes", "public_repo")
                ],
                r#"{"message":"SAML\u001b[31m"}"#
            ),
            ApiError::Forbidden("SAML[31m".to_owned())
        );
        assert_eq!(
            of(
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "17")],
                "{}"
            ),
            ApiError::RateLimited {
                when: "after the Unix time 17".to_owned()
            }
        );
        assert_eq!(
            of(429, &[("retry-after", "60")], "{}"),
            ApiError::RateLimited {
                when: "in 60 seconds".to_owned()
            }
        );
        // A secondary limit may say so in words alone.
        assert_eq!(
            of(
                403,
                &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "17")],
                r#"{"message":"You have exceeded a secondary rate limit."}"#
            ),
            ApiError::RateLimited {
                when: "in a minute".to_owned()
            }
        );
        assert_eq!(of(502, &[], "<html>"), ApiError::Outage(502));
        assert_eq!(
            of(422, &[], "x"),
            ApiError::Rejected {
                status: 422,
                message: "it gives no reason".to_owned()
            }
        );
        assert!(matches!(of(301, &[], ""), ApiError::Unusable(_)));
    }
}
