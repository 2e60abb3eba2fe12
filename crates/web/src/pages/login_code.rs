//! POST `/login/code`: the second factor, after a right password.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::second_factor::{self, HalfSignedIn, SecondFactorError};
use doorward_types::digest::Digest;
use doorward_types::secret::Secret;
use http::{HeaderValue, StatusCode};

use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::entry::{self, Carried};
use crate::pages::form::Posted;
use crate::pages::login::{Form, new_session};
use crate::pages::message::Problem;
use crate::pages::next::Next;
use crate::pages::{Chrome, form_page, resume};
use crate::sealed_step::{self, Kind};
use crate::session::SignedIn;
use crate::state::WebState;
use crate::throttle::Who;

const WRONG: &str = "That code is not right, or it was used before. Wait for the next one that your app shows, or use a recovery code.";
const OVER: &str = "That took too long, or your account changed meanwhile. Please sign in once more.";

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactorPage<'a> {
    chrome: &'a Chrome,
    problem: Option<&'a str>,
    csrf: String,
    step: String,
    sealed: Option<String>,
    next: Option<Next>,
}

/// Asks for the code.
pub(crate) fn show(
    state: &WebState,
    half: &HalfSignedIn,
    carried: &Carried,
    prelogin: &Secret,
    problem: Option<&str>,
) -> Result<Response, Problem> {
    let page = SecondFactorPage {
        chrome: &state.site().chrome,
        problem,
        csrf: state.csrf(Bound::PreLogin(prelogin)),
        step: sealed_step::seal(state, Kind::HalfSignedIn, half)?,
        sealed: carried.sealed(state)?,
        next: carried.next,
    };
    Ok(form_page(StatusCode::OK, &page))
}

/// `POST /login/code`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match check(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn check(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let prelogin = match posted.prelogin(state) {
        Ok(prelogin) => prelogin,
        Err(problem) => return resume::sign_in(state, &posted, problem).await,
    };
    let carried = Carried::read(state, &posted, prelogin)?;
    let half: HalfSignedIn = sealed_step::open(state, Kind::HalfSignedIn, posted.form.get("step"))?;
    if half.check(prelogin, state.now()).is_err() {
        return from_the_beginning(state, carried, prelogin).await;
    }
    let who = Who {
        account: Digest::of(half.user.as_uuid().as_bytes()),
        known_browser: posted
            .cookies
            .known
            .knows(state.known_browsers(), Some(half.user)),
        network: posted.network,
    };
    if let Err(retry) = state.throttles().admit_code(who) {
        tracing::warn!(user = %half.user, rule = "DS-10", wait_seconds = retry.seconds(), "sign-in: refused, too many codes");
        let problem = entry::too_many(retry);
        let mut response = show(state, &half, &carried, prelogin, Some(&problem))?;
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let seconds = HeaderValue::from(retry.seconds());
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let decided = decide(state, &posted, &half).await;
    if matches!(decided, Ok(Ok(_)) | Err(_)) {
        state.throttles().give_code_back(who);
    }
    match decided? {
        Ok(signed_in) => entry::enter(state, &posted, signed_in, carried).await,
        Err(SecondFactorError::Wrong) => {
            tracing::warn!(user = %half.user, "sign-in: failed, wrong code");
            show(state, &half, &carried, prelogin, Some(WRONG))
        }
        Err(SecondFactorError::Over) => from_the_beginning(state, carried, prelogin).await,
    }
}

async fn decide(
    state: &WebState,
    posted: &Posted,
    half: &HalfSignedIn,
) -> Result<Result<SignedIn, SecondFactorError>, Problem> {
    let typed = posted.secret("code");
    let mut attempts = Attempts::default();
    loop {
        let user = state.store().user(half.user).await?;
        let authenticators = state.store().authenticators_of(half.user).await?;
        let (sealer, new) = (state.authenticator_sealer(), new_session(state, posted));
        match second_factor::decide(half, user.as_ref(), &authenticators, &typed, sealer, new) {
            Err(error) => return Ok(Err(error)),
            Ok(mut signed_in) => {
                let unit = std::mem::take(&mut signed_in.unit);
                if attempts.commit(state.store(), unit).await?.is_some() {
                    return Ok(Ok(signed_in.into()));
                }
            }
        }
    }
}

async fn from_the_beginning(
    state: &WebState,
    carried: Carried,
    prelogin: &Secret,
) -> Result<Response, Problem> {
    tracing::info!("sign-in: the second step came too late");
    let form = Form {
        problem: Some(OVER.into()),
        ..Form::default()
    };
    carried.again(state, form, prelogin).await
}
