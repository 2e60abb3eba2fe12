//! Which processes belong to a child: those of its session, and what they started.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// One process, from `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    parent: i32,
    session: i32,
    /// Ended and not yet waited for.
    pub(crate) zombie: bool,
    /// When it started, in ticks since the machine did: tells it from a later one with the same id.
    start: u64,
    /// Resident memory, in pages.
    pages: u64,
}

impl Seen {
    pub(crate) fn bytes(&self) -> u64 {
        self.pages.saturating_mul(rustix::param::page_size() as u64)
    }

    /// The fields of proc_pid_stat(5). The second one is the name, in parentheses, with anything inside.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (_name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: number(1)?.try_into().ok()?,
            session: number(3)?.try_into().ok()?,
            start: number(19)?,
            pages: number(21)?,
        })
    }

    fn read(pid: i32) -> Option<Self> {
        // The name may be any bytes.
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&stat))
    }

    /// Signals this very process, and not one that got its id meanwhile.
    fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        #[cfg(target_os = "linux")]
        if let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            if Self::read(self.pid).is_some_and(|now| now.start == self.start) {
                let _: rustix::io::Result<()> = rustix::process::pidfd_send_signal(handle, signal);
            }
            return;
        }
        let _: rustix::io::Result<()> = rustix::process::kill_process(pid, signal);
    }
}

/// All processes of the machine at one moment. Empty where there is no `/proc`.
pub(crate) type Look = Vec<Seen>;

fn look() -> Look {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.flatten().filter_map(pid).filter_map(Seen::read).collect()
}

/// Looks at all processes, shared by all children: many of them cost no more than one.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    last: Mutex<Option<(Instant, Arc<Look>)>>,
}

impl Looks {
    /// A look no older than `age`.
    pub(crate) async fn recent(&self, age: Duration) -> Arc<Look> {
        let mut last = self.last.lock().await;
        if let Some((at, look)) = &*last
            && at.elapsed() < age
        {
            return Arc::clone(look);
        }
        let at = Instant::now();
        let look = Arc::new(tokio::task::spawn_blocking(look).await.unwrap_or_default());
        *last = Some((at, Arc::clone(&look)));
        look
    }
}

/// The processes of one child.
#[derive(Debug)]
pub(crate) struct Family {
    leader: Pid,
    /// Seen in earlier looks: they stay in the family when they leave the session and their parent ends.
    known: HashMap<i32, u64>,
}

impl Family {
    /// `leader`: the child itself, leader of its session and process group, not yet waited for.
    pub(crate) fn new(leader: Pid) -> Self {
        Self {
            leader,
            known: HashMap::new(),
        }
    }

    /// The members, the leader among them. Ended ones that nobody else waits for are waited for on the way.
    pub(crate) fn members(&mut self, look: &Look) -> Vec<Seen> {
        let leader = self.leader.as_raw_nonzero().get();
        let known = |seen: &Seen| self.known.get(&seen.pid) == Some(&seen.start);
        let mut members: HashSet<i32> = (look.iter())
            .filter(|seen| seen.session == leader || known(seen))
            .map(|seen| seen.pid)
            .collect();
        loop {
            let before = members.len();
            let started: Vec<i32> = (look.iter())
                .filter(|seen| members.contains(&seen.parent))
                .map(|seen| seen.pid)
                .collect();
            members.extend(started);
            if members.len() == before {
                break;
            }
        }
        let members: Vec<Seen> = look
            .iter()
            .filter(|seen| members.contains(&seen.pid))
            .copied()
            .collect();
        self.known = members.iter().map(|seen| (seen.pid, seen.start)).collect();
        members.iter().for_each(|seen| self.bury(seen));
        members
    }

    /// Orphans come to us where we are the first process (in a container): nobody else would wait for them.
    fn bury(&self, seen: &Seen) {
        let ours = i64::from(seen.parent) == i64::from(std::process::id());
        let pid = Pid::from_raw(seen.pid).filter(|pid| *pid != self.leader);
        if let (true, true, Some(pid)) = (seen.zombie, ours, pid) {
            let at_once = rustix::process::WaitOptions::NOHANG;
            let _: rustix::io::Result<_> = rustix::process::waitpid(Some(pid), at_once);
        }
    }

    /// Signals all of them.
    pub(crate) fn signal(&self, members: &[Seen], signal: Signal) {
        // The group at once first: a fork bomb must not outrun the list.
        let _: rustix::io::Result<()> = rustix::process::kill_process_group(self.leader, signal);
        let others = members
            .iter()
            .filter(|seen| !seen.zombie && Pid::from_raw(seen.pid) != Some(self.leader));
        others.for_each(|seen| seen.signal(signal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32, session: i32) -> Seen {
        Seen {
            pid,
            parent,
            session,
            zombie: false,
            start: 1,
            pages: 1,
        }
    }

    fn pids(members: &[Seen]) -> Vec<i32> {
        members.iter().map(|seen| seen.pid).collect()
    }

    #[test]
    fn stat_lines_with_names_that_look_like_fields() {
        let line =
            "42 (a) Z 1 1 (b) S 7 42 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 12345 1000000 77 18446 1\n";
        let parsed = Seen::parse(line).unwrap();
        assert_eq!((parsed.pid, parsed.parent, parsed.session), (42, 7, 40));
        assert_eq!((parsed.start, parsed.pages, parsed.zombie), (12345, 77, false));
        assert_eq!(Seen::parse("42 (a) S 7 42"), None);
        assert_eq!(Seen::parse(""), None);
    }

    #[test]
    fn a_family_is_a_session_and_what_it_started() {
        let mut family = Family::new(Pid::from_raw(10).unwrap());
        let look = vec![
            seen(1, 0, 1),
            seen(10, 1, 10),
            seen(11, 10, 10),
            seen(12, 1, 10),
            seen(20, 1, 20),
            // Has left the session, and has a child.
            seen(30, 11, 30),
            seen(31, 30, 30),
        ];
        assert_eq!(pids(&family.members(&look)), [10, 11, 12, 30, 31]);
        // Its parent has ended: we remember it. Not so a later process with the id of one that has ended.
        let later = vec![
            seen(1, 0, 1),
            Seen {
                start: 9,
                ..seen(31, 1, 31)
            },
            seen(30, 1, 30),
        ];
        assert_eq!(pids(&family.members(&later)), [30]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn we_see_ourselves() {
        let own = i32::try_from(std::process::id()).unwrap();
        let look = look();
        let ourselves = look.iter().find(|seen| seen.pid == own).unwrap();
        assert!(ourselves.bytes() > 100_000 && !ourselves.zombie, "{ourselves:?}");
    }
}
