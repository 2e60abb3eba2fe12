//! What a server asks its host: for input, for a model's answer, for its roots. A server that was started anew begins to count
//! anew, and the host's answer to the old one's first question must not reach the new one as the answer to its own: "yes" to
//! something else. So the questions of a server that came after one with open questions get ids of their own towards the host.

use std::collections::HashSet;

use bytes::Bytes;
use doorward_mcp::message::identity;
use doorward_mcp::{Envelope, Kind, ServerMessage};
use serde_json::Value;

use crate::members::Members;

/// Most questions that are remembered.
const MOST: usize = 4096;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Questions {
    /// How often a server was replaced that had open questions.
    generation: u64,
    /// Ids as the server wrote them, by identity.
    open: HashSet<Box<str>>,
}

impl Questions {
    fn prefix(&self) -> String {
        format!("io.doorward/{}/", self.generation)
    }

    /// A request or a notification of the server, as the host gets it.
    pub(super) fn asked(&mut self, message: &ServerMessage, line: Bytes) -> Bytes {
        match (message.kind(), message.id()) {
            (Kind::Request, Some(id)) => {
                if self.open.len() < MOST {
                    self.open.insert(identity(id).into());
                }
                match self.generation {
                    0 => line,
                    _ => with(&line, &["id"], &|id| Some(self.for_host(id))),
                }
            }
            // It may take a question back.
            _ if self.generation > 0 && message.method() == Some("notifications/cancelled") => {
                with(&line, &["params", "requestId"], &|id| Some(self.for_host(id)))
            }
            _ => line,
        }
    }

    fn for_host(&self, id: &str) -> String {
        Value::from(format!("{}{id}", self.prefix())).to_string()
    }

    /// An answer of the host, as the server gets it; `None` if it is one to a server that is no more.
    pub(super) fn answered(&mut self, line: Bytes) -> Option<Bytes> {
        if self.generation == 0 && self.open.is_empty() {
            return Some(line);
        }
        let envelope = Envelope::read(line.clone()).ok()?;
        let id = envelope.id()?;
        if self.generation == 0 {
            self.open.remove(&*identity(id));
            return Some(line);
        }
        let text = serde_json::from_str::<String>(id).ok()?;
        let theirs = text.strip_prefix(&self.prefix())?;
        self.open.remove(&*identity(theirs));
        Some(with(&line, &["id"], &|_| Some(theirs.to_owned())))
    }

    /// The server that asked is no more.
    pub(super) fn start_anew(&mut self) {
        if !self.open.is_empty() {
            self.generation += 1;
            self.open.clear();
        }
    }
}

/// The message with another value at the path.
fn with(line: &Bytes, path: &[&str], change: &dyn Fn(&str) -> Option<String>) -> Bytes {
    let Some((last, above)) = path.split_last() else {
        return line.clone();
    };
    let Some(mut message) = std::str::from_utf8(line).ok().and_then(Members::read) else {
        return line.clone();
    };
    message.edit(above, &mut |object| {
        if let Some(text) = object.get(last).and_then(change) {
            object.set(last, text);
        }
    });
    message.text().into()
}
