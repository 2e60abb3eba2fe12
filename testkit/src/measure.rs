//! What a process costs over time, as Linux tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("resident memory") * 1024
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

/// Watches how much memory a process takes, from now on.
#[derive(Debug)]
pub struct Memory {
    before: u64,
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Memory {
    /// Begins.
    #[must_use]
    pub fn watch(pid: u32) -> Self {
        let before = resident(pid);
        let (most, stop) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (Arc::clone(&most), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed)
                && std::fs::exists(format!("/proc/{pid}/status")).is_ok_and(|is| is)
            {
                seen.fetch_max(resident(pid), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Self { before, most, stop }
    }

    /// The most so far, in bytes.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// The most so far beyond what it took at the beginning, in bytes.
    #[must_use]
    pub fn growth(&self) -> u64 {
        self.most() - self.before
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
