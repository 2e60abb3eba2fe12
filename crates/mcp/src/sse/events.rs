//! A stream of events cut into events as it passes, byte for byte, so that some of them can be changed or held back
//! (HTML Standard, "Interpreting an event stream").

use std::ops::Range;

use memchr::{memchr, memchr2};

const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Pass,
    /// It passes with other data.
    Replace(Vec<u8>),
    /// Nobody hears of it. Its `id` and `retry` pass: they are about the stream.
    Drop,
}

/// An event is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is too long")]
pub struct TooLong;

/// Cuts a stream. It holds back what has come of an event until that is whole; comments and whatever else is no
/// event's pass at once.
#[derive(Debug)]
pub struct Events {
    limit: usize,
    /// What has come of the event that is coming.
    block: Vec<u8>,
    /// Where in `block` its last line begins.
    line: usize,
    /// The last byte ended a line and was a carriage return: a line feed belongs to it.
    returned: bool,
    /// Nothing has passed yet: a byte order mark may come.
    first: bool,
}

impl Events {
    /// Holds back `limit` bytes of one event at most.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            block: Vec::new(),
            line: 0,
            returned: false,
            first: true,
        }
    }

    /// Takes a piece and appends to `out` what passes. `judge` is asked about the data of each whole event. What
    /// is left of an event when the stream ends is none, and is never given out.
    pub fn push<E: From<TooLong>>(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        judge: &mut dyn FnMut(&[u8]) -> Result<Verdict, E>,
    ) -> Result<(), E> {
        let mut rest = piece;
        if self.returned && !rest.is_empty() {
            self.returned = false;
            if let Some(after) = rest.strip_prefix(b"\n") {
                if self.block.is_empty() {
                    out.push(b'\n');
                } else {
                    self.block.push(b'\n');
                    self.line = self.block.len();
                }
                rest = after;
            }
        }
        while let Some(at) = memchr2(b'\r', b'\n', rest) {
            let width = if rest.get(at..at + 2) == Some(b"\r\n") {
                2
            } else {
                1
            };
            let (line, after) = rest.split_at(at + width);
            self.returned = width == 1 && line.last() == Some(&b'\r') && after.is_empty();
            rest = after;
            self.take(line)?;
            self.end_line(out, judge)?;
        }
        self.take(rest).map_err(E::from)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.block.len() + bytes.len() > self.limit {
            self.block = Vec::new();
            return Err(TooLong);
        }
        self.block.extend_from_slice(bytes);
        Ok(())
    }

    /// The last line of `block` is whole, with its break.
    fn end_line<E>(
        &mut self,
        out: &mut Vec<u8>,
        judge: &mut dyn FnMut(&[u8]) -> Result<Verdict, E>,
    ) -> Result<(), E> {
        let line = self.block.get(self.line..).unwrap_or_default();
        let is_blank = matches!(line, [b'\r' | b'\n', ..]);
        let is_lone_comment = self.line == 0 && line.starts_with(b":");
        if !is_blank && !is_lone_comment {
            self.line = self.block.len();
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        self.line = 0;
        let first = std::mem::replace(&mut self.first, false);
        if is_lone_comment {
            out.extend_from_slice(&block);
        } else {
            Self::end_event(&block, first, out, judge)?;
        }
        // The allocation serves the next event.
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn end_event<E>(
        block: &[u8],
        first: bool,
        out: &mut Vec<u8>,
        judge: &mut dyn FnMut(&[u8]) -> Result<Verdict, E>,
    ) -> Result<(), E> {
        let mut data = Vec::new();
        let mut has_data = false;
        for line in lines(block, first) {
            if let (b"data", value) = field(block.get(line.content).unwrap_or_default()) {
                if has_data {
                    data.push(b'\n');
                }
                has_data = true;
                data.extend_from_slice(value);
            }
        }
        let verdict = if has_data { judge(&data)? } else { Verdict::Pass };
        match verdict {
            Verdict::Pass => out.extend_from_slice(block),
            Verdict::Replace(data) => rewrite(block, first, Some(&data), out),
            Verdict::Drop => rewrite(block, first, None, out),
        }
        Ok(())
    }
}

/// Writes an event with other data, or without any: then nobody is told of it.
fn rewrite(block: &[u8], first: bool, data: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut data = data;
    let dropped = data.is_none();
    for line in lines(block, first) {
        match field(block.get(line.content).unwrap_or_default()).0 {
            b"data" => {
                if let Some(data) = data.take() {
                    for part in data.split(|byte| matches!(byte, b'\r' | b'\n')) {
                        out.extend_from_slice(b"data: ");
                        out.extend_from_slice(part);
                        out.push(b'\n');
                    }
                }
            }
            b"event" if dropped => {}
            _ => out.extend_from_slice(block.get(line.whole).unwrap_or_default()),
        }
    }
}

struct Line {
    /// Without its break.
    content: Range<usize>,
    whole: Range<usize>,
}

/// The lines of `block`, each of which has its break. A byte order mark before the first of all is no part of it.
fn lines(block: &[u8], first: bool) -> impl Iterator<Item = Line> {
    let marked = first && block.starts_with(BYTE_ORDER_MARK);
    let mut start = if marked { BYTE_ORDER_MARK.len() } else { 0 };
    std::iter::from_fn(move || {
        let rest = block.get(start..).filter(|rest| !rest.is_empty())?;
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let width = if rest.get(end..end + 2) == Some(b"\r\n") {
            2
        } else {
            1
        };
        let whole = start..(start + end + width).min(block.len());
        let content = start..start + end;
        start = whole.end;
        Some(Line { content, whole })
    })
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b':', line) {
        Some(at) => {
            let (name, value) = line.split_at(at);
            let value = value.get(1..).unwrap_or_default();
            (name, value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, b""),
    }
}

#[cfg(test)]
mod tests;
