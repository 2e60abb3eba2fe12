//! An authorization request between its arrival and its answer. It is kept nowhere: the shell seals it
//! into the forms of the login and consent pages, so that an abandoned login costs no storage.

use doorward_oauth::authorize::Location;
use doorward_oauth::error::ErrorCode;
use doorward_oauth::pkce::CodeChallenge;
use doorward_oauth::redirect;
use doorward_records::account::Session;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde::{Deserialize, Serialize};

use crate::page::PageProblem;
use crate::settings::Settings;

/// A valid authorization request that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingRequest {
    /// Random: one page, one answer.
    pub nonce: Digest,
    /// When the request came.
    pub issued: UnixTime,
    /// Who asks.
    pub client: ClientId,
    /// Digest of the client metadata that is shown.
    pub client_metadata: Digest,
    /// The exact `redirect_uri`, port included.
    pub redirect_uri: String,
    /// The one resource.
    pub resource: ResourceUri,
    /// The scopes that are offered.
    pub offered: ScopeSet,
    /// `state`, sent back as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The S256 challenge.
    pub code_challenge: CodeChallenge,
    /// Digest of the pre-login cookie of the browser that started.
    pub prelogin: Digest,
    /// Digest of the session that may answer, once somebody signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Digest>,
    /// Who signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
}

impl PendingRequest {
    /// The same request, bound to the session of the person who may answer it.
    #[must_use]
    pub fn signed_in(mut self, session: &Session) -> Self {
        self.session = Some(session.id);
        self.user = Some(session.user);
        self
    }

    /// For the login form: the request is not too old and `prelogin` (digest of the cookie that came with
    /// the form) is the browser that started it.
    pub fn check_login(
        &self,
        settings: &Settings,
        prelogin: Option<Digest>,
        now: UnixTime,
    ) -> Result<(), PageProblem> {
        self.check_age(settings, now)?;
        if prelogin == Some(self.prelogin) {
            Ok(())
        } else {
            Err(PageProblem::OtherBrowser)
        }
    }

    /// What makes the consent record unique besides user, client and resource.
    #[must_use]
    pub fn redirect_host(&self) -> String {
        redirect::redirect_host(&self.redirect_uri)
    }

    /// The key under which the answer is kept: a digest, so that the table does not name live pages.
    #[must_use]
    pub fn decision_key(&self) -> Digest {
        Digest::of(self.nonce.as_bytes())
    }

    /// The way back to the client with an error.
    #[must_use]
    pub fn error(&self, issuer: &Issuer, error: ErrorCode, description: &str) -> Location {
        Location::with_error(
            &self.redirect_uri,
            error,
            description,
            self.state.as_deref(),
            issuer,
        )
    }

    /// When the page is dead.
    #[must_use]
    pub fn expires(&self, settings: &Settings) -> UnixTime {
        self.issued.plus(settings.lifetimes.authorization_request)
    }

    pub(crate) fn check_age(&self, settings: &Settings, now: UnixTime) -> Result<(), PageProblem> {
        if now < self.expires(settings) {
            Ok(())
        } else {
            Err(PageProblem::Expired)
        }
    }
}
