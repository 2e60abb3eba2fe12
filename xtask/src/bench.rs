//! `cargo xtask bench`: the release build beside its peers.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::packages;
use crate::run::{self, cargo, program, step};
use crate::tools::{self, Need};

/// The core of what is measured; load and upstream have the other one.
const MEASURED: &str = "0";
const LOAD: &str = "1";

#[derive(Subcommand)]
pub(crate) enum What {
    /// One tools/call with a warm token: direct, through nginx, through Doorward with more and more switched on.
    Call {
        #[command(flatten)]
        length: Length,
        /// An older build of Doorward, to be measured beside this one.
        #[arg(long)]
        older: Option<PathBuf>,
        /// A binary of agentgateway, to be measured beside Doorward.
        #[arg(long)]
        agentgateway: Option<PathBuf>,
        /// Only these rows of Doorward: plain, scopes, limits, log, policies, arguments.
        #[arg(long)]
        only: Option<String>,
    },
    /// The same call where there are many servers, tools and tokens, beside where there are few.
    Growth(Length),
    /// Client credentials, codes and rotated refresh tokens on durable SQLite, beside npm `oidc-provider` in memory.
    Token(Length),
    /// The stdio bridge beside npm `mcp-remote`: start with stored tokens, added latency, memory at rest.
    Bridge(Length),
    /// A call through `doorward stdio` beside the same server without it: added latency, memory.
    Stdio(Length),
}

#[derive(Args)]
pub(crate) struct Length {
    /// Few and short rounds: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Install what is missing.
    #[arg(long)]
    install: bool,
    /// Measure the build of this profile: `dist` is what is handed to people, and takes long to build.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Builds release, pins everything, measures, prints.
pub(crate) fn run(what: &What) -> Result<()> {
    let (name, length) = match what {
        What::Call { length, .. } => ("call", length),
        What::Growth(length) => ("growth", length),
        What::Token(length) => ("token", length),
        What::Bridge(length) => ("bridge", length),
        What::Stdio(length) => ("stdio", length),
    };
    let needs: &[Need] = match what {
        What::Call { .. } => &[Need::Nginx],
        What::Growth(_) | What::Stdio(_) => &[],
        What::Token(_) | What::Bridge(_) => &[Need::Node],
    };
    tools::require(needs, length.install)?;
    if matches!(what, What::Token(_) | What::Bridge(_)) {
        packages::install()?;
    }
    let profile = length.profile.as_str();
    cargo(["build", "--profile", profile, "-p", "doorward"])?;
    cargo(["build", "--release", "-p", "doorward-bench"])?;
    let (built, release) = (run::target().join(profile), run::target().join("release"));
    let folder = run::target().join("bench");
    // On the disk of the build, not in memory: a durable commit is part of what is measured.
    let scratch = folder.join("tmp");
    fs::create_dir_all(&scratch).with_context(|| format!("could not make {}", scratch.display()))?;

    let mut bench = program("taskset");
    bench
        .args(["--cpu-list", LOAD])
        .arg(release.join("doorward-bench"))
        .arg(name);
    bench
        .args(["--measured-core", MEASURED])
        .args(length.quick.then_some("--quick"));
    match what {
        What::Call {
            older,
            agentgateway,
            only,
            ..
        } => {
            if let Some(older) = older {
                let script = pinned(&folder, "doorward-older", older)?;
                bench.arg("--older").arg(script);
            }
            if let Some(binary) = agentgateway {
                bench.arg("--agentgateway").arg(binary);
            }
            if let Some(only) = only {
                bench.arg("--only").arg(only);
            }
        }
        What::Growth(_) => {}
        What::Stdio(_) => {
            cargo(["build", "--profile", profile, "-p", "doorward-stdio"])?;
            let small = pinned(&folder, "doorward-stdio", &built.join("doorward-stdio"))?;
            bench.env("DOORWARD_STDIO_BIN", small);
        }
        What::Token(_) | What::Bridge(_) => {
            bench.arg("--packages").arg(packages::installed());
        }
    }
    bench
        .env(
            "DOORWARD_BIN",
            pinned(&folder, "doorward", &built.join("doorward"))?,
        )
        .env("TMPDIR", scratch)
        .env("PATH", path_with_sbin());
    step(&mut bench)
}

/// A script that becomes the binary on the measured core, so that it counts one core from its first
/// instruction.
fn pinned(folder: &Path, name: &str, binary: &Path) -> Result<PathBuf> {
    let binary = binary
        .canonicalize()
        .with_context(|| format!("there is no {}", binary.display()))?;
    let script = folder.join(name);
    let text = format!(
        "#!/bin/sh\nexec taskset --cpu-list {MEASURED} '{}' \"$@\"\n",
        binary.display()
    );
    fs::write(&script, text).with_context(|| format!("could not write {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("could not make {} executable", script.display()))?;
    Ok(script)
}

/// Debian keeps nginx where only root looks.
fn path_with_sbin() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    path
}
