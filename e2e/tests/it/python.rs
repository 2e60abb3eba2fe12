//! The two Python environments, as `cargo xtask test` installed them from `e2e/clients/python`.

use std::path::{Path, PathBuf};

/// The interpreter of environment `v1` (the Python SDK 1.x) or `v2` (the current one, and FastMCP).
///
/// # Panics
/// When it is not installed; the message says how to get it.
pub(crate) fn interpreter(environment: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let found = test
        .ancestors()
        .map(|folder| folder.join("e2e-python").join(environment).join("bin/python"))
        .find(|path| path.is_file());
    found.expect("the Python environments are installed: run `cargo xtask test --install`")
}

/// The version of a package in an environment.
pub(crate) fn version(environment: &str, package: &str) -> String {
    let list = folder().join(format!("requirements-{environment}.txt"));
    let list = std::fs::read_to_string(list).expect("the list of what is installed");
    let exact = format!("{package}==");
    let found = list.lines().find_map(|line| line.strip_prefix(&exact));
    found.expect("the package is listed").to_owned()
}

/// Where the scripts are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")
}
