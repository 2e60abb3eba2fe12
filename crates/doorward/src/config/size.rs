//! Sizes as people write them: `512KiB`, `64MiB`, `2GiB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A size in the configuration, in bytes: a whole number and a unit (`KiB`, `MiB`, `GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// A text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size: write a whole number and a unit, such as `512KiB`, `64MiB` or `2GiB`")]
pub(crate) struct NotASize;

/// Units from the largest.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Size {
    /// Mebibytes.
    pub(crate) const fn mebibytes(number: u64) -> Self {
        Self(number << 20)
    }
}

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(NotASize)?;
        let number: u64 = number.parse().map_err(|_| NotASize)?;
        let (_, bytes) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or(NotASize)?;
        number.checked_mul(bytes).map(Self).ok_or(NotASize)
    }
}

impl fmt::Display for Size {
    /// The largest unit that divides it: what is written is read again as the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*bytes);
        match UNITS.into_iter().find(fits) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}KiB", self.0 / 1024),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(number in 0_u64..1_000_000, unit in 0..3_usize) {
            let size: Size = format!("{number}{}", UNITS[unit].0).parse().unwrap();
            proptest::prop_assert_eq!(size.0, number * UNITS[unit].1);
            proptest::prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "1",
            "GiB",
            "1GB",
            "1.5GiB",
            "-1MiB",
            "99999999999999GiB",
            "1 MiB",
        ] {
            assert_eq!(text.parse::<Size>(), Err(NotASize), "{text}");
        }
    }
}
