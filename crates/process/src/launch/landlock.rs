//! The rule set: everything but what is hidden.
//!
//! Landlock knows only what is allowed, and a right on a folder holds for everything below. So nothing is allowed on the
//! ancestors of a hidden folder but to list them, if that is covered (passing through them needs no right), and what lies
//! beside the way to it is allowed entry by entry. Symbolic links are left out: their targets have rules of their own, or none.

use std::fs::DirEntry;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::LaunchError;
use super::cover::Covered;
use super::visible::{Visible, canonical};

/// The newest rights we ask for; the kernel leaves out what it does not know.
const NEWEST: ABI = ABI::V9;
/// Of `/dev`, what programs need and nothing that is memory, a disk or another's input device.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "shm"];
/// Of `/dev`, if they are the child's own. Who may open our user's terminals reads what is typed there.
const TERMINALS: [&str; 2] = ["ptmx", "pts"];

/// What is missing for Landlock here. None: nothing.
pub(super) fn missing() -> Option<String> {
    let needed = "Linux 5.13 or newer with `landlock` among its active security modules is needed, and a container \
                  runtime that lets it through";
    ruleset()
        .err()
        .map(|_| format!("the kernel offers no Landlock ({needed})"))
}

/// Restricts this thread, and all that it starts, to what is visible. `covered`: what is hidden and existed is covered
/// by a mount.
///
/// # Errors
/// [`LaunchError::Landlock`], [`LaunchError::Own`].
pub(super) fn restrict(
    visible: &Visible,
    program: &Path,
    covered: Option<Covered>,
) -> Result<(), LaunchError> {
    let mut rules = Rules {
        ruleset: Some(ruleset().map_err(|error| failed(&error))?),
        visible,
        covered,
    };
    rules.expand(Path::new("/"))?;
    rules.list(Path::new("/"))?;
    for own in visible.own() {
        rules.allow(own, ordinary())?;
    }
    // Where a folder on the way cannot be listed, these would be missed.
    rules.visit(&canonical(program))?;
    if let Ok(directory) = std::env::current_dir() {
        rules.visit(&canonical(&directory))?;
    }
    let enforced = rules.ruleset.take().map(RulesetCreated::restrict_self);
    match enforced.transpose().map_err(|error| failed(&error))? {
        Some(status) if status.ruleset != landlock::RulesetStatus::NotEnforced => Ok(()),
        _ => Err(LaunchError::Landlock {
            why: "the kernel did not enforce the rules".to_owned(),
        }),
    }
}

fn failed(error: &RulesetError) -> LaunchError {
    LaunchError::Landlock {
        why: format!("Landlock says: {error}"),
    }
}

/// Files are a must; signals and abstract sockets are scoped from Linux 6.12 on.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

/// All that a program does with files. Nobody needs to make devices.
fn ordinary() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// As root, a file of the kernel's that may be written is a way out (`core_pattern`).
fn of_the_kernel() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

struct Rules<'a> {
    /// Taken while a rule is added.
    ruleset: Option<RulesetCreated>,
    visible: &'a Visible,
    /// If what is hidden is not there, what lies above it may be listed.
    covered: Option<Covered>,
}

impl Rules<'_> {
    /// Allows the entries of a folder that is itself not allowed.
    fn expand(&mut self, folder: &Path) -> Result<(), LaunchError> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(not_a_link) {
            self.visit(&entry.path())?;
        }
        Ok(())
    }

    /// Allows to list a folder above a hidden one, and all below.
    fn list(&mut self, folder: &Path) -> Result<(), LaunchError> {
        if self.covered.is_some() {
            self.allow(folder, AccessFs::ReadDir.into())?;
        }
        Ok(())
    }

    /// Allows what is at a canonical path and below, except for what is hidden.
    fn visit(&mut self, path: &Path) -> Result<(), LaunchError> {
        if self.visible.hidden_by(path).is_some() || path == Path::new("/") {
            return Ok(());
        }
        if path == Path::new("/dev") {
            let own = self.covered.is_some_and(|covered| covered.terminals);
            let terminals = TERMINALS.iter().filter(|_| own);
            return (DEVICES.iter().chain(terminals)).try_for_each(|device| self.visit(&path.join(device)));
        }
        if self.visible.hides_below(path) {
            self.list(path)?;
            return self.expand(path);
        }
        if path.starts_with("/proc") || path.starts_with("/sys") {
            return self.allow(path, of_the_kernel());
        }
        self.allow(path, ordinary())
    }

    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), LaunchError> {
        // What has just been replaced by a link must not lead to something hidden.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(handle) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else {
            // It is gone, or we cannot reach it: then the child cannot either.
            return Ok(());
        };
        // Nor must a folder on the way to it.
        if std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd()))
            .ok()
            .as_deref()
            != Some(path)
        {
            return Ok(());
        }
        let kind = rustix::fs::fstat(&handle).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let access = match kind {
            Ok(FileType::Directory) => access,
            Ok(FileType::Symlink) | Err(_) => return Ok(()),
            Ok(_) => access & AccessFs::from_file(NEWEST),
        };
        let added = self
            .ruleset
            .take()
            .map(|ruleset| ruleset.add_rule(PathBeneath::new(handle, access)));
        self.ruleset = added.transpose().map_err(|error| failed(&error))?;
        Ok(())
    }
}

fn not_a_link(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| !kind.is_symlink())
}
