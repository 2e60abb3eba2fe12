//! What the endpoints that programs call have in common: a form from a client (RFC 6749 §2.3, §3.2).

use std::time::Duration;

use doorward_oauth::client_auth::{self as message, PresentError, Presented};
use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::form::{Form, FormError};
use doorward_oauth::requirement::{self, Requirement};

use crate::client_auth::ClientAuthRefusal;

/// What the rules need to know of the HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// Every `Content-Type` header, in order.
    pub content_type: &'a [&'a str],
    /// Every `Authorization` header, in order; one that is no text as an empty one.
    pub authorization: &'a [&'a str],
    /// The query string without `?`, if there is one.
    pub query: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// A form that was read, and who says to have sent it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The parameters; only those that may be repeated are.
    pub form: Form,
    /// The client, not yet authenticated.
    pub presented: Presented,
}

impl Call {
    /// A parameter that must be there.
    pub fn required(&self, name: &'static str) -> Result<&str, CallRefusal> {
        self.form.get(name).ok_or(CallRefusal::Missing(name))
    }
}

/// Why a call goes no further. `Display` is for logs; what the client is told is [`CallRefusal::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// Not exactly one `Content-Type: application/x-www-form-urlencoded` (TK-11).
    #[error("the body must be application/x-www-form-urlencoded")]
    ContentType,
    /// Parameters in the URL, where logs and histories keep them (TK-12).
    #[error("parameters belong in the body, not in the URL")]
    ParametersInUrl,
    /// The body is not a form.
    #[error("{0}")]
    Form(#[from] FormError),
    /// A parameter was sent twice (TK-12).
    #[error("a parameter was sent more than once")]
    Repeated,
    /// A parameter is missing.
    #[error("a parameter is missing: {0}")]
    Missing(&'static str),
    /// The client is not who it says it is, or does not say it as it registered to.
    #[error(transparent)]
    Client(#[from] ClientAuthRefusal),
    /// The client may not do this, whoever it is.
    #[error("this client is not allowed to do this")]
    Unauthorized,
    /// Too many failures in a short time; wait this long.
    #[error("too many attempts: try again later")]
    TooMany(Duration),
    /// Storage does not answer, or too many requests wanted the same rows: the shell says this.
    #[error("temporarily unavailable")]
    Unavailable,
}

impl From<PresentError> for CallRefusal {
    fn from(error: PresentError) -> Self {
        match error {
            PresentError::NoClient => Self::Missing("client_id"),
            other => Self::Client(ClientAuthRefusal::Presented(other)),
        }
    }
}

impl CallRefusal {
    /// The OAuth error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::ContentType | Self::ParametersInUrl | Self::Form(_) | Self::Repeated | Self::Missing(_) => {
                ErrorCode::InvalidRequest
            }
            Self::Client(refusal) => refusal.code(),
            Self::Unauthorized => ErrorCode::UnauthorizedClient,
            Self::TooMany(_) | Self::Unavailable => ErrorCode::TemporarilyUnavailable,
        }
    }

    /// The HTTP status. With 429 and 503, add `Retry-After`.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooMany(_) => 429,
            _ => self.code().status(),
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Client(refusal) => refusal.body(),
            other => ErrorBody::new(other.code(), other.to_string()),
        }
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::Client(_) => requirement::CLIENT_AUTHENTICATION,
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// Reads a call. Only the parameters in `may_repeat` may come more than once.
pub fn read(http: &HttpRequest<'_>, may_repeat: &[&str]) -> Result<Call, CallRefusal> {
    if !matches!(http.content_type, [only] if is_form(only)) {
        return Err(CallRefusal::ContentType);
    }
    if http.query.is_some_and(|query| !query.is_empty()) {
        return Err(CallRefusal::ParametersInUrl);
    }
    let form = Form::parse(http.body)?;
    if form.repeated(may_repeat).is_some() {
        return Err(CallRefusal::Repeated);
    }
    let presented = message::read(http.authorization, &form)?;
    Ok(Call { form, presented })
}

/// Whether a media type is the form one; parameters such as `charset` are ignored, a list of types is not
/// a type.
fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    !content_type.contains(',') && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
