//! Replacing the identifiers that one hop owns, and nothing else.

use std::ops::Range;

use bytes::Bytes;

/// What to put in place of a message's identifiers, each as raw JSON text (a string with its quotes, or a
/// number). What is `None`, or what the message does not have, stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'a> {
    /// For `id`.
    pub id: Option<&'a str>,
    /// For the progress token: `params._meta.progressToken` of a client's request, `params.progressToken` of
    /// a server's notification.
    pub progress_token: Option<&'a str>,
    /// For `params.requestId` of `notifications/cancelled`.
    pub cancelled_request: Option<&'a str>,
    /// For `_meta["io.modelcontextprotocol/subscriptionId"]` of what a server sends.
    pub subscription: Option<&'a str>,
}

/// One replacement: where, and by what.
pub(crate) type Edit<'a> = (Option<&'a Range<usize>>, Option<&'a str>);

/// `text` with its edits done. Without any, it is the same allocation.
pub(crate) fn replace<const N: usize>(text: &Bytes, edits: [Edit<'_>; N]) -> Bytes {
    let mut out = Vec::new();
    match done(text, edits, &mut out, Vec::extend_from_slice) {
        true => out.into(),
        false => text.clone(),
    }
}

/// Like [`replace`], and on one line in the eyes of any reader.
///
/// The text must be JSON: line breaks then stand only between tokens, where a space means the same. Strings
/// may hold U+0085, U+2028 and U+2029 as they are, at which Unicode-aware readers (Python's `splitlines`,
/// some JavaScript ones) break lines: there they are written as escapes.
pub(crate) fn replace_on_one_line<const N: usize>(text: &Bytes, edits: [Edit<'_>; N]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 64);
    if done(text, edits, &mut out, flatten) {
        return out.into();
    }
    if !text
        .iter()
        .any(|byte| matches!(byte, b'\n' | b'\r' | 0xc2 | 0xe2))
    {
        return text.clone();
    }
    flatten(&mut out, text);
    out.into()
}

/// Copies `text` into `out` with the edits that apply; `false`, and nothing is copied, if none does.
fn done<const N: usize>(
    text: &Bytes,
    edits: [Edit<'_>; N],
    out: &mut Vec<u8>,
    copy: fn(&mut Vec<u8>, &[u8]),
) -> bool {
    let mut edits: Vec<(&Range<usize>, &str)> = edits
        .into_iter()
        .filter_map(|(range, by)| range.zip(by))
        .collect();
    if edits.is_empty() {
        return false;
    }
    edits.sort_by_key(|(range, _)| range.start);
    out.reserve(text.len() + 64);
    let mut at = 0;
    for (range, by) in edits {
        copy(out, text.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(by.as_bytes());
        at = range.end;
    }
    copy(out, text.get(at..).unwrap_or_default());
    true
}

/// A JSON text on one line in the eyes of any reader; the same allocation if it is on one already.
#[must_use]
pub fn on_one_line(text: &Bytes) -> Bytes {
    replace_on_one_line::<0>(text, [])
}

fn flatten(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(&first) = text.first() {
        let (written, length): (&[u8], usize) = match text {
            [b'\n' | b'\r', ..] => (b" ", 1),
            [0xc2, 0x85, ..] => (b"\\u0085", 2),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            _ => (&[first], 1),
        };
        out.extend_from_slice(written);
        text = text.get(length..).unwrap_or_default();
        let plain = text
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r' | 0xc2 | 0xe2))
            .unwrap_or(text.len());
        let (plain, rest) = text.split_at(plain);
        out.extend_from_slice(plain);
        text = rest;
    }
}
