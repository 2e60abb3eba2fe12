//! The launcher's arguments. No secrets: everybody on the machine can read them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::LaunchError;

/// Stands before the name of a variable that is for the program, and would make the launcher load the program's code
/// (`LD_PRELOAD`, `LD_LIBRARY_PATH`) before it has given up any right.
const LATER: &str = "DOORWARD_LATER_";

/// The name under which the launcher gets a variable of the program's.
pub(crate) fn carried(name: &OsStr) -> OsString {
    let mut carried = OsString::new();
    if name.as_bytes().starts_with(b"LD_") {
        carried.push(LATER);
    }
    carried.push(name);
    carried
}

/// The program's name for a variable that the launcher got under another.
pub(super) fn not_for_us(name: &OsStr) -> Option<&OsStr> {
    let name = name.as_bytes().strip_prefix(LATER.as_bytes())?;
    Some(OsStr::from_bytes(name))
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The supervisor's process id.
    pub(super) parent: u32,
    /// Bytes of memory that the child may take.
    pub(super) memory: u64,
    pub(super) directory: PathBuf,
    pub(super) confine: bool,
    /// Besides, cover what is hidden in a namespace.
    pub(super) cover: bool,
    pub(super) hidden: Vec<PathBuf>,
    pub(super) own: Vec<PathBuf>,
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
}

impl Options {
    pub(super) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, LaunchError> {
        let mut options = Self::default();
        let incomplete = || LaunchError::Options("the arguments end early".to_owned());
        loop {
            let option = arguments.next().ok_or_else(incomplete)?;
            let mut value = || arguments.next().ok_or_else(incomplete);
            match option.to_str().unwrap_or_default() {
                "--parent" => options.parent = number(&value()?)?,
                "--memory" => options.memory = number(&value()?)?,
                "--directory" => options.directory = value()?.into(),
                "--confine" => options.confine = true,
                "--cover" => options.cover = true,
                "--hidden" => options.hidden.push(value()?.into()),
                "--own" => options.own.push(value()?.into()),
                "--" => {
                    options.program = value()?;
                    break;
                }
                _ => return Err(LaunchError::Options(format!("{option:?}"))),
            }
        }
        options.arguments = arguments.collect();
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(value: &OsString) -> Result<T, LaunchError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| LaunchError::Options(format!("{value:?} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, LaunchError> {
        Options::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn what_follows_the_dashes_is_the_program_s() {
        let options = parse(&[
            "--hidden",
            "/a",
            "--hidden",
            "/b",
            "--confine",
            "--",
            "npx",
            "--confine",
            "--",
            "x",
        ]);
        let expected = Options {
            confine: true,
            hidden: vec!["/a".into(), "/b".into()],
            program: "npx".into(),
            arguments: ["--confine", "--", "x"].map(OsString::from).to_vec(),
            ..Options::default()
        };
        assert_eq!(options.unwrap(), expected);
    }

    #[test]
    fn unknown_or_missing_arguments_are_refused() {
        for wrong in [
            &[][..],
            &["--confine"],
            &["--"],
            &["--hidden"],
            &["--parent", "x", "--", "true"],
            &["--confined", "--", "true"],
            &["true"],
        ] {
            assert!(matches!(parse(wrong), Err(LaunchError::Options(_))), "{wrong:?}");
        }
    }
}
