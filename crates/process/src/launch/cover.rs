//! A view of the files of its own: what is hidden is covered, so that the folders above it can be listed.
//!
//! Landlock knows no "this folder without what is below": with it alone nothing above a hidden folder can be listed,
//! and a command whose working directory holds our data folder would not find its own modules. In a mount namespace the
//! hidden folder is an empty one, so listing tells nothing. That is all the cover is trusted with: a file that is
//! replaced, or a folder that is renamed, loses its cover in every namespace but one's own (rename(2)), and then
//! Landlock still keeps what is in it from being opened.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};

use super::LaunchError;
use super::visible::Visible;

/// Nothing needs room in a folder that covers another: it holds the ways to the child's own folders.
const EMPTY: &std::ffi::CStr = c"size=64k,mode=0700";

/// Covers what is hidden, and shows the child's own folders at their places.
///
/// # Errors
/// [`LaunchError::NotCovered`]: the system does not let us. What was begun cannot be undone in this process.
pub(super) fn cover(visible: &Visible) -> Result<(), LaunchError> {
    enter().map_err(not_covered)?;
    // From here on nothing of it reaches the namespace that we come from.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(not_covered)?;
    let mut own = Vec::new();
    for folder in visible.own() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(CWD, folder, flags, Mode::empty()).map_err(not_covered)?;
        own.push((folder.as_path(), handle));
    }
    for hidden in visible.hidden() {
        cover_one(hidden, &own).map_err(not_covered)?;
    }
    Ok(())
}

fn not_covered(error: impl Into<std::io::Error>) -> LaunchError {
    LaunchError::NotCovered {
        why: error.into().to_string(),
    }
}

/// Enters a mount namespace: with the right to it, else by way of a user namespace in which we are who we are.
fn enter() -> std::io::Result<()> {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        return Ok(());
    }
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

fn cover_one(hidden: &Path, own: &[(&Path, OwnedFd)]) -> std::io::Result<()> {
    match fs::metadata(hidden) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(mount_bind("/dev/null", hidden)?),
        // What does not exist yet is not there to be covered: Landlock's rules leave it out.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", hidden, "tmpfs", flags, EMPTY)?;
    for (folder, handle) in own.iter().filter(|(folder, _)| folder.starts_with(hidden)) {
        fs::create_dir_all(folder)?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        mount_bind(&source, *folder)?;
    }
    let fixed = flags | MountFlags::BIND | MountFlags::RDONLY;
    Ok(mount_remount(hidden, fixed, c"")?)
}
