//! Finding the program.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::LaunchError;

/// The program's path: as written if it has a slash (relative to the working directory), else from `PATH`, which
/// is the child's already.
///
/// # Errors
/// [`LaunchError::NotFound`]; [`LaunchError::Program`] if what is found cannot be run.
pub(super) fn find(program: &OsStr) -> Result<PathBuf, LaunchError> {
    let shown = program.display().to_string();
    if program.as_bytes().contains(&b'/') {
        let path = Path::new(program);
        let place = match std::env::current_dir() {
            Ok(directory) if path.is_relative() => format!("in {}", directory.display()),
            _ => "there".to_owned(),
        };
        return match examine(path) {
            Found::Program => Ok(path.to_path_buf()),
            Found::Nothing => Err(LaunchError::NotFound {
                program: shown,
                place,
            }),
            Found::Unusable(why) => Err(LaunchError::Program { program: shown, why }),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut unusable = None;
    for folder in std::env::split_paths(&path).filter(|folder| folder.is_absolute()) {
        let candidate = folder.join(program);
        match examine(&candidate) {
            Found::Program => return Ok(candidate),
            Found::Nothing => {}
            Found::Unusable(why) => unusable = unusable.or(Some((candidate, why))),
        }
    }
    Err(match unusable {
        Some((candidate, why)) => LaunchError::Program {
            program: candidate.display().to_string(),
            why,
        },
        None => LaunchError::NotFound {
            program: shown,
            place: format!("in PATH ({})", path.display()),
        },
    })
}

/// What to tell the operator when the kernel does not run what was found.
pub(super) fn why_not_run(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "the interpreter that its first line names, or its loader, is missing".to_owned()
        }
        ErrorKind::PermissionDenied => {
            format!("{error}. Is its interpreter executable, and visible to the child?")
        }
        _ => error.to_string(),
    }
}

enum Found {
    Program,
    Nothing,
    Unusable(String),
}

fn examine(path: &Path) -> Found {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Found::Unusable("it is a folder".to_owned()),
        Ok(_) => match rustix::fs::access(path, Access::EXEC_OK) {
            Ok(()) => Found::Program,
            Err(_) => Found::Unusable("it is not executable for us. Run `chmod +x` on it".to_owned()),
        },
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Found::Nothing
        }
        Err(error) => Found::Unusable(error.to_string()),
    }
}
