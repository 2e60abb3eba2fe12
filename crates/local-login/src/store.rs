//! The folder in which everything that a login leaves is kept, and which all copies of the program share.
//!
//! The folder is for this user alone (0700) and so is every file in it (0600), whatever the umask. A link, a folder or file
//! of somebody else, or one that others may read is refused in words that say what to do. Every record is sealed
//! (AES-256-GCM) under a key that lies beside as `store.key`, or in the keychain of the system; its name is part of
//! the seal, so that no file can be put in the place of another. A record is replaced by a new file, which is
//! on the disk before it gets the name: whoever is killed, or has no room left, leaves the old record or the new one.

mod entry;
mod folder;
mod key;
#[cfg(test)]
mod process_tests;
mod record;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_seal::{Mac, MasterKey, Purpose, Sealer};
use doorward_types::random::Random;

pub use self::entry::{ClientEntry, DpopKeyEntry, Kept, Pin, ServerEntry, TokensEntry, Unreadable};
use self::folder::Folder;
pub use self::key::KeySource;
use self::record::Name;

/// Why the store cannot be used. The words are for the person at the terminal; they name files and never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read, or written to.
    #[error("{path}: {why}")]
    Inaccessible {
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// No home folder, so no place to keep anything.
    #[error("there is no home folder to keep tokens in: name a folder with --store or DOORWARD_STORE")]
    NoHome,
    /// Something else has the folder's name.
    #[error("{0} is not a folder: name another one with --store")]
    NotAFolder(PathBuf),
    /// A link could lead to a place where others read along.
    #[error(
        "{0} is a symbolic link: tokens are not kept behind links. Remove it, or name the folder itself with --store"
    )]
    Link(PathBuf),
    /// Not a plain file.
    #[error("{0} is not a plain file: move it away")]
    NotAFile(PathBuf),
    /// It belongs to somebody else, who can read or replace it.
    #[error("{path} belongs to the user with the number {owner}, not to this one: name another folder with --store", path = path.display())]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others on this machine may read or write it.
    #[error(
        "{path} is open to other users (mode {mode:03o}): run `chmod go-rwx {path}`. \
         If somebody may have read it, log out with `doorward logout` as well",
        path = path.display()
    )]
    TooOpen {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A later version wrote it.
    #[error("{path} was written by a newer doorward (format {found}): use that one, or another folder with --store", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        found: String,
    },
    /// Torn, changed, or not ours.
    #[error("{0} is damaged: remove it and log in again; everything else in the folder stays usable")]
    Damaged(PathBuf),
    /// Sealed under a key that is not here.
    #[error("{0} was sealed under another store.key: put that key back, or remove the file and log in again")]
    OtherKey(PathBuf),
    /// Records are there, their key is not.
    #[error("{0} holds records but no store.key: put it back, or remove the folder and log in again")]
    KeyMissing(PathBuf),
    /// The key file holds something else.
    #[error("{0} is not a key: put it back from a copy, or remove the folder and log in again")]
    KeyDamaged(PathBuf),
    /// The keychain does not answer.
    #[error("the keychain of this system: {0}")]
    Keychain(String),
    /// Another copy holds the folder for much longer than any write takes.
    #[error("{0} has been locked by another doorward for {1} seconds: is one of them stopped?")]
    Busy(PathBuf, u64),
    /// It could not be sealed.
    #[error("{0} could not be sealed")]
    Unsealed(PathBuf),
}

type Done<T = ()> = Result<T, StoreError>;

/// Where a platform keeps the data of programs: `home` and `data_home` are `HOME` and `XDG_DATA_HOME`.
pub fn default_folder(home: Option<OsString>, data_home: Option<OsString>) -> Result<PathBuf, StoreError> {
    // "All paths set in these environment variables must be absolute" (XDG base directories).
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(data) = absolute(data_home) {
        return Ok(data.join("doorward"));
    }
    let home = absolute(home).ok_or(StoreError::NoHome)?;
    Ok(if cfg!(target_os = "macos") {
        home.join("Library/Application Support/doorward")
    } else {
        home.join(".local/share/doorward")
    })
}

/// An opened store. It blocks for as long as a small file is written: callers in async code move it to a thread for that.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    folder: Folder,
    sealer: Sealer,
    /// Names of files: what they are about is no secret to us, and nobody else's business.
    names: Mac,
    random: Arc<dyn Random>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.folder.path()).finish()
    }
}

impl Store {
    /// Opens the store at `path`; makes it if there is none.
    pub fn open(path: &Path, key: KeySource, random: Arc<dyn Random>) -> Result<Self, StoreError> {
        let folder = Folder::open_or_create(path)?;
        let master = key::load(&folder, key, random.as_ref())?;
        Ok(Self::with(folder, &master, random))
    }

    /// Opens the store at `path` if there is one.
    pub fn open_existing(
        path: &Path,
        key: KeySource,
        random: Arc<dyn Random>,
    ) -> Result<Option<Self>, StoreError> {
        match Folder::open(path)? {
            None => Ok(None),
            Some(folder) => {
                let master = key::load(&folder, key, random.as_ref())?;
                Ok(Some(Self::with(folder, &master, random)))
            }
        }
    }

    fn with(folder: Folder, master: &MasterKey, random: Arc<dyn Random>) -> Self {
        Self(Arc::new(Inner {
            folder,
            sealer: Sealer::new(master, Purpose::LocalRecord),
            names: Mac::new(master, Purpose::LocalRecord),
            random,
        }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.folder.path()
    }

    /// A file of the store to be locked: see [`crate::lock`].
    pub(crate) fn lock_file(&self, kind: &str, about: &[&str]) -> Result<std::fs::File, StoreError> {
        self.0
            .folder
            .lock_file(&format!("{kind}-{}.lock", self.tag(kind, about)))
    }

    fn name(&self, kind: &'static str, about: &[&str]) -> Name {
        Name::new(kind, &self.tag(kind, about))
    }

    /// Lengths between the parts, so that none can run into the next.
    fn tag(&self, kind: &str, about: &[&str]) -> String {
        let mut joined = Vec::new();
        for part in std::iter::once(&kind).chain(about) {
            joined.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            joined.extend_from_slice(part.as_bytes());
        }
        let tag = self.0.names.tag_text(&[&joined]);
        // 132 bits: a name of a file, not a proof.
        tag.chars().take(22).collect()
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &Name) -> Done<Option<T>> {
        let path = || self.path().join(name.as_str());
        match self.0.folder.read(name.as_str())? {
            None => Ok(None),
            Some(bytes) => record::open(&self.0.sealer, name, &bytes, &path).map(Some),
        }
    }

    fn write<T: serde::Serialize>(&self, name: &Name, content: &T) -> Done {
        let sealed = record::seal(&self.0.sealer, name, content, self.0.random.as_ref())
            .ok_or_else(|| StoreError::Unsealed(self.path().join(name.as_str())))?;
        let _held = self.0.folder.hold()?;
        self.0.folder.replace(name.as_str(), &sealed)
    }

    fn remove(&self, name: &Name) -> Done<bool> {
        let _held = self.0.folder.hold()?;
        self.0.folder.remove(name.as_str())
    }
}
