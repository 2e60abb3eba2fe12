//! Files that nobody else may read, made so that they are there completely or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
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

/// Gives a finished file its name; refuses if something has it.
pub(super) fn name_new(from: &Path, to: &Path) -> Done {
    at(to, std::fs::hard_link(from, to))?;
    at(from, std::fs::remove_file(from))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

/// Copies a file to one that was not there, readable by this user only.
pub(super) fn copy_new(from: &Path, to: &Path) -> Done {
    let mut source = at(from, File::open(from))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut target = at(to, options.open(to))?;
    at(to, std::io::copy(&mut source, &mut target))?;
    at(to, target.sync_all())
}

/// Gives the files `names` of a folder, and what SQLite put beside them, a second name in a new folder inside it.
pub(super) fn keep_aside(folder: &Path, names: &[&str], now: UnixTime) -> Done<PathBuf> {
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
    let aside = folder.join(format!("before-restore-{stamp}"));
    at(&aside, DirBuilder::new().mode(0o700).create(&aside))?;
    for name in names {
        for suffix in ["", "-journal", "-wal"] {
            let name = format!("{name}{suffix}");
            match std::fs::hard_link(folder.join(&name), aside.join(&name)) {
                Err(why) if why.kind() != ErrorKind::NotFound => {
                    copy_new(&folder.join(&name), &aside.join(&name))?;
                }
                _ => {}
            }
        }
    }
    sync(&aside)?;
    sync(folder)?;
    Ok(aside)
}

/// Removes what SQLite put beside a database.
pub(super) fn remove_log(database: &Path) -> Done {
    ["-journal", "-wal", "-shm"]
        .iter()
        .try_for_each(|suffix| remove_with(database, suffix))
}

/// Removes a database with what SQLite put beside it; there may be none.
pub(super) fn remove_with_log(database: &Path) -> Done {
    remove_with(database, "")?;
    remove_log(database)
}

fn remove_with(path: &Path, suffix: &str) -> Done {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    match std::fs::remove_file(&name) {
        Err(why) if why.kind() != ErrorKind::NotFound => Err(DataFolderError::Inaccessible {
            path: name.into(),
            why,
        }),
        _ => Ok(()),
    }
}

/// Removes what an interrupted creation left under one of `names`, and what SQLite put beside it.
pub(super) fn remove_left_overs(folder: &Path, names: &[&str]) -> Done {
    for name in names {
        remove_with_log(&folder.join(name))?;
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
