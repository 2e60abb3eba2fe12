//! One step of a login.

use std::collections::BTreeMap;
use std::time::Duration;

use doorward_types::id::TraceId;
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest text that is kept of a value.
const LONGEST: usize = 240;
/// Most notes of one hop.
const MOST_NOTES: usize = 8;

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The browser of the person who signs in.
    Browser,
    /// The MCP client.
    Client,
}

/// How a hop was found to belong to its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// By a sealed request, a code or a token: it cannot be another login's.
    Exact,
    /// By the address it came from, and by client or resource, within ten minutes: likely, not certain.
    ByAddress,
}

/// Something that happened while a request was answered: an event of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What happened, such as `token: refused`.
    pub message: String,
    /// Id of the rule that was applied, if the event names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Facts from the allow-list: ids, scopes, reasons; never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// One request, or the first use of a token, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The login it belongs to.
    pub trace: TraceId,
    /// When it began.
    pub at: UnixTime,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// Who asked.
    pub actor: Actor,
    /// HTTP method.
    pub method: String,
    /// The route, never the query.
    pub path: String,
    /// HTTP status; `None` if the peer left before the answer.
    pub status: Option<u16>,
    /// How sure it is that it belongs here.
    pub joined: Joined,
    /// What happened, in order.
    pub notes: Vec<Note>,
    /// The client that the request names, whether it is known or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The resource that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The id that a refusal of the gateway carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Uuid>,
    /// The `trace-id` of the W3C `traceparent` that came with it. Another name for this trace, given by its client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TraceId>,
}

impl Hop {
    /// The value of a field in the newest note that has it; else what the request itself names.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut notes = self.notes.iter().rev();
        let noted = notes.find_map(|note| note.fields.get(name)).map(String::as_str);
        noted.or(match name {
            "client" => self.client.as_deref(),
            "resource" => self.resource.as_deref(),
            _ => None,
        })
    }

    /// The newest rule.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.notes.iter().rev().find_map(|note| note.rule.as_deref())
    }

    /// Adds a note, unless there are too many.
    pub(crate) fn note(&mut self, note: Note) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note);
        }
    }

    pub(crate) fn ended(&mut self, now: UnixTime) {
        let took: Duration = now.since(self.at);
        self.took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }
}

/// A value as it is kept: of bounded length, in one line.
pub(crate) fn bounded(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for character in text.chars() {
        if out.len() >= LONGEST {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// The `trace-id` of a `traceparent` header (W3C Trace Context §3.2.2). `None` if it is not valid.
#[must_use]
pub fn trace_of_parent(header: &str) -> Option<TraceId> {
    let mut parts = header.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let complete = parts.next().is_none() || version != "00";
    let valid = hex(version, 2)
        && version != "ff"
        && hex(parent, 16)
        && parent.bytes().any(|byte| byte != b'0')
        && hex(flags, 2)
        && complete;
    if valid { trace.parse().ok() } else { None }
}
