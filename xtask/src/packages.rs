//! The npm packages of `e2e/clients`: real clients, the conformance suite and the Node they run on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::run::{self, line, program, step};

/// The web page of the Inspector's first version, the one whose page itself talks to servers. It is a finished
/// bundle: installed as a dependency it would bring 180 packages that it was built from.
const INSPECTOR_PAGE: &str = "@modelcontextprotocol/inspector-client@1.0.3";
const INSPECTOR_PAGE_INTEGRITY: &str =
    "sha512-94xOP+Cwf7rMbT5qt7guEAN9T9aDGv90cI8QVg2MmsFoUX1jmo6cQy3KQ11UnTenssBFYRK0GwXz27AwZ3w2qg==";

/// Where they are installed. Tests find them by looking beside the build.
fn folder() -> PathBuf {
    run::target().join("e2e-clients")
}

/// The packages themselves.
pub(crate) fn installed() -> PathBuf {
    folder().join("node_modules")
}

/// Installs exactly what the lock file says, unless that is what is there.
pub(crate) fn install() -> Result<()> {
    let source = run::root().join("e2e/clients");
    let folder = folder();
    let stamp = folder.join("installed.json");
    let lock = fs::read(source.join("package-lock.json")).context("e2e/clients/package-lock.json")?;
    if fs::read(&stamp).is_ok_and(|installed| installed == lock)
        && folder.join("inspector-page/dist").is_dir()
    {
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
    inspector_page(&folder)?;
    fs::write(&stamp, lock).with_context(|| format!("could not write {}", stamp.display()))
}

fn inspector_page(folder: &Path) -> Result<()> {
    let page = folder.join("inspector-page");
    fs::create_dir_all(&page).with_context(|| format!("could not make {}", page.display()))?;
    let mut npm = program("npm");
    npm.current_dir(&page)
        .args(["pack", INSPECTOR_PAGE, "--json", "--loglevel=error"]);
    let output = npm.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("could not run {}", line(&npm)))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{} ended with {}",
        line(&npm),
        output.status
    );
    ensure!(
        said.contains(INSPECTOR_PAGE_INTEGRITY),
        "{INSPECTOR_PAGE} is not what it was when its hash was written down"
    );
    let mut tar = program("tar");
    tar.current_dir(&page)
        .args(["--extract", "--gzip", "--strip-components=1", "--file"])
        .arg("modelcontextprotocol-inspector-client-1.0.3.tgz");
    step(&mut tar)
}
