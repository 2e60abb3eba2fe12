//! Which processes belong to a child: those with its mark, those of its session, and what they started.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::mark;

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
    /// The child whose mark it bears.
    child: Option<i32>,
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
            child: None,
        })
    }

    pub(crate) fn read(pid: i32) -> Option<Self> {
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

/// `last`: a process bears its mark from birth on, so those known from the last look need not be asked again.
fn look(last: &Look) -> Look {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let last: HashMap<i32, &Seen> = last.iter().map(|seen| (seen.pid, seen)).collect();
    let seen = |entry: std::fs::DirEntry| {
        let mut seen = Seen::read(entry.file_name().to_str()?.parse().ok()?)?;
        let known = last.get(&seen.pid).filter(|known| known.start == seen.start);
        seen.child = known.map_or_else(|| mark::borne_by(seen.pid), |known| known.child);
        Some(seen)
    };
    entries.flatten().filter_map(seen).collect()
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
        let before = last
            .as_ref()
            .map(|(_, look)| Arc::clone(look))
            .unwrap_or_default();
        let looking = tokio::task::spawn_blocking(move || look(&before));
        let look = Arc::new(looking.await.unwrap_or_default());
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
        let ours = |seen: &&Seen| seen.session == leader || seen.child == Some(leader) || known(seen);
        let mut members: HashSet<i32> = look.iter().filter(ours).map(|seen| seen.pid).collect();
        let mut started: HashMap<i32, Vec<i32>> = HashMap::new();
        for seen in look {
            started.entry(seen.parent).or_default().push(seen.pid);
        }
        // Each parent once: a chain of processes may be as long as the machine has ids.
        let mut parents: Vec<i32> = members.iter().copied().collect();
        while let Some(parent) = parents.pop() {
            let new = started.remove(&parent).unwrap_or_default();
            parents.extend(new.into_iter().filter(|pid| members.insert(*pid)));
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
            child: None,
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
            // Left before anybody looked.
            Seen {
                child: Some(10),
                ..seen(40, 1, 40)
            },
            seen(41, 40, 40),
        ];
        assert_eq!(pids(&family.members(&look)), [10, 11, 12, 30, 31, 40, 41]);
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
        let look = look(&Vec::new());
        let ourselves = look.iter().find(|seen| seen.pid == own).unwrap();
        assert!(ourselves.bytes() > 100_000 && !ourselves.zombie, "{ourselves:?}");
    }
}
