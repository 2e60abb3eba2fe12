//! Times for people: how long ago, and exactly.

use std::time::Duration;

use doorward_types::time::UnixTime;

/// A moment in the past, as pages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownTime {
    /// For `datetime` (RFC 3339).
    pub(crate) exact: String,
    /// To the minute, in UTC.
    pub(crate) minute: String,
    /// In words.
    pub(crate) ago: String,
}

impl ShownTime {
    /// `then`, seen from `now`.
    pub(crate) fn new(then: UnixTime, now: UnixTime) -> Self {
        let exact = then.to_string();
        let minute = exact.get(..16).unwrap_or_default().replace('T', " ");
        Self {
            exact,
            minute: format!("{minute} UTC"),
            ago: ago(now.since(then)),
        }
    }
}

/// "2 hours ago": the largest unit of which there is at least one.
fn ago(span: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..MINUTE => return "just now".into(),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_words_and_exactly() {
        let now = UnixTime::from_seconds(1_800_000_000);
        for (seconds, words) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (86_400 * 89, "89 days ago"),
        ] {
            let shown = ShownTime::new(now.minus(Duration::from_secs(seconds)), now);
            assert_eq!(shown.ago, words);
        }
        let shown = ShownTime::new(now, now);
        assert_eq!(
            (shown.exact.as_str(), shown.minute.as_str()),
            ("2027-01-15T08:00:00.000Z", "2027-01-15 08:00 UTC")
        );
        let clock_set_back = ShownTime::new(now.plus(Duration::from_secs(5)), now);
        assert_eq!(clock_set_back.ago, "just now");
    }
}
