//! A mark that a child and all that it starts bear, wherever in the tree of processes they move: the limit on their
//! real-time CPU time. It is inherited, who is not privileged cannot raise it, we keep the child from lowering it, and
//! everybody can read it. Nobody feels it: it is 36,000 years and a little.

use std::collections::BTreeSet;
use std::fs;

#[cfg(target_os = "linux")]
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

#[cfg(target_os = "linux")]
use crate::family::Seen;

/// Microseconds. On top of it comes the process id of the child.
const BASE: u64 = 1 << 60;

/// The mark of the child with this process id.
pub(crate) fn of(child: u32) -> u64 {
    BASE | u64::from(child)
}

/// Which child's mark a process bears.
pub(crate) fn borne_by(pid: i32) -> Option<i32> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    let mark: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let child = mark.checked_sub(BASE)?;
    child.try_into().ok()
}

/// How often in a row nothing may be found before nothing is left: who moves from one process to the next can be
/// missed.
const CLEAN: u32 = 3;
/// More rounds are not tried.
const ROUNDS: u32 = 300;

/// Kills every process that bears the mark of one of these children. Blocks while it looks.
pub(crate) fn kill(children: &BTreeSet<i32>) {
    let mut clean = 0;
    for _ in 0..ROUNDS {
        clean = if kill_once(children) { 0 } else { clean + 1 };
        if clean == CLEAN {
            break;
        }
    }
}

/// Each as soon as it is found, the youngest first: they are the ones that do not stay. Tells whether there were any.
fn kill_once(children: &BTreeSet<i32>) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let mut pids: Vec<i32> = entries.flatten().filter_map(pid).collect();
    pids.sort_unstable();
    let killed = pids.into_iter().rev().filter(|pid| kill_one(*pid, children));
    killed.count() > 0
}

#[cfg(not(target_os = "linux"))]
fn kill_one(_: i32, _: &BTreeSet<i32>) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn kill_one(pid: i32, children: &BTreeSet<i32>) -> bool {
    let marked = || borne_by(pid).is_some_and(|child| children.contains(&child));
    if !marked() {
        return false;
    }
    let Some(handle) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    // It may be another process by now; a handle stays with one.
    let alive = || Seen::read(pid).is_some_and(|seen| !seen.zombie);
    marked() && alive() && pidfd_send_signal(handle, Signal::KILL).is_ok()
}
