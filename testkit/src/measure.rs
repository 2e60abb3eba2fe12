//! What a process costs over time, as Linux tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Resident memory of a process, in bytes: all of it, and that which is its own. The rest are pages of its program, of
/// which the system maps more or fewer as it likes. None if it has ended.
fn resident(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some((bytes("VmRSS:")?, bytes("RssAnon:")?))
}

/// Time that a process has computed, in all its threads.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn computed(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    // USER_HZ is 100 on every Linux.
    Duration::from_millis(ticks * 10)
}

/// The lowest number that no descriptor of a process has.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn lowest_free_descriptor(pid: u32) -> u64 {
    (0..)
        .find(|number| !std::fs::exists(format!("/proc/{pid}/fdinfo/{number}")).expect("a process of ours"))
        .expect("not all are taken")
}

/// Lets a running process have only descriptors with numbers below this.
///
/// # Panics
/// When it is another user's.
pub fn limit_descriptors(pid: u32, below: u64) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let resource = rustix::process::Resource::Nofile;
    let limit = rustix::process::Rlimit {
        current: Some(below),
        maximum: Some(4096),
    };
    rustix::process::prlimit(pid, resource, limit).expect("a process of ours");
}

/// The most so far.
#[derive(Debug, Default)]
struct Seen {
    all: AtomicU64,
    own: AtomicU64,
}

impl Seen {
    /// Whether there still is such a process.
    fn look(&self, pid: u32) -> bool {
        let Some((all, own)) = resident(pid) else {
            return false;
        };
        self.all.fetch_max(all, Ordering::Relaxed);
        self.own.fetch_max(own, Ordering::Relaxed);
        true
    }
}

/// Watches how much memory a process takes, from now on.
#[derive(Debug)]
pub struct Memory {
    pid: u32,
    before: u64,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

impl Memory {
    /// Begins.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn watch(pid: u32) -> Self {
        let (_, before) = resident(pid).expect("a running process");
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        seen.look(pid);
        let (looking, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && looking.look(pid) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Self {
            pid,
            before,
            seen,
            stop,
        }
    }

    /// The most so far, in bytes, with the pages of its program.
    #[must_use]
    pub fn most(&self) -> u64 {
        // Now as well: on a busy machine the watcher may not have had its turn.
        self.seen.look(self.pid);
        self.seen.all.load(Ordering::Relaxed)
    }

    /// The most so far of its own beyond what it took at the beginning, in bytes.
    #[must_use]
    pub fn growth(&self) -> u64 {
        self.seen.look(self.pid);
        self.seen.own.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
