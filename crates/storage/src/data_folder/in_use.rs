//! Who works on a data folder: any number of processes together, or one that needs it alone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::DataFolderError;

const NAME: &str = "doorward.lock";

/// How often, and after how long a wait, the lock is asked for: a command that ends in a moment is waited for.
const TRIES: u32 = 40;
const BETWEEN: Duration = Duration::from_millis(50);

/// Works on it together with others, until dropped.
pub(super) fn together(folder: &Path) -> Result<File, DataFolderError> {
    take(folder, FlockOperation::NonBlockingLockShared)?
        .ok_or_else(|| DataFolderError::BeingReplaced(folder.into()))
}

/// Works on it alone, until dropped.
pub(super) fn alone(folder: &Path) -> Result<File, DataFolderError> {
    take(folder, FlockOperation::NonBlockingLockExclusive)?
        .ok_or_else(|| DataFolderError::InUse(folder.into()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "polls a lock with a deadline; nothing else runs on this thread"
)]
fn take(folder: &Path, operation: FlockOperation) -> Result<Option<File>, DataFolderError> {
    let path = folder.join(NAME);
    let inaccessible = |why| DataFolderError::Inaccessible {
        path: path.clone(),
        why,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let file = options.open(&path).map_err(inaccessible)?;
    for tried in 0..TRIES {
        match flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if tried + 1 < TRIES => std::thread::sleep(BETWEEN),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(inaccessible(error.into())),
        }
    }
    Ok(None)
}
