//! The authorization request inside the login and consent forms: sealed, so that nobody can read or change
//! it and nothing is stored for a login that is abandoned. It never travels in a URL.

use doorward_authorization_server::pending::Waiting;

use crate::state::WebState;

/// Binds the cipher text to this use of the key.
const ASSOCIATED: &[u8] = b"authorization request 2";

/// The hidden field holds no request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form holds no request of this server")]
pub(crate) struct NotSealed;

/// Seals a request for the hidden field `request`.
pub(crate) fn seal(state: &WebState, waiting: &Waiting) -> Result<String, NotSealed> {
    let plain = serde_json::to_vec(waiting).map_err(|_| NotSealed)?;
    state
        .sealer()
        .seal_text(b"", ASSOCIATED, &plain, state.random())
        .map_err(|_| NotSealed)
}

/// Opens the hidden field. Age and browser are judged by the rules, not here.
pub(crate) fn open(state: &WebState, field: Option<&str>) -> Result<Waiting, NotSealed> {
    let plain = state
        .sealer()
        .open_text(b"", ASSOCIATED, field.ok_or(NotSealed)?)
        .map_err(|_| NotSealed)?;
    let waiting: Waiting = serde_json::from_slice(&plain).map_err(|_| NotSealed)?;
    doorward_recorder::adopt(waiting.trace());
    Ok(waiting)
}
