//! A stand-in for GitHub: its OAuth endpoints and the two corners of its API that our server uses, as GitHub's documentation
//! describes them, with GitHub's oddities and failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::Url;

use crate::leak::Secrets;
use crate::random_text;
use crate::upstream::{Answer, Part, Recorded, Upstream};

/// The client id of the one app.
pub const CLIENT_ID: &str = "Iv1.0123456789abcdef";
/// Its secret.
pub const CLIENT_SECRET: &str = "github-app-secret-0123456789abcdef01234567";
/// How many repositories the user has.
pub const REPOSITORIES: usize = 73;

/// What kind of app the one app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Tokens without end, and nothing to refresh them with.
    OAuth,
    /// Tokens of eight hours with refresh tokens.
    GitHub,
}

/// How the API fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The primary limit: 403, nothing remains, and when it starts anew.
    RateLimited,
    /// The secondary limit: 403 and `Retry-After`.
    SecondaryLimit,
    /// 502 with a page.
    Outage,
    /// A redirect to somewhere else.
    Redirect,
    /// 200 with something that is not JSON.
    Gibberish,
    /// 403 by an organization's policy.
    Forbidden,
}

/// How the token endpoint fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFailure {
    /// It does what was asked, and closes the connection without an answer.
    Cut,
    /// 307 to this URL.
    Redirect(String),
    /// 200 with a page.
    Html,
    /// 200 with JSON that never ends, as fast as it is taken.
    Endless,
    /// 200 with a byte each second.
    Drip,
}

struct Code {
    redirect_uri: String,
    challenge: Option<String>,
    scopes: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    codes: BTreeMap<String, Code>,
    tokens: BTreeMap<String, BTreeSet<String>>,
    refresh: BTreeMap<String, BTreeSet<String>>,
    failure: Option<(Failure, String)>,
    /// What the user leaves of the scopes that are asked for.
    grants: Option<BTreeSet<String>>,
    denies: bool,
    /// Whose a token is, if it is not the one user's.
    logins: BTreeMap<String, String>,
    /// Tokens that another app was given.
    foreign: BTreeSet<String>,
    token_failure: Option<TokenFailure>,
    /// Seconds that tokens of GitHub Apps last, if not eight hours.
    lifetime: Option<u64>,
    secrets: Secrets,
}

/// The stand-in, on a thread of its own.
#[derive(Clone)]
pub struct GitHub {
    server: Upstream,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GitHub({})", self.server.address())
    }
}

impl GitHub {
    /// One on a free port of `127.0.0.1`, whose user approves at once.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn start(app: App) -> Self {
        let state = Arc::new(Mutex::<State>::default());
        let answering = Arc::clone(&state);
        let server = Upstream::scripted(move |request| answer(&mut lock(&answering), app, request));
        Self { server, state }
    }

    /// `http://127.0.0.1:PORT`, where `https://github.com` would be.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where `https://api.github.com` would be: as on Enterprise Server, below the same host.
    #[must_use]
    pub fn api(&self) -> String {
        format!("{}/api/v3", self.base())
    }

    /// Everything it received.
    #[must_use]
    pub const fn server(&self) -> &Upstream {
        &self.server
    }

    /// A token as an earlier login would have left it.
    #[must_use]
    pub fn token(&self, scopes: &str) -> String {
        lock(&self.state).issue("gho_", scopes.split(' ').map(str::to_owned).collect())
    }

    /// A token of another user.
    #[must_use]
    pub fn token_of(&self, login: &str, scopes: &str) -> String {
        let token = self.token(scopes);
        lock(&self.state).logins.insert(token.clone(), login.to_owned());
        token
    }

    /// A token of the user that another app was given.
    #[must_use]
    pub fn token_of_another_app(&self, scopes: &str) -> String {
        let token = self.token(scopes);
        lock(&self.state).foreign.insert(token.clone());
        token
    }

    /// A token of a GitHub App: it has permissions, and no scopes.
    #[must_use]
    pub fn app_token(&self) -> String {
        let all = ["read:user", "repo"].map(str::to_owned).into();
        lock(&self.state).issue("ghu_", all)
    }

    /// The token endpoint fails like this from now on.
    pub fn fail_tokens(&self, failure: Option<TokenFailure>) {
        lock(&self.state).token_failure = failure;
    }

    /// Tokens of GitHub Apps last so many seconds from now on, as far as their answer says; eight hours if `None`.
    pub fn lifetime(&self, seconds: Option<u64>) {
        lock(&self.state).lifetime = seconds;
    }

    /// How often a refresh token was presented.
    #[must_use]
    pub fn refreshes(&self) -> usize {
        self.server.with("grant_type=refresh_token").len()
    }

    /// The user revokes every token, access and refresh.
    pub fn revoke_all(&self) {
        let mut state = lock(&self.state);
        state.tokens.clear();
        state.refresh.clear();
    }

    /// Access tokens end; refresh tokens stay good.
    pub fn expire_all(&self) {
        lock(&self.state).tokens.clear();
    }

    /// The API fails like this for paths that start so, from now on.
    pub fn fail(&self, path: &str, failure: Option<Failure>) {
        lock(&self.state).failure = failure.map(|failure| (failure, path.to_owned()));
    }

    /// The user grants only these scopes from now on.
    pub fn grant_only(&self, scopes: &str) {
        lock(&self.state).grants = Some(scopes.split_whitespace().map(str::to_owned).collect());
    }

    /// The user says no from now on.
    pub fn deny(&self) {
        lock(&self.state).denies = true;
    }

    /// What must not be found anywhere.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        lock(&self.state).secrets.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn issue(&mut self, prefix: &str, scopes: BTreeSet<String>) -> String {
        let token = format!("{prefix}{}", random_text());
        self.secrets.add("GitHub token", &token);
        let book = if prefix == "ghr_" {
            &mut self.refresh
        } else {
            &mut self.tokens
        };
        book.insert(token.clone(), scopes);
        token
    }
}

fn answer(state: &mut State, app: App, request: &Recorded) -> Answer {
    let target = request.target();
    let url = Url::parse("http://github.invalid")
        .expect("a URL")
        .join(&target)
        .expect("a target");
    let path = url.path();
    let failure = state
        .failure
        .as_ref()
        .filter(|(_, start)| path.starts_with(start.as_str()));
    if let Some((failure, _)) = failure {
        return fail(*failure);
    }
    match (request.method().as_str(), path) {
        ("GET", "/login/oauth/authorize") => authorize(state, &url),
        ("POST", "/login/oauth/access_token") => match state.token_failure.clone() {
            Some(failure) => fail_token(&failure, || token(state, app, request)),
            None => token(state, app, request),
        },
        ("GET", "/api/v3/user") => api(state, request, &["read:user"], |scopes| {
            let login = bearer(request).and_then(|token| state.logins.get(&token));
            json_answer(&user(scopes, login.map_or("octo-test", String::as_str)))
        }),
        ("GET", "/api/v3/user/repos") => api(state, request, &[], |scopes| repositories(scopes, app, &url)),
        ("POST", "/api/v3/applications/Iv1.0123456789abcdef/token") => check(state, request),
        ("GET", "/elsewhere") => json_answer(&json!({ "login": "mallory" })),
        _ => Answer::new(404, "application/json", r#"{"message":"Not Found"}"#),
    }
}

fn authorize(state: &mut State, url: &Url) -> Answer {
    let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let page = |text: &str| Answer::new(404, "text/html", format!("<h1>{text}</h1>"));
    if asked.get("client_id").map(String::as_str) != Some(CLIENT_ID) {
        return page("There is no such app");
    }
    let Some(Ok(mut back)) = asked.get("redirect_uri").map(|uri| Url::parse(uri)) else {
        return page("No redirect URI");
    };
    // The app's callback is http://127.0.0.1/callback: any port, and any path below.
    if back.host_str() != Some("127.0.0.1") || !back.path().starts_with("/callback") {
        return page("The redirect_uri is not associated with this application");
    }
    if let Some(state) = asked.get("state") {
        back.query_pairs_mut().append_pair("state", state);
    }
    if state.denies {
        back.query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair(
                "error_description",
                "The user has denied your application access.",
            );
        return Answer::empty(302).header("Location", back.as_str());
    }
    let mut scopes: BTreeSet<String> = asked
        .get("scope")
        .map(|scope| {
            scope
                .split([' ', ','])
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    if let Some(grants) = &state.grants {
        scopes = scopes.intersection(grants).cloned().collect();
    }
    let code = random_text();
    state.secrets.add("GitHub code", &code);
    let challenge = match asked.get("code_challenge_method").map(String::as_str) {
        Some("S256") => asked.get("code_challenge").cloned(),
        Some(_) => return page("Only S256"),
        None => None,
    };
    let redirect_uri = asked.get("redirect_uri").cloned().unwrap_or_default();
    state.codes.insert(
        code.clone(),
        Code {
            redirect_uri,
            challenge,
            scopes,
        },
    );
    back.query_pairs_mut().append_pair("code", &code);
    Answer::empty(302).header("Location", back.as_str())
}

fn token(state: &mut State, app: App, request: &Recorded) -> Answer {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    let wants_json = request
        .values("accept")
        .iter()
        .any(|accept| accept.contains("application/json"));
    let reply = |value: &Value| {
        if wants_json {
            return json_answer(value);
        }
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in value.as_object().into_iter().flatten() {
            text.append_pair(
                name,
                &value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            );
        }
        Answer::new(
            200,
            "application/x-www-form-urlencoded; charset=utf-8",
            text.finish(),
        )
    };
    let refuse = |error: &str| {
        reply(
            &json!({ "error": error, "error_description": format!("It is {error}."), "error_uri": "https://docs.github.com" }),
        )
    };
    if get("client_id") != CLIENT_ID || get("client_secret") != CLIENT_SECRET {
        return refuse("incorrect_client_credentials");
    }
    let scopes = match get("grant_type") {
        "" | "authorization_code" => {
            let Some(code) = state.codes.remove(get("code")) else {
                return refuse("bad_verification_code");
            };
            if code.redirect_uri != get("redirect_uri") {
                return refuse("redirect_uri_mismatch");
            }
            let proved = URL_SAFE_NO_PAD.encode(digest(&SHA256, get("code_verifier").as_bytes()));
            if code.challenge.is_some_and(|challenge| challenge != proved) {
                return refuse("bad_verification_code");
            }
            code.scopes
        }
        "refresh_token" => match state.refresh.remove(get("refresh_token")) {
            Some(scopes) => scopes,
            None => return refuse("bad_refresh_token"),
        },
        _ => return refuse("unsupported_grant_type"),
    };
    let scope = scopes.iter().cloned().collect::<Vec<_>>().join(",");
    match app {
        App::OAuth => {
            let token = state.issue("gho_", scopes);
            reply(&json!({ "access_token": token, "scope": scope, "token_type": "bearer" }))
        }
        App::GitHub => {
            let (token, refresh) = (state.issue("ghu_", scopes.clone()), state.issue("ghr_", scopes));
            let lifetime = state.lifetime.unwrap_or(28800);
            reply(&json!({
                "access_token": token, "expires_in": lifetime, "refresh_token": refresh,
                "refresh_token_expires_in": 15_897_600, "scope": "", "token_type": "bearer",
            }))
        }
    }
}

fn bearer(request: &Recorded) -> Option<String> {
    let sent = request.values("authorization");
    let value = sent.first()?;
    let token = value
        .strip_prefix("Bearer ")
        .or_else(|| value.strip_prefix("token "))?;
    Some(token.to_owned())
}

fn fail_token(failure: &TokenFailure, token: impl FnOnce() -> Answer) -> Answer {
    let json = |parts: Vec<Part>| Answer {
        chunked: true,
        parts,
        ..Answer::new(200, "application/json", "")
    };
    match failure {
        TokenFailure::Cut => {
            token();
            Answer::raw(vec![Part::Cut])
        }
        TokenFailure::Redirect(url) => Answer::empty(307).header("Location", url),
        TokenFailure::Html => Answer::new(200, "text/html", "<html><body>Unicorn!</body></html>"),
        TokenFailure::Endless => json(vec![
            Part::Bytes(b"{\"access_token\":\"".to_vec()),
            Part::Repeat(vec![b'x'; 16 * 1024], Duration::ZERO),
        ]),
        TokenFailure::Drip => json(vec![Part::Repeat(b" ".to_vec(), Duration::from_secs(1))]),
    }
}

fn api(
    state: &State,
    request: &Recorded,
    accepted: &[&str],
    answer: impl FnOnce(&BTreeSet<String>) -> Answer,
) -> Answer {
    let token = bearer(request);
    let Some(scopes) = token.as_ref().and_then(|token| state.tokens.get(token)) else {
        return Answer::new(
            401,
            "application/json",
            r#"{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest","status":"401"}"#,
        );
    };
    // Tokens of GitHub Apps have permissions, and no scopes.
    let is_app = token.is_some_and(|token| token.starts_with("ghu_"));
    let listed = if is_app {
        Vec::new()
    } else {
        scopes.iter().cloned().collect()
    }
    .join(", ");
    answer(scopes)
        .header("X-OAuth-Scopes", &listed)
        .header("X-Accepted-OAuth-Scopes", &accepted.join(", "))
        .header("X-RateLimit-Remaining", "4999")
}

fn check(state: &State, request: &Recorded) -> Answer {
    let expected = format!(
        "Basic {}",
        STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
    );
    if request.values("authorization") != [expected] {
        return Answer::new(404, "application/json", r#"{"message":"Not Found"}"#);
    }
    let token = request.json()["access_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match state.tokens.contains_key(&token) && !state.foreign.contains(&token) {
        true => json_answer(&json!({ "id": 1, "app": { "client_id": CLIENT_ID } })),
        false => Answer::new(404, "application/json", r#"{"message":"Not Found"}"#),
    }
}

fn user(scopes: &BTreeSet<String>, login: &str) -> Value {
    let sees_email = scopes
        .iter()
        .any(|scope| matches!(scope.as_str(), "user" | "user:email" | "read:user"));
    json!({
        "login": login, "id": 583_231, "type": "User", "name": "Octo Test", "company": null,
        "blog": "https://octo.example", "location": "The Sea", "email": sees_email.then_some("octo@example.com"), "bio": null,
        "html_url": "https://github.com/octo-test", "avatar_url": "https://avatars.example/1", "public_repos": 50, "followers": 12,
        "following": 3, "created_at": "2011-01-25T18:44:36Z", "updated_at": "2026-11-01T00:00:00Z", "site_admin": false,
    })
}

fn repositories(scopes: &BTreeSet<String>, app: App, url: &Url) -> Answer {
    let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let number = |name: &str, default: usize| {
        asked
            .get(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (per_page, page) = (number("per_page", 30).min(100), number("page", 1).max(1));
    let visibility = asked.get("visibility").map_or("all", String::as_str);
    if !["all", "public", "private"].contains(&visibility) {
        return Answer::new(422, "application/json", r#"{"message":"Validation Failed"}"#);
    }
    let sees_private = app == App::GitHub || scopes.contains("repo");
    let mut all: Vec<Value> = (1..=REPOSITORIES)
        .map(|number| {
            let private = number % 3 == 0;
            json!({
                "id": number, "name": format!("repo-{number:03}"), "full_name": format!("octo-test/repo-{number:03}"), "private": private,
                "visibility": if private { "private" } else { "public" }, "html_url": format!("https://github.com/octo-test/repo-{number:03}"),
                "description": format!("Number {number}"), "fork": false, "archived": number == 7, "language": "Rust",
                "stargazers_count": number * 2, "forks_count": 1, "open_issues_count": 0, "default_branch": "main",
                "created_at": format!("2020-01-{:02}T00:00:00Z", number % 28 + 1), "updated_at": format!("2026-01-{:02}T00:00:00Z", number % 28 + 1),
                "pushed_at": format!("2026-02-{:02}T00:00:00Z", number % 28 + 1), "owner": { "login": "octo-test" },
            })
        })
        .filter(|repository| match repository["private"].as_bool() {
            Some(true) => sees_private && visibility != "public",
            _ => visibility != "private",
        })
        .collect();
    let sort = asked.get("sort").map_or("full_name", String::as_str);
    let key = match sort {
        "created" => "created_at",
        "updated" => "updated_at",
        "pushed" => "pushed_at",
        _ => "full_name",
    };
    all.sort_by_key(|repository| repository[key].as_str().map(str::to_owned));
    let default = if sort == "full_name" { "asc" } else { "desc" };
    if asked.get("direction").map_or(default, String::as_str) == "desc" {
        all.reverse();
    }
    let pages = all.len().div_ceil(per_page).max(1);
    let items: Vec<Value> = all
        .into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect();
    let answer = json_answer(&Value::Array(items));
    if page >= pages {
        return answer;
    }
    let link = |page: usize| {
        let mut url = url.clone();
        let others: Vec<(String, String)> = asked
            .iter()
            .filter(|(name, _)| *name != "page")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(others)
            .append_pair("page", &page.to_string());
        url.to_string()
    };
    answer.header(
        "Link",
        &format!(
            "<{}>; rel=\"next\", <{}>; rel=\"last\"",
            link(page + 1),
            link(pages)
        ),
    )
}

fn fail(failure: Failure) -> Answer {
    match failure {
        Failure::RateLimited => Answer::new(
            403,
            "application/json",
            r#"{"message":"API rate limit exceeded for user ID 1."}"#,
        )
        .header("X-RateLimit-Remaining", "0")
        .header("X-RateLimit-Reset", "1795000000"),
        Failure::SecondaryLimit => Answer::new(
            403,
            "application/json",
            r#"{"message":"You have exceeded a secondary rate limit."}"#,
        )
        .header("Retry-After", "60"),
        Failure::Outage => Answer::new(502, "text/html", "<html><body>Unicorn!</body></html>"),
        Failure::Redirect => Answer::empty(301).header("Location", "/elsewhere"),
        Failure::Gibberish => Answer::new(200, "application/json", "{\"login\":"),
        Failure::Forbidden => Answer::new(
            403,
            "application/json",
            r#"{"message":"Resource protected by organization SAML enforcement."}"#,
        )
        .header("X-RateLimit-Remaining", "4000"),
    }
}

fn json_answer(value: &Value) -> Answer {
    Answer::json(value)
}
