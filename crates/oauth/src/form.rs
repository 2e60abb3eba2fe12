//! A strict reader of `application/x-www-form-urlencoded` text: form bodies and query strings.
//!
//! Two readers that disagree are how parameters are smuggled, so nothing is guessed here: a broken
//! percent-encoding or text that is not UTF-8 refuses the whole form, and a repeated parameter is
//! reported rather than resolved (RFC 6749 §3.1 and §3.2).

use std::fmt;

/// The longest form or query string that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most parameters that are read.
pub const MAX_PARAMETERS: usize = 64;

/// Why a text is not a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Longer than [`MAX_BYTES`], or more parameters than [`MAX_PARAMETERS`].
    #[error("the form is too large")]
    TooLarge,
    /// A byte that must be percent-encoded, or a broken percent-encoding.
    #[error("the form is not percent-encoded correctly")]
    BadEncoding,
    /// What is encoded is not UTF-8.
    #[error("the form is not UTF-8")]
    NotUtf8,
}

/// The parameters of a form, in order. Shows only their names when debugged: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body or a query string (without `?`).
    pub fn parse(text: &[u8]) -> Result<Self, FormError> {
        if text.len() > MAX_BYTES {
            return Err(FormError::TooLarge);
        }
        let mut pairs = Vec::new();
        for piece in text.split(|b| *b == b'&').filter(|piece| !piece.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(FormError::TooLarge);
            }
            let mut halves = piece.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; `None` if it is absent or empty, which are the same (RFC 6749 §3.1).
    /// If it is repeated, the first one: ask [`Form::repeated`] before.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, v)| n == name && !v.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every non-empty value of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, v)| n == name && !v.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Whether the parameter was sent, even without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The first name that was sent more than once (with equal values or not) although it is not in
    /// `may_repeat`.
    #[must_use]
    pub fn repeated(&self, may_repeat: &[&str]) -> Option<&str> {
        self.0.iter().enumerate().find_map(|(at, (name, _))| {
            let again = self.0.iter().skip(at + 1).any(|(other, _)| other == name);
            (again && !may_repeat.contains(&name.as_str())).then_some(name.as_str())
        })
    }

    /// Whether `name` was sent more than once.
    #[must_use]
    pub fn is_repeated(&self, name: &str) -> bool {
        self.0.iter().filter(|(n, _)| n == name).count() > 1
    }

    /// Names and values, in order, empty ones included.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// One name or value out of its form-encoding.
pub(crate) fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = hex(bytes.next())?;
                let low = hex(bytes.next())?;
                high * 16 + low
            }
            0x21..=0x7e => byte,
            _ => return Err(FormError::BadEncoding),
        });
    }
    String::from_utf8(out).map_err(|_| FormError::NotUtf8)
}

fn hex(byte: Option<&u8>) -> Result<u8, FormError> {
    match byte {
        Some(b @ b'0'..=b'9') => Ok(b - b'0'),
        Some(b @ b'a'..=b'f') => Ok(b - b'a' + 10),
        Some(b @ b'A'..=b'F') => Ok(b - b'A' + 10),
        _ => Err(FormError::BadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn tk_12_az_06_repeated_parameters_are_reported_equal_or_not_encoded_or_not() {
        for (text, name) in [
            ("a=1&a=1", "a"),
            ("a=1&b=2&a=3", "a"),
            ("client_id=x&client%5Fid=y", "client_id"),
            ("a=&a=1", "a"),
            ("a&a", "a"),
        ] {
            assert_eq!(form(text).repeated(&["resource"]), Some(name), "{text}");
        }
        assert_eq!(form("resource=a&resource=b&c=d").repeated(&["resource"]), None);
        assert_eq!(form("a=1&A=1").repeated(&[]), None);
    }

    #[test]
    fn empty_is_absent() {
        let form = form("a=&b&c=1&&");
        assert_eq!(
            (form.get("a"), form.get("b"), form.get("c")),
            (None, None, Some("1"))
        );
        assert!(form.has("a") && form.has("b") && !form.has("d"));
    }

    #[test]
    fn broken_text_refuses_the_whole_form() {
        for (text, why) in [
            (&b"a=%"[..], FormError::BadEncoding),
            (b"a=%4", FormError::BadEncoding),
            (b"a=%zz", FormError::BadEncoding),
            (b"a=%+1", FormError::BadEncoding),
            (b"a=b c", FormError::BadEncoding),
            (b"a=b\n", FormError::BadEncoding),
            (b"a=b\0", FormError::BadEncoding),
            (b"a=\xc3\xa9", FormError::BadEncoding),
            (b"a=%ff", FormError::NotUtf8),
            (b"a=%c0%af", FormError::NotUtf8),
        ] {
            assert_eq!(Form::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(Form::parse(&[b'a'; MAX_BYTES + 1]), Err(FormError::TooLarge));
        assert_eq!(
            Form::parse("a=1&".repeat(MAX_PARAMETERS + 1).as_bytes()),
            Err(FormError::TooLarge)
        );
    }

    #[test]
    fn never_shows_values() {
        assert_eq!(format!("{:?}", form("password=hunter2")), r#"{"password"}"#);
    }

    proptest::proptest! {
        #[test]
        fn what_an_encoder_writes_is_read_again(
            pairs in proptest::collection::vec((".{1,8}", ".{1,8}"), 0..8)
        ) {
            let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            proptest::prop_assert_eq!(Form::parse(text.as_bytes()), Ok(Form(pairs)));
        }

        #[test]
        fn any_bytes_are_read_as_the_lenient_reader_reads_them_or_refused(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)
        ) {
            if let Ok(Form(pairs)) = Form::parse(&bytes) {
                let lenient: Vec<(String, String)> = url::form_urlencoded::parse(&bytes).into_owned().collect();
                proptest::prop_assert_eq!(pairs, lenient);
            }
        }
    }
}
