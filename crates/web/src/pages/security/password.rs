//! POST `/security/password`.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::{password, sign_in_methods};

use super::{fresh, show};
use crate::commit::Attempts;
use crate::pages::login::new_session;
use crate::pages::message::Problem;
use crate::pages::see_other;
use crate::state::{Site, WebState};

const DIFFERENT: &str = "The two passwords are not the same. Type it again, twice.";

/// Sets a new password; `end_apps` ends what apps can do as well.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match set(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn set(state: &WebState, request: Request) -> Result<Response, Problem> {
    let (posted, signed_in) = match fresh(state, request).await? {
        Ok(fresh) => fresh,
        Err(response) => return Ok(response),
    };
    let new = posted.secret("password");
    let problem = if new == posted.secret("password_again") {
        password::check(&new, &signed_in.user.username)
            .err()
            .map(|problem| problem.to_string())
    } else {
        Some(DIFFERENT.to_owned())
    };
    if problem.is_some() {
        return show(state, &signed_in, None, problem, posted.device.clone()).await;
    }
    let random = state.shared_random();
    let hashed = state
        .passwords()
        .run_reserved(move || password::hash(&new, &*random))
        .await?;
    let hash = hashed.map_err(|error| Problem::unavailable(error.to_string()))?;
    let ends_apps = posted.form.get("end_apps").is_some();
    let (lifetimes, before) = (&state.settings().lifetimes, &signed_in.session);
    let mut attempts = Attempts::default();
    let changed = loop {
        let Some(user) = state.store().user(signed_in.user.id).await? else {
            return Err(Problem::stale("the account is gone"));
        };
        let session = new_session(state, &posted);
        let mut changed =
            sign_in_methods::change_password(&user, hash.clone(), before, ends_apps, lifetimes, session);
        let unit = std::mem::take(&mut changed.unit);
        if attempts.commit(state.store(), unit).await?.is_some() {
            break changed;
        }
    };
    tracing::info!(user = %changed.user.id, ends_apps, "security: password changed");
    let done = if ends_apps { "apps" } else { "password" };
    let mut response = see_other(&format!("/security?done={done}"));
    let lifetime = changed.session.expires.since(state.now());
    let cookie = state.site().cookies.set_session(&changed.cookie, lifetime);
    Site::set_cookie(response.headers_mut(), cookie);
    Ok(response)
}
