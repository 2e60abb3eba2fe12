//! The authorization response (OAuth 2.1 §4.1.2, RFC 9207): what comes back to the redirect URI, and whether it is believed.

use std::fmt;

use doorward_oauth::form::Form;
use doorward_types::secret::Secret;

use crate::challenge::is_error_code;
use crate::error::{Error, Hop, Refusal};
use crate::provider::Pending;
use crate::text::shown;

/// The parameters of an authorization response, nothing of them judged yet. Does not print its values.
#[derive(Clone)]
pub struct CallbackParameters {
    form: Form,
}

/// Why a callback is not the answer to the request that is under way.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// Its `state` is not the request's, or cannot be read: it is not for us. Whoever waits goes on waiting (CL-06).
    #[error("this is not the answer that is waited for (its state is missing or another one)")]
    NotOurs,
    /// It is the answer, and it is not good.
    #[error(transparent)]
    Failed(Box<Error>),
}

impl From<Error> for CallbackError {
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl CallbackParameters {
    /// Reads the query of the request to the redirect URI, as it came, without the question mark.
    pub fn from_query(query: &str) -> Result<Self, CallbackError> {
        let form = Form::parse(query.as_bytes()).map_err(|_| CallbackError::NotOurs)?;
        Ok(Self { form })
    }

    /// Reads the query out of a whole URL, as a person copies it out of a browser.
    pub fn from_url(url: &str) -> Result<Self, CallbackError> {
        let (_, query) = url.trim().split_once('?').ok_or(CallbackError::NotOurs)?;
        let query = query.split('#').next().unwrap_or_default();
        Self::from_query(query)
    }

    /// Whether `state` is the one of `pending`, compared in constant time. Two of them are none.
    #[must_use]
    pub fn belongs_to(&self, pending: &Pending) -> bool {
        !self.form.is_repeated("state")
            && self
                .form
                .get("state")
                .is_some_and(|state| Secret::new(state) == pending.state)
    }

    /// The code, after every check: `state`, then `iss`, and only then what else the answer says (A16 to A18, S9).
    pub fn judge(&self, pending: &Pending) -> Result<Secret, CallbackError> {
        if !self.belongs_to(pending) {
            return Err(CallbackError::NotOurs);
        }
        self.judge_issuer(pending)?;
        if let Some(name) = ["code", "error"]
            .into_iter()
            .find(|name| self.form.is_repeated(name))
        {
            return Err(refuse(
                ("A2", "RFC 6749 §3.1"),
                &format!("{name} is there more than once"),
            )
            .into());
        }
        match (self.form.get("code"), self.form.get("error")) {
            (Some(code), None) => Ok(Secret::new(code)),
            (None, Some(error)) => Err(Error::Answered {
                hop: Hop::Callback,
                code: if is_error_code(error) {
                    error.into()
                } else {
                    "invalid_request".into()
                },
                description: self.form.get("error_description").map(shown),
            }
            .into()),
            _ => Err(refuse(
                ("A2", "OAuth 2.1 §4.1.2"),
                "there is neither one code nor one error",
            )
            .into()),
        }
    }

    /// The table of the specification: compared as text if present, whatever was advertised; required if advertised. Nothing
    /// of an answer that fails here is shown (A18), not even its `iss`.
    fn judge_issuer(&self, pending: &Pending) -> Result<(), Error> {
        let problem = match self.form.get("iss") {
            _ if self.form.is_repeated("iss") => "iss is there more than once",
            // A17: no folding of case, port, slash or percent-encoding.
            Some(issuer) if issuer == pending.issuer => return Ok(()),
            Some(_) => "iss is another authorization server than the one that was asked",
            None if self.form.has("iss") => "iss is empty",
            None if pending.iss_required => {
                "iss is missing, although the authorization server says that it sends it"
            }
            None => return Ok(()),
        };
        Err(refuse(
            ("A16", "RFC 9207 §2.4; MCP authorization response validation"),
            problem,
        ))
    }
}

impl fmt::Debug for CallbackParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.form.fmt(f)
    }
}

fn refuse(rule: (&'static str, &'static str), problem: &str) -> Error {
    Refusal::new(
        Hop::Callback,
        None,
        rule,
        format!("{problem}. The answer was thrown away and its code sent nowhere"),
        "try again; if it happens again, the authorization server's operator must send iss exactly as its metadata writes \
         issuer, and somebody may be answering in its place",
    )
    .into()
}

#[cfg(test)]
mod tests;
