//! The Python environments of `e2e/clients/python`: clients on both generations of the SDK, and a server.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::run::{self, program, step};

/// One for each list of requirements: the two generations of the SDK are versions of one package.
const ENVIRONMENTS: [&str; 2] = ["v1", "v2"];

/// Installs exactly what the lists say, unless that is what is there. Tests find the environments by looking
/// beside the build.
pub(crate) fn install() -> Result<()> {
    let scripts = run::root().join("e2e/clients/python");
    for name in ENVIRONMENTS {
        let requirements = scripts.join(format!("requirements-{name}.txt"));
        environment(&run::target().join("e2e-python").join(name), &requirements)?;
    }
    Ok(())
}

fn environment(folder: &Path, requirements: &Path) -> Result<()> {
    let stamp = folder.join("installed.txt");
    let list = fs::read(requirements).with_context(|| requirements.display().to_string())?;
    if fs::read(&stamp).is_ok_and(|installed| installed == list) {
        return Ok(());
    }
    step(program("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = program(folder.join("bin/python"));
    // Only finished wheels: no package gets to run code here.
    pip.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
    ]);
    pip.args(["--quiet", "--only-binary", ":all:", "--requirement"]);
    step(pip.arg(requirements))?;
    fs::write(&stamp, list).with_context(|| format!("could not write {}", stamp.display()))
}
