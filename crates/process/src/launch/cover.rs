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

/// What the child has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered {
    /// Terminals.
    pub(super) terminals: bool,
}

/// Covers what is hidden, and shows the child's own folders at their places. Shared memory (of `memory` bytes at most),
/// System V's too, and terminals are the child's own.
///
/// # Errors
/// [`LaunchError::NotCovered`]: the system does not let us. What was begun cannot be undone in this process.
pub(super) fn cover(visible: &Visible, memory: u64) -> Result<Covered, LaunchError> {
    let user = enter().map_err(not_covered)?;
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
    share_no_memory(visible, memory).map_err(not_covered)?;
    let terminals = own_terminals();
    if let Some(user) = user {
        user.become_oneself().map_err(not_covered)?;
    }
    Ok(Covered { terminals })
}

/// Files in memory of other users' children, which outlive them and count for nobody.
fn share_no_memory(visible: &Visible, memory: u64) -> std::io::Result<()> {
    let shared = Path::new("/dev/shm");
    let used = |path: &PathBuf| path.starts_with(shared);
    let here = std::env::current_dir().unwrap_or_default();
    if !shared.is_dir() || used(&here) || visible.own().iter().chain(visible.hidden()).any(used) {
        return Ok(());
    }
    let options = std::ffi::CString::new(format!("size={memory},mode=1777"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("tmpfs", shared, "tmpfs", flags, &*options)?)
}

fn own_terminals() -> bool {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(
        "devpts",
        "/dev/pts",
        "devpts",
        flags,
        c"newinstance,ptmxmode=0666,mode=0600",
    )
    .is_ok()
}

fn not_covered(error: impl Into<std::io::Error>) -> LaunchError {
    LaunchError::NotCovered {
        why: error.into().to_string(),
    }
}

/// Who we are outside of a user namespace.
struct User {
    user: u32,
    group: u32,
}

impl User {
    /// In one more user namespace we are again who we were.
    fn become_oneself(&self) -> std::io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        fs::write("/proc/self/uid_map", format!("{} 0 1", self.user))?;
        fs::write("/proc/self/gid_map", format!("{} 0 1", self.group))
    }
}

/// Enters a mount namespace: with the right to it, else by way of a user namespace in which we are root, as mounting
/// terminals demands. What System V's calls share is empty there.
fn enter() -> std::io::Result<Option<User>> {
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    if unshare(namespaces).is_ok() {
        return Ok(None);
    }
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER | namespaces)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(Some(User { user, group }))
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
