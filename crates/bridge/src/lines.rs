//! The host's lines, and what stands in them.

use bytes::{Buf as _, Bytes, BytesMut};
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::message::MessageError;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::failure::Failure;

/// Collects what the host writes and gives out lines. A line that is too long is passed over up to its end: what comes after
/// it is understood again.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// So many bytes of it hold no line feed.
    searched: usize,
    limit: usize,
    passing_over: bool,
}

/// One line of the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its line end, never empty.
    Whole(Bytes),
    /// Longer than the limit; nothing of it is kept.
    TooLong,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
            passing_over: false,
        }
    }

    /// Where to put the next bytes.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < 2048 {
            self.buffer.reserve(8192);
        }
        &mut self.buffer
    }

    /// The next line that is complete; at the end of the input (`ended`) also one without a line feed.
    pub(crate) fn next(&mut self, ended: bool) -> Option<Line> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.passing_over || self.buffer.len() > self.limit.saturating_add(1) {
                    (self.buffer, self.searched) = (BytesMut::new(), 0);
                    let first = !std::mem::replace(&mut self.passing_over, true);
                    return first.then_some(Line::TooLong);
                }
                if ended && !self.buffer.is_empty() {
                    self.buffer.extend_from_slice(b"\n");
                    continue;
                }
                return None;
            };
            let line = self.buffer.split_to(self.searched + found).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.passing_over) {
                continue;
            }
            if line.len() > self.limit {
                return Some(Line::TooLong);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Line::Whole(line));
            }
        }
    }
}

/// Reads one line of the host, or says what to tell it: an answer if it can be known to which request, else only words.
pub(crate) fn read(line: &Bytes) -> Result<Message, (Option<Bytes>, String)> {
    let error = match Message::read(line.clone()) {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    let words = match error {
        MessageError::NotAnObject if line.trim_ascii_start().starts_with(b"[") => {
            "a batch of messages: each is to be written alone, on a line of its own".to_owned()
        }
        error => error.to_string(),
    };
    let code = match error {
        MessageError::NotUtf8 | MessageError::NotJson(_) | MessageError::Empty => -32700,
        _ => -32600,
    };
    let answer = asked(line).map(|id| Failure::new(code, format!("not a message: {words}")).answer(&id));
    Err((answer, words))
}

/// The id of what looks like a request, as JSON text.
fn asked(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        #[serde(borrow)]
        method: Option<&'a RawValue>,
    }
    // Text that is not UTF-8 may stand in a value that nobody looks at: the id is still there.
    let text = String::from_utf8_lossy(line);
    let request: Request<'_> = serde_json::from_str(&text).ok()?;
    let id = request.id.get();
    let usable = id.starts_with(['"', '-']) || id.starts_with(|one: char| one.is_ascii_digit());
    (usable && request.method.is_some()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], size: usize, limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        for piece in input.chunks(size) {
            lines.room().extend_from_slice(piece);
            while let Some(line) = lines.next(false) {
                found.push(line);
            }
        }
        while let Some(line) = lines.next(true) {
            found.push(line);
        }
        found
    }

    #[test]
    fn cl_15_a_line_that_is_too_long_does_not_end_the_conversation() {
        for size in [1, 3, 100] {
            let found = lines(b"one\r\n\n  \n0123456789abcdef\ntwo\n0123456789ab", size, 8);
            assert_eq!(
                found,
                [
                    Line::Whole(Bytes::from_static(b"one\r")),
                    Line::TooLong,
                    Line::Whole(Bytes::from_static(b"two")),
                    Line::TooLong
                ],
                "{size}"
            );
        }
        assert_eq!(lines(b"tail", 2, 8), [Line::Whole(Bytes::from_static(b"tail"))]);
    }

    #[test]
    fn cl_15_a_line_without_end_takes_no_more_memory_than_the_limit() {
        let mut lines = Lines::new(10_000);
        for _ in 0..1000 {
            lines.room().extend_from_slice(&[b'x'; 1000]);
            while lines.next(false).is_some() {}
            assert!(lines.buffer.len() <= 11_001, "{}", lines.buffer.len());
        }
    }

    #[test]
    fn a_request_that_cannot_be_read_is_answered_if_its_id_can() {
        let told = |line: &[u8]| {
            let (answer, words) = read(&Bytes::copy_from_slice(line)).unwrap_err();
            (
                answer.map(|answer| String::from_utf8(answer.to_vec()).unwrap()),
                words,
            )
        };
        let (answer, _) =
            told(b"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"x\",\"params\":{\"t\":\"\xff\"}}");
        assert_eq!(
            answer.unwrap(),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32700,"message":"not a message: not UTF-8"}}"#
        );
        let (answer, _) = told(br#"{"jsonrpc":"1.0","id":7,"method":"x"}"#);
        assert!(answer.unwrap().contains(r#""id":7,"error":{"code":-32600"#));
        for unknowable in [
            &b"hello"[..],
            b"{\"id\":1",
            br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
            br#"{"id":{},"method":"x"}"#,
        ] {
            assert_eq!(told(unknowable).0, None);
        }
        let (answer, words) = told(br#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#);
        assert_eq!(answer, None);
        assert!(words.contains("batch"), "{words}");
    }
}
