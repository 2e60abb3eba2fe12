//! `cargo xtask test`: the whole truth. What cannot run fails; nothing is skipped.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::run::{self, cargo, cargo_command, line, say};
use crate::tools::{self, Need};
use crate::{lint, packages, python};

/// What the end-to-end tests need besides Rust.
const NEEDS: [Need; 6] = [
    Need::Node,
    Need::Python,
    Need::Chromium,
    Need::Chromedriver,
    Need::Libfaketime,
    Need::Nginx,
];

#[derive(Args)]
pub(crate) struct Options {
    /// Install what is missing: Debian packages by apt-get, cargo deny by cargo.
    #[arg(long)]
    install: bool,
    /// As many rounds of races and crashes as are promised, not the few of every day.
    #[arg(long)]
    full: bool,
    /// Run only tests whose names hold one of these. Lints are then left out.
    filters: Vec<String>,
}

/// Runs everything and ends as the tests end: their closing lines are the last ones printed.
pub(crate) fn all(options: &Options) -> Result<()> {
    tools::require(&NEEDS, options.install)?;
    tools::mention_namespaces();
    if options.filters.is_empty() {
        lint::all(options.install)?;
    } else {
        say("names were given: only those tests run, and no lints");
    }
    packages::install()?;
    python::install()?;
    // The same set of packages as the tests below, so that Cargo builds each of them once. It makes the
    // binary that the end-to-end tests start.
    cargo(["build", "--workspace", "--all-targets"])?;

    let mut tests = cargo_command();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    if !options.filters.is_empty() {
        tests.arg("--").args(&options.filters);
    }
    if options.full {
        tests.env("DOORWARD_FULL", "1");
    }
    // What a person or a company has set for their own programs is nothing to the tests, which use loopback only.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_personal) {
            tests.env_remove(name);
        }
    }
    // A snapshot that differs fails, and leaves nothing beside the sources.
    tests.env("INSTA_UPDATE", "no");
    tests.env("DOORWARD_BIN", run::target().join("debug/doorward"));
    say(&line(&tests));
    let status = tests.status().context("could not start cargo")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Whether a variable of the environment would change what the programs under test do.
fn is_personal(name: &str) -> bool {
    let settings = name.starts_with("DOORWARD_") && !matches!(name, "DOORWARD_FULL" | "DOORWARD_SEED");
    let lower = name.to_ascii_lowercase();
    let proxy = matches!(&*lower, "http_proxy" | "https_proxy" | "all_proxy" | "no_proxy");
    let place = name.starts_with("XDG_") || matches!(name, "BROWSER" | "SSL_CERT_FILE" | "SSL_CERT_DIR");
    settings || proxy || place
}

/// `cargo xtask clients`: the tests with real clients, which write `docs/clients.md` if they are told to.
pub(crate) fn clients(update: bool) -> Result<()> {
    tools::require(&NEEDS, false)?;
    packages::install()?;
    python::install()?;
    cargo(["build", "--workspace", "--all-targets"])?;
    // The page is whole only after everything has been written.
    let parts: &[&[&str]] = if update {
        &[&["clients::", "--skip", "clients::page"], &["clients::page"]]
    } else {
        &[&["clients::"]]
    };
    for (part, filters) in parts.iter().enumerate() {
        let mut tests = cargo_command();
        tests.args(["test", "--package", "doorward-e2e", "--test", "it", "--"]);
        tests.args(*filters);
        tests.env("DOORWARD_BIN", run::target().join("debug/doorward"));
        if update && part == 0 {
            tests.env("DOORWARD_UPDATE_CLIENTS", "1");
        }
        say(&line(&tests));
        let status = tests.status().context("could not start cargo")?;
        anyhow::ensure!(status.success(), "the clients' tests failed");
    }
    Ok(())
}
