//! Values of top-level keys that are neither text nor a path: they are read alike from the file, a flag and
//! a variable.

use std::fmt;
use std::str::FromStr;

/// How many of something; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

/// A text is not a count.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a number between 1 and {}", Count::MOST)]
pub(crate) struct NotACount;

impl Count {
    /// More would be no limit.
    pub(crate) const MOST: u32 = 10_000_000;
}

impl FromStr for Count {
    type Err = NotACount;

    fn from_str(text: &str) -> Result<Self, NotACount> {
        let number = text.parse().map_err(|_| NotACount)?;
        (1..=Self::MOST)
            .contains(&number)
            .then_some(Self(number))
            .ok_or(NotACount)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

/// A text is neither on nor off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("neither `true` nor `false`")]
pub(crate) struct NotASwitch;

impl FromStr for Switch {
    type Err = NotASwitch;

    fn from_str(text: &str) -> Result<Self, NotASwitch> {
        text.parse().map(Self).map_err(|_| NotASwitch)
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
