//! Where a stream stands, and how long to wait before it is opened again.

use std::time::Duration;

use doorward_mcp::sse::EventReader;
use http::HeaderValue;

/// How long to wait before a stream is opened anew if the server did not say.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest such wait: a server that says 0 and ends the stream at once is not asked without end.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// The longest such wait.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// And the longest while nothing ever comes.
const BACK_OFF: Duration = Duration::from_secs(30);
/// The longest event id that is sent back.
const LONGEST_ID: usize = 4096;

/// Where a stream stands.
#[derive(Default)]
pub(super) struct Place {
    pub(super) last_event_id: Option<HeaderValue>,
    retry: Option<Duration>,
    /// Attempts since something came.
    pub(super) in_vain: u32,
}

impl Place {
    pub(super) fn note(&mut self, reader: &EventReader) {
        let id = reader.last_event_id();
        if !id.is_empty() && id.len() <= LONGEST_ID {
            self.last_event_id = HeaderValue::from_str(id).ok();
        }
        let retry = reader.retry().map(Duration::from_millis);
        self.retry = retry
            .map(|retry| retry.clamp(SHORTEST_RETRY, LONGEST_RETRY))
            .or(self.retry);
    }

    /// "The client MUST respect the `retry` field".
    pub(super) fn wait(&self) -> Duration {
        let base = self.retry.unwrap_or(RETRY);
        let longest = BACK_OFF.max(base);
        base.saturating_mul(1 << self.in_vain.min(5)).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_what_the_server_says_and_grows_while_nothing_comes() {
        let mut place = Place::default();
        assert_eq!(place.wait(), RETRY);
        place.retry = Some(Duration::from_millis(500));
        assert_eq!(place.wait(), Duration::from_millis(500));
        place.in_vain = 3;
        assert_eq!(place.wait(), Duration::from_secs(4));
        place.in_vain = 30;
        assert_eq!(place.wait(), Duration::from_secs(16));
        place.retry = Some(Duration::from_secs(300));
        assert_eq!(place.wait(), Duration::from_secs(300));
        let mut place = Place::default();
        let mut reader = EventReader::new(100);
        reader.push(b"retry: 0\n\n").unwrap();
        place.note(&reader);
        assert_eq!(place.wait(), SHORTEST_RETRY);
    }
}
