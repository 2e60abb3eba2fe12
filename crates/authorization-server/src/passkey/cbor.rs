//! The part of CBOR (RFC 8949) that WebAuthn needs, read strictly: the canonical form of CTAP2 §8, one text per
//! value. Anything else (tags, floats, indefinite lengths, long forms of short numbers, the same key twice) is
//! refused, so that there is nothing that two readers could read differently.

/// How deep arrays and maps may nest (CTAP2 §8).
const DEPTH: u8 = 4;

/// Not CBOR in the form that CTAP2 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not canonical CBOR")]
pub struct NotCanonical;

/// A value, borrowed from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Major types 0 and 1.
    Integer(i128),
    /// Major type 2.
    Bytes(&'a [u8]),
    /// Major type 3.
    Text(&'a str),
    /// Major type 4.
    Array(Vec<Value<'a>>),
    /// Major type 5, in the order written.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// `true` and `false`.
    Boolean(bool),
}

impl<'a> Value<'a> {
    /// Reads the value at the start of `input` and gives it with what follows.
    pub fn read(input: &'a [u8]) -> Result<(Self, &'a [u8]), NotCanonical> {
        let mut reader = Reader(input);
        let value = reader.value(DEPTH)?;
        Ok((value, reader.0))
    }

    /// Reads `input`, which must be exactly one value.
    pub fn read_whole(input: &'a [u8]) -> Result<Self, NotCanonical> {
        match Self::read(input)? {
            (value, []) => Ok(value),
            _ => Err(NotCanonical),
        }
    }

    /// The entries of a map.
    #[must_use]
    pub fn entries(&self) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotCanonical> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotCanonical)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The argument of an initial byte, in its shortest form only.
    fn argument(&mut self, short: u8) -> Result<u64, NotCanonical> {
        let (length, least) = match short {
            0..=23 => return Ok(u64::from(short)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(NotCanonical),
        };
        let bytes = self.take(length)?;
        let number = bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        (number >= least).then_some(number).ok_or(NotCanonical)
    }

    /// A length; never more than what is left, so nothing is reserved for what is not there.
    fn length(&mut self, short: u8) -> Result<usize, NotCanonical> {
        let length = usize::try_from(self.argument(short)?).map_err(|_| NotCanonical)?;
        (length <= self.0.len()).then_some(length).ok_or(NotCanonical)
    }

    fn value(&mut self, depth: u8) -> Result<Value<'a>, NotCanonical> {
        let first = *self.take(1)?.first().ok_or(NotCanonical)?;
        let (major, short) = (first >> 5, first & 0x1f);
        match major {
            0 => Ok(Value::Integer(i128::from(self.argument(short)?))),
            1 => Ok(Value::Integer(-1 - i128::from(self.argument(short)?))),
            2 => {
                let length = self.length(short)?;
                self.take(length).map(Value::Bytes)
            }
            3 => {
                let length = self.length(short)?;
                let text = std::str::from_utf8(self.take(length)?).map_err(|_| NotCanonical)?;
                Ok(Value::Text(text))
            }
            4 => self.array(short, depth),
            5 => self.map(short, depth),
            7 if short == 20 || short == 21 => Ok(Value::Boolean(short == 21)),
            _ => Err(NotCanonical),
        }
    }

    fn array(&mut self, short: u8, depth: u8) -> Result<Value<'a>, NotCanonical> {
        let depth = depth.checked_sub(1).ok_or(NotCanonical)?;
        let values = (0..self.length(short)?).map(|_| self.value(depth));
        values.collect::<Result<_, _>>().map(Value::Array)
    }

    fn map(&mut self, short: u8, depth: u8) -> Result<Value<'a>, NotCanonical> {
        let depth = depth.checked_sub(1).ok_or(NotCanonical)?;
        let length = self.length(short)?;
        let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::new();
        let mut before: Option<&[u8]> = None;
        for _ in 0..length {
            let start = self.0;
            let key = self.value(depth)?;
            let written = start.get(..start.len() - self.0.len()).ok_or(NotCanonical)?;
            // Sorted, so also no key twice.
            if before.is_some_and(|before| order(before) >= order(written)) {
                return Err(NotCanonical);
            }
            before = Some(written);
            entries.push((key, self.value(depth)?));
        }
        Ok(Value::Map(entries))
    }
}

/// Keys of a map are sorted by major type, then by length, then by their bytes (CTAP2 §8).
fn order(key: &[u8]) -> (Option<u8>, usize, &[u8]) {
    (key.first().map(|first| first >> 5), key.len(), key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_values_are_read() {
        for (bytes, value) in [
            (&[0x17][..], Value::Integer(23)),
            (&[0x18, 24], Value::Integer(24)),
            (&[0x26], Value::Integer(-7)),
            (&[0x39, 0x01, 0x00], Value::Integer(-257)),
            (
                &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
                Value::Integer(u64::MAX.into()),
            ),
            (&[0x42, 1, 2], Value::Bytes(&[1, 2])),
            (&[0x62, b'h', b'i'], Value::Text("hi")),
            (
                &[0x82, 0x01, 0xf5],
                Value::Array(vec![Value::Integer(1), Value::Boolean(true)]),
            ),
            (
                &[0xa1, 0x01, 0xf4],
                Value::Map(vec![(Value::Integer(1), Value::Boolean(false))]),
            ),
        ] {
            assert_eq!(Value::read_whole(bytes), Ok(value), "{bytes:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bytes in [
            &[][..],
            &[0x18, 23],                             // a long form
            &[0x19, 0, 255],                         // a longer one
            &[0x1c],                                 // reserved
            &[0x5f, 0x41, 1, 0xff],                  // indefinite length
            &[0x9f, 0xff],                           // likewise
            &[0xc0, 0x01],                           // a tag
            &[0xf6],                                 // null
            &[0xf9, 0, 0],                           // a float
            &[0x61, 0xff],                           // not UTF-8
            &[0x42, 1],                              // short
            &[0x9b, 255, 255, 255, 255, 0, 0, 0, 0], // a length that nobody has
            &[0xa2, 0x01, 0x01, 0x01, 0x02],         // a key twice
            &[0xa2, 0x02, 0x01, 0x01, 0x02],         // out of order
            &[0x01, 0x01],                           // something after it
            &[0x81, 0x81, 0x81, 0x81, 0x81, 0x01],   // too deep
        ] {
            assert_eq!(Value::read_whole(bytes), Err(NotCanonical), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((_, rest)) = Value::read(&bytes) {
                prop_assert!(rest.len() < bytes.len());
            }
        }
    }
}
