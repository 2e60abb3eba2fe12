//! What a server's message hands out or tells that not everybody may use: tasks, states of unfinished requests, news
//! about resources.

use std::borrow::Cow;

use crate::envelope::EnvelopeError;
use crate::list::exact;
use crate::reader::{Reader, resolve};

/// What one message of a server hands out or tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `id` of the message as JSON text, if it is a string or a number.
    pub id: Option<String>,
    /// `result.resultType` (2026-07-28).
    pub result_type: Option<String>,
    /// The task that the request became: `result` itself with `resultType` `task` (SEP-2663), or `result.task`
    /// (2025-11-25).
    pub task: Option<HandedTask>,
    /// `result.requestState` (2026-07-28, Multi Round-Trip Requests).
    pub request_state: Option<String>,
    /// The URI of a `notifications/resources/updated`.
    pub updated: Option<String>,
    /// The task of a `notifications/tasks` (SEP-2663) or `notifications/tasks/status` (2025-11-25).
    pub task_status: Option<String>,
}

/// A task that an answer hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedTask {
    /// Its id.
    pub id: String,
    /// How long it lasts from its creation, in milliseconds: `ttlMs` or `ttl`. `None` if there is no limit, or none
    /// that can be read.
    pub ttl_ms: Option<u64>,
}

/// Why a message cannot be told the facts of. It must not pass then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// It cannot be read strictly.
    #[error("the message cannot be read: {0}")]
    Unreadable(#[from] EnvelopeError),
    /// A task id, request state or URI is missing where it has to be, or is no string.
    #[error("the message does not say in a string which task, request state or resource it is about")]
    Nameless,
    /// It hands out two tasks at once.
    #[error("the message hands out two tasks")]
    TwoTasks,
}

/// Whether a message may hold any of [`Facts`] but `result_type`. Cheap, and never wrong when it says no.
#[must_use]
pub fn may_matter(message: &[u8]) -> bool {
    let holds = |needle: &[u8]| message.windows(needle.len()).any(|window| window == needle);
    // Keys can also be written with escapes; those of ASCII characters begin like this.
    [&b"taskId"[..], b"requestState", b"notifications", b"\\u00"]
        .into_iter()
        .any(holds)
}

/// Reads one JSON-RPC message of a server.
pub fn facts(message: &[u8]) -> Result<Facts, FactsError> {
    let text = std::str::from_utf8(message).map_err(|_| EnvelopeError::NotUtf8)?;
    let mut reader = Reader::tolerant(text);
    if reader.peek() != Some(b'{') {
        return Err(EnvelopeError::NotAnObject.into());
    }
    let mut id = None;
    let (mut method, mut params, mut result) = (Value::Absent, Members::default(), Members::default());
    reader.object(&mut |reader, key| {
        exact(key, &["id", "method", "params", "result"], reader.position())?;
        match key {
            "id" => id = identifier(text, reader)?,
            "method" => method = Value::read(text, reader)?,
            "params" => params.read(text, reader)?,
            "result" => result.read(text, reader)?,
            _ => reader.value()?,
        }
        Ok(())
    })?;
    reader.end()?;
    let mut facts = result.handed_out()?;
    facts.id = id.map(str::to_owned);
    if let Value::Text(method) = &method {
        match &**method {
            "notifications/resources/updated" => facts.updated = Some(params.uri.named()?),
            "notifications/tasks" | "notifications/tasks/status" => {
                facts.task_status = Some(params.task_id.named()?);
            }
            _ => {}
        }
    }
    Ok(facts)
}

/// The JSON text of a string or a number.
fn identifier<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<Option<&'a str>, EnvelopeError> {
    let first = reader.peek();
    let start = reader.position();
    reader.value()?;
    let raw = text.get(start..reader.position());
    Ok(raw.filter(|_| matches!(first, Some(b'"' | b'-' | b'0'..=b'9'))))
}

/// A member as it is read.
#[derive(Default)]
enum Value<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    /// A number, a literal, an array or an object, as it stands.
    Other(&'a str),
}

impl<'a> Value<'a> {
    fn read(text: &'a str, reader: &mut Reader<'a>) -> Result<Self, EnvelopeError> {
        if reader.peek() == Some(b'"') {
            let quoted = reader.string()?;
            return Ok(Self::Text(resolve(text, &quoted)?));
        }
        let start = reader.position();
        reader.value()?;
        Ok(Self::Other(
            text.get(start..reader.position()).unwrap_or_default(),
        ))
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn named(&self) -> Result<String, FactsError> {
        self.text().map(str::to_owned).ok_or(FactsError::Nameless)
    }

    fn milliseconds(&self) -> Option<u64> {
        match self {
            Self::Other(number) => number.parse().ok(),
            _ => None,
        }
    }
}

/// The members of a result, of `params`, or of a task.
#[derive(Default)]
struct Members<'a> {
    result_type: Value<'a>,
    request_state: Value<'a>,
    task_id: Value<'a>,
    ttl_ms: Value<'a>,
    ttl: Value<'a>,
    uri: Value<'a>,
    task: Option<Box<Members<'a>>>,
}

const KNOWN: [&str; 7] = [
    "resultType",
    "requestState",
    "taskId",
    "ttlMs",
    "ttl",
    "uri",
    "task",
];

impl<'a> Members<'a> {
    fn read(&mut self, text: &'a str, reader: &mut Reader<'a>) -> Result<(), EnvelopeError> {
        if reader.peek() != Some(b'{') {
            return reader.value();
        }
        reader.object(&mut |reader, key| {
            exact(key, &KNOWN, reader.position())?;
            let slot = match key {
                "resultType" => &mut self.result_type,
                "requestState" => &mut self.request_state,
                "taskId" => &mut self.task_id,
                "ttlMs" => &mut self.ttl_ms,
                "ttl" => &mut self.ttl,
                "uri" => &mut self.uri,
                "task" if reader.peek() == Some(b'{') => {
                    let mut task = Box::<Self>::default();
                    task.read(text, reader)?;
                    self.task = Some(task);
                    return Ok(());
                }
                _ => return reader.value(),
            };
            *slot = Value::read(text, reader)?;
            Ok(())
        })
    }

    fn handed_out(&self) -> Result<Facts, FactsError> {
        let request_state = match &self.request_state {
            Value::Absent => None,
            value => Some(value.named()?),
        };
        let is_task = self.result_type.text() == Some("task");
        let modern = if is_task { Some(self.handed_task()?) } else { None };
        let legacy = match &self.task {
            Some(task) if !matches!(task.task_id, Value::Absent) => Some(task.handed_task()?),
            _ => None,
        };
        let task = match (modern, legacy) {
            (Some(_), Some(_)) => return Err(FactsError::TwoTasks),
            (modern, legacy) => modern.or(legacy),
        };
        Ok(Facts {
            id: None,
            result_type: self.result_type.text().map(str::to_owned),
            task,
            request_state,
            updated: None,
            task_status: None,
        })
    }

    fn handed_task(&self) -> Result<HandedTask, FactsError> {
        Ok(HandedTask {
            id: self.task_id.named()?,
            ttl_ms: self.ttl_ms.milliseconds().or_else(|| self.ttl.milliseconds()),
        })
    }
}

#[cfg(test)]
mod tests;
