//! Rates as people write them: `600/m`, `10/s burst 50`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How often something may be done: so many uses come back evenly in each span of time, and `burst` of them can be
/// had at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    uses: u32,
    per: Unit,
    burst: u32,
}

/// A span of time that rates are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARate {
    /// It has another form.
    #[error("not a rate: write a number and `/s`, `/m`, `/h` or `/d`, such as `600/m` or `10/s burst 50`")]
    Form,
    /// A number is out of range.
    #[error("not a rate: its numbers must be between 1 and {}", Rate::MOST)]
    Number,
    /// Whoever used all of it up would wait for too long.
    #[error("not a rate: a burst has to come back within 30 days")]
    TooSlow,
}

impl Rate {
    /// More would be no limit.
    pub const MOST: u32 = 10_000_000;
    /// In which a burst has to come back.
    const LONGEST: Duration = Duration::from_secs(30 * 86_400);

    /// So many a minute, all of them at once if need be.
    #[must_use]
    pub const fn per_minute(uses: u32) -> Self {
        Self {
            uses: if uses == 0 { 1 } else { uses },
            per: Unit::Minute,
            burst: if uses == 0 { 1 } else { uses },
        }
    }

    /// The same with more of it: `factor` times as many uses, and at once.
    #[must_use]
    pub const fn times(self, factor: u32) -> Self {
        Self {
            uses: self.uses.saturating_mul(factor),
            per: self.per,
            burst: self.burst.saturating_mul(factor),
        }
    }

    /// The time in which one use comes back.
    #[must_use]
    pub fn cost(self) -> Duration {
        (self.per.length() / self.uses.max(1)).max(Duration::from_nanos(1))
    }

    /// Uses at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// For people: `600 a minute`.
    #[must_use]
    pub fn in_words(self) -> String {
        format!("{} {}", self.uses, self.per.in_words())
    }
}

impl Unit {
    const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        })
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Second => "a second",
            Self::Minute => "a minute",
            Self::Hour => "an hour",
            Self::Day => "a day",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
            Self::Day => 'd',
        }
    }
}

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (uses, per) = rate.split_once('/').ok_or(NotARate::Form)?;
        let per = match per {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            _ => return Err(NotARate::Form),
        };
        let uses = number(uses)?;
        let burst = burst.map_or(Ok(uses), number)?;
        let rate = Self { uses, per, burst };
        if rate
            .cost()
            .checked_mul(burst)
            .is_none_or(|all| all > Self::LONGEST)
        {
            return Err(NotARate::TooSlow);
        }
        Ok(rate)
    }
}

fn number(text: &str) -> Result<u32, NotARate> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotARate::Form);
    }
    let number = text.parse().map_err(|_| NotARate::Number)?;
    (1..=Rate::MOST)
        .contains(&number)
        .then_some(number)
        .ok_or(NotARate::Number)
}

impl fmt::Display for Rate {
    /// What is written is read again as the same rate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.uses, self.per.letter())?;
        if self.burst == self.uses {
            return Ok(());
        }
        write!(f, " burst {}", self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, cost, burst) in [
            ("600/m", 100, 600),
            ("10/s", 100, 10),
            ("10/s burst 50", 100, 50),
            ("3600/h burst 1", 1000, 1),
            ("1/d", 86_400_000, 1),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.cost(), rate.burst()), (Duration::from_millis(cost), burst));
            assert_eq!(rate.to_string(), text);
        }
        assert_eq!("5/m burst 5".parse::<Rate>().unwrap().to_string(), "5/m");
        assert_eq!(Rate::per_minute(600), "600/m".parse().unwrap());
        assert_eq!(Rate::per_minute(600).in_words(), "600 a minute");
        assert_eq!(
            "10000000/s".parse::<Rate>().unwrap().cost(),
            Duration::from_nanos(100)
        );
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for (text, why) in [
            ("", NotARate::Form),
            ("600", NotARate::Form),
            ("/m", NotARate::Form),
            ("600/", NotARate::Form),
            ("600/min", NotARate::Form),
            ("600 /m", NotARate::Form),
            ("+6/m", NotARate::Form),
            ("1.5/m", NotARate::Form),
            ("600/m burst", NotARate::Form),
            ("600/m burst ", NotARate::Form),
            ("600/m burst -1", NotARate::Form),
            ("600/M", NotARate::Form),
            ("６/m", NotARate::Form),
            ("0/m", NotARate::Number),
            ("600/m burst 0", NotARate::Number),
            ("10000001/m", NotARate::Number),
            ("99999999999999999999/m", NotARate::Number),
            ("1/d burst 31", NotARate::TooSlow),
            ("1/d burst 10000000", NotARate::TooSlow),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(why), "{text:?}");
        }
    }
}
