//! Logging: one line per event on stderr, human or JSON.
//!
//! Whoever reads stderr must not be able to stop us. Events go through a bounded queue to a thread that
//! writes them. When the queue is full (nobody reads, and the pipe is full) new events are **dropped and
//! counted**; the count is logged as soon as there is room. A closed stderr is ignored.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt as format, reload};

/// Events waiting to be written. Further ones are dropped and counted.
const QUEUE: usize = 4096;
/// Longest event; the rest is cut off, so that no peer can fill the disk with one header.
const LONGEST: usize = 16 * 1024;
/// Events that are taken from the queue at once.
const TOGETHER: usize = 256;
/// Bytes that are written at once, unless one line is longer: what a pipe takes whole (`PIPE_BUF`), so that the
/// lines of several processes do not mix.
const WHOLE: usize = 4096;
/// Shortest time between two writes, so that a busy server makes few large ones: waking the thread for each line
/// costs the requests more than the line does.
const PACE: Duration = Duration::from_millis(2);
/// How long the end of the process waits for the last events.
const FLUSH: Duration = Duration::from_secs(1);

/// The queue, once there is one.
static STARTED: OnceLock<Queue> = OnceLock::new();

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// What needs a person.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

/// A text is not a level.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a log level: write `error`, `warn`, `info`, `debug` or `trace`")]
pub(crate) struct NotALevel;

impl LogLevel {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl FromStr for LogLevel {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Self, NotALevel> {
        Ok(match text {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err(NotALevel),
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// How it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human on a terminal, else JSON.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// A text is not a log format.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a log format: write `auto`, `human` or `json`")]
pub(crate) struct NotAFormat;

impl FromStr for LogFormat {
    type Err = NotAFormat;

    fn from_str(text: &str) -> Result<Self, NotAFormat> {
        Ok(match text {
            "auto" => Self::Auto,
            "human" => Self::Human,
            "json" => Self::Json,
            _ => return Err(NotAFormat),
        })
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Keeps the writer alive; dropping it writes what is left.
#[derive(Debug)]
pub(crate) struct LogGuard {
    queue: Queue,
    level: reload::Handle<LevelFilter, Registry>,
}

impl LogGuard {
    /// Logs so much from now on.
    pub(crate) fn set_level(&self, level: LogLevel) {
        // It only fails when logging is gone altogether.
        let _: Result<(), reload::Error> = self.level.reload(level.filter());
    }
}

/// Starts logging to stderr. Libraries below us log only what looks wrong: at their lower levels they
/// would write headers, and with them tokens.
pub(crate) fn start(level: LogLevel, log_format: LogFormat, terminal: bool) -> LogGuard {
    let queue = Queue::start(std::io::stderr());
    // The first one stays: there is one stderr.
    let _: Result<(), Queue> = STARTED.set(queue.clone());
    let json = match log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let ours = filter_fn(|metadata| {
        // `child`: what commands behind servers write to their standard error.
        let ours = metadata.target().starts_with("doorward") || metadata.target() == "child";
        ours || *metadata.level() <= tracing::Level::WARN
    });
    let (level, handle) = reload::Layer::new(level.filter());
    // Before the log, so that its lines name the trace that an event turned out to belong to.
    let notes = doorward_recorder::layer().and_then(crate::serve::metrics::layer());
    let registry = tracing_subscriber::registry();
    let started = if json {
        let layer = format::layer()
            .json()
            .flatten_event(true)
            .with_writer(queue.clone());
        registry
            .with(notes.and_then(layer.with_filter(ours).with_filter(level)))
            .try_init()
    } else {
        let layer = format::layer()
            .with_ansi(false)
            .with_target(false)
            .with_writer(queue.clone());
        registry
            .with(notes.and_then(layer.with_filter(ours).with_filter(level)))
            .try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    // The default hook writes to stderr itself, and would wait for a reader. Its text may hold values that
    // a log must not, so only the place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            place,
            "a task panicked: its connection is closed, please report this"
        );
    }));
    LogGuard { queue, level: handle }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

/// Stderr for what is told beside the log: behind the log's queue where there is one, so that a host that reads no stderr cannot
/// hold up a bridge, however many warnings a server provokes.
pub(crate) struct Aside;

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match STARTED.get() {
            Some(queue) => queue.put(bytes.to_vec()),
            None => std::io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

#[derive(Clone, Debug)]
struct Queue {
    send: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn start(out: impl Write + Send + 'static) -> Self {
        let (send, receive) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || drain(&receive, &counter, out));
        // Without a thread the receiver is gone: every event is dropped, and service goes on.
        drop(thread);
        Self { send, dropped }
    }

    /// Has it written, or counts it as dropped.
    fn put(&self, line: Vec<u8>) {
        if self.send.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is left; a reader that is stuck gets a second, then we go.
    fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.send.try_send(Message::Flush(done)).is_ok() {
            let _: Result<(), RecvTimeoutError> = wait.recv_timeout(FLUSH);
        }
    }
}

fn drain(receive: &Receiver<Message>, dropped: &AtomicU64, mut out: impl Write) {
    let mut text = Vec::new();
    while let Ok(first) = receive.recv() {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            text.extend_from_slice(
                format!(
                    "{{\"level\":\"WARN\",\"message\":\"log events dropped: nobody read them\",\"dropped\":{lost}}}\n"
                )
                .as_bytes(),
            );
        }
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(receive.try_iter().take(TOGETHER)) {
            match message {
                Message::Line(line) => {
                    if text.len() + line.len() > WHOLE {
                        let _: std::io::Result<()> = out.write_all(&text);
                        text.clear();
                    }
                    text.extend_from_slice(&line);
                }
                Message::Flush(done) => waiting.push(done),
            }
        }
        let _: std::io::Result<()> = out.write_all(&text);
        text.clear();
        if waiting.is_empty() {
            std::thread::park_timeout(PACE);
        } else {
            let _: std::io::Result<()> = out.flush();
        }
        for done in waiting {
            let _: Result<(), std::sync::mpsc::TrySendError<()>> = done.try_send(());
        }
    }
}

/// One event on its way into the queue.
#[derive(Debug)]
struct Line {
    queue: Queue,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = LONGEST.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let mut line = Vec::with_capacity(text.len() + 1);
        escape_controls(text, &mut line);
        line.push(b'\n');
        self.queue.put(line);
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            queue: self.clone(),
            bytes: Vec::new(),
        }
    }
}

/// Writes text with control characters as `\u{…}`: a name that a client chose must not move the cursor,
/// start a line of its own or hide one (C0, DEL, and C1 in UTF-8).
pub(crate) fn escape_controls(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                out.extend_from_slice(format!("\\u{{{:x}}}", u32::from(character)).as_bytes());
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        let mut out = Vec::new();
        escape_controls("a\u{1b}[2Jb\nc\u{9b}d\u{7f}é".as_bytes(), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a\\u{1b}[2Jb\\u{a}c\\u{9b}d\\u{7f}é"
        );
        let mut out = Vec::new();
        escape_controls(b"\xff\x1b", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\u{fffd}\\u{1b}");
    }

    /// A reader that never reads, until it is let go.
    struct Stuck(Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _: Result<(), std::sync::mpsc::RecvError> = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_never_reads_costs_events_and_not_the_service() {
        let (let_go, gate) = sync_channel(0);
        let written = Arc::new(std::sync::Mutex::new(Vec::new()));
        let queue = Queue::start(Stuck(gate, Arc::clone(&written)));
        for number in 0..QUEUE + TOGETHER + 100 {
            writeln!(queue.make_writer(), "event {number}").unwrap();
        }
        assert!(queue.dropped.load(Ordering::Relaxed) >= 99);
        // Nor does what a person should read, and nobody does.
        let before = queue.dropped.load(Ordering::Relaxed);
        queue.put(b"open in a browser: ...\n".to_vec());
        assert_eq!(queue.dropped.load(Ordering::Relaxed), before + 1);
        drop(let_go);
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while !String::from_utf8_lossy(&written.lock().unwrap()).contains("\"dropped\":") {
            assert!(
                std::time::Instant::now() < end,
                "the count is told once there is room"
            );
            std::thread::yield_now();
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_closed_stderr_is_ignored() {
        let queue = Queue::start(Closed);
        for _ in 0..10 {
            writeln!(queue.make_writer(), "event").unwrap();
        }
        queue.flush();
    }
}
