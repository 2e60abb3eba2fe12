//! Secrets of the configuration: written as they are, or where they are (`file:PATH`, `env:NAME`). One type for
//! every key that holds one.

use std::path::{Path, PathBuf};

use doorward_types::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::command::Surroundings;
use super::source::{Place, Problem};

/// The longest file of a secret, in bytes.
const LONGEST: u64 = 4096;

/// A secret as the file has it: `file:PATH`, `env:NAME`, or the secret itself.
#[derive(Clone, JsonSchema)]
#[serde(transparent)]
pub(crate) struct SecretFile(String);

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for SecretFile {
    /// An error of serde's own would repeat the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom(
                "a secret must be a string: `\"file:PATH\"`, `\"env:NAME\"`, or the secret itself in quotes",
            )),
        }
    }
}

impl SecretFile {
    /// As `config show` tells it: where it is, never what it is.
    pub(crate) fn shown(&self) -> &str {
        match self.0.split_once(':') {
            Some(("file" | "env", _)) => &self.0,
            _ => "[redacted]",
        }
    }

    /// The file that holds it, if one does; relative to `folder`.
    pub(crate) fn file(&self, folder: &Path) -> Option<PathBuf> {
        self.0.strip_prefix("file:").map(|path| folder.join(path))
    }

    /// The secret, of at least `shortest` characters. `None` after a problem, and where no secret is needed
    /// because nothing is started.
    pub(super) fn read(
        &self,
        shortest: usize,
        around: &Surroundings<'_>,
        at: impl Fn() -> Place,
        problems: &mut Vec<Problem>,
    ) -> Option<Secret> {
        let environment = around.environment?;
        let found = if let Some(name) = self.0.strip_prefix("env:") {
            let value = environment.get(name).map(Secret::new);
            value.ok_or_else(|| "the environment variable of this secret is not set".to_owned())
        } else if let Some(path) = self.file(around.folder) {
            from_file(&path)
        } else {
            Ok(Secret::new(self.0.as_str()))
        };
        let problem = match found {
            Ok(secret) if secret.expose().chars().count() >= shortest => return Some(secret),
            Ok(_) => Problem::new(at(), format!("this secret has fewer than {shortest} characters"))
                .help("make one with `openssl rand -base64 32`"),
            Err(message) => {
                Problem::new(at(), message).help("a secret is written `file:PATH`, `env:NAME`, or as it is")
            }
        };
        problems.push(problem);
        None
    }
}

/// The text of a file without the end of its last line.
fn from_file(path: &Path) -> Result<Secret, String> {
    let unreadable = |error: std::io::Error| format!("the file of this secret cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > LONGEST {
        return Err(format!("the file of this secret has more than {LONGEST} bytes"));
    }
    let text = Secret::new(std::fs::read_to_string(path).map_err(unreadable)?);
    let line = text.expose().trim_end_matches(['\r', '\n']);
    if line.contains(['\r', '\n', '\0']) {
        return Err("the file of this secret has more than one line".into());
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn read(written: &str, folder: &Path) -> Result<String, String> {
        let environment = Environment::from([("DW_SECRET", "out of the environment")]);
        let around = Surroundings {
            environment: Some(&environment),
            folder,
            data: folder,
        };
        let mut problems = Vec::new();
        let secret = SecretFile(written.into()).read(8, &around, || Place::Nowhere, &mut problems);
        match (secret, problems.pop()) {
            (Some(secret), None) => Ok(secret.expose().into()),
            (None, Some(problem)) => Err(problem.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_is_read_from_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("one", "in a file\n"),
            ("two", "line one\nline two\n"),
            ("short", "x\n"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::write(folder.path().join("long"), "x".repeat(5000)).unwrap();
        assert_eq!(read("as it is", folder.path()), Ok("as it is".into()));
        assert_eq!(read("file:one", folder.path()), Ok("in a file".into()));
        assert_eq!(
            read("env:DW_SECRET", folder.path()),
            Ok("out of the environment".into())
        );
        for (written, message) in [
            (
                "file:none",
                "the file of this secret cannot be read: No such file or directory (os error 2)",
            ),
            ("file:two", "the file of this secret has more than one line"),
            ("file:long", "the file of this secret has more than 4096 bytes"),
            ("file:short", "this secret has fewer than 8 characters"),
            (
                "env:DW_OTHER",
                "the environment variable of this secret is not set",
            ),
            ("", "this secret has fewer than 8 characters"),
        ] {
            assert_eq!(read(written, folder.path()), Err(message.into()), "{written}");
        }
    }

    #[test]
    fn only_where_it_is_is_shown() {
        let shown = |text: &str| {
            let secret = SecretFile(text.into());
            assert_eq!(format!("{secret:?}"), "[redacted]");
            secret.shown().to_owned()
        };
        assert_eq!(shown("file:/run/secrets/x"), "file:/run/secrets/x");
        assert_eq!(shown("env:NAME"), "env:NAME");
        assert_eq!(shown("hunter2:hunter2"), "[redacted]");
    }
}
