//! What is checked without running anything of ours.

use anyhow::Result;

use crate::run::{cargo, cargo_command, program, step};
use crate::tools::{self, Need};

/// Formatting, clippy, documentation, dependencies; stops at the first failure.
pub(crate) fn all(install: bool) -> Result<()> {
    tools::require(&[Need::CargoDeny], install)?;
    cargo(["fmt", "--all", "--check"])?;
    cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let mut doc = cargo_command();
    step(
        doc.args(["doc", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    dependencies()
}

/// Banned crates, licences and sources. The advisories need a database from the network: not here.
fn dependencies() -> Result<()> {
    // The lock file names crates for every platform; offline, cargo deny can only read what was fetched.
    cargo(["fetch", "--locked"])?;
    let mut deny = program(tools::cargo_deny());
    step(deny.args([
        "--offline",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}
