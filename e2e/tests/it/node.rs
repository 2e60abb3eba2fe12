//! Node and the pinned npm packages, as `cargo xtask test` installed them.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use crate::python;

/// A folder with the client scripts and the installed packages beside them, and room for what a client
/// stores.
pub(crate) struct Folder {
    folder: TempDir,
    node: PathBuf,
}

impl Folder {
    /// # Panics
    /// When the packages are not installed; the message says how to get them.
    pub(crate) fn new() -> Self {
        let packages = packages();
        let folder = doorward_testkit::folder("doorward-client-");
        std::os::unix::fs::symlink(&packages, folder.path().join("node_modules")).expect("a link");
        copy_scripts(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("clients"),
            "mjs",
            folder.path(),
        );
        copy_scripts(&python::folder(), "py", folder.path());
        let node = node_of(&packages);
        write_browser(folder.path(), &node);
        Self { folder, node }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The pinned Node and a script of an installed package, from anywhere.
    pub(crate) fn command(&self, script: &str) -> [String; 2] {
        let script = packages().join(script);
        [self.node.display().to_string(), script.display().to_string()]
    }

    /// The pinned Node, about to run in this folder.
    pub(crate) fn node(&self) -> Command {
        self.within(&self.node)
    }

    /// A program about to run in this folder, its home, with no environment but `PATH` and a browser that
    /// is a script.
    pub(crate) fn within(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("NO_COLOR", "1")
            .env("BROWSER", self.path().join(BROWSER))
            .env("PATH", before_path(&self.path().join("bin")))
            .current_dir(self.path());
        command
    }
}

/// Some clients heed `BROWSER`, others start what desktops have.
const BROWSER: &str = "bin/xdg-open";

fn copy_scripts(from: &Path, extension: &str, to: &Path) {
    for script in std::fs::read_dir(from).expect("the client scripts") {
        let script = script.expect("an entry").path();
        if script.extension().is_some_and(|given| given == extension) {
            let name = script.file_name().expect("a file has a name");
            std::fs::copy(&script, to.join(name)).expect("a script can be copied");
        }
    }
}

fn write_browser(folder: &Path, node: &Path) {
    let (node, script) = (node.display(), folder.join("open-browser.mjs"));
    let file = folder.join(BROWSER);
    std::fs::create_dir(folder.join("bin")).expect("a folder");
    let (script, log) = (script.display(), folder.join("browser.log"));
    // It returns at once, as browsers do that run already.
    let text = format!(
        "#!/bin/sh\n'{node}' '{script}' \"$@\" >>'{}' 2>&1 &\n",
        log.display()
    );
    std::fs::write(&file, text).expect("a script");
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).expect("it can be started");
}

/// `PATH` with one more folder, before all others.
fn before_path(folder: &Path) -> OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).expect("no colon in a folder's name")
}

/// `PATH` with the pinned Node and npx before what the machine has.
pub(crate) fn path() -> String {
    let path = before_path(&packages().join(".bin"));
    path.into_string().expect("folders with names in UTF-8")
}

/// The pinned Node.
pub(crate) fn program() -> PathBuf {
    node_of(&packages())
}

/// The text of a file of an installed package.
pub(crate) fn file(path: &str) -> String {
    let file = packages().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The version of an installed package.
pub(crate) fn version(package: &str) -> String {
    let file = packages().join(package).join("package.json");
    let text = std::fs::read_to_string(file).expect("the package is installed");
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    parsed["version"].as_str().expect("a version").to_owned()
}

/// Makes `npx` in this folder find the installed packages, and look nowhere else for them.
pub(crate) fn install_into(folder: &Path) {
    std::os::unix::fs::symlink(packages(), folder.join("node_modules")).expect("a link");
    std::fs::write(folder.join(".npmrc"), "offline=true\nupdate-notifier=false\n").expect("a file");
}

/// The files of the web page of the Inspector's first version.
pub(crate) fn inspector_page() -> PathBuf {
    let page = packages().with_file_name("inspector-page").join("dist");
    assert!(
        page.is_dir(),
        "the Inspector's page is installed: run `cargo xtask test --install`"
    );
    page
}

fn packages() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let found = test
        .ancestors()
        .map(|folder| folder.join("e2e-clients/node_modules"))
        .find(|path| path.is_dir());
    found.expect("the npm packages of e2e/clients are installed: run `cargo xtask test --install`")
}

fn node_of(packages: &Path) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    let node = packages.join(format!("node-linux-{machine}/bin/node"));
    assert!(
        node.is_file(),
        "Node is among the npm packages of e2e/clients: run `cargo xtask test --install`"
    );
    node
}
