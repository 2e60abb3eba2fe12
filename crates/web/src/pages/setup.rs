//! GET and POST `/setup`: a one-time link with which people set their own password.

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use doorward_authorization_server::{password, setup};
use doorward_oauth::form::Form;
use doorward_records::account::{SetupLink, User};
use doorward_types::secret::Secret;
use http::{HeaderMap, StatusCode};

use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::form::Posted;
use crate::pages::message::{Problem, done};
use crate::pages::{Chrome, form_page};
use crate::session::PreLogin;
use crate::state::{Site, WebState};
use crate::text::{SHORT, shown};

const DIFFERENT: &str = "The two passwords are not the same. Type it again, twice.";

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage<'a> {
    chrome: &'a Chrome,
    username: String,
    problem: Option<String>,
    csrf: String,
    token: &'a str,
    minimum: usize,
    expires: String,
}

/// `GET /setup?token=…`: only reads, so that a link preview does not use the link up.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match open(&state, &headers, &query.unwrap_or_default()).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn open(state: &WebState, headers: &HeaderMap, query: &str) -> Result<Response, Problem> {
    let form = Form::parse(query.as_bytes())?;
    let token = Secret::new(form.get("token").unwrap_or_default());
    let link = state.store().setup_link(token.digest()).await?;
    setup::check(link.as_ref(), state.now())?;
    let prelogin = PreLogin::of(state, &state.cookies(headers));
    let response = show(state, &token, link.as_ref(), &prelogin.cookie, None);
    Ok(prelogin.remember(state, response))
}

fn show(
    state: &WebState,
    token: &Secret,
    link: Option<&(SetupLink, User)>,
    prelogin: &Secret,
    problem: Option<String>,
) -> Response {
    let (username, expires) = link
        .map(|(link, user)| (user.username.as_str(), link.expires.to_string()))
        .unwrap_or_default();
    // `2026-11-22T14:05:59.123Z` to the minute.
    let expires = expires
        .get(..16)
        .map(|text| text.replace('T', " "))
        .unwrap_or_default();
    let page = SetupPage {
        chrome: &state.site().chrome,
        username: shown(username, SHORT),
        problem,
        csrf: state.csrf(Bound::PreLogin(prelogin)),
        token: token.expose(),
        minimum: password::MIN_CHARACTERS,
        expires,
    };
    form_page(StatusCode::OK, &page)
}

/// `POST /setup`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match set(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn set(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let prelogin = posted.prelogin(state)?;
    let token = posted.secret("token");
    let new = posted.secret("password");
    let link = state.store().setup_link(token.digest()).await?;
    let user = setup::check(link.as_ref(), state.now())?;
    let problem = if new == posted.secret("password_again") {
        password::check(&new, &user.username)
            .err()
            .map(|problem| problem.to_string())
    } else {
        Some(DIFFERENT.to_owned())
    };
    if problem.is_some() {
        return Ok(show(state, &token, link.as_ref(), prelogin, problem));
    }
    let random = state.shared_random();
    let hash = state
        .passwords()
        .run(move || password::hash(&new, &*random))
        .await?;
    let hash = hash.map_err(|error| Problem::unavailable(error.to_string()))?;
    let mut attempts = Attempts::default();
    loop {
        let link = state.store().setup_link(token.digest()).await?;
        let unit = setup::decide(link.as_ref(), hash.clone(), state.now())?;
        if attempts.commit(state.store(), unit).await?.is_some() {
            break;
        }
    }
    tracing::info!(user = %user.id, "setup: password set");
    let text = "You can sign in with it from now on.";
    let next = "Go back to your app and connect: it brings you to the sign-in page. You can close this page.";
    let mut response = done(state, "Your password is set", text, next);
    Site::set_cookie(response.headers_mut(), state.site().cookies.clear_session());
    Ok(response)
}
