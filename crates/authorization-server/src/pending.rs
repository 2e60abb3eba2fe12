//! An authorization request between its arrival and its answer. It is kept nowhere: the shell seals it
//! into the forms of the login and consent pages, so that an abandoned login costs no storage.

use doorward_oauth::authorize::Location;
use doorward_oauth::error::ErrorCode;
use doorward_oauth::pkce::CodeChallenge;
use doorward_oauth::redirect;
use doorward_records::account::Session;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, TraceId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde::{Deserialize, Serialize};

use crate::authorize::Request;
use crate::page::PageProblem;
use crate::settings::Settings;

/// What the forms of the login and consent pages carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A valid request.
    Judged(PendingRequest),
    /// One that can only be judged once somebody signed in, because its client's metadata document has to be
    /// fetched first: nobody makes us fetch anything without an account here.
    Unjudged(UnjudgedRequest),
}

/// A request whose client is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnjudgedRequest {
    /// As it came.
    pub request: Request,
    /// When it came.
    pub issued: UnixTime,
    /// Digest of the pre-login cookie of the browser that started.
    pub prelogin: Digest,
    /// The trace of this login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

impl Waiting {
    /// Who asks.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        match self {
            Self::Judged(pending) => &pending.client,
            Self::Unjudged(unjudged) => unjudged.request.client_id(),
        }
    }

    /// The trace of this login.
    #[must_use]
    pub const fn trace(&self) -> Option<TraceId> {
        match self {
            Self::Judged(pending) => pending.trace,
            Self::Unjudged(unjudged) => unjudged.trace,
        }
    }

    /// The session that may answer, if somebody signed in.
    #[must_use]
    pub const fn session(&self) -> Option<Digest> {
        match self {
            Self::Judged(pending) => pending.session,
            Self::Unjudged(_) => None,
        }
    }

    /// When the page is dead.
    #[must_use]
    pub fn expires(&self, settings: &Settings) -> UnixTime {
        let issued = match self {
            Self::Judged(pending) => pending.issued,
            Self::Unjudged(unjudged) => unjudged.issued,
        };
        issued.plus(settings.lifetimes.authorization_request)
    }

    /// The same request, waiting for anybody who signs in with the browser that has this pre-login cookie.
    #[must_use]
    pub fn bound_to(self, prelogin: Digest) -> Self {
        match self {
            Self::Judged(pending) => Self::Judged(PendingRequest {
                prelogin,
                session: None,
                user: None,
                ..pending
            }),
            Self::Unjudged(unjudged) => Self::Unjudged(UnjudgedRequest { prelogin, ..unjudged }),
        }
    }

    /// For the login form: the request is not too old and `prelogin` (digest of the cookie that came with
    /// the form) is the browser that started it.
    pub fn check_login(
        &self,
        settings: &Settings,
        prelogin: Option<Digest>,
        now: UnixTime,
    ) -> Result<(), PageProblem> {
        if now >= self.expires(settings) {
            return Err(PageProblem::Expired);
        }
        let started = match self {
            Self::Judged(pending) => pending.prelogin,
            Self::Unjudged(unjudged) => unjudged.prelogin,
        };
        if prelogin == Some(started) {
            Ok(())
        } else {
            Err(PageProblem::OtherBrowser)
        }
    }
}

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
    /// The trace of this login: the code and the tokens that come of it carry it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

impl PendingRequest {
    /// The same request, bound to the session of the person who may answer it.
    #[must_use]
    pub fn signed_in(mut self, session: &Session) -> Self {
        self.session = Some(session.id);
        self.user = Some(session.user);
        self
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
