//! Lines out of a stream of bytes.

use bytes::{Buf as _, Bytes, BytesMut};

/// Room made for each read. An idle child costs no more than this.
const ROOM: usize = 16 * 1024;

/// There is no next line although the output has not ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A line is longer than the child may write. It is being killed.
    #[error("the process wrote a line of more than {limit} bytes")]
    TooLong {
        /// Bytes allowed, without the newline.
        limit: usize,
    },
    /// The pipe cannot be read.
    #[error("the process' output cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
}

/// Collects bytes and gives out lines: without `\n` or `\r\n`, never empty, the last one also without a newline.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    /// So many bytes of it hold no newline.
    searched: usize,
    limit: usize,
}

impl Lines {
    /// `limit`: bytes of the longest line, without its newline.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
        }
    }

    /// Where to put the next bytes.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < ROOM / 4 {
            self.buffer.reserve(ROOM);
        }
        &mut self.buffer
    }

    /// The next whole line, if it is there.
    ///
    /// # Errors
    /// [`LineError::TooLong`], also before the line's end is seen. Nothing useful comes after it.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', unsearched) else {
                self.searched = self.buffer.len();
                // One more byte may be the `\r` of a line's end.
                return if self.buffer.len() > self.limit.saturating_add(1) {
                    Err(self.too_long())
                } else {
                    Ok(None)
                };
            };
            let line = self.buffer.split_to(self.searched + found);
            self.buffer.advance(1);
            self.searched = 0;
            if let Some(line) = self.checked(line.freeze())? {
                return Ok(Some(line));
            }
        }
    }

    /// What came after the last newline.
    ///
    /// # Errors
    /// [`LineError::TooLong`].
    pub fn rest(&mut self) -> Result<Option<Bytes>, LineError> {
        self.searched = 0;
        let rest = self.buffer.split().freeze();
        self.checked(rest)
    }

    /// Without a carriage return; None if nothing is left.
    fn checked(&self, mut line: Bytes) -> Result<Option<Bytes>, LineError> {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            return Err(self.too_long());
        }
        Ok((!line.is_empty()).then_some(line))
    }

    fn too_long(&self) -> LineError {
        LineError::TooLong { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All lines of the input, given in pieces of the sizes, or the error.
    fn lines(input: &[u8], sizes: &[usize], limit: usize) -> Result<Vec<Vec<u8>>, LineError> {
        let mut lines = Lines::new(limit);
        let (mut found, mut rest, mut sizes) = (Vec::new(), input, sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes
                .next()
                .map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
            lines.room().extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            while let Some(line) = lines.next_line()? {
                found.push(line.to_vec());
            }
        }
        found.extend(lines.rest()?.map(|line| line.to_vec()));
        Ok(found)
    }

    #[test]
    fn line_ends_of_both_kinds_and_none_at_the_end() {
        let found = lines(b"one\r\n\n\r\ntwo\nth\rree", &[100], 6).unwrap();
        assert_eq!(found, [&b"one"[..], b"two", b"th\rree"]);
    }

    #[test]
    fn the_limit_is_of_the_line_alone() {
        for input in [&b"12345\n"[..], b"12345\r\n", b"12345", b"12345\r"] {
            assert_eq!(lines(input, &[1], 5).unwrap(), [b"12345"], "{input:?}");
        }
        for input in [&b"123456\n"[..], b"123456", b"123456\r\n", b"1234567"] {
            for size in [1, 100] {
                let refused = lines(input, &[size], 5).unwrap_err();
                assert_eq!(refused, LineError::TooLong { limit: 5 }, "{input:?}");
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_limit() {
        let mut lines = Lines::new(100);
        let mut taken = 0;
        while lines.next_line().is_ok() {
            lines.room().extend_from_slice(&[b'x'; 10]);
            taken += 10;
        }
        assert!(taken <= 110, "{taken}");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..400),
            sizes in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let whole: Vec<Vec<u8>> = input
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                .filter(|line| !line.is_empty())
                .collect();
            prop_assert_eq!(lines(&input, &sizes, 1000).unwrap(), whole);
        }

        #[test]
        fn pieces_do_not_matter_for_the_limit(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x')], 0..60),
            sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            let longest = input
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).len())
                .max();
            prop_assert_eq!(lines(&input, &sizes, 3).is_err(), longest > Some(3));
        }
    }
}
