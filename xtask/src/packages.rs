//! The npm packages of `e2e/clients`: real clients, the conformance suite and the Node they run on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::{self, program, step};

/// Where they are installed. Tests find them by looking beside the build.
fn folder() -> PathBuf {
    run::target().join("e2e-clients")
}

/// Installs exactly what the lock file says, unless that is what is there.
pub(crate) fn install() -> Result<()> {
    let source = run::root().join("e2e/clients");
    let folder = folder();
    let stamp = folder.join("installed.json");
    let lock = fs::read(source.join("package-lock.json")).context("e2e/clients/package-lock.json")?;
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), folder.join(name)).with_context(|| format!("could not copy {name}"))?;
    }
    let mut npm = program("npm");
    npm.current_dir(&folder);
    // No package gets to run code here: none of them needs to.
    step(npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]))?;
    fs::write(&stamp, lock).with_context(|| format!("could not write {}", stamp.display()))
}
