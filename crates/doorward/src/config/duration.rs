//! Durations as people write them: `30s`, `10m`, `12h`, `30d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A duration in the configuration: a whole number and a unit (`ms`, `s`, `m`, `h`, `d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// A text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: write a whole number and a unit, such as `500ms`, `30s`, `10m`, `12h` or `30d`")]
pub(crate) struct NotADuration;

/// Units from the largest, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl FromStr for Span {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(NotADuration)?;
        let number: u64 = number.parse().map_err(|_| NotADuration)?;
        let (_, millis) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or(NotADuration)?;
        number
            .checked_mul(millis)
            .map(|total| Self(Duration::from_millis(total)))
            .ok_or(NotADuration)
    }
}

impl fmt::Display for Span {
    /// The largest unit that divides it: what is written is read again as the same duration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = |(_, millis): &(&str, u64)| total != 0 && total.is_multiple_of(*millis);
        match UNITS.into_iter().find(fits) {
            Some((unit, millis)) => write!(f, "{}{unit}", total / millis),
            None => write!(f, "{total}ms"),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, seconds) in [("60s", 60), ("10m", 600), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))));
        }
        for (text, shown) in [
            ("60s", "1m"),
            ("90s", "90s"),
            ("1500ms", "1500ms"),
            ("48h", "2d"),
            ("0s", "0ms"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "10",
            "m",
            "-1s",
            "1.5h",
            "1 h",
            "10m ",
            "1w",
            "99999999999999999999s",
            "9999999999999999d",
            "１s",
        ] {
            assert_eq!(bad.parse::<Span>(), Err(NotADuration), "{bad}");
        }
    }
}
