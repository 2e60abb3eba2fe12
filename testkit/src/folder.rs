//! Temporary folders that go away with the test process, however it ends.
//!
//! A [`TempDir`] alone stays when its process is killed, and when it stands in a static. All of a process lie in one
//! folder, which a shell that waits for the end of the process takes away.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

/// A folder of the caller's own, whose name begins with `prefix`. It goes away with this value, or with the process.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn folder(prefix: &str) -> TempDir {
    static OF_THIS_PROCESS: LazyLock<OfThisProcess> = LazyLock::new(OfThisProcess::new);
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&OF_THIS_PROCESS.folder)
        .expect("the temporary folder can be written")
}

struct OfThisProcess {
    folder: PathBuf,
    _sweeper: Child,
    /// Held open: its end is what the sweeper waits for.
    _leash: ChildStdin,
}

impl OfThisProcess {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("doorward-tests-")
            .tempdir()
            .expect("the temporary folder can be written")
            .keep();
        // What our servers still write while they are ended may come in between once. It leads its own process group: an
        // interrupt from the keyboard is for the tests alone.
        let script = "read -r never; cd /; rm -rf \"$0\" 2>/dev/null || { sleep 2; rm -rf \"$0\"; }";
        let mut command = Command::new("/bin/sh");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut sweeper = command
            .args(["-c", script])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let leash = sweeper.stdin.take().expect("stdin was asked for");
        Self {
            folder,
            _sweeper: sweeper,
            _leash: leash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn folders_are_new_and_go_away() {
        let (one, other) = (folder("x-"), folder("x-"));
        assert_ne!(one.path(), other.path());
        let path = one.path().to_owned();
        assert!(path.is_dir());
        drop(one);
        assert!(!path.exists());
        assert!(
            other
                .path()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("x-")
        );
    }
}
