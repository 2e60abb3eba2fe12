//! POST `/login/passkey`: signing in with a passkey. The script of the login page fills the form in.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::passkey::{
    self, Ceremony, PasskeyError, Presented, Purpose, UnverifiedAssertion,
};

use crate::commit::Attempts;
use crate::pages::entry::{self, Carried};
use crate::pages::form::Posted;
use crate::pages::login::{Form, new_session};
use crate::pages::message::Problem;
use crate::pages::resume;
use crate::sealed_step::{self, Kind};
use crate::session::SignedIn;
use crate::state::WebState;

const REFUSED: &str = "That passkey did not work here. Try another one, or sign in with your password.";

/// `POST /login/passkey`.
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
    let ceremony: Ceremony = sealed_step::open(state, Kind::Ceremony, posted.form.get("ceremony"))?;
    let lives = ceremony.check(Purpose::SignIn, prelogin, state.now());
    let decided = match lives.and_then(|()| UnverifiedAssertion::parse(posted.text("credential"))) {
        Ok(assertion) => decide(state, &posted, &ceremony, &assertion).await?,
        Err(error) => Err(error),
    };
    match decided {
        Ok(signed_in) => entry::enter(state, &posted, signed_in, carried).await,
        Err(error) => {
            tracing::warn!(reason = ?error, "sign-in: failed, passkey refused");
            let form = Form {
                problem: Some(REFUSED.into()),
                ..Form::default()
            };
            carried.again(state, form, prelogin).await
        }
    }
}

async fn decide(
    state: &WebState,
    posted: &Posted,
    ceremony: &Ceremony,
    assertion: &UnverifiedAssertion,
) -> Result<Result<SignedIn, PasskeyError>, Problem> {
    let lookup = passkey::lookup(&assertion.credential_id);
    let site = (state.site().rp_id.as_str(), state.site().origin.as_str());
    let mut attempts = Attempts::default();
    loop {
        let presented = Presented {
            ceremony,
            assertion,
            found: state.store().authenticator_by_lookup(lookup).await?,
            used: state.store().replay(ceremony.replay_key()).await?.is_some(),
        };
        let (sealer, new) = (state.authenticator_sealer(), new_session(state, posted));
        match passkey::sign_in(presented, site, sealer, new) {
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
