//! What children write to standard error goes to our log.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::control::Shared;

/// Longest line that is logged; the rest of it is left out.
const LONGEST: usize = 4096;
/// Lines logged per second; further ones are counted.
const RATE: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Logs until the pipe's end. Always reads on, so that a talkative child never waits for our log.
pub(crate) async fn log(mut pipe: pipe::Receiver, pid: Option<u32>, shared: Arc<Shared>) {
    let mut lines = Lines::default();
    let mut rate = Rate::new(Instant::now());
    let mut chunk = vec![0; 8192];
    let over = async {
        shared.exited().await;
        // A process that left the session may hold the pipe open for ever.
        tokio::time::sleep(SECOND).await;
    };
    tokio::pin!(over);
    loop {
        let read = tokio::select! {
            () = &mut over => break,
            read = pipe.read(&mut chunk) => read.unwrap_or(0),
        };
        if read == 0 {
            break;
        }
        for line in lines.push(chunk.get(..read).unwrap_or_default()) {
            write(&mut rate, pid, &line);
        }
    }
    if let Some(line) = lines.rest() {
        write(&mut rate, pid, &line);
    }
    summarize(rate.dropped, pid);
}

fn write(rate: &mut Rate, pid: Option<u32>, line: &str) {
    let (admitted, dropped) = rate.admit(Instant::now());
    summarize(dropped, pid);
    if admitted {
        tracing::info!(target: "child", pid, "{line}");
    }
}

fn summarize(dropped: u64, pid: Option<u32>) {
    if dropped > 0 {
        tracing::warn!(target: "child", pid, dropped, "left out: more than {RATE} lines in a second");
    }
}

/// Lines for people: bounded, control characters escaped.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut ready = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = LONGEST.saturating_sub(self.line.len());
            self.cut |= piece.len() > room;
            self.line.extend(piece.iter().take(room));
            if pieces.peek().is_some() {
                ready.extend(self.rest());
            }
        }
        ready
    }

    fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        (!line.is_empty()).then(|| shown(&String::from_utf8_lossy(line), cut))
    }
}

/// A terminal, or a reader of the log, must not be led astray: escape sequences, faked line ends, text that runs
/// the other way.
fn shown(text: &str, cut: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        let astray =
            matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (char.is_control() && char != '\t') || astray {
            let _: std::fmt::Result = write!(shown, "{}", char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    if cut {
        shown.push_str(" […]");
    }
    shown
}

/// Lines of one second.
struct Rate {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            lines: 0,
            dropped: 0,
        }
    }

    /// Whether to log a line now, and how many were left out before, if that is to be said now.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let mut dropped = 0;
        if now.duration_since(self.since) >= SECOND {
            dropped = self.dropped;
            *self = Self::new(now);
        }
        if self.lines < RATE {
            self.lines += 1;
            return (true, dropped);
        }
        self.dropped += 1;
        (false, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_escaped() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\n\n\nthree \x1b[2J\xff\ttab"), ["two"]);
        assert_eq!(lines.rest().unwrap(), "three \\u{1b}[2J\u{fffd}\ttab");
        assert_eq!(lines.rest(), None);
        assert_eq!(
            lines.push("a\u{202e}b\u{85}\n".as_bytes()),
            ["a\\u{202e}b\\u{85}"]
        );
        for _ in 0..100 {
            assert!(lines.push(&[b'x'; 1000]).is_empty());
        }
        let long = lines.push(b"\nafter\n");
        assert_eq!(long[0], format!("{} […]", "x".repeat(LONGEST)));
        assert_eq!(long[1], "after");
    }

    #[test]
    fn a_hundred_lines_a_second() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let admitted = (0..250).filter(|_| rate.admit(start).0).count();
        assert_eq!(admitted, 100);
        assert_eq!(rate.admit(start + SECOND), (true, 150));
        assert_eq!(rate.admit(start + SECOND), (true, 0), "said once");
    }
}
