//! GET and POST `/login`. The form comes from `/authorize`, with the request sealed inside; opened by its
//! address it only signs in.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::pending::PendingRequest;
use doorward_authorization_server::{PageProblem, login, password};
use doorward_records::client::Client;
use doorward_types::secret::Secret;
use http::{HeaderMap, StatusCode};

use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::form::Posted;
use crate::pages::message::Problem;
use crate::pages::{Chrome, consent, form_page, resume};
use crate::redirect_view::ShownRedirect;
use crate::sealed_request;
use crate::session::{self, PreLogin, SignedIn};
use crate::state::{Site, WebState};
use crate::text::{SHORT, shown};

/// One sentence for an unknown name, a wrong password and a disabled account: the page does not tell who
/// has an account.
const WRONG: &str = "That user name and password do not fit. Check both and try again.";

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    chrome: &'a Chrome,
    asked: Option<Asked>,
    problem: Option<&'a str>,
    csrf: String,
    sealed: Option<String>,
    username: String,
}

#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedInPage<'a> {
    chrome: &'a Chrome,
    username: String,
    csrf: String,
}

/// What the person signs in for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    client: String,
    server: String,
    goes_to: String,
    local: bool,
}

impl Asked {
    /// From a request and its client.
    pub(crate) fn new(state: &WebState, pending: &PendingRequest, client: &Client) -> Self {
        let redirect = ShownRedirect::new(&pending.redirect_uri);
        let server = state.settings().server(&pending.resource);
        Self {
            client: consent::client_name(client.metadata.client_name.as_deref()),
            server: server
                .map(|server| shown(server.name.as_str(), SHORT))
                .unwrap_or_default(),
            local: redirect.is_local(),
            goes_to: redirect.goes_to,
        }
    }
}

/// What the login page is filled with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// What for; `None` for a sign-in without an app.
    pub(crate) asked: Option<Asked>,
    /// The sealed request.
    pub(crate) sealed: Option<String>,
    /// What went wrong the last time.
    pub(crate) problem: Option<&'static str>,
    /// What was typed the last time.
    pub(crate) username: String,
}

impl Form {
    /// The page for the browser with this pre-login cookie.
    pub(crate) fn show(self, state: &WebState, prelogin: &Secret) -> Response {
        let page = LoginPage {
            chrome: &state.site().chrome,
            asked: self.asked,
            problem: self.problem,
            csrf: state.csrf(Bound::PreLogin(prelogin)),
            sealed: self.sealed,
            username: shown(&self.username, SHORT),
        };
        form_page(StatusCode::OK, &page)
    }
}

/// `GET /login`.
pub(crate) async fn get(State(state): State<WebState>, headers: HeaderMap) -> Response {
    let cookies = state.cookies(&headers);
    match session::current(&state, &cookies).await {
        Ok(Some(signed_in)) => signed_in_page(&state, &signed_in),
        Ok(None) => {
            let prelogin = PreLogin::of(&state, &cookies);
            let page = Form::default().show(&state, &prelogin.cookie);
            prelogin.remember(&state, page)
        }
        Err(error) => Problem::from(error).respond(&state),
    }
}

/// `POST /login`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match sign_in(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn sign_in(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let prelogin = match posted.prelogin(state) {
        Ok(prelogin) => prelogin,
        Err(problem) => return resume::sign_in(state, &posted, problem).await,
    };
    let pending = match posted.form.get("request") {
        None => None,
        sealed => {
            let pending = sealed_request::open(state, sealed)?;
            pending.check_login(state.settings(), Some(prelogin.digest()), state.now())?;
            Some(pending)
        }
    };
    // Stored names are lower case; a telephone's keyboard likes to begin with a capital.
    let username = posted.text("username").trim().to_lowercase();
    let Some(signed_in) = authenticate(state, &posted, &username).await? else {
        // People type passwords into the wrong field: only the name of an account is written down.
        let known = state.store().user_by_name(&username).await?.is_some();
        let who = if known {
            shown(&username, SHORT)
        } else {
            "(no account)".into()
        };
        tracing::warn!(username = ?who, "sign-in: failed");
        let form = Form {
            problem: Some(WRONG),
            username,
            ..Form::default()
        };
        return again(state, form, pending, prelogin).await;
    };
    tracing::info!(user = %signed_in.user.id, username = ?signed_in.user.username, "sign-in: done");
    let mut response = match pending {
        None => signed_in_page(state, &signed_in),
        Some(pending) => {
            let pending = pending.signed_in(&signed_in.session);
            let client = state.store().client(&pending.client).await?;
            consent::show(state, &pending, client.as_ref(), &signed_in)?
        }
    };
    let lifetime = signed_in.session.expires.since(state.now());
    let cookie = state.site().cookies.set_session(&signed_in.cookie, lifetime);
    Site::set_cookie(response.headers_mut(), cookie);
    Ok(response)
}

/// Checks a name and a password on the pool, then commits a session under a fresh id: one that was known
/// before the sign-in is never kept (CN-08).
async fn authenticate(
    state: &WebState,
    posted: &Posted,
    username: &str,
) -> Result<Option<SignedIn>, Problem> {
    let password = posted.secret("password");
    let stored = state
        .store()
        .user_by_name(username)
        .await?
        .and_then(|user| user.password_hash);
    let verify = move || password::verify(stored.as_deref(), &password);
    let proof = state.passwords().run(verify).await?;
    let previous = posted.cookies.session.as_ref().map(Secret::digest);
    let mut attempts = Attempts::default();
    loop {
        let user = state.store().user_by_name(username).await?;
        let decided = login::decide(
            state.settings(),
            user.as_ref(),
            proof,
            previous,
            state.now(),
            state.random(),
        );
        let Ok(login::SignedIn {
            unit,
            session,
            cookie,
            user,
        }) = decided
        else {
            return Ok(None);
        };
        if attempts.commit(state.store(), unit).await?.is_some() {
            return Ok(Some(SignedIn {
                cookie,
                session,
                user,
            }));
        }
    }
}

/// The login page once more, for the same request.
pub(crate) async fn again(
    state: &WebState,
    form: Form,
    pending: Option<PendingRequest>,
    prelogin: &Secret,
) -> Result<Response, Problem> {
    let Some(pending) = pending else {
        return Ok(form.show(state, prelogin));
    };
    let client = state
        .store()
        .client(&pending.client)
        .await?
        .ok_or(PageProblem::UnknownClient)?;
    let asked = Some(Asked::new(state, &pending, &client));
    let sealed = Some(sealed_request::seal(state, &pending)?);
    Ok(Form {
        asked,
        sealed,
        ..form
    }
    .show(state, prelogin))
}

/// What a person sees who signs in without an app, or comes back.
pub(crate) fn signed_in_page(state: &WebState, signed_in: &SignedIn) -> Response {
    let page = SignedInPage {
        chrome: &state.site().chrome,
        username: shown(&signed_in.user.username, SHORT),
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
    };
    form_page(StatusCode::OK, &page)
}

/// The login page for a request that goes on in another pre-login browser binding.
pub(crate) async fn show_pending(
    state: &WebState,
    pending: PendingRequest,
    prelogin: &Secret,
) -> Result<Response, Problem> {
    again(state, Form::default(), Some(pending), prelogin).await
}
