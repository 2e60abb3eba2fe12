//! A small disk that only some processes see: a file system in memory, in a mount namespace of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The disk. It goes away with this value, or with the test process.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// Keeps the namespace.
    holder: Child,
    /// Held open: its end is what the holder waits for.
    _leash: ChildStdin,
}

impl Disk {
    /// Makes `folder` and mounts a disk with so many KiB there.
    ///
    /// # Panics
    /// When this machine lets its users make no namespaces.
    pub(crate) fn mount(folder: &Path, kib: u32) -> Self {
        std::fs::create_dir(folder).expect("a folder");
        let script = "mount -t tmpfs -o \"size=$1k,mode=0700\" tmpfs \"$0\" && echo mounted && read -r never";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", script])
            .arg(folder)
            .arg(kib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be run");
        let leash = holder.stdin.take().expect("stdin was asked for");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("stdout was asked for"))
            .read_line(&mut line)
            .expect("the holder speaks");
        assert_eq!(
            line, "mounted\n",
            "this machine lets its users mount a file system in a namespace of their own (`unshare --user --mount`)"
        );
        Self {
            folder: folder.into(),
            holder,
            _leash: leash,
        }
    }

    /// The command as one that sees the disk.
    pub(crate) fn within(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--target", &self.holder.id().to_string()])
            .args(["--user", "--mount", "--preserve-credentials", "--"])
            .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
            .arg(command.get_current_dir().unwrap_or(Path::new("/")))
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        inside
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).expect("a file on the disk");
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Takes it away.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.seen(&self.folder.join("ballast"))
    }

    /// A path on the disk, from outside the namespace.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
