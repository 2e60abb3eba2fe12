//! Taking messages apart and writing them.

use bytes::Bytes;
use doorward_mcp::envelope::Kind;
use doorward_mcp::message::identity;
use serde::Serialize;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::adapter::Message;
use doorward_mcp::members::{Members, Raw, raw};

/// An identifier that somebody else chose: a request's id, a progress token.
#[derive(Clone, Debug)]
pub(super) struct Id {
    raw: Raw,
    /// Equal for two identifiers if and only if they mean the same.
    key: String,
}

impl Id {
    /// From JSON text, as [`Message`] gives it.
    pub(super) fn new(text: &str) -> Option<Self> {
        let raw: Raw = serde_json::from_str(text).ok()?;
        Some(Self {
            key: identity(text).into_owned(),
            raw,
        })
    }

    pub(super) fn raw(&self) -> &RawValue {
        &self.raw
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// What a message says.
pub(super) enum Incoming {
    Request {
        id: Id,
        method: String,
        params: Members,
    },
    Notification {
        method: String,
        params: Members,
    },
    /// `Ok` is the result, `Err` the error object. Without id: an error about a message that could not be read.
    Response {
        id: Option<Id>,
        outcome: Result<Members, Members>,
    },
    /// A request or response whose `params` or `result` is no object. The id is that of a request.
    Odd {
        id: Option<Id>,
        answers: Option<Id>,
    },
}

impl Incoming {
    pub(super) fn read(message: &Message) -> Self {
        let id = message.id().and_then(Id::new);
        let odd = |id: Option<Id>| match message.kind() {
            Kind::Response => Self::Odd {
                id: None,
                answers: id,
            },
            _ => Self::Odd { id, answers: None },
        };
        let Some(members) = Members::read_text(message.line()) else {
            return odd(id);
        };
        let method = message.method().unwrap_or_default().to_owned();
        let params = match members.get("params") {
            None => Some(Members::default()),
            Some(params) => Members::read(params),
        };
        match (message.kind(), id, params) {
            (Kind::Request, Some(id), Some(params)) => Self::Request { id, method, params },
            (Kind::Notification, _, Some(params)) => Self::Notification { method, params },
            (Kind::Response, id, _) => {
                let outcome = if message.is_error() {
                    members.object("error").map(Err)
                } else {
                    members.object("result").map(Ok)
                };
                match outcome {
                    Some(outcome) => Self::Response { id, outcome },
                    None => odd(id),
                }
            }
            (_, id, _) => odd(id),
        }
    }
}

/// The id of the `number`th request that is invented here. Hosts and servers never see each other's ids.
pub(super) fn own_id(number: u64) -> String {
    format!("doorward/{number}")
}

/// The number of a request that was invented here.
pub(super) fn own_number(id: &Id) -> Option<u64> {
    own_number_of(id.key())
}

/// The same, from an id's JSON text.
pub(super) fn own_number_of(text: &str) -> Option<u64> {
    let number = text.strip_prefix("\"doorward/")?.strip_suffix('"')?;
    number.parse().ok()
}

fn message() -> Members {
    Members::default().with("jsonrpc", "2.0")
}

fn written(message: &Members) -> Bytes {
    // Maps with text keys cannot fail to be written.
    serde_json::to_vec(message).unwrap_or_default().into()
}

/// A request with an id of ours.
pub(super) fn request(number: u64, method: &str, params: &Members) -> Bytes {
    let head = message().with("id", &own_id(number)).with("method", method);
    written(&head.with("params", params))
}

/// A notification; without `params` if there are none.
pub(super) fn notification(method: &str, params: &Members) -> Bytes {
    let head = message().with("method", method);
    written(&if params.is_empty() {
        head
    } else {
        head.with("params", params)
    })
}

/// `notifications/cancelled` for a request of ours.
pub(super) fn cancelled(number: u64, reason: &str) -> Bytes {
    let params = Members::default().with("requestId", &own_id(number));
    notification("notifications/cancelled", &params.with("reason", reason))
}

/// The answer to a request.
pub(super) fn result(id: &Id, result: &(impl Serialize + ?Sized)) -> Bytes {
    written(&message().with("id", id.raw()).with("result", result))
}

/// An error object passed on.
pub(super) fn error(id: &Id, error: &Members) -> Bytes {
    written(&message().with("id", id.raw()).with("error", error))
}

/// A refusal of ours.
pub(super) fn refused(id: &Id, refusal: &Refusal) -> Bytes {
    error(id, &refusal.object())
}

/// An error object.
pub(super) fn error_object(code: i64, text: &str, data: Option<Raw>) -> Members {
    let object = Members::default().with("code", &code).with("message", text);
    match data {
        Some(data) => object.with("data", &data),
        None => object,
    }
}

/// The text of an error object that somebody sent, shortened: it goes into ours.
pub(super) fn told(error: &Members) -> String {
    let text = error.text("message").unwrap_or_default();
    let short: String = text.chars().take(500).collect();
    match error.value::<i64>("code") {
        Some(code) => format!("{short} ({code})"),
        None => short,
    }
}

/// An empty object as JSON text.
pub(super) fn empty() -> Raw {
    raw(&Members::default())
}
