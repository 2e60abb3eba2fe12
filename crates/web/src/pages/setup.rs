//! GET and POST `/setup`: a one-time link with which people set their own password, or add a passkey instead.

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use doorward_authorization_server::passkey::{self, Ceremony, Purpose, user_handle};
use doorward_authorization_server::sign_in_methods::MethodProblem;
use doorward_authorization_server::{PageProblem, password, setup, sign_in_methods};
use doorward_oauth::form::Form;
use doorward_records::account::{SetupLink, User};
use doorward_types::secret::Secret;
use http::{HeaderMap, StatusCode};

use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::form::Posted;
use crate::pages::login::Question;
use crate::pages::message::{Problem, done};
use crate::pages::security::{self, NewPasskey, passkey_name};
use crate::pages::{Chrome, form_page, with_script};
use crate::sealed_step::{self, Kind};
use crate::session::PreLogin;
use crate::state::{Site, WebState};
use crate::text::{SHORT, shown};

const SECOND_STEP: &str = "This account has a second step, which a link does not take away. Set a password here, sign in with it and your code, then add the passkey to your account.";
const FULL: &str = "This account has as many passkeys as there can be. Set a password instead.";
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
    new_passkey: NewPasskey<'a>,
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
    let link = link.ok_or(PageProblem::SetupLink)?;
    let response = show(state, &token, &link, &prelogin.cookie, None)?;
    Ok(prelogin.remember(state, response))
}

fn show(
    state: &WebState,
    token: &Secret,
    (link, user): &(SetupLink, User),
    prelogin: &Secret,
    problem: Option<String>,
) -> Result<Response, Problem> {
    // `2026-11-22T14:05:59.123Z` to the minute.
    let expires = link.expires.to_string();
    let expires = expires
        .get(..16)
        .map(|text| text.replace('T', " "))
        .unwrap_or_default();
    let page = SetupPage {
        chrome: &state.site().chrome,
        username: shown(&user.username, SHORT),
        problem,
        csrf: state.csrf(Bound::PreLogin(prelogin)),
        token: token.expose(),
        minimum: password::MIN_CHARACTERS,
        expires,
        new_passkey: NewPasskey {
            question: Question::new(state, Purpose::Add(user.id), prelogin)?,
            user: security::text(&user_handle(user.id)),
            username: user.username.clone(),
            // Nobody proved anything yet: which passkeys there are stays unsaid.
            exclude: String::new(),
            name: String::new(),
        },
    };
    Ok(with_script(form_page(StatusCode::OK, &page)))
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
    if let (Some(_), Some(link)) = (&problem, &link) {
        return show(state, &token, link, prelogin, problem);
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
    Ok(finished(state, &posted, user, "Your password is set"))
}

/// What both ways end with. The browser counts as one of the owner's from now on.
fn finished(state: &WebState, posted: &Posted, user: &User, title: &str) -> Response {
    let text = "You can sign in with it from now on.";
    let next = "Go back to your app and connect: it brings you to the sign-in page. You can close this page.";
    let mut response = done(state, title, text, next);
    let cookies = &state.site().cookies;
    Site::set_cookie(response.headers_mut(), cookies.clear_session());
    let known = &posted.cookies.known;
    let known = known.with(state.known_browsers(), user.id, state.random());
    Site::set_cookie(response.headers_mut(), cookies.set_known(&known));
    response
}

/// `POST /setup/passkey`.
pub(crate) async fn post_passkey(State(state): State<WebState>, request: Request) -> Response {
    match add_passkey(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

const fn refused_as(used: bool) -> passkey::PasskeyError {
    if used {
        passkey::PasskeyError::Over
    } else {
        passkey::PasskeyError::OtherAccount
    }
}

async fn add_passkey(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let prelogin = posted.prelogin(state)?;
    let token = posted.secret("token");
    let ceremony: Ceremony = sealed_step::open(state, Kind::Ceremony, posted.form.get("ceremony"))?;
    let site = (state.site().rp_id.as_str(), state.site().origin.as_str());
    let name = passkey_name(posted.text("name"), posted.device.as_deref());
    let mut attempts = Attempts::default();
    loop {
        let link = state.store().setup_link(token.digest()).await?;
        setup::check(link.as_ref(), state.now())?;
        let link = link.ok_or(PageProblem::SetupLink)?;
        let user = &link.1;
        let authenticators = state.store().authenticators_of(user.id).await?;
        if let Err(problem) = sign_in_methods::check_set_up(&authenticators) {
            tracing::warn!(user = %user.id, reason = ?problem, "setup: passkey refused");
            let why = match problem {
                MethodProblem::SecondStep => SECOND_STEP,
                _ => FULL,
            };
            return show(state, &token, &link, prelogin, Some(why.into()));
        }
        let lives = ceremony.check(Purpose::Add(user.id), prelogin, state.now());
        let used = state.store().replay(ceremony.replay_key()).await?.is_some();
        let (field, sealer) = (posted.text("credential"), state.authenticator_sealer());
        let added = lives.and_then(|()| {
            let (now, random) = (state.now(), state.random());
            passkey::add(&ceremony, field, site, (user, name.clone()), sealer, now, random)
        });
        let is_taken = security::is_taken(state, field).await?;
        let unit = match added {
            Ok((_, unit)) if !used && !is_taken => sign_in_methods::set_up_passkey(&link, unit)?,
            refused => {
                let reason = refused.err().unwrap_or(refused_as(used));
                tracing::warn!(user = %user.id, ?reason, "setup: passkey refused");
                return show(state, &token, &link, prelogin, Some(security::REFUSED.into()));
            }
        };
        if attempts.commit(state.store(), unit).await?.is_some() {
            tracing::info!(user = %user.id, "setup: passkey added");
            return Ok(finished(state, &posted, user, "Your passkey is ready"));
        }
    }
}
