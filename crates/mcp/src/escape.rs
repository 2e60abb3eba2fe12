//! Percent-encoding (RFC 3986 §2.1), as deep as it goes.

/// `text` with every escape decoded whose byte `decodes` says yes to, until none is left, however often it was encoded:
/// `%252e` is `.`, and so is `%%32%65`. The escapes that stay have upper-case digits. It takes time in the order of the
/// length.
///
/// ```
/// # use doorward_mcp::escape::unescaped;
/// assert_eq!(unescaped(b"a%252Eb%2a", |byte| byte != b'*'), b"a.b%2A");
/// ```
#[must_use]
pub fn unescaped(text: &[u8], decodes: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        out.push(*byte);
        // What an escape becomes may be the end of another one. One that begins earlier was seen before.
        while let [.., b'%', high, low] = out.as_slice() {
            let Some(decoded) = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low) else {
                break;
            };
            let start = out.len() - 2;
            if !decodes(decoded) {
                out.iter_mut().skip(start).for_each(u8::make_ascii_uppercase);
                break;
            }
            out.truncate(start - 1);
            out.push(decoded);
        }
    }
    out
}

/// The value of a hexadecimal digit.
#[must_use]
pub fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mb_12_no_escape_is_left_however_often_it_was_encoded() {
        for (text, expected) in [
            ("", ""),
            ("a/b", "a/b"),
            ("%70", "p"),
            ("%2570", "p"),
            ("%25252570", "p"),
            ("%%37%30", "p"),
            ("%2%35%370", "p"),
            ("%2a%252A", "%2A%2A"),
            ("100%", "100%"),
            ("%+7", "%+7"),
            ("%c3%a9", "é"),
        ] {
            let got = unescaped(text.as_bytes(), |byte| byte != b'*');
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{text}");
        }
        // The length alone says how long it takes.
        let deep = format!("%{}2e", "25".repeat(100_000));
        assert_eq!(unescaped(deep.as_bytes(), |_| true), b".");
    }
}
