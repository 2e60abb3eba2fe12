//! POST `/logout`: the session ends. "Not you?" on the consent page goes on with the same request, for
//! whoever signs in next.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_records::{Unit, Write};
use doorward_types::secret::Secret;

use crate::commit::Attempts;
use crate::pages::form::Posted;
use crate::pages::login;
use crate::pages::message::{Problem, done};
use crate::sealed_request;
use crate::state::{Site, WebState};

/// `POST /logout`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match sign_out(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn sign_out(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let signed_in = posted.session(state).await?;
    let session = posted.cookies.session.as_ref().map(Secret::digest);
    let mut attempts = Attempts::default();
    if let Some(session) = session {
        let delete = || Unit::writes(vec![Write::DeleteSession(session)]);
        while attempts.commit(state.store(), delete()).await?.is_none() {}
    }
    if let Some(signed_in) = &signed_in {
        tracing::info!(user = %signed_in.user.id, "sign-out: done");
    }
    let prelogin = Secret::generate(state.random());
    let open = sealed_request::open(state, posted.form.get("request")).ok();
    let pending = open.filter(|waiting| waiting.session().is_some() && waiting.session() == session);
    let mut response = match pending {
        Some(pending) => {
            // Bound to this browser anew; nonce and age stay, so the page can still be answered only once.
            login::show_waiting(state, pending.bound_to(prelogin.digest()), &prelogin).await?
        }
        None => done(
            state,
            "You are signed out",
            "This browser is no longer signed in here.",
            "",
        ),
    };
    let cookies = &state.site().cookies;
    Site::set_cookie(response.headers_mut(), cookies.clear_session());
    Site::set_cookie(response.headers_mut(), cookies.set_prelogin(&prelogin));
    Ok(response)
}
