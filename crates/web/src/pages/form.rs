//! Reading a form that was posted to one of our pages.

use axum::extract::Request;
use doorward_limits::{Network, PeerAddress};
use doorward_oauth::form::Form;
use doorward_types::secret::Secret;

use crate::cookies::Cookies;
use crate::csrf::Bound;
use crate::pages::message::Problem;
use crate::session::{self, SignedIn};
use crate::state::WebState;
use crate::{body, origin, user_agent};

/// A form from one of our own pages; whether it belongs to this browser is checked by one of the methods.
pub(crate) struct Posted {
    pub(crate) form: Form,
    pub(crate) cookies: Cookies,
    /// What the browser says it is.
    pub(crate) device: Option<String>,
    /// Where it comes from; `None` for loopback, where everybody may come through one proxy.
    pub(crate) network: Option<Network>,
}

impl Posted {
    /// Refuses what another site sent, then reads the fields. Only `scope` may be repeated.
    pub(crate) async fn read(state: &WebState, request: Request) -> Result<Self, Problem> {
        origin::check_form(request.headers(), &state.site().origin)?;
        let cookies = state.cookies(request.headers());
        let device = user_agent::describe(request.headers());
        let peer = request.extensions().get::<PeerAddress>();
        let network = peer
            .map(|peer| peer.network())
            .filter(|network| !network.is_loopback());
        let form = Form::parse(&body::read(request, body::FORM).await?)?;
        if form.repeated(&["scope"]).is_some() {
            return Err(Problem::unreadable("a field was sent twice"));
        }
        Ok(Self {
            form,
            cookies,
            device,
            network,
        })
    }

    /// A field as text; empty if it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.form.get(name).unwrap_or_default()
    }

    /// A field that is a secret; empty if it is missing.
    pub(crate) fn secret(&self, name: &str) -> Secret {
        Secret::new(self.text(name))
    }

    /// The pre-login cookie that this form was made for.
    pub(crate) fn prelogin(&self, state: &WebState) -> Result<&Secret, Problem> {
        let cookie = self.cookies.prelogin.as_ref();
        state.check_csrf(cookie.map(Bound::PreLogin), self.form.get("csrf"))?;
        cookie.ok_or_else(|| Problem::forged("no pre-login cookie"))
    }

    /// The session that this form was made for. `None` if that session has ended since.
    pub(crate) async fn session(&self, state: &WebState) -> Result<Option<SignedIn>, Problem> {
        let cookie = self.cookies.session.as_ref();
        state.check_csrf(cookie.map(Bound::Session), self.form.get("csrf"))?;
        Ok(session::current(state, &self.cookies).await?)
    }
}
