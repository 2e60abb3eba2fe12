//! What is added to answers of the server, and how the server itself says that a token is not enough.

use bytes::Bytes;
use doorward_mcp::list;
use doorward_types::scope::ScopeSet;
use serde_json::Value;

use super::Reason;
use crate::entry::{self, EXTENSION};
use crate::members::Members;
use crate::settings::{Hand, Settings, names};

/// The result of `initialize` or `server/discover` with our entry under `capabilities`. An error passes as it is.
pub(super) fn announced(line: &Bytes, kind: &str, settings: &Settings) -> Bytes {
    let Some(mut message) = std::str::from_utf8(line).ok().and_then(Members::read) else {
        return line.clone();
    };
    if message.get("result").is_none() {
        return line.clone();
    }
    let entry = entry::capability(settings).to_string();
    let changed = message.edit(&["result", "capabilities", kind], &mut |kind| {
        kind.set(EXTENSION, entry.clone());
    });
    match changed {
        true => message.text().into(),
        false => line.clone(),
    }
}

/// The list of tools, each with what its calls take.
pub(super) fn marked(line: &Bytes, settings: &Settings) -> Bytes {
    let mut scopes = |name: &str| settings.needs(name).map(names);
    // What cannot be marked passes unmarked: a mark is a hint, the refusal of a call is what protects.
    match list::mark(line, list::Kind::Tools, &mut scopes) {
        Ok(Some(marked)) => marked.into(),
        Ok(None) | Err(_) => line.clone(),
    }
}

/// A server that is written for the extension says so itself: an error with `data.authorization.error`, and the scopes if it
/// knows them better. Everything else of the answer is ours to write.
///
/// Only servers that get the token are believed: one that never saw it could throw it away, and choose what the next login asks
/// for. One that is not written for the extension chooses among the configured scopes.
pub(super) fn refused_by_server(line: &Bytes, settings: &Settings) -> Option<(Reason, Option<ScopeSet>)> {
    if settings.hand == Hand::Nothing {
        return None;
    }
    let message = serde_json::from_slice::<Value>(line).ok()?;
    let authorization = message.pointer("/error/data/authorization")?;
    let reason = match authorization.get("error").and_then(Value::as_str)? {
        "invalid_token" => Reason::InvalidToken,
        "insufficient_scope" => Reason::InsufficientScope,
        _ => return None,
    };
    let scopes = authorization.get("scopes").and_then(Value::as_array);
    let scopes = scopes.map(|scopes| {
        let known = scopes.iter().filter_map(Value::as_str);
        let known: ScopeSet = known.filter_map(|scope| scope.parse().ok()).collect();
        match settings.hand {
            Hand::Meta => known,
            Hand::Nothing | Hand::Environment(_) => known.intersection(&settings.scopes_supported()),
        }
    });
    Some((reason, scopes))
}
