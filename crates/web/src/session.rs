//! Who is signed in.

use doorward_records::account::{Session, User};
use doorward_storage::LoadError;
use doorward_types::secret::Secret;

use crate::cookies::Cookies;
use crate::state::WebState;

/// Clocks of one house may differ by so much.
const CLOCKS_DIFFER_BY: std::time::Duration = std::time::Duration::from_mins(1);

/// A browser with a live session of an enabled user.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    /// The cookie itself: forms are bound to it.
    pub(crate) cookie: Secret,
    /// The session.
    pub(crate) session: Session,
    /// Whose it is.
    pub(crate) user: User,
}

/// The session that the cookie names, if it lives.
pub(crate) async fn current(state: &WebState, cookies: &Cookies) -> Result<Option<SignedIn>, LoadError> {
    let Some(cookie) = &cookies.session else {
        return Ok(None);
    };
    let found = state.store().session(cookie.digest()).await?;
    Ok(found.and_then(|(session, user)| {
        let now = state.now();
        // One that began years from now was made under a clock that was wrong, and would not end for years (FT-10).
        let begun = session.authenticated_at.since(now) <= CLOCKS_DIFFER_BY;
        let lives = begun && now < session.expires && !user.disabled;
        lives.then(|| SignedIn {
            cookie: cookie.clone(),
            session,
            user,
        })
    }))
}

/// The pre-login cookie of a browser, and whether the answer must set it.
#[derive(Clone, Debug)]
pub(crate) struct PreLogin {
    pub(crate) cookie: Secret,
    pub(crate) fresh: bool,
}

impl PreLogin {
    /// The one it sent, or a new one.
    pub(crate) fn of(state: &WebState, cookies: &Cookies) -> Self {
        match &cookies.prelogin {
            Some(cookie) => Self {
                cookie: cookie.clone(),
                fresh: false,
            },
            None => Self {
                cookie: Secret::generate(state.random()),
                fresh: true,
            },
        }
    }

    /// Sets the cookie, if the browser has none.
    pub(crate) fn remember(
        &self,
        state: &WebState,
        mut response: axum::response::Response,
    ) -> axum::response::Response {
        if self.fresh {
            let cookie = state.site().cookies.set_prelogin(&self.cookie);
            crate::state::Site::set_cookie(response.headers_mut(), cookie);
        }
        response
    }
}
