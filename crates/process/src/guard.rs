//! A process of ours that outlives us by a moment. When we are killed, the kernel kills the children that we
//! started (`PR_SET_PDEATHSIG`), but not what those started: a package runner dies, and the server it runs
//! stays. The guard knows the children, notices our end by the end of its input, and kills all that bears
//! their marks.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group, setsid};

use crate::launch::LAUNCH;
use crate::mark;

/// The argument after [`LAUNCH`] that makes our executable the guard.
pub(crate) const GUARD: &str = "--guard";

/// The guard, started with the first child.
#[derive(Debug)]
pub(crate) struct Guard {
    launcher: PathBuf,
    running: Mutex<Option<Child>>,
}

impl Guard {
    pub(crate) fn new(launcher: &Path) -> Self {
        Self {
            launcher: launcher.to_path_buf(),
            running: Mutex::default(),
        }
    }

    /// A child leads this process group.
    ///
    /// # Errors
    /// What the system says of starting the guard.
    pub(crate) fn watch(&self, group: u32) -> std::io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let mut command = Command::new(&self.launcher);
            command.args([LAUNCH, GUARD]).env_clear().current_dir("/");
            let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
            *running = Some(silent.stdin(Stdio::piped()).spawn()?);
        }
        tell(running.as_mut(), '+', group);
        Ok(())
    }

    /// Nothing is left of this process group; its number may become somebody else's.
    pub(crate) fn forget(&self, group: u32) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        tell(running.as_mut(), '-', group);
    }
}

fn tell(guard: Option<&mut Child>, sign: char, group: u32) {
    let input = guard.and_then(|guard| guard.stdin.as_mut());
    if let Some(Err(error)) = input.map(|input| writeln!(input, "{sign}{group}")) {
        tracing::warn!(%error, "nobody would stop what is left of commands if Doorward were killed");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut guard) = running.take() {
            drop(guard.stdin.take());
            // It has nothing to do but to end.
            let _: std::io::Result<std::process::ExitStatus> = guard.wait();
        }
    }
}

/// The guard's life.
pub(crate) fn keep_guard() {
    // What ends us by our terminal or process group must not end it first; and nobody has to look into it.
    let _: rustix::io::Result<Pid> = setsid();
    let _: Result<(), crate::ProcessError> = crate::hide_ourselves();
    let mut groups = BTreeSet::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Some((sign, number)) = line.split_at_checked(1) else {
            continue;
        };
        let Ok(group) = number.parse::<i32>() else {
            continue;
        };
        match sign {
            "+" => groups.insert(group),
            _ => groups.remove(&group),
        };
    }
    for group in groups.iter().copied().filter_map(Pid::from_raw) {
        let _: rustix::io::Result<()> = kill_process_group(group, Signal::KILL);
    }
    // And what has left its group.
    mark::kill(&groups);
}
