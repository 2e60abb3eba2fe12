//! The file of decisions: whole lines, of bounded size, readable by its owner alone.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Older files that are kept beside the one that is written.
const KEPT: u32 = 2;
/// How far from its end a file is searched for its last whole line. No line is longer.
const TAIL: u64 = 64 * 1024;

/// The open file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    inode: u64,
    size: u64,
}

impl LogFile {
    /// Opens it to go on at its end, or makes it (0600). The beginning of a line that a killed process could not
    /// finish is cut off. What somebody else may have put there is not touched: a link, a file that another process
    /// writes. One that others may read becomes private, if it is ours.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            return Err(io::Error::other("it is a link"));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process writes it"),
            TryLockError::Error(error) => error,
        })?;
        if found.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        let size = last_whole_line(&mut file, found.len())?;
        if size < found.len() {
            file.set_len(size)?;
        }
        Ok(Self {
            path: path.into(),
            file,
            inode: found.ino(),
            size,
        })
    }

    /// Whether the name still leads to the open file: somebody may move it away.
    pub(super) fn is_still_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// Adds whole lines, or nothing.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                Ok(())
            }
            Err(error) => {
                // What was written of them is no whole line, perhaps.
                self.file.set_len(self.size)?;
                Err(error)
            }
        }
    }

    /// Whether `more` bytes would make it larger than `most`. An empty file takes any.
    pub(super) fn is_full(&self, more: usize, most: u64) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.size > 0 && self.size.saturating_add(more) > most
    }

    /// Waits until the system says that it is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Puts it aside as the newest of the older ones, drops the oldest, and begins a new one.
    pub(super) fn rotate(self) -> io::Result<Self> {
        self.sync()?;
        for number in (1..KEPT).rev() {
            rename(&aside(&self.path, number), &aside(&self.path, number + 1))?;
        }
        rename(&self.path, &aside(&self.path, 1))?;
        Self::open(&self.path)
    }
}

/// `decisions.jsonl` becomes `decisions.jsonl.1`.
fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the last whole line of a file of `size` bytes ends.
fn last_whole_line(file: &mut File, size: u64) -> io::Result<u64> {
    let from = size.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    Ok(end.map_or(from, |end| from + u64::try_from(end).unwrap_or(0)))
}
