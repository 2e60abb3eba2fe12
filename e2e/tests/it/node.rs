//! Node and the pinned npm packages, as `cargo xtask test` installed them.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

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
        let folder = tempfile::Builder::new()
            .prefix("doorward-client-")
            .tempdir()
            .expect("a temporary folder");
        std::os::unix::fs::symlink(&packages, folder.path().join("node_modules")).expect("a link");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        for script in std::fs::read_dir(scripts).expect("the client scripts") {
            let script = script.expect("an entry").path();
            if script.extension().is_some_and(|extension| extension == "mjs") {
                let name = script.file_name().expect("a file has a name");
                std::fs::copy(&script, folder.path().join(name)).expect("a script can be copied");
            }
        }
        Self {
            folder,
            node: node_of(&packages),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The pinned Node, about to run in this folder, with no environment but `PATH`.
    pub(crate) fn node(&self) -> Command {
        let mut command = Command::new(&self.node);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("NO_COLOR", "1")
            .current_dir(self.path());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }
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
