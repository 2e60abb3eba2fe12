//! A form that no longer fits its browser: another tab signed in or out meanwhile, the session ended, or two
//! tabs began at once and only one pre-login cookie was kept. The answer is not taken; the same request is
//! shown anew to whoever uses the browser now, which is no more than its GET `/authorize` would do. Nonce and
//! age stay, so it is still answered once and in time.

use axum::response::Response;
use doorward_authorization_server::authorize;
use doorward_authorization_server::pending::Waiting;
use http::StatusCode;

use crate::endpoints::authorize::{accepted, refuse};
use crate::pages::form::Posted;
use crate::pages::message::Problem;
use crate::pages::{consent, login};
use crate::sealed_request;
use crate::session::{self, PreLogin, SignedIn};
use crate::state::WebState;

/// Shows the login page again with what was typed but the password.
pub(crate) async fn sign_in(
    state: &WebState,
    posted: &Posted,
    problem: Problem,
) -> Result<Response, Problem> {
    let Some(pending) = again(state, posted) else {
        return Err(problem);
    };
    let prelogin = PreLogin::of(state, &posted.cookies);
    login(state, posted, pending, &prelogin).await
}

/// Shows the consent page again to the person who is signed in now, or the login page.
pub(crate) async fn consent(
    state: &WebState,
    posted: &Posted,
    problem: Problem,
) -> Result<Response, Problem> {
    let Some(pending) = again(state, posted) else {
        return Err(problem);
    };
    let prelogin = PreLogin::of(state, &posted.cookies);
    let pending = pending.bound_to(prelogin.cookie.digest());
    let Some(signed_in) = session::current(state, &posted.cookies).await? else {
        return login(state, posted, pending, &prelogin).await;
    };
    let page = go_on(state, pending, &signed_in).await?;
    Ok(refused(prelogin.remember(state, page)))
}

/// What comes after the sign-in: the consent page. A request whose client was not known yet is judged first,
/// which can end it like GET `/authorize` would have.
pub(crate) async fn go_on(
    state: &WebState,
    waiting: Waiting,
    signed_in: &SignedIn,
) -> Result<Response, Problem> {
    let unjudged = match waiting {
        Waiting::Judged(pending) => {
            let pending = pending.signed_in(&signed_in.session);
            let client = state.store().client(&pending.client).await?;
            return consent::show(state, &pending, client.as_ref(), signed_in).await;
        }
        Waiting::Unjudged(unjudged) => unjudged,
    };
    let id = unjudged.request.client_id();
    let client = state.documents().for_person(state, id, signed_in.user.id).await?;
    let (settings, now, random) = (state.settings(), state.now(), state.random());
    let session = &signed_in.session;
    let decided = authorize::decide_after_sign_in(settings, &unjudged, client.as_ref(), session, now, random);
    match decided {
        Ok(pending) => {
            accepted(&pending);
            consent::show(state, &pending, client.as_ref(), signed_in).await
        }
        Err(refusal) => refuse(id, refusal),
    }
}

/// The request in the form. `None` if it is none of ours or too old, or if the browser sent
/// no cookie at all: then it keeps none, and the same page would only come back.
fn again(state: &WebState, posted: &Posted) -> Option<Waiting> {
    let has_cookies = posted.cookies.prelogin.is_some() || posted.cookies.session.is_some();
    let pending = sealed_request::open(state, posted.form.get("request")).ok()?;
    (has_cookies && state.now() < pending.expires(state.settings())).then_some(pending)
}

async fn login(
    state: &WebState,
    posted: &Posted,
    pending: Waiting,
    prelogin: &PreLogin,
) -> Result<Response, Problem> {
    let pending = pending.bound_to(prelogin.cookie.digest());
    let form = login::Form {
        problem: Some("This page was no longer up to date. Please sign in once more.".into()),
        username: posted.text("username").into(),
        ..login::Form::default()
    };
    let page = login::again(state, form, Some(pending), &prelogin.cookie).await?;
    Ok(refused(prelogin.remember(state, page)))
}

/// Nothing was done with what was sent.
fn refused(mut response: Response) -> Response {
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::FORBIDDEN;
        tracing::info!("a form of another session: shown anew");
    }
    response
}
