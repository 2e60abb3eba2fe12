//! A folder and its files, opened so that nobody can put something else in their place.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, fsync, open, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::{Done, StoreError};

/// Longer than any record is; what is longer is not read to its end.
const LONGEST: u64 = 2 << 20;
/// Who writes holds this one.
const LOCK: &str = "store.lock";
/// A write takes milliseconds; who waits longer than this waits for somebody who was stopped.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_millis(10);

/// An open folder. Everything is done relative to it: links that appear later lead nowhere.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    /// Opens it, or makes it for this user only, with those above it.
    pub(super) fn open_or_create(path: &Path) -> Done<Self> {
        if let Some(folder) = Self::open_with(path, true)? {
            return Ok(folder);
        }
        let inaccessible = |why| StoreError::Inaccessible {
            path: path.to_path_buf(),
            why,
        };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(inaccessible)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            // Another copy was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(inaccessible(error)),
            Ok(()) => {
                // A umask takes bits away, and may take ours.
                let made = File::open(path).map_err(inaccessible)?;
                made.set_permissions(Permissions::from_mode(0o700))
                    .map_err(inaccessible)?;
                drop(made);
            }
        }
        Self::open(path)?.ok_or_else(|| inaccessible(Errno::NOENT.into()))
    }

    /// Opens it if it is there.
    pub(super) fn open(path: &Path) -> Done<Option<Self>> {
        Self::open_with(path, false)
    }

    /// With `close`, a folder of this user in which nothing is yet is closed to others: nobody can have read anything.
    fn open_with(path: &Path, close: bool) -> Done<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = match open(path, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            // Linux says "not a directory" of a link, too.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(no_folder(path)),
            Err(error) => {
                return Err(StoreError::Inaccessible {
                    path: path.into(),
                    why: error.into(),
                });
            }
        };
        let folder = Self {
            path: path.into(),
            handle,
        };
        let judged = ours(path, &folder.at("", fstat(&folder.handle))?);
        if close && matches!(judged, Err(StoreError::TooOpen { .. })) && folder.is_empty()? {
            folder.at("", fchmod(&folder.handle, Mode::RWXU))?;
            // Nobody put anything in while it was open.
            if folder.is_empty()? {
                return Ok(Some(folder));
            }
        }
        judged?;
        Ok(Some(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn at<T>(&self, name: &str, result: Result<T, impl Into<io::Error>>) -> Done<T> {
        result.map_err(|why| StoreError::Inaccessible {
            path: self.file(name),
            why: why.into(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.path.clone()
        } else {
            self.path.join(name)
        }
    }

    /// Opens a plain file of this user that nobody else may read.
    fn open_file(&self, name: &str, flags: OFlags) -> Done<Option<File>> {
        // Without NONBLOCK a planted FIFO would hold us for ever.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(handle) => File::from(handle),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(StoreError::Link(self.file(name))),
            Err(Errno::NXIO | Errno::ISDIR) => return Err(StoreError::NotAFile(self.file(name))),
            Err(error) => return self.at(name, Err(error)),
        };
        let stat = self.at(name, fstat(&file))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::NotAFile(self.file(name)));
        }
        Ok(Some(file))
    }

    /// Reads a file; none if there is none.
    pub(super) fn read(&self, name: &str) -> Done<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name, OFlags::RDONLY)? else {
            return Ok(None);
        };
        ours(&self.file(name), &self.at(name, fstat(&file))?)?;
        let mut content = Vec::new();
        self.at(name, file.take(LONGEST).read_to_end(&mut content))?;
        Ok(Some(content))
    }

    /// Gives `name` a new content, all of it or none. The caller holds [`Folder::hold`].
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Done {
        // What has the name now is looked at first: a link in its place is told, not silently replaced.
        if let Some(file) = self.open_file(name, OFlags::RDONLY)? {
            ours(&self.file(name), &self.at(name, fstat(&file))?)?;
        }
        let new = format!("{name}.new");
        // Somebody was killed while writing, or planted it.
        self.remove(&new)?;
        let written = self.write_new(&new, content).and_then(|()| {
            self.at(name, renameat(&self.handle, new.as_str(), &self.handle, name))?;
            self.at(name, fsync(&self.handle))
        });
        if written.is_err() {
            // No room: what is there of the new one goes, the old one was never touched.
            let _: Done<bool> = self.remove(&new);
        }
        written
    }

    fn write_new(&self, name: &str, content: &[u8]) -> Done {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(self.at(name, opened)?);
        self.at(name, file.set_permissions(Permissions::from_mode(0o600)))?;
        self.at(name, file.write_all(content))?;
        self.at(name, file.sync_all())
    }

    /// Removes a name, whatever it stands for; whether there was one.
    pub(super) fn remove(&self, name: &str) -> Done<bool> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => self.at(name, Err(error)),
        }
    }

    /// The names of its files, sorted.
    pub(super) fn names(&self) -> Done<Vec<String>> {
        let mut names = Vec::new();
        for found in self.at("", Dir::read_from(&self.handle))? {
            let found = self.at("", found)?;
            // A name that is no text is none of ours.
            if let Ok(name) = found.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn is_empty(&self) -> Done<bool> {
        Ok(self.names()?.iter().all(|name| name == "." || name == ".."))
    }

    /// Opens a file to be locked, makes it if there is none. Its content is of no matter to anybody's safety.
    pub(super) fn lock_file(&self, name: &str) -> Done<File> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = self
            .open_file(name, flags)?
            .ok_or_else(|| StoreError::NotAFile(self.file(name)))?;
        ours(&self.file(name), &self.at(name, fstat(&file))?)?;
        self.at(name, file.set_permissions(Permissions::from_mode(0o600)))?;
        Ok(file)
    }

    /// Keeps the other writers out until it is dropped, or this process ends.
    #[expect(
        clippy::disallowed_methods,
        reason = "polls a lock with a deadline; a write takes milliseconds"
    )]
    pub(super) fn hold(&self) -> Done<File> {
        let file = self.lock_file(LOCK)?;
        let since = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => std::thread::sleep(BETWEEN),
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Busy(self.path.clone(), PATIENCE.as_secs()));
                }
                Err(TryLockError::Error(error)) => return self.at(LOCK, Err(error)),
            }
        }
    }
}

fn no_folder(path: &Path) -> StoreError {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => StoreError::Link(path.into()),
        _ => StoreError::NotAFolder(path.into()),
    }
}

/// Refuses what belongs to somebody else or is open to others.
fn ours(path: &Path, stat: &Stat) -> Done {
    let owner = stat.st_uid;
    if owner != rustix::process::geteuid().as_raw() {
        return Err(StoreError::ForeignOwner {
            path: path.into(),
            owner,
        });
    }
    let mode = stat.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::TooOpen {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}
