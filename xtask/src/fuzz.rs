//! `cargo xtask fuzz`: the targets of `fuzz/` for a while each (docs/fuzzing.md).

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::run::{self, program, say, step};
use crate::tools::{self, Need};

#[derive(Args)]
pub(crate) struct Options {
    /// The target; without one, all of them, one after the other.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Install what is missing: cargo fuzz, by cargo.
    #[arg(long)]
    install: bool,
}

/// Fails at the first input for which something does not hold, and says where it was written.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::require(&[Need::CargoFuzz], options.install)?;
    let fuzz = run::root().join("fuzz");
    let known = targets(&fuzz)?;
    let chosen: Vec<&String> = known
        .iter()
        .filter(|name| options.target.as_ref().is_none_or(|target| target == *name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "there is no such target: the targets are {}",
        known.join(", ")
    );
    for target in chosen {
        // Inputs that were found before are where it goes on; they are not for the repository.
        let corpus = run::target().join("fuzz/corpus").join(target);
        let artifacts = run::target().join("fuzz/artifacts").join(target);
        for folder in [&corpus, &artifacts] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("could not make {}", folder.display()))?;
        }
        say(&format!("{target}: {} seconds", options.seconds));
        let mut command = cargo_fuzz(&fuzz);
        command
            .arg(target)
            .args([&corpus, &fuzz.join("seeds").join(target)])
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1");
        step(&mut command)?;
    }
    Ok(())
}

/// `cargo fuzz run` without a sanitizer: `unsafe` is forbidden in what is fuzzed, so there is nothing for one
/// to find, and a stable compiler is enough.
fn cargo_fuzz(fuzz: &Path) -> Command {
    let mut command = program(tools::cargo_fuzz());
    command
        .args(["run", "--sanitizer", "none", "--fuzz-dir"])
        .arg(fuzz)
        .arg("--target-dir")
        .arg(run::target().join("fuzz/build"));
    command
}

fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let folder = fuzz.join("targets");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("could not read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
