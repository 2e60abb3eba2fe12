//! Files that nobody else may read, made so that they are there completely or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use doorward_types::secret::Secret;
use rustix::fs::{FlockOperation, flock};

use super::DataFolderError;

/// A key file is 44 bytes; what is longer is something else and not read to its end.
const LONGEST_KEY_FILE: u64 = 4096;

type Done<T = ()> = Result<T, DataFolderError>;

fn at<T>(path: &Path, result: std::io::Result<T>) -> Done<T> {
    result.map_err(|why| DataFolderError::Inaccessible {
        path: path.into(),
        why,
    })
}

/// Makes the folder and those above it, for this user only. One that is there is left as it is.
pub(super) fn make_folder(path: &Path) -> Done {
    if !is_absent(path)? {
        return Ok(());
    }
    at(path, DirBuilder::new().recursive(true).mode(0o700).create(path))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

/// Whether nothing has this name; refuses what is not a folder.
pub(super) fn is_absent(path: &Path) -> Done<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(false),
        Ok(_) => Err(DataFolderError::NotAFolder(path.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(DataFolderError::NotAFolder(path.into()))
        }
        Err(why) => Err(DataFolderError::Inaccessible {
            path: path.into(),
            why,
        }),
    }
}

/// Keeps other processes from making the same folder at the same time; ends when dropped, or when the
/// process does.
pub(super) fn lock(folder: &Path) -> Done<File> {
    let handle = at(folder, File::open(folder))?;
    at(
        folder,
        flock(&handle, FlockOperation::LockExclusive).map_err(Into::into),
    )?;
    Ok(handle)
}

/// Whether there is a file (a link to one counts: secrets are often mounted that way).
pub(super) fn is_file(path: &Path) -> Done<bool> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(why) => Err(DataFolderError::Inaccessible {
            path: path.into(),
            why,
        }),
    }
}

/// Writes a file that was not there, readable by this user only, down to the disk.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Done {
    let mut file = at(
        path,
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path),
    )?;
    at(path, file.write_all(content))?;
    at(path, file.sync_all())
}

/// Brings a file's content, or a folder's names, down to the disk.
pub(super) fn sync(path: &Path) -> Done {
    at(path, File::open(path).and_then(|file| file.sync_all()))
}

/// Gives a file its final name, durably.
pub(super) fn rename(folder: &Path, from: &str, to: &str) -> Done {
    at(folder, std::fs::rename(folder.join(from), folder.join(to)))?;
    sync(folder)
}

/// Removes what an interrupted creation left under one of `names`, and what SQLite put beside it.
pub(super) fn remove_left_overs(folder: &Path, names: &[&str]) -> Done {
    for name in names {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            match std::fs::remove_file(folder.join(format!("{name}{suffix}"))) {
                Err(why) if why.kind() != ErrorKind::NotFound => {
                    return Err(DataFolderError::Inaccessible {
                        path: folder.into(),
                        why,
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Refuses a file that its group or others may read, write or run.
pub(super) fn refuse_open_to_others(path: &Path) -> Done {
    refuse_mode(path, 0o077)
}

/// Refuses a folder in which its group or others may put files in the place of ours.
pub(super) fn refuse_writable_by_others(folder: &Path) -> Done {
    refuse_mode(folder, 0o022)
}

fn refuse_mode(path: &Path, refused: u32) -> Done {
    let mode = at(path, std::fs::metadata(path))?.permissions().mode() & 0o777;
    if mode & refused == 0 {
        Ok(())
    } else {
        Err(DataFolderError::TooOpen {
            path: path.into(),
            mode,
        })
    }
}

/// Reads a short text.
pub(super) fn read(path: &Path) -> Done<Secret> {
    let mut text = String::new();
    let file = at(path, File::open(path))?;
    match file.take(LONGEST_KEY_FILE).read_to_string(&mut text) {
        Ok(_) => Ok(Secret::new(text)),
        // Not a text: let the parser say that it is not a key.
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(Secret::new("")),
        Err(why) => Err(DataFolderError::Inaccessible {
            path: path.into(),
            why,
        }),
    }
}
