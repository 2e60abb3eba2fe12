//! What processes used, as the kernel counts it.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

/// A process and its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree(pub(crate) u32);

impl Tree {
    /// User and system time of all of them so far, in µs.
    pub(crate) fn cpu(self) -> Result<f64> {
        let ticks: u64 = self.members()?.iter().map(|&pid| ticks(pid)).sum();
        Ok(ticks as f64 * 1e6 / ticks_per_second()?)
    }

    /// Memory of all of them, in MiB.
    pub(crate) fn resident(self) -> Result<f64> {
        let kib: u64 = self.members()?.iter().map(|&pid| resident(pid)).sum();
        Ok(kib as f64 / 1024.0)
    }

    /// The same with every page that is shared counted in parts, in MiB.
    pub(crate) fn proportional(self) -> Result<f64> {
        let kib: u64 = self.members()?.iter().map(|&pid| proportional(pid)).sum();
        Ok(kib as f64 / 1024.0)
    }

    fn members(self) -> Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").context("/proc cannot be read")? {
            let name = entry?.file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok())
                && let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok())
            {
                parents.push((pid, parent));
            }
        }
        let mut members = vec![self.0];
        let mut next = 0;
        while let Some(&member) = members.get(next) {
            members.extend(
                parents
                    .iter()
                    .filter(|&&(_, parent)| parent == member)
                    .map(|&(pid, _)| pid),
            );
            next += 1;
        }
        Ok(members)
    }
}

/// One process without its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Its memory, in MiB.
    pub(crate) fn resident(self) -> f64 {
        resident(self.0) as f64 / 1024.0
    }

    /// The same with every page that is shared counted in parts, in MiB.
    pub(crate) fn proportional(self) -> f64 {
        proportional(self.0) as f64 / 1024.0
    }

    /// What of it is no file, in MiB.
    pub(crate) fn anonymous(self) -> f64 {
        kib(&format!("/proc/{}/status", self.0), "RssAnon:") as f64 / 1024.0
    }
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn ticks(pid: u32) -> u64 {
    // utime and stime: fields 14 and 15 of the whole line (proc(5)).
    let fields = stat(pid).unwrap_or_default();
    let field = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    field(11) + field(12)
}

fn resident(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn proportional(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn kib(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn ticks_per_second() -> Result<f64> {
    let output = Command::new("getconf")
        .arg("CLK_TCK")
        .output()
        .context("getconf cannot be run")?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .context("getconf CLK_TCK gives a number")
}

/// The processor, and what the folder for data is on.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let disk = Command::new("df")
        .args(["--output=fstype"])
        .arg(std::env::temp_dir())
        .output();
    let disk = disk.map(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .last()
            .unwrap_or("?")
            .to_owned()
    });
    format!(
        "{}; data on {}",
        model.map_or("unknown processor", |(_, name)| name),
        disk.unwrap_or_default()
    )
}
