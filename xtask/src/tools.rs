//! What has to be on the machine, and how it gets there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run::{self, cargo_command, line, program, say, step};

const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";

/// Something that tests or benches cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Node and npm, to fetch the pinned packages of `e2e/clients` (the pinned Node is one of them).
    Node,
    /// Python with its `venv`, for the environments of `e2e/clients/python`.
    Python,
    /// A browser for the page tests.
    Chromium,
    /// What drives the browser.
    Chromedriver,
    /// Moves the clock of a server under test.
    Libfaketime,
    /// The peer that benches compare with, and the reverse proxy in front of the tests.
    Nginx,
    /// Judges the dependency tree.
    CargoDeny,
    /// Builds and runs the fuzz targets.
    CargoFuzz,
}

impl Need {
    /// The Debian packages that bring it; none if it comes another way.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["nodejs", "npm"],
            Self::Python => &["python3", "python3-venv"],
            Self::Chromium => &["chromium"],
            Self::Chromedriver => &["chromium-driver"],
            Self::Libfaketime => &["libfaketime"],
            Self::Nginx => &["nginx-light"],
            Self::CargoDeny | Self::CargoFuzz => &[],
        }
    }

    fn is_here(self) -> bool {
        match self {
            Self::Node => answers("node", "--version") && answers("npm", "--version"),
            // Debian's Python has the module `venv`, which does nothing without the other package.
            Self::Python => run_quietly("python3", ["-c", "import venv, ensurepip"]).is_some(),
            Self::Chromium => answers("chromium", "--version"),
            Self::Chromedriver => answers("chromedriver", "--version"),
            Self::Libfaketime => libfaketime().is_some(),
            Self::Nginx => answers("nginx", "-v") || Path::new("/usr/sbin/nginx").is_file(),
            Self::CargoDeny => is_version(&cargo_deny(), CARGO_DENY),
            Self::CargoFuzz => is_version(&cargo_fuzz(), CARGO_FUZZ),
        }
    }
}

/// Makes sure that everything in `needs` is here: installs it if `install`, else fails naming the one
/// command that does.
pub(crate) fn require(needs: &[Need], install: bool) -> Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.is_here()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !install {
        bail!("missing on this machine: {missing:?}. Add `--install` to the command, which installs them.");
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    if !packages.is_empty() {
        apt_install(&packages)?;
    }
    if missing.contains(&Need::CargoDeny) {
        install_tool("cargo-deny", CARGO_DENY, &["--no-default-features"])?;
    }
    if missing.contains(&Need::CargoFuzz) {
        install_tool("cargo-fuzz", CARGO_FUZZ, &[])?;
    }
    let still: Vec<Need> = missing.into_iter().filter(|need| !need.is_here()).collect();
    if !still.is_empty() {
        bail!("installed, and yet not found: {still:?}");
    }
    Ok(())
}

/// Says so when tests with a network or a disk of their own will fail, and why.
pub(crate) fn mention_namespaces() {
    let namespaces = ["--user", "--map-root-user", "--net", "--mount", "--", "true"];
    if run_quietly("unshare", namespaces).is_none() {
        say(
            "this machine lets its users make no namespaces: tests that need a network or a disk of their own will fail. \
             A container must be allowed `unshare`; Ubuntu wants `sysctl kernel.apparmor_restrict_unprivileged_userns=0`.",
        );
    }
}

/// Where `cargo deny` is put: beside the build, not among the user's own tools.
pub(crate) fn cargo_deny() -> PathBuf {
    run::target().join("tools/bin/cargo-deny")
}

/// Where `cargo fuzz` is put.
pub(crate) fn cargo_fuzz() -> PathBuf {
    run::target().join("tools/bin/cargo-fuzz")
}

fn apt_install(packages: &[&str]) -> Result<()> {
    step(&mut apt(["update", "--quiet"]))?;
    let mut install = apt(["install", "--quiet", "--yes", "--no-install-recommends"]);
    install.args(packages);
    step(&mut install)
}

/// `apt-get`, by sudo unless this is root already.
fn apt<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let is_root = run_quietly("id", ["-u"]).is_some_and(|output| output.trim() == "0");
    let mut command = program(if is_root { "env" } else { "sudo" });
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(args);
    command
}

fn install_tool(name: &str, version: &str, arguments: &[&str]) -> Result<()> {
    let root = run::target().join("tools");
    let mut install = cargo_command();
    // A debug build: these tools wait for others or judge a few hundred crates, and compiling them is what
    // takes the time.
    install
        .args(["install", name, "--locked", "--debug", "--force"])
        .args(arguments)
        .args(["--version", version, "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("build"));
    step(&mut install)?;
    let build = root.join("build");
    if let Err(error) = std::fs::remove_dir_all(&build) {
        say(&format!("could not remove {}: {error}", build.display()));
    }
    Ok(())
}

fn answers(program: &str, flag: &str) -> bool {
    run_quietly(program, [flag]).is_some()
}

fn is_version(program: &Path, version: &str) -> bool {
    run_quietly(program, ["--version"])
        .is_some_and(|output| output.split_whitespace().any(|word| word == version))
}

/// Stdout of a program that succeeds.
pub(crate) fn run_quietly<'a>(
    name: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let mut command = program(name);
    let output = command
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        say(&format!("{} ended with {}", line(&command), output.status));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn libfaketime() -> Option<PathBuf> {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    places
        .iter()
        .map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.is_file())
}
