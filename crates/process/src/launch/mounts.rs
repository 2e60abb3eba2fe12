//! Other paths of the same folder: a bind mount shows it a second time.

use std::path::{Path, PathBuf};

/// The paths, and every other path at which a mount shows the same files.
pub(super) fn with_other_paths(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mounts = mounts(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let others: Vec<PathBuf> = paths.iter().flat_map(|path| other_paths(path, &mounts)).collect();
    let mut all = paths;
    for other in others {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    all
}

struct Mount {
    /// The device's number.
    device: String,
    /// Which folder of the device is shown…
    shown: PathBuf,
    /// …where.
    at: PathBuf,
}

/// Lines of proc_pid_mountinfo(5), in the order of mounting.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        Some(Mount {
            device: fields.next()?.to_owned(),
            shown: unescaped(fields.next()?),
            at: unescaped(fields.next()?),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// The kernel writes blank, tab, newline and backslash as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (escaped, char) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escaped, char);
    }
    PathBuf::from(plain)
}

fn other_paths(path: &Path, mounts: &[Mount]) -> Vec<PathBuf> {
    // The last one of the longest mount points is on top.
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    let Some(own) = holding.max_by_key(|mount| mount.at.components().count()) else {
        return Vec::new();
    };
    let Ok(below) = path.strip_prefix(&own.at) else {
        return Vec::new();
    };
    let on_device = joined(&own.shown, below);
    let same_device = mounts.iter().filter(|mount| mount.device == own.device);
    let shows = |mount: &Mount| {
        if let Ok(below) = on_device.strip_prefix(&mount.shown) {
            return Some(joined(&mount.at, below));
        }
        // It shows a part of what is to be hidden.
        mount.shown.starts_with(&on_device).then(|| mount.at.clone())
    };
    same_device
        .filter_map(shows)
        .filter(|other| other != path)
        .collect()
}

fn joined(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() {
        path.to_path_buf()
    } else {
        path.join(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_mounts_show_a_folder_twice() {
        let text = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
22 21 0:5 / /proc rw - proc proc rw
23 21 8:1 /var/lib /mnt/with\\040blank rw - ext4 /dev/root rw
24 21 8:1 /var/lib/doorward/users/bob /home/bob/inside rw - ext4 /dev/root rw
25 21 8:1 /srv /mnt/srv rw - ext4 /dev/root rw
26 21 8:2 / /mnt/disk rw - ext4 /dev/sdb rw
";
        let others = other_paths(Path::new("/var/lib/doorward"), &mounts(text));
        assert_eq!(
            others,
            [
                Path::new("/mnt/with blank/doorward"),
                Path::new("/home/bob/inside")
            ]
        );
        let others = other_paths(Path::new("/mnt/srv/doorward"), &mounts(text));
        assert_eq!(others, [Path::new("/srv/doorward")]);
        assert!(other_paths(Path::new("/mnt/disk/doorward"), &mounts(text)).is_empty());
        assert!(other_paths(Path::new("/data"), &[]).is_empty());
    }
}
