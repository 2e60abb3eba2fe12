//! What every way to sign in has in common: what the forms carry along, and what happens once somebody is in.

use axum::response::Response;
use doorward_authorization_server::login;
use doorward_authorization_server::pending::Waiting;
use doorward_limits::Retry;
use doorward_types::secret::Secret;

use crate::pages::form::Posted;
use crate::pages::login::{Form, again};
use crate::pages::message::Problem;
use crate::pages::next::Next;
use crate::pages::{login as login_page, resume, see_other};
use crate::sealed_request;
use crate::session::SignedIn;
use crate::state::{Site, WebState};

impl From<login::SignedIn> for SignedIn {
    /// After the unit was committed.
    fn from(signed_in: login::SignedIn) -> Self {
        Self {
            cookie: signed_in.cookie,
            session: signed_in.session,
            user: signed_in.user,
        }
    }
}

/// What a sign-in is for, from step to step.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The app's request.
    pub(crate) waiting: Option<Waiting>,
    /// A page of ours.
    pub(crate) next: Option<Next>,
}

impl Carried {
    /// From the hidden fields of a form of the browser with this pre-login cookie.
    pub(crate) fn read(state: &WebState, posted: &Posted, prelogin: &Secret) -> Result<Self, Problem> {
        let waiting = match posted.form.get("request") {
            None => None,
            sealed => {
                let waiting = sealed_request::open(state, sealed)?;
                waiting.check_login(state.settings(), Some(prelogin.digest()), state.now())?;
                Some(waiting)
            }
        };
        Ok(Self {
            waiting,
            next: Next::read(&posted.form),
        })
    }

    /// The hidden field `request`.
    pub(crate) fn sealed(&self, state: &WebState) -> Result<Option<String>, Problem> {
        let sealed = self
            .waiting
            .as_ref()
            .map(|waiting| sealed_request::seal(state, waiting));
        Ok(sealed.transpose()?)
    }

    /// The login page once more.
    pub(crate) async fn again(
        self,
        state: &WebState,
        form: Form,
        prelogin: &Secret,
    ) -> Result<Response, Problem> {
        let form = Form {
            next: self.next,
            ..form
        };
        again(state, form, self.waiting, prelogin).await
    }
}

/// Sends the person on who just signed in, with the cookies of a browser that is signed in and known from now on.
pub(crate) async fn enter(
    state: &WebState,
    posted: &Posted,
    signed_in: SignedIn,
    carried: Carried,
) -> Result<Response, Problem> {
    let methods = signed_in.session.methods.join(" ");
    tracing::info!(user = %signed_in.user.id, username = ?signed_in.user.username, method = methods, "sign-in: done");
    let mut response = match carried.waiting {
        None => signed_in_page(state, &signed_in, carried.next),
        // Signed in either way: a document that cannot be read does not ask for the password again.
        Some(waiting) => resume::go_on(state, waiting, &signed_in)
            .await
            .unwrap_or_else(|problem| problem.respond(state)),
    };
    let lifetime = signed_in.session.expires.since(state.now());
    let cookies = &state.site().cookies;
    let session = cookies.set_session(&signed_in.cookie, lifetime);
    Site::set_cookie(response.headers_mut(), session);
    remember(state, posted, &signed_in, &mut response);
    Ok(response)
}

/// Notes in the browser that this person signed in there.
pub(crate) fn remember(state: &WebState, posted: &Posted, signed_in: &SignedIn, response: &mut Response) {
    let known = posted
        .cookies
        .known
        .with(state.known_browsers(), signed_in.user.id, state.random());
    let cookie = state.site().cookies.set_known(&known);
    Site::set_cookie(response.headers_mut(), cookie);
}

/// For somebody who signed in without an app.
pub(crate) fn signed_in_page(state: &WebState, signed_in: &SignedIn, next: Option<Next>) -> Response {
    match next {
        Some(next) => see_other(&next.path()),
        None => login_page::signed_in_page(state, signed_in),
    }
}

/// What a person reads who tried too often.
pub(crate) fn too_many(retry: Retry) -> String {
    let seconds = retry.seconds();
    let time = match seconds {
        1 => "a second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    };
    format!(
        "There were too many attempts to sign in. Wait {time}, then try again. What you typed was not looked at."
    )
}
