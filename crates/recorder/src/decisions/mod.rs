//! The decision log: every decision of the gateway as one line of JSON in a file of bounded size.
//!
//! Who decides renders the line and leaves it in a buffer in memory; a thread of its own takes what has gathered and
//! writes it at once, at most `PACE` later. A process that is killed loses no more than that. What the kernel holds is
//! written back by the kernel: a machine that loses its power may lose more, because nothing waits for the disk here.
//! Nothing that happens to the file holds up or fails a call: what does not fit into the buffer, or cannot be
//! written, is counted, told in the log, and noted in the file as soon as that can be written again.
//!
//! Refusals of which there are very many are only counted, and told in one line after `GATHER`, whether anything else
//! happens by then or not: that much of them is lost when the process is killed.

mod file;
mod line;
#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use doorward_types::time::{Clock, UnixTime};

use file::LogFile;
pub use line::{Caller, Entry, ScopeNames, ServerFacts};

/// How long lines gather before they are written.
const PACE: Duration = Duration::from_millis(50);
/// Bytes that may wait to be written; further lines are dropped and counted.
const MOST: usize = 8 << 20;
/// So many are written before their time.
const MANY: usize = 1 << 20;
/// How long a file that cannot be used is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// How long refusals that are only counted gather before they are told in one line.
const GATHER: Duration = Duration::from_secs(60);
/// Most kinds of them that are told apart; further ones are told at once.
const KINDS: usize = 256;
/// How long the end of the process waits for the last lines.
const FLUSH: Duration = Duration::from_secs(2);

/// Where decisions are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// How large it may become, in bytes, before it is put aside and a new one begun. Two older ones are kept.
    pub max_size: u64,
}

/// The thread that writes could not be started.
#[derive(Debug, thiserror::Error)]
#[error("decisions cannot be written down")]
pub struct StartError(#[source] std::io::Error);

/// The log. Cheap to clone; nothing that it does to record waits.
#[derive(Clone)]
pub struct DecisionLog(Arc<Handle>);

/// The thread ends with the last of these.
struct Handle(Arc<Shared>);

struct Shared {
    /// Looked at before a line is rendered.
    enabled: AtomicBool,
    pending: Mutex<Pending>,
    /// The writer waits for something to do.
    something: Condvar,
    /// Somebody waits for the writer.
    done: Condvar,
    /// Lines that were not written, since the start.
    lost: AtomicU64,
    clock: Arc<dyn Clock>,
    /// [`GATHER`], but for tests.
    gather: Duration,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// Dropped since the last batch was taken.
    dropped: u64,
    /// Refusals that were only counted.
    counted: Vec<Counted>,
    /// What to write to, from this place in `lines` on.
    settings: Option<(usize, Option<Settings>)>,
    flushes_asked: u64,
    flushes_done: u64,
    over: bool,
}

/// Refusals of one kind that were only counted, since the first of them.
struct Counted {
    since: UnixTime,
    outcome: &'static str,
    reason: &'static str,
    server: ServerFacts,
    times: u64,
}

impl Pending {
    /// Writes a line for each kind of refusals that have gathered for long enough at `now`, or, without a time, for all.
    /// Hands back how many did not fit.
    fn tell_counted(&mut self, now: Option<UnixTime>) -> u64 {
        if self.counted.is_empty() {
            return 0;
        }
        let is_due = |counted: &mut Counted| now.is_none_or(|now| now.since(counted.since) >= GATHER);
        let due: Vec<Counted> = self.counted.extract_if(.., is_due).collect();
        let mut lost = 0;
        for Counted {
            since,
            outcome,
            reason,
            server,
            times,
        } in due
        {
            let line = line::counted(since, outcome, reason, &server, times);
            if self.lines.len() + line.len() > MOST {
                lost += times;
            } else {
                self.lines.extend_from_slice(&line);
            }
        }
        self.dropped += lost;
        lost
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty()
            && self.settings.is_none()
            && !self.over
            && self.flushes_asked == self.flushes_done
    }

    /// Nothing may wait any longer.
    fn is_urgent(&self) -> bool {
        self.lines.len() >= MANY
            || self.settings.is_some()
            || self.over
            || self.flushes_asked != self.flushes_done
    }
}

impl DecisionLog {
    /// One that writes as `settings` say, or nothing if there are none.
    pub fn start(settings: Option<Settings>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        Self::gathering(settings, clock, GATHER)
    }

    /// The same; a writer that has nothing else to do tells after `gather` what was counted.
    fn gathering(
        settings: Option<Settings>,
        clock: Arc<dyn Clock>,
        gather: Duration,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared {
            enabled: AtomicBool::new(settings.is_some()),
            pending: Mutex::default(),
            something: Condvar::new(),
            done: Condvar::new(),
            lost: AtomicU64::new(0),
            clock,
            gather,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            settings,
            file: None,
            given_up: None,
            warned: false,
            unnoted: 0,
        };
        std::thread::Builder::new()
            .name("decisions".into())
            .spawn(move || writer.run())
            .map_err(StartError)?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// From now on this is where decisions go.
    pub fn configure(&self, settings: Option<Settings>) {
        let shared = self.shared();
        shared.enabled.store(settings.is_some(), Ordering::Relaxed);
        let mut pending = shared.pending();
        // What was counted until now belongs to where it was counted.
        let lost = pending.tell_counted(None);
        shared.lost.fetch_add(lost, Ordering::Relaxed);
        pending.settings = Some((pending.lines.len(), settings));
        drop(pending);
        shared.something.notify_one();
    }

    /// Takes a decision down.
    pub fn record(&self, entry: &Entry<'_>) {
        let shared = self.shared();
        if !shared.enabled.load(Ordering::Relaxed) {
            return;
        }
        let wakes = line::rendered(entry, |line| {
            let mut pending = shared.pending();
            let before = pending.lines.len();
            let lost = pending.tell_counted(Some(entry.at));
            shared.lost.fetch_add(lost, Ordering::Relaxed);
            if before + line.len() > MOST {
                pending.dropped += 1;
                shared.lost.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            pending.lines.extend_from_slice(line);
            before == 0 || (before < MANY && pending.lines.len() >= MANY)
        });
        // The lock is free by now: who wakes can take it.
        if wakes {
            shared.something.notify_one();
        }
    }

    /// Counts a refusal of which there were many: a line tells once a minute how many there were.
    pub fn count(&self, at: UnixTime, outcome: &'static str, reason: &'static str, server: &ServerFacts) {
        let shared = self.shared();
        if !shared.enabled.load(Ordering::Relaxed) {
            return;
        }
        let mut pending = shared.pending();
        let was_empty = pending.lines.is_empty();
        // The writer does not look at the time while nothing is counted.
        let begins = pending.counted.is_empty();
        let known = pending.counted.iter_mut().find(|counted| {
            (counted.outcome, counted.reason) == (outcome, reason) && counted.server == *server
        });
        match known {
            Some(counted) => counted.times += 1,
            None => pending.counted.push(Counted {
                since: at,
                outcome,
                reason,
                server: server.clone(),
                times: 1,
            }),
        }
        let now = (pending.counted.len() <= KINDS).then_some(at);
        let lost = pending.tell_counted(now);
        let wakes = begins || (was_empty && !pending.lines.is_empty());
        drop(pending);
        shared.lost.fetch_add(lost, Ordering::Relaxed);
        if wakes {
            shared.something.notify_one();
        }
    }

    /// Waits, not for long, until everything is on the disk that was recorded before. Blocks.
    pub fn flush(&self) {
        let shared = self.shared();
        let mut pending = shared.pending();
        let lost = pending.tell_counted(None);
        shared.lost.fetch_add(lost, Ordering::Relaxed);
        pending.flushes_asked += 1;
        let asked = pending.flushes_asked;
        shared.something.notify_one();
        // Late is as good as never: nobody waits longer for it.
        let waited = shared
            .done
            .wait_timeout_while(pending, FLUSH, |pending| pending.flushes_done < asked);
        drop(waited);
    }

    /// How many decisions could not be written since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared().lost.load(Ordering::Relaxed)
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }
}

impl fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionLog").finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut pending = self.0.pending();
        let lost = pending.tell_counted(None);
        self.0.lost.fetch_add(lost, Ordering::Relaxed);
        pending.over = true;
        drop(pending);
        self.0.something.notify_one();
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do. Telling what was counted is, after a while.
    fn something_to_do(&self) -> MutexGuard<'_, Pending> {
        let mut pending = self.pending();
        while pending.is_idle() {
            if pending.counted.is_empty() {
                let wait = self.something.wait(pending);
                pending = wait.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let wait = self
                .something
                .wait_timeout_while(pending, self.gather, |pending| pending.is_idle());
            let (woken, wait) = wait.unwrap_or_else(PoisonError::into_inner);
            pending = woken;
            if wait.timed_out() {
                // All of it: by a clock that was set back it would be young for ever.
                let lost = pending.tell_counted(None);
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        pending
    }
}

/// What the thread takes at once.
#[derive(Default)]
struct Batch {
    dropped: u64,
    settings: Option<(usize, Option<Settings>)>,
    flush: Option<u64>,
    over: bool,
}

struct Writer {
    shared: Arc<Shared>,
    settings: Option<Settings>,
    file: Option<LogFile>,
    given_up: Option<Instant>,
    /// Whether it was told that lines are lost.
    warned: bool,
    /// Lost lines that the file does not know of yet.
    unnoted: u64,
}

impl Writer {
    fn run(mut self) {
        self.open();
        let mut lines = Vec::new();
        loop {
            let batch = self.take(&mut lines);
            self.note_dropped(batch.dropped);
            let place = batch.settings.as_ref().map_or(lines.len(), |(place, _)| *place);
            let (before, after) = lines.split_at_checked(place).unwrap_or((&lines, &[]));
            self.write(before);
            if let Some((_, settings)) = batch.settings {
                self.settings = settings;
                self.file = None;
                self.given_up = None;
                self.open();
                self.write(after);
            }
            if let Some(flush) = batch.flush {
                if let Some(file) = &self.file {
                    // A disk that does not take it has said so when it was written to.
                    drop(file.sync());
                }
                self.shared.pending().flushes_done = flush;
                self.shared.done.notify_all();
            }
            if batch.over {
                return;
            }
        }
    }

    /// Waits until there is something, lets it gather, and takes it.
    fn take(&self, lines: &mut Vec<u8>) -> Batch {
        lines.clear();
        // After a burst its memory goes back; not after each batch, which would have to get it anew.
        if lines.capacity() > 4 * MANY {
            lines.shrink_to(MANY);
        }
        let shared = &self.shared;
        let (mut pending, _) = shared
            .something
            .wait_timeout_while(shared.something_to_do(), PACE, |pending| !pending.is_urgent())
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut pending.lines, lines);
        Batch {
            dropped: mem::take(&mut pending.dropped),
            settings: pending.settings.take(),
            flush: (pending.flushes_asked != pending.flushes_done).then_some(pending.flushes_asked),
            over: pending.over,
        }
    }

    fn note_dropped(&mut self, dropped: u64) {
        self.unnoted += dropped;
        if dropped > 0 {
            self.tell("they came faster than they could be written");
        }
    }

    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() || self.settings.is_none() {
            return;
        }
        match self.try_write(lines) {
            Ok(()) => {
                if mem::take(&mut self.warned) {
                    tracing::info!("decisions are written down again");
                }
            }
            Err(error) => {
                self.file = None;
                let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                let lost = u64::try_from(lost).unwrap_or(u64::MAX);
                self.unnoted += lost;
                self.shared.lost.fetch_add(lost, Ordering::Relaxed);
                self.tell(&error.to_string());
            }
        }
    }

    fn try_write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.file.as_ref().is_some_and(|file| !file.is_still_there()) {
            self.file = None;
        }
        if self.file.is_none() {
            self.open();
        }
        let most = self
            .settings
            .as_ref()
            .map_or(u64::MAX, |settings| settings.max_size);
        let Some(file) = self.file.take() else {
            return Err(std::io::Error::other("the file cannot be opened"));
        };
        let mut file = if file.is_full(lines.len(), most) {
            file.rotate()?
        } else {
            file
        };
        if self.unnoted > 0 {
            let now = self.shared.clock.now();
            let lost = self.unnoted;
            file.write(format!("{{\"time\":\"{now}\",\"outcome\":\"lost\",\"lost\":{lost}}}\n").as_bytes())?;
            self.unnoted = 0;
        }
        file.write(lines)?;
        self.file = Some(file);
        Ok(())
    }

    fn open(&mut self) {
        let Some(settings) = &self.settings else { return };
        if self.given_up.is_some_and(|since| since.elapsed() < PAUSE) {
            return;
        }
        self.given_up = None;
        match LogFile::open(&settings.path) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                self.given_up = Some(Instant::now());
                self.tell(&error.to_string());
            }
        }
    }

    /// Once, until lines can be written again.
    fn tell(&mut self, cause: &str) {
        if !mem::replace(&mut self.warned, true) {
            tracing::warn!(
                cause,
                "decisions are not written down for now; nothing else is affected"
            );
        }
    }
}
