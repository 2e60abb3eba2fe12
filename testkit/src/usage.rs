//! What a process holds: memory and descriptors, as Linux counts them.

use std::path::PathBuf;

/// The holdings of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is really there, in KiB.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Of process `pid`.
    ///
    /// # Panics
    /// When there is no such process, or no `/proc`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let status = std::fs::read_to_string(folder.join("status")).expect("a process, and /proc");
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let digits = line.and_then(|rest| rest.split_whitespace().next());
            digits
                .and_then(|digits| digits.parse().ok())
                .expect("a number in /proc")
        };
        Self {
            resident: number("VmRSS:"),
            descriptors: std::fs::read_dir(folder.join("fd"))
                .expect("a process of ours")
                .count(),
            threads: number("Threads:"),
        }
    }
}
