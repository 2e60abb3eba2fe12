//! What waits between two steps of a sign-in or of a change of the account: sealed into the form, so that nothing
//! is stored and nobody can read or change it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sealed_request::NotSealed;
use crate::state::WebState;

/// What a sealed field is. One is never taken for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A right password, before the second factor.
    HalfSignedIn,
    /// A question to an authenticator.
    Ceremony,
    /// The secret of an authenticator app that is being added.
    NewApp,
}

impl Kind {
    const fn associated(self) -> &'static [u8] {
        match self {
            Self::HalfSignedIn => b"half signed in 1",
            Self::Ceremony => b"passkey ceremony 1",
            Self::NewApp => b"new authenticator app 1",
        }
    }
}

/// Seals `step` for a hidden field.
pub(crate) fn seal(state: &WebState, kind: Kind, step: &impl Serialize) -> Result<String, NotSealed> {
    let plain = serde_json::to_vec(step).map_err(|_| NotSealed)?;
    state
        .sign_in_sealer()
        .seal_text(b"", kind.associated(), &plain, state.random())
        .map_err(|_| NotSealed)
}

/// Opens a hidden field. Age and browser are judged by the rules, not here.
pub(crate) fn open<T: DeserializeOwned>(
    state: &WebState,
    kind: Kind,
    field: Option<&str>,
) -> Result<T, NotSealed> {
    let plain = state
        .sign_in_sealer()
        .open_text(b"", kind.associated(), field.ok_or(NotSealed)?)
        .map_err(|_| NotSealed)?;
    serde_json::from_slice(&plain).map_err(|_| NotSealed)
}
