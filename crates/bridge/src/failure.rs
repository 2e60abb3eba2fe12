//! What the host is told of a request that gets no answer of the server.

use std::fmt::Write as _;

use bytes::Bytes;
use doorward_client::error::Error;
use serde_json::{Value, json};

/// An error that this program tells in the server's place. The words are for the person in front of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status, or the one that says best what happened; or a code of JSON-RPC or MCP.
    pub code: i64,
    /// What happened and what helps. Never a secret.
    pub message: String,
    /// More, for programs.
    pub data: Option<Value>,
    /// Somebody was asked to log in, or would have been, and that led to nothing. What nobody waits for is then left alone
    /// until the host writes again: nobody would know why a browser opens.
    pub(crate) for_want_of_login: bool,
}

impl Failure {
    /// A failure without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            for_want_of_login: false,
        }
    }

    /// The server takes no token, whatever is done about it.
    pub(crate) fn given_up(status: u16, message: impl Into<String>) -> Self {
        Self {
            for_want_of_login: true,
            ..Self::new(status.into(), message)
        }
    }

    /// Why there is no authorization, under the status of the answer that asked for it; under 503 if that only could not be
    /// found out: such trouble passes.
    #[must_use]
    pub fn unauthorized(status: u16, error: &Error) -> Self {
        let data = match error {
            Error::Refused(refusal) => json!({
                "hop": refusal.hop.to_string(),
                "url": refusal.url.as_ref().map(ToString::to_string),
                "rule": refusal.rule,
                "clause": refusal.clause,
                "problem": refusal.problem,
                "remedy": refusal.remedy,
            }),
            Error::Unreachable { hop, url, source } => json!({
                "hop": hop.to_string(),
                "url": url.to_string(),
                "problem": source.to_string(),
            }),
            Error::Answered {
                hop,
                code,
                description,
            } => json!({ "hop": hop.to_string(), "error": code, "error_description": description }),
            _ => Value::Null,
        };
        let mut message = format!("not authorized: {error}");
        if let Error::Refused(refusal) = error {
            // It stands in a String: it cannot fail.
            let _: std::fmt::Result = write!(message, ". {}", refusal.remedy);
        }
        let passes = matches!(error, Error::Unreachable { .. });
        Self {
            code: if passes { 503 } else { status.into() },
            for_want_of_login: !passes,
            message,
            data: Some(data).filter(|data| !data.is_null()),
        }
    }

    /// The answer to the request with this `id`, which is JSON text.
    #[must_use]
    pub fn answer(&self, id: &str) -> Bytes {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let (Some(data), Some(error)) = (&self.data, error.as_object_mut()) {
            error.insert("data".into(), data.clone());
        }
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into()
    }
}
