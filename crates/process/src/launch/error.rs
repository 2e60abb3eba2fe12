//! Why a child does not become its program.

use std::path::Path;

/// Why a child does not become its program. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Not started by a supervisor.
    #[error("`__launch` is how doorward starts its child processes; it is not a command for people")]
    NotForPeople,
    /// The supervisor's words are not understood: another version of us?
    #[error(
        "the launcher was called in a way it does not know ({0}): was doorward replaced while it ran? Restart it"
    )]
    Options(String),
    /// The supervisor's thread is gone.
    #[error("whoever started this process has ended")]
    Orphan,
    /// No such directory, or no right to enter it.
    #[error("cannot use the working directory {directory}: {why}. Create it, or change `working_directory`")]
    Directory {
        /// Which.
        directory: String,
        /// What the system says.
        why: String,
    },
    /// The child could not see where it is.
    #[error(
        "the working directory {directory} lies in {hidden}, which children cannot see: choose another \
         `working_directory`"
    )]
    DirectoryHidden {
        /// Which.
        directory: String,
        /// What hides it.
        hidden: String,
    },
    /// No such program.
    #[error("{program} was not found {place}: install it, or write its full path into `command`")]
    NotFound {
        /// Which.
        program: String,
        /// Where it was looked for.
        place: String,
    },
    /// The child could not read the program.
    #[error("the program {program} lies in {hidden}, which children cannot see: put it somewhere else")]
    ProgramHidden {
        /// Which.
        program: String,
        /// What hides it.
        hidden: String,
    },
    /// It is there and does not run.
    #[error("the program {program} cannot be run: {why}")]
    Program {
        /// Which.
        program: String,
        /// What to do about it.
        why: String,
    },
    /// A folder of the child's own is missing.
    #[error("cannot use {folder} as a folder of the child's own: {why}")]
    Own {
        /// Which.
        folder: String,
        /// What the system says.
        why: String,
    },
    /// No mount namespace for the child.
    #[error("the system gives the child no view of the files of its own: {why}")]
    NotCovered {
        /// What the system says.
        why: String,
    },
    /// Landlock does not take our rules.
    #[error("cannot isolate the child: {why}")]
    Landlock {
        /// What failed.
        why: String,
    },
    /// A right that cannot be given up, or a limit that cannot be set.
    #[error("cannot {what}: {why}")]
    Prepare {
        /// What failed.
        what: &'static str,
        /// What the system says.
        why: String,
    },
}

impl LaunchError {
    pub(super) fn directory(directory: &Path, error: &std::io::Error) -> Self {
        Self::Directory {
            directory: directory.display().to_string(),
            why: error.to_string(),
        }
    }

    /// For `map_err`: what could not be prepared.
    pub(super) fn prepare<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Prepare {
            what,
            why: error.to_string(),
        }
    }
}
