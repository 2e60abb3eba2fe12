//! How a refusal is written: an error, or, for clients that open URLs for their users, a URL to open.

use bytes::Bytes;
use doorward_types::scope::ScopeSet;
use serde_json::{Value, json};

use super::{Dialect, Reason};
use crate::entry::{self, EXTENSION};
use crate::members::Members;
use crate::settings::Settings;

/// Legacy revisions: outside the codes that JSON-RPC and those revisions define.
const LEGACY: i64 = -32001;
/// 2026-07-28 keeps -32000 to -32099 for itself, so the code is that of HTTP.
const MODERN: i64 = 401;
/// `URLElicitationRequiredError` of 2025-11-25.
const URL_ELICITATION_REQUIRED: i64 = -32042;
/// JSON-RPC 2.0, §5.1.
const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0, §5.1.
const INTERNAL_ERROR: i64 = -32603;

/// The name of our request among `inputRequests`, and the `requestState` that comes back with its answer. The state says
/// nothing: whether somebody has logged in is looked up when the call is made again.
const INPUT: &str = EXTENSION;

/// Everything about one refused call.
pub(super) struct Refusal<'a> {
    /// The request's id as JSON text.
    pub(super) id: &'a str,
    /// What was called.
    pub(super) name: &'a str,
    pub(super) dialect: Dialect,
    pub(super) scopes: &'a ScopeSet,
    pub(super) reason: Reason,
    pub(super) login_url: Option<&'a str>,
    /// What the login is called towards clients of 2025-11-25 that open URLs.
    pub(super) elicitation: &'a str,
}

impl Refusal<'_> {
    /// Whether the client is asked to open the URL.
    pub(super) fn opens(&self) -> bool {
        self.dialect.elicits && self.login_url.is_some() && self.reason != Reason::Unverifiable
    }
}

/// The answer to a message that could be read in more than one way, or in none.
pub(super) fn unreadable(line: &Bytes, problem: &str) -> Bytes {
    let message = serde_json::from_slice::<Value>(line).unwrap_or_default();
    // The id is repeated only if everybody reads the same one, and if it is one of the host's: an answer of the host carries the
    // server's.
    let id = message
        .get("id")
        .filter(|id| id.is_string() || id.is_i64() || id.is_u64());
    let id = id.filter(|_| message.get("method").is_some());
    let error = json!({ "code": INVALID_REQUEST, "message": format!("Not passed on: {problem}") });
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
        .to_string()
        .into()
}

/// Whether the message answers something, as far as it can be read at all.
pub(super) fn is_answer(line: &Bytes) -> bool {
    let message = serde_json::from_slice::<Value>(line).unwrap_or_default();
    message.get("method").is_none() && (message.get("result").is_some() || message.get("error").is_some())
}

/// The answer to the server's request whose answer by the host could not be passed on: it does not wait for ever.
pub(super) fn unanswered(line: &Bytes) -> Option<Bytes> {
    let message = serde_json::from_slice::<Value>(line).ok()?;
    let id = message
        .get("id")
        .filter(|id| id.is_string() || id.is_i64() || id.is_u64())?;
    let error = json!({ "code": INTERNAL_ERROR, "message": "The host's answer could not be read" });
    Some(answer(&id.to_string(), "error", &error))
}

/// The answer to a call that may not pass.
pub(super) fn line(settings: &Settings, refusal: &Refusal<'_>) -> Bytes {
    let text = message(refusal);
    match refusal.login_url {
        Some(url) if refusal.opens() => opens(settings, refusal, url, &text),
        _ => error(
            refusal,
            if refusal.dialect.modern { MODERN } else { LEGACY },
            &text,
            &data(settings, refusal),
        ),
    }
}

fn message(refusal: &Refusal<'_>) -> String {
    let Refusal { name, scopes, .. } = refusal;
    match refusal.reason {
        Reason::NoToken => format!("Authorization required to call {name}"),
        Reason::InvalidToken => {
            format!("Authorization required to call {name}: the access token is not valid (any more)")
        }
        Reason::InsufficientScope => format!("More authorization required to call {name}: it needs {scopes}"),
        Reason::NotStarted => {
            format!(
                "{name} was not called: the server did not start with the access token. Its own words are on stderr"
            )
        }
        Reason::Unverifiable => {
            format!(
                "{name} was not called: the authorization server could not be asked about the access token. Try again"
            )
        }
    }
}

fn data(settings: &Settings, refusal: &Refusal<'_>) -> Value {
    let error = match refusal.reason {
        Reason::NoToken => None,
        Reason::InvalidToken => Some("invalid_token"),
        Reason::InsufficientScope => Some("insufficient_scope"),
        Reason::Unverifiable => Some("temporarily_unavailable"),
        Reason::NotStarted => Some("invalid_token"),
    };
    entry::data(
        settings,
        &entry::Refused {
            scopes: refusal.scopes,
            error,
            login_url: refusal.login_url,
        },
    )
}

fn error(refusal: &Refusal<'_>, code: i64, message: &str, data: &Value) -> Bytes {
    let error = json!({ "code": code, "message": message, "data": data });
    answer(refusal.id, "error", &error)
}

/// 2026-07-28: an `InputRequiredResult`; 2025-11-25: the error that asks for a URL to be opened.
fn opens(settings: &Settings, refusal: &Refusal<'_>, url: &str, text: &str) -> Bytes {
    if refusal.dialect.modern {
        let params = json!({ "mode": "url", "url": url, "message": text });
        let result = json!({
            "resultType": "input_required",
            "inputRequests": { INPUT: { "method": "elicitation/create", "params": params } },
            "requestState": INPUT,
        });
        return answer(refusal.id, "result", &result);
    }
    let mut data = data(settings, refusal);
    let id = refusal.elicitation;
    let elicitation = json!({ "mode": "url", "elicitationId": id, "url": url, "message": text });
    if let Some(members) = data.as_object_mut() {
        members.insert("elicitations".to_owned(), json!([elicitation]));
    }
    error(refusal, URL_ELICITATION_REQUIRED, text, &data)
}

/// One answer. The id is put in as the text that it came as.
pub(super) fn answer(id: &str, member: &str, value: &Value) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#).into()
}

/// Whether this is the answer to our own request for input, and the person did not accept.
pub(super) fn declined(line: &Bytes) -> bool {
    let message = serde_json::from_slice::<Value>(line).unwrap_or_default();
    let ours = message.pointer("/params/requestState").and_then(Value::as_str) == Some(INPUT);
    let answers = message
        .pointer("/params/inputResponses")
        .and_then(|answers| answers.get(INPUT));
    let action = answers
        .and_then(|answer| answer.get("action"))
        .and_then(Value::as_str);
    ours && action.is_some_and(|action| action != "accept")
}

/// The call without the state and the answer that our own request for input brought: the server knows nothing of them.
pub(super) fn without_our_state(line: Bytes) -> Bytes {
    let Some(mut message) = std::str::from_utf8(&line).ok().and_then(Members::read) else {
        return line;
    };
    let mut ours = false;
    message.edit(&["params"], &mut |params| {
        let state = params.get("requestState").map(serde_json::from_str::<String>);
        ours = matches!(state, Some(Ok(state)) if state == INPUT);
        if ours {
            params.remove("requestState");
            params.remove("inputResponses");
        }
    });
    match ours {
        true => message.text().into(),
        false => line,
    }
}
