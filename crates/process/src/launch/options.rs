//! The launcher's arguments. No secrets: everybody on the machine can read them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::LaunchError;

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
