//! GET and POST `/login`. The form comes from `/authorize`, with the request sealed inside; opened by its
//! address it only signs in.

use std::borrow::Cow;

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use doorward_authorization_server::PageProblem;
use doorward_authorization_server::login::{self, NewSession, Step};
use doorward_authorization_server::passkey::{Ceremony, Purpose};
use doorward_authorization_server::password::{self, PasswordProof};
use doorward_authorization_server::pending::{UnjudgedRequest, Waiting};
use doorward_limits::Retry;
use doorward_oauth::client_metadata::ClientIdUrl;
use doorward_types::digest::Digest;
use doorward_types::secret::Secret;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::entry::{self, Carried};
use crate::pages::form::Posted;
use crate::pages::message::Problem;
use crate::pages::next::Next;
use crate::pages::{Chrome, consent, form_page, login_code, resume, with_script};
use crate::redirect_view::ShownRedirect;
use crate::sealed_step::{self, Kind};
use crate::session::{self, PreLogin, SignedIn};
use crate::state::WebState;
use crate::text::{SHORT, shown};
use crate::throttle::{Attempt, Who};
use crate::{assets, sealed_request};

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
    next: Option<Next>,
    username: String,
    confirms: bool,
    passkey: Question<'a>,
}

/// A question to the passkeys of this browser, for the script.
pub(crate) struct Question<'a> {
    /// Path of the script.
    pub(crate) script: String,
    /// The relying party.
    pub(crate) rp_id: &'a str,
    /// The challenge.
    pub(crate) challenge: String,
    /// The question, sealed.
    pub(crate) sealed: String,
}

impl<'a> Question<'a> {
    /// Asks the browser that has `cookie`.
    pub(crate) fn new(state: &'a WebState, purpose: Purpose, cookie: &Secret) -> Result<Self, Problem> {
        let ceremony = Ceremony::begin(purpose, cookie, state.now(), state.random());
        Ok(Self {
            script: assets::script_path(),
            rp_id: &state.site().rp_id,
            challenge: ceremony.challenge().to_owned(),
            sealed: sealed_step::seal(state, Kind::Ceremony, &ceremony)?,
        })
    }
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
    /// Nothing is known of the client but the host of its id: its document is read after the sign-in.
    unread: bool,
    server: String,
    goes_to: String,
    local: bool,
}

impl Asked {
    /// From a request; its client is looked up.
    pub(crate) async fn new(state: &WebState, waiting: &Waiting) -> Result<Self, Problem> {
        let pending = match waiting {
            Waiting::Judged(pending) => pending,
            Waiting::Unjudged(unjudged) => return Self::unread(unjudged),
        };
        let client = state.store().client(&pending.client).await?;
        let client = client.ok_or(PageProblem::UnknownClient)?;
        let redirect = ShownRedirect::new(&pending.redirect_uri);
        let server = state.settings().server(&pending.resource);
        Ok(Self {
            client: consent::client_name(client.metadata.client_name.as_deref()),
            unread: false,
            server: server
                .map(|server| shown(server.name.as_str(), SHORT))
                .unwrap_or_default(),
            local: redirect.is_local(),
            goes_to: redirect.goes_to,
        })
    }

    fn unread(unjudged: &UnjudgedRequest) -> Result<Self, Problem> {
        let url = ClientIdUrl::parse(unjudged.request.client_id().as_str())
            .map_err(PageProblem::DocumentAddress)?;
        Ok(Self {
            client: shown(url.authority(), SHORT),
            unread: true,
            server: String::new(),
            goes_to: String::new(),
            local: false,
        })
    }
}

/// What the login page is filled with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// What for; `None` for a sign-in without an app.
    pub(crate) asked: Option<Asked>,
    /// The sealed request.
    pub(crate) sealed: Option<String>,
    /// Where to go on, without an app.
    pub(crate) next: Option<Next>,
    /// What went wrong the last time.
    pub(crate) problem: Option<Cow<'static, str>>,
    /// What was typed the last time.
    pub(crate) username: String,
    /// Somebody is signed in, and is asked for a fresh sign-in.
    pub(crate) confirms: bool,
}

impl Form {
    /// The page for the browser with this pre-login cookie.
    pub(crate) fn show(self, state: &WebState, prelogin: &Secret) -> Response {
        let passkey = match Question::new(state, Purpose::SignIn, prelogin) {
            Ok(question) => question,
            Err(problem) => return problem.respond(state),
        };
        let page = LoginPage {
            chrome: &state.site().chrome,
            asked: self.asked,
            problem: self.problem.as_deref(),
            csrf: state.csrf(Bound::PreLogin(prelogin)),
            sealed: self.sealed,
            next: self.next,
            username: shown(&self.username, SHORT),
            confirms: self.confirms,
            passkey,
        };
        with_script(form_page(StatusCode::OK, &page))
    }
}

/// `GET /login`.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let cookies = state.cookies(&headers);
    let next = Next::of_query(query.as_deref());
    match session::current(&state, &cookies).await {
        Ok(Some(signed_in)) => entry::signed_in_page(&state, &signed_in, next),
        Ok(None) => {
            let prelogin = PreLogin::of(&state, &cookies);
            let form = Form {
                next,
                ..Form::default()
            };
            prelogin.remember(&state, form.show(&state, &prelogin.cookie))
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
    let carried = Carried::read(state, &posted, prelogin)?;
    // Stored names are lower case; a telephone's keyboard likes to begin with a capital.
    let username = posted.text("username").trim().to_lowercase();
    let user = state.store().user_by_name(&username).await?;
    let known = &posted.cookies.known;
    let known = known.knows(state.known_browsers(), user.as_ref().map(|user| user.id));
    let who = Who {
        account: Digest::of_parts(&[b"name\0", username.as_bytes()]),
        known_browser: known,
        network: posted.network,
    };
    let attempt = match state.throttles().admit(who) {
        Ok(attempt) => attempt,
        Err(retry) => return throttled(state, carried, username, prelogin, retry).await,
    };
    let stored = user.as_ref().and_then(|user| user.password_hash.clone());
    let is_account = user.is_some();
    let proof = verify(state, &posted, stored, &attempt).await?;
    let decided = decide(state, &posted, &username, proof, prelogin).await;
    if !matches!(decided, Ok(None)) {
        attempt.give_back();
    }
    let Some(step) = decided? else {
        // People type passwords into the wrong field: only the name of an account is written down.
        let who = if is_account {
            shown(&username, SHORT)
        } else {
            "(no account)".into()
        };
        tracing::warn!(username = ?who, "sign-in: failed");
        let problem = Some(WRONG.into());
        let form = Form {
            problem,
            username,
            ..Form::default()
        };
        return carried.again(state, form, prelogin).await;
    };
    match step {
        Step::Done(signed_in) => entry::enter(state, &posted, SignedIn::from(*signed_in), carried).await,
        Step::SecondFactor(half) => {
            tracing::info!(user = %half.user, "sign-in: password right, second factor asked");
            login_code::show(state, &half, &carried, prelogin, None)
        }
    }
}

/// Too many attempts: what was typed is not looked at, right or wrong, known name or not.
async fn throttled(
    state: &WebState,
    carried: Carried,
    username: String,
    prelogin: &Secret,
    retry: Retry,
) -> Result<Response, Problem> {
    tracing::warn!(
        rule = "DS-10",
        wait_seconds = retry.seconds(),
        "sign-in: refused, too many attempts"
    );
    let form = Form {
        problem: Some(entry::too_many(retry).into()),
        username,
        ..Form::default()
    };
    let mut response = carried.again(state, form, prelogin).await?;
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let seconds = HeaderValue::from(retry.seconds());
    response.headers_mut().insert(http::header::RETRY_AFTER, seconds);
    Ok(response)
}

/// Checks a password on the pool.
async fn verify(
    state: &WebState,
    posted: &Posted,
    stored: Option<String>,
    attempt: &Attempt,
) -> Result<Option<PasswordProof>, Problem> {
    let password = posted.secret("password");
    let verify = move || password::verify(stored.as_deref(), &password);
    Ok(if attempt.is_from_known_browser() {
        state.passwords().run_reserved(verify).await?
    } else {
        state.passwords().run(verify).await?
    })
}

/// Decides about a name and what its password proved; a whole sign-in is committed as a session under a fresh id: one
/// that was known before is never kept (CN-08).
async fn decide(
    state: &WebState,
    posted: &Posted,
    username: &str,
    proof: Option<PasswordProof>,
    prelogin: &Secret,
) -> Result<Option<Step>, Problem> {
    let mut attempts = Attempts::default();
    loop {
        let user = state.store().user_by_name(username).await?;
        let authenticators = match &user {
            Some(user) => state.store().authenticators_of(user.id).await?,
            None => Vec::new(),
        };
        let new = new_session(state, posted);
        match login::decide(user.as_ref(), &authenticators, proof, prelogin, new) {
            Err(login::NotSignedIn) => return Ok(None),
            Ok(Step::Done(mut signed_in)) => {
                let unit = std::mem::take(&mut signed_in.unit);
                if attempts.commit(state.store(), unit).await?.is_some() {
                    return Ok(Some(Step::Done(signed_in)));
                }
            }
            Ok(half) => return Ok(Some(half)),
        }
    }
}

/// What a session of the browser that posted is made of.
pub(crate) fn new_session<'a>(state: &'a WebState, posted: &'a Posted) -> NewSession<'a> {
    NewSession {
        settings: state.settings(),
        previous: posted.cookies.session.as_ref().map(Secret::digest),
        device: posted.device.as_deref(),
        now: state.now(),
        random: state.random(),
    }
}

/// The login page once more, for the same request.
pub(crate) async fn again(
    state: &WebState,
    form: Form,
    pending: Option<Waiting>,
    prelogin: &Secret,
) -> Result<Response, Problem> {
    let Some(pending) = pending else {
        return Ok(form.show(state, prelogin));
    };
    let asked = Some(Asked::new(state, &pending).await?);
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
pub(crate) async fn show_waiting(
    state: &WebState,
    waiting: Waiting,
    prelogin: &Secret,
) -> Result<Response, Problem> {
    again(state, Form::default(), Some(waiting), prelogin).await
}
