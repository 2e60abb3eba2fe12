//! Adding and removing passkeys. The script of the page fills the form in.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::passkey::{self, Ceremony, PasskeyError, Purpose};
use doorward_authorization_server::sign_in_methods::{self, MethodProblem};
use doorward_storage::LoadError;

use super::{change, fresh, show};
use crate::pages::message::Problem;
use crate::pages::see_other;
use crate::sealed_step::{self, Kind};
use crate::state::WebState;
use crate::text::shown;

/// The longest name of a passkey, in characters.
pub(crate) const NAME: usize = 60;

/// What a person reads whose passkey is not accepted.
pub(crate) const REFUSED: &str = "The passkey was not added: it has to be made here, in one go, by a device that asks for your PIN, finger or face. Try again.";
const LAST: &str = "This passkey is your only way to sign in. Set a password, or add another passkey, first.";
const FULL: &str = "You have as many passkeys as there can be. Remove one that you do not use.";

/// `POST /security/passkeys`.
pub(crate) async fn add(State(state): State<WebState>, request: Request) -> Response {
    let shown = async {
        let (posted, signed_in) = match fresh(&state, request).await? {
            Ok(fresh) => fresh,
            Err(response) => return Ok(response),
        };
        let ceremony: Ceremony = sealed_step::open(&state, Kind::Ceremony, posted.form.get("ceremony"))?;
        let (user, now, random) = (&signed_in.user, state.now(), state.random());
        let lives = ceremony.check(Purpose::Add(user.id), &signed_in.cookie, now);
        let used = state.store().replay(ceremony.replay_key()).await?.is_some();
        let is_taken = is_taken(&state, posted.text("credential")).await?;
        let site = (state.site().rp_id.as_str(), state.site().origin.as_str());
        let name = passkey_name(posted.text("name"), posted.device.as_deref());
        let added = change(&state, &signed_in, |before| {
            lives.map_err(Ok)?;
            if used {
                return Err(Ok(PasskeyError::Over));
            }
            if is_taken {
                return Err(Ok(PasskeyError::OtherAccount));
            }
            sign_in_methods::check_room(before).map_err(Err)?;
            let (field, sealer) = (posted.text("credential"), state.authenticator_sealer());
            let added = passkey::add(&ceremony, field, site, (user, name.clone()), sealer, now, random);
            added.map(|(_, unit)| unit).map_err(Ok)
        });
        let why = match added.await? {
            Ok(()) => {
                tracing::info!(user = %user.id, "security: passkey added");
                return Ok(see_other("/security?done=passkey"));
            }
            Err(Ok(error)) => {
                tracing::warn!(user = %user.id, reason = ?error, "security: passkey refused");
                REFUSED
            }
            Err(Err(_)) => FULL,
        };
        show(&state, &signed_in, None, Some(why.into()), posted.device.clone()).await
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}

/// Whether the credential that this field registers is registered already.
pub(crate) async fn is_taken(state: &WebState, field: &str) -> Result<bool, LoadError> {
    match passkey::claimed_lookup(field) {
        Some(lookup) => Ok(state.store().authenticator_by_lookup(lookup).await?.is_some()),
        None => Ok(false),
    }
}

/// What the person called it, or the browser.
pub(crate) fn passkey_name(typed: &str, device: Option<&str>) -> String {
    [typed, device.unwrap_or_default(), "Passkey"]
        .into_iter()
        .map(|name| shown(name, NAME))
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

/// `POST /security/passkeys/remove`.
pub(crate) async fn remove(State(state): State<WebState>, request: Request) -> Response {
    let shown = async {
        let (posted, signed_in) = match fresh(&state, request).await? {
            Ok(fresh) => fresh,
            Err(response) => return Ok(response),
        };
        let id = posted.text("id").parse();
        let removed = change(&state, &signed_in, |before| {
            let id = id.map_err(|_| MethodProblem::NotThere)?;
            sign_in_methods::remove_passkey(&signed_in.user, before, id)
        });
        match removed.await? {
            Ok(()) => tracing::info!(user = %signed_in.user.id, "security: passkey removed"),
            Err(MethodProblem::Last) => {
                let device = posted.device.clone();
                return show(&state, &signed_in, None, Some(LAST.into()), device).await;
            }
            // Removed in another tab: it is what the person wants.
            Err(_) => {}
        }
        Ok(see_other("/security?done=no-passkey"))
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}
