//! Where HTTP/1 messages begin and end, read strictly (RFC 9112 §6 and §7.1).
//!
//! A request with both `Content-Length` and `Transfer-Encoding` is how two readers of one connection are
//! made to see different requests (HD-10). The HTTP library resolves it as RFC 9112 §6.3 allows: it drops
//! the length and closes afterwards. A request that may have been smuggled shall not be answered at all, and
//! the library shows us neither the length nor where a head was. So the heads are read here once more, with
//! the library's own tokenizer: whatever this reader and the library do not agree on is refused.

use std::mem::MaybeUninit;

use super::Seen;

/// Header fields that are read; the library refuses requests with more.
const FIELDS: usize = 128;
/// Longest head that is looked at; the library refuses longer ones.
const HEAD: usize = 128 << 10;
/// Longest line of a chunked body's framing.
const LINE: usize = 20 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body, or of a chunk and its line end.
    Sized {
        left: u64,
        chunked: bool,
    },
    ChunkSize,
    Trailers,
    /// Nothing that follows can be trusted.
    Lost,
}

/// Reads the messages of one connection.
#[derive(Debug)]
pub(super) struct Messages {
    state: State,
    /// The part of a head or line that came so far.
    partial: Vec<u8>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
        }
    }
}

/// How a message goes on after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Sized(u64),
    Chunked,
    /// Refused.
    Odd,
}

impl Messages {
    /// Whether a head has begun and not ended.
    pub(super) const fn in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.partial.is_empty()
    }

    /// Whether more of a message, or of one that was refused, may come.
    pub(super) const fn in_message(&self) -> bool {
        !matches!(self.state, State::Head) || !self.partial.is_empty()
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], seen: &Seen) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes, seen),
                State::Sized { left, chunked } => {
                    let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left.saturating_sub(now as u64);
                    self.state = match (left, chunked) {
                        (0, true) => State::ChunkSize,
                        (0, false) => State::Head,
                        _ => State::Sized { left, chunked },
                    };
                    bytes.get(now..).unwrap_or_default()
                }
                State::ChunkSize | State::Trailers => self.line(bytes, seen),
                State::Lost => return,
            };
        }
    }

    fn lose(&mut self, seen: &Seen) -> &'static [u8] {
        self.state = State::Lost;
        self.partial = Vec::new();
        seen.refuse_from(seen.requests());
        &[]
    }

    /// Reads on in a head; what is left.
    fn head<'a>(&mut self, bytes: &'a [u8], seen: &Seen) -> &'a [u8] {
        if self.partial.is_empty() {
            // Empty lines before a request are skipped (RFC 9112 §2.2).
            let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
            let Some(bytes) = start.and_then(|start| bytes.get(start..)) else {
                return &[];
            };
            return match parse(bytes) {
                Parsed::Whole(length, body) => {
                    self.begin(body, seen);
                    bytes.get(length..).unwrap_or_default()
                }
                Parsed::Partial => {
                    self.partial.extend_from_slice(bytes);
                    &[]
                }
                Parsed::Malformed => self.lose(seen),
            };
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        // A head ends in an empty line; without a new one there is nothing to see.
        let tail = self.partial.get(before.saturating_sub(3)..).unwrap_or_default();
        let ends =
            tail.windows(2).any(|pair| pair == b"\n\n") || tail.windows(3).any(|three| three == b"\n\r\n");
        if !ends {
            return if self.partial.len() > HEAD {
                self.lose(seen)
            } else {
                &[]
            };
        }
        match parse(&self.partial) {
            Parsed::Whole(length, body) => {
                self.partial = Vec::new();
                self.begin(body, seen);
                bytes.get(length.saturating_sub(before)..).unwrap_or_default()
            }
            Parsed::Partial if self.partial.len() <= HEAD => &[],
            Parsed::Partial | Parsed::Malformed => self.lose(seen),
        }
    }

    fn begin(&mut self, body: Body, seen: &Seen) {
        match body {
            Body::Sized(0) => self.state = State::Head,
            Body::Sized(left) => self.state = State::Sized { left, chunked: false },
            Body::Chunked => self.state = State::ChunkSize,
            Body::Odd => {
                self.lose(seen);
            }
        }
        seen.began();
    }

    /// Reads on in a line of a chunked body; what is left. A line ends in CR LF and nothing else: where a
    /// bare LF ends it for one reader and not for the other, requests are smuggled (CVE-2025-22871).
    fn line<'a>(&mut self, bytes: &'a [u8], seen: &Seen) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.partial.extend_from_slice(bytes);
            return if self.partial.len() > LINE {
                self.lose(seen)
            } else {
                &[]
            };
        };
        let (line, rest) = bytes.split_at(end + 1);
        self.partial.extend_from_slice(line);
        let Some(line) = self.partial.strip_suffix(b"\r\n") else {
            return self.lose(seen);
        };
        let next = match self.state {
            State::Trailers if line.is_empty() => Some(State::Head),
            State::Trailers => Some(State::Trailers),
            _ => chunk_size(line).map(|size| match size {
                0 => State::Trailers,
                // With the line end after the chunk.
                size => State::Sized {
                    left: size.saturating_add(2),
                    chunked: true,
                },
            }),
        };
        let Some(next) = next else { return self.lose(seen) };
        self.state = next;
        self.partial.clear();
        rest
    }
}

enum Parsed {
    Whole(usize, Body),
    Partial,
    Malformed,
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => Parsed::Whole(length, framing(request.headers)),
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Malformed,
    }
}

/// One length, or `chunked` once, or neither; never both and never two.
fn framing(fields: &[httparse::Header<'_>]) -> Body {
    let all = |name: &'static str| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    let (mut lengths, mut codings) = (all("content-length"), all("transfer-encoding"));
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, _, None, _) => Body::Sized(0),
        (Some(length), None, None, _) => number(length, 10).map_or(Body::Odd, Body::Sized),
        (None, _, Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
        _ => Body::Odd,
    }
}

/// `chunk-size [ chunk-ext ]`.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t'));
    number(line.get(..end.unwrap_or(line.len()))?, 16)
}

/// Digits and nothing else: no sign, no space.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}
