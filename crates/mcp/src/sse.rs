//! `text/event-stream` of the WHATWG HTML standard, "Server-sent events": an incremental, bounded reader and
//! a writer.

mod events;

use bytes::Bytes;

pub use events::{Events, TooLong as EventTooLong, Verdict};

/// A comment that readers skip: keeps a connection alive on which nothing happens.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// One event that was dispatched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty means `message`.
    pub kind: String,
    /// Its data; lines are joined by a line feed.
    pub data: String,
    /// The last event id that the stream named up to here, in this event or before; empty if none.
    pub id: String,
}

impl Event {
    /// The event as it goes over the wire. Line breaks in `kind` and `id` cannot be written and end them.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.data.len() + self.id.len() + self.kind.len() + 32);
        // Readers ignore an id with a NUL as a whole.
        let id = self.id.split('\0').next().unwrap_or_default();
        for (field, value) in [("id", id), ("event", &*self.kind)] {
            let value = value.split(['\r', '\n']).next().unwrap_or_default();
            if !value.is_empty() {
                out.extend_from_slice(field.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value.as_bytes());
                out.push(b'\n');
            }
        }
        write_data(&mut out, self.data.as_bytes());
        out.into()
    }
}

/// One event of type `message` without an id: a JSON-RPC message, for example. Each line of `data` (ended by
/// CR, LF or CRLF) becomes a line of the event.
#[must_use]
pub fn event(data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 16);
    write_data(&mut out, data);
    out.into()
}

fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = match after {
            [] => break,
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
        };
    }
    out.push(b'\n');
}

/// An event or a line is longer than the reader's limit. The reader reads no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {limit} bytes")]
pub struct TooLong {
    /// The limit.
    pub limit: usize,
}

/// Reads a stream piece by piece, wherever it is split.
#[derive(Debug)]
pub struct EventReader {
    limit: usize,
    state: State,
    line: Vec<u8>,
    kind: String,
    data: String,
    has_data: bool,
    /// The id that was named last: it counts once an event ends.
    id: String,
    last_event_id: String,
    retry: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a byte order mark were seen, and nothing else.
    Start(usize),
    Within,
    /// A line feed that comes next belongs to the line break.
    AfterCarriageReturn,
    TooLong,
}

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl EventReader {
    /// A reader that holds at most `limit` bytes of one event's data, and of one line.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Start(0),
            line: Vec::new(),
            kind: String::new(),
            data: String::new(),
            has_data: false,
            id: String::new(),
            last_event_id: String::new(),
            retry: None,
        }
    }

    /// The events that are complete with this piece. An event that the end of the stream cuts off is none.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let State::Start(seen) = self.state {
            let Some(&byte) = rest.first() else {
                return Ok(events);
            };
            if BYTE_ORDER_MARK.get(seen) == Some(&byte) {
                rest = rest.get(1..).unwrap_or_default();
                self.state = match seen {
                    2 => State::Within,
                    _ => State::Start(seen + 1),
                };
            } else {
                // Half a mark is part of the first line.
                self.line
                    .extend_from_slice(BYTE_ORDER_MARK.get(..seen).unwrap_or_default());
                self.state = State::Within;
            }
        }
        loop {
            if self.state == State::AfterCarriageReturn && !rest.is_empty() {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                self.state = State::Within;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.state == State::TooLong || self.line.len() + line.len() > self.limit {
                self.state = State::TooLong;
                self.line = Vec::new();
                self.data = String::new();
                return Err(TooLong { limit: self.limit });
            }
            self.line.extend_from_slice(line);
            let Some((&end, after)) = after.split_first() else {
                return Ok(events);
            };
            if end == b'\r' {
                self.state = State::AfterCarriageReturn;
            }
            rest = after;
            self.end_line(&mut events)?;
        }
    }

    /// Milliseconds to wait before opening the stream anew, if it said so.
    #[must_use]
    pub const fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Where to resume: the last event id that the stream named, as of what was complete (also if that was
    /// an id without data).
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        // Lines end at ASCII bytes, so this replaces what decoding the whole stream would replace.
        let text = String::from_utf8_lossy(&line);
        if text.is_empty() {
            self.dispatch(events);
        } else {
            let (field, value) = text.split_once(':').unwrap_or((&text, ""));
            self.field(field, value.strip_prefix(' ').unwrap_or(value))?;
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn field(&mut self, field: &str, value: &str) -> Result<(), TooLong> {
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if self.data.len() + value.len() + 1 > self.limit {
                    self.state = State::TooLong;
                    return Err(TooLong { limit: self.limit });
                }
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        self.last_event_id.clone_from(&self.id);
        if std::mem::take(&mut self.has_data) {
            events.push(Event {
                kind,
                data,
                id: self.id.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
