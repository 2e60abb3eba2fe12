//! What a child can see.

use std::path::{Path, PathBuf};

use super::LaunchError;

/// Folders hidden from a child and folders of its own, all as canonical paths.
#[derive(Debug)]
pub(super) struct Visible {
    hidden: Vec<PathBuf>,
    own: Vec<PathBuf>,
}

impl Visible {
    /// # Errors
    /// [`LaunchError::Own`] for an own folder that is none, or that holds a hidden one.
    pub(super) fn new(hidden: &[PathBuf], own: &[PathBuf]) -> Result<Self, LaunchError> {
        let mut hidden: Vec<PathBuf> = hidden.iter().map(|path| canonical(path)).collect();
        #[cfg(target_os = "linux")]
        hidden.extend(sockets());
        hidden.dedup();
        #[cfg(target_os = "linux")]
        let hidden = super::mounts::with_other_paths(hidden);
        let own = own.iter().map(|folder| own_folder(folder, &hidden));
        Ok(Self {
            own: own.collect::<Result<_, _>>()?,
            hidden,
        })
    }

    pub(super) fn own(&self) -> &[PathBuf] {
        &self.own
    }

    pub(super) fn hidden(&self) -> &[PathBuf] {
        &self.hidden
    }

    /// What hides this canonical path from the child.
    pub(super) fn hidden_by(&self, path: &Path) -> Option<&Path> {
        if self.own.iter().any(|own| path.starts_with(own)) {
            return None;
        }
        self.hidden
            .iter()
            .find(|hidden| path.starts_with(hidden))
            .map(PathBuf::as_path)
    }

    /// Whether something hidden lies below this canonical path.
    pub(super) fn hides_below(&self, path: &Path) -> bool {
        self.hidden
            .iter()
            .any(|hidden| hidden != path && hidden.starts_with(path))
    }

    /// # Errors
    /// [`LaunchError::DirectoryHidden`] if the child could not see where it is.
    pub(super) fn check_directory(&self) -> Result<(), LaunchError> {
        let directory =
            std::env::current_dir().map_err(|error| LaunchError::directory(Path::new("."), &error))?;
        let directory = canonical(&directory);
        match self.hidden_by(&directory) {
            None => Ok(()),
            Some(hidden) => Err(LaunchError::DirectoryHidden {
                directory: directory.display().to_string(),
                hidden: hidden.display().to_string(),
            }),
        }
    }

    /// # Errors
    /// [`LaunchError::ProgramHidden`] if the child could not read its program.
    pub(super) fn check_program(&self, program: &Path) -> Result<(), LaunchError> {
        let path = canonical(program);
        match self.hidden_by(&path) {
            None => Ok(()),
            Some(hidden) => Err(LaunchError::ProgramHidden {
                program: program.display().to_string(),
                hidden: hidden.display().to_string(),
            }),
        }
    }
}

/// Where programs listen that do anything for our user, such as `systemd-run --user`. Landlock lets everybody connect.
#[cfg(target_os = "linux")]
fn sockets() -> Option<PathBuf> {
    let folder = format!("/run/user/{}", rustix::process::geteuid().as_raw());
    Path::new(&folder).canonicalize().ok()
}

fn own_folder(folder: &Path, hidden: &[PathBuf]) -> Result<PathBuf, LaunchError> {
    let unusable = |why: &str| LaunchError::Own {
        folder: folder.display().to_string(),
        why: why.to_owned(),
    };
    let path = folder
        .canonicalize()
        .map_err(|error| unusable(&error.to_string()))?;
    if !path.is_dir() {
        return Err(unusable("it is no folder"));
    }
    if hidden.iter().any(|hidden| hidden.starts_with(&path)) {
        return Err(unusable("something that children must not see lies in it"));
    }
    Ok(path)
}

/// Without symbolic links; what does not exist yet, below the part that does.
pub(super) fn canonical(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(canonical) = existing.canonicalize() {
            return missing.iter().rev().fold(canonical, |path, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return path.to_path_buf();
        };
        missing.push(name);
        existing = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_folders_are_seen_within_hidden_ones() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("data/users/alice")).unwrap();
        std::fs::create_dir_all(root.join("data/users/bob")).unwrap();
        std::os::unix::fs::symlink(root.join("data"), root.join("link")).unwrap();
        let visible = Visible::new(&[root.join("link")], &[root.join("link/users/alice")]).unwrap();
        assert_eq!(
            visible.hidden_by(&root.join("data/users/bob/file")),
            Some(&*root.join("data"))
        );
        assert_eq!(
            visible.hidden_by(&root.join("data/users/alicex")),
            Some(&*root.join("data"))
        );
        assert_eq!(visible.hidden_by(&root.join("data/users/alice/file")), None);
        assert_eq!(visible.hidden_by(&root.join("database")), None);
        assert!(visible.hides_below(&root) && !visible.hides_below(&root.join("data")));
    }

    #[test]
    fn an_own_folder_above_a_hidden_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for own in [
            root.path().to_path_buf(),
            data.clone(),
            root.path().join("missing"),
        ] {
            let refused = Visible::new(std::slice::from_ref(&data), &[own]);
            assert!(matches!(refused, Err(LaunchError::Own { .. })), "{refused:?}");
        }
    }

    #[test]
    fn what_does_not_exist_yet_is_hidden_at_its_place() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(canonical(&real.join("link/a/b")), real.join("a/b"));
    }
}
