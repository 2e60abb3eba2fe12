//! Points in time and where they come from.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
///
/// JWTs count in seconds ([`UnixTime::seconds`]); rows are stored in milliseconds so that identifiers
/// and rows sort alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(i64);

impl UnixTime {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// A point `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// A point `seconds` seconds after the epoch; saturates at the ends of the range.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: the `NumericDate` of RFC 7519 §2.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The point `duration` later; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The point `duration` earlier; saturates.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not after it (clocks step backwards).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC with milliseconds, for people and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.rem_euclid(1000);
        let seconds = self.0.div_euclid(1000);
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (
            second_of_day / 3600,
            second_of_day % 3600 / 60,
            second_of_day % 60,
        );
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// Gregorian date of a day count since the epoch (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Where the time comes from. Production uses [`SystemClock`]; tests hold a [`FixedClock`].
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> UnixTime;

    /// Time since a moment that stays the same as long as the process lives. It never steps, so it tells
    /// how long ago something was also when somebody sets the wall clock or a laptop wakes up.
    fn monotonic(&self) -> Duration;

    /// The present as far as it is certain: never later than [`Clock::now`]. What is forgotten because its
    /// time is over is judged by this, so that a clock that is wrong for an hour deletes nothing.
    fn certain(&self) -> UnixTime {
        self.now()
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> UnixTime {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }

    fn certain(&self) -> UnixTime {
        (**self).certain()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the machine's clock"
        )]
        let now = std::time::SystemTime::now();
        let since_epoch = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        UnixTime(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// A clock that stands still until it is moved, for tests.
#[derive(Debug)]
pub struct FixedClock {
    now: std::sync::atomic::AtomicI64,
    monotonic: std::sync::atomic::AtomicU64,
}

impl FixedClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: UnixTime) -> Self {
        Self {
            now: std::sync::atomic::AtomicI64::new(now.0),
            monotonic: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.monotonic
            .fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
    }

    /// Sets the wall clock, backwards too; no time passes.
    pub fn set(&self, now: UnixTime) {
        self.now.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.now.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc_3339() {
        assert_eq!(UnixTime::EPOCH.to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            UnixTime::from_millis(1_709_210_096_789).to_string(),
            "2024-02-29T12:34:56.789Z"
        );
        assert_eq!(UnixTime::from_millis(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn setting_the_wall_clock_lets_no_time_pass() {
        let clock = FixedClock::new(UnixTime::from_seconds(100));
        clock.advance(Duration::from_secs(5));
        clock.set(UnixTime::EPOCH);
        assert_eq!(
            (clock.now(), clock.monotonic()),
            (UnixTime::EPOCH, Duration::from_secs(5))
        );
        let earlier = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= earlier);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(
            UnixTime::from_millis(i64::MAX)
                .plus(Duration::from_secs(1))
                .millis(),
            i64::MAX
        );
        assert_eq!(UnixTime::EPOCH.since(UnixTime::from_seconds(5)), Duration::ZERO);
        assert_eq!(UnixTime::from_millis(-1).seconds(), -1);
    }
}
