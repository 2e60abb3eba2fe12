//! What is told to a person when there is nobody else to tell: pages without a redirect.

use doorward_oauth::authorize::Location;
use doorward_oauth::client_metadata::{ClientIdUrlError, DocumentError};
use doorward_oauth::error::ErrorCode;
use doorward_oauth::form::FormError;
use doorward_oauth::requirement::{self, Requirement};
use doorward_types::id::ClientId;

/// Why a page with an explanation is shown and the browser is not sent anywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageProblem {
    /// The query or form cannot be read.
    #[error("This request cannot be read ({0}). Go back to the app and start again.")]
    Unreadable(#[from] FormError),
    /// `client_id` or `redirect_uri` came more than once: whom to answer is anybody's guess (AZ-06).
    #[error("The app sent client_id or redirect_uri more than once. This is an error in the app.")]
    AmbiguousClient,
    /// There is no `client_id`.
    #[error("The app did not say who it is (client_id is missing). This is an error in the app.")]
    MissingClient,
    /// The client is not registered (any more).
    #[error("This app is not registered here (any more). Remove the connection in the app and add it again.")]
    UnknownClient,
    /// Registration policy wants the operator's approval first.
    #[error("This app waits for approval. Ask the operator to run: doorward client approve {0}")]
    ClientPending(ClientId),
    /// An operator switched the client off.
    #[error("This app was switched off here. Ask whoever runs this server.")]
    ClientDisabled,
    /// Client ids that are URLs are off.
    #[error(
        "This server takes no apps that are known by a web address. Ask whoever runs this server for a client_id and enter it in the app."
    )]
    DocumentsOff,
    /// The client id is a URL, but not one of a metadata document (RG-11).
    #[error("The app's id is not the address of a description ({0}). This is an error in the app.")]
    DocumentAddress(ClientIdUrlError),
    /// Policy refuses clients of this host.
    #[error("Apps of {0} are not allowed here. Ask whoever runs this server.")]
    DocumentHostDenied(String),
    /// The document could not be read. The reason is for the log: it could tell about our network.
    #[error(
        "The description that the app publishes about itself could not be read. Try again in a minute; if it stays like this, tell the makers of the app."
    )]
    DocumentUnread(String),
    /// The document does not describe the client.
    #[error(
        "The description that the app publishes about itself is not usable: {0}. This is an error in the app."
    )]
    DocumentRefused(DocumentError),
    /// There is no `redirect_uri`, and more than one is registered.
    #[error("The app did not say where to return to (redirect_uri is missing). This is an error in the app.")]
    MissingRedirect,
    /// The `redirect_uri` is not a registered one: sending anybody there would make us an open redirector.
    #[error("The app asked to return to an address that it did not register. Nothing was sent there.")]
    UnregisteredRedirect,
    /// `state` is longer than we send back.
    #[error("The app sent too long a state. This is an error in the app.")]
    StateTooLong,
    /// The `request_uri` is not one of ours, is another client's, or was opened too late (RFC 9126 §4).
    #[error("The app's request has expired or is not its own. Go back to the app and start again.")]
    PushedRequest,
    /// The page was open for too long.
    #[error("This page is too old. Go back to the app and start again.")]
    Expired,
    /// The form came from another browser than the one that started.
    #[error("This sign-in was started in another browser. Go back to the app and start again.")]
    OtherBrowser,
    /// The session ended, or is another one than the page was made for.
    #[error("You are no longer signed in. Go back to the app and start again.")]
    SignedOut,
    /// The client's metadata changed after the page was shown.
    #[error(
        "The app changed its registration while you were looking at it. Go back to the app and start again."
    )]
    ClientChanged,
    /// The page was answered before, differently or too long ago.
    #[error("This page was answered already. If the app did not notice, start again there.")]
    AlreadyAnswered,
    /// The form has no answer, or one we do not know.
    #[error("The form came without an answer. Go back to the app and start again.")]
    NoAnswer,
    /// The setup link is unknown, used or too old.
    #[error(
        "This link was used already or is too old. Ask the operator for a new one: doorward user passwd NAME"
    )]
    SetupLink,
}

impl PageProblem {
    /// The HTTP status of the page.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::ClientPending(_)
            | Self::ClientDisabled
            | Self::DocumentHostDenied(_)
            | Self::OtherBrowser
            | Self::SignedOut => 403,
            _ => 400,
        }
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::MissingRedirect | Self::UnregisteredRedirect => requirement::REDIRECT_EXACT,
            Self::ClientPending(_)
            | Self::ClientDisabled
            | Self::DocumentsOff
            | Self::DocumentHostDenied(_) => requirement::REGISTRATION_POLICY,
            Self::DocumentAddress(_) | Self::DocumentRefused(_) => requirement::CLIENT_DOCUMENT,
            Self::DocumentUnread(_) => requirement::DOCUMENT_FETCH,
            Self::AmbiguousClient | Self::MissingClient | Self::UnknownClient => {
                requirement::REDIRECT_TRUSTED
            }
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// An authorization that goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Show a page; the browser is sent nowhere.
    Page(PageProblem),
    /// Send the browser back to the client with an error, `state` and `iss`.
    Redirect {
        /// Where to.
        location: Location,
        /// The error it carries.
        error: ErrorCode,
        /// The rule that was broken, for the log.
        requirement: Requirement,
    },
}

impl From<PageProblem> for Refusal {
    fn from(problem: PageProblem) -> Self {
        Self::Page(problem)
    }
}
