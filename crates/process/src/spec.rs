//! What to start.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// A child to start.
#[derive(Clone)]
pub struct Spec {
    /// The program. Without a slash it is looked up in the child's `PATH`; with one it is a path relative to
    /// the working directory.
    pub program: OsString,
    /// Its arguments. Everybody on this machine can read them: no secrets.
    pub arguments: Vec<OsString>,
    /// The child's complete environment. Nothing of ours is added.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it runs. Must exist, and not be hidden from it.
    pub working_directory: PathBuf,
    /// What is kept from it.
    pub confinement: Confinement,
    /// How much it may take.
    pub caps: Caps,
}

impl fmt::Debug for Spec {
    /// Without arguments and values of the environment: operators put secrets there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Spec")
            .field("program", &self.program)
            .field("environment", &names)
            .field("working_directory", &self.working_directory)
            .field("confinement", &self.confinement)
            .field("caps", &self.caps)
            .finish_non_exhaustive()
    }
}

/// What is kept from a child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Files and folders (with all below) that the child can neither read, list, write nor execute. They need
    /// not exist yet. Their ancestors can be passed through, and listed only where the system gives the child a mount
    /// namespace, because Landlock's rights always hold for everything below.
    pub hidden: Vec<PathBuf>,
    /// Folders the child may use although they lie below a hidden one. Must exist.
    pub own: Vec<PathBuf>,
    /// Start the child even where [`isolation`](crate::isolation) offers none: it can then read everything that
    /// we can.
    pub allow_insecure_shared_uid: bool,
}

/// How much a child, with all processes it starts, may take. Looked at once a second.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Bytes of memory (resident; pages that its processes share count for each). Over it, all of them are killed.
    pub memory: u64,
    /// Processes. Over it, all of them are killed.
    pub processes: u32,
    /// Bytes of the longest line of output, without its newline. After a longer one the child is killed.
    pub line: usize,
}
