//! One file: a line that says what it is and in which version, then the sealed content.

use doorward_seal::{OpenError, Sealer, Zeroizing};
use doorward_types::random::Random;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

use super::{Done, StoreError};

const MAGIC: &str = "doorward store ";
const VERSION: &str = "1";
const SUFFIX: &str = ".sealed";

/// The name of a record's file, which is part of its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn new(kind: &'static str, tag: &str) -> Self {
        Self(format!("{kind}-{tag}{SUFFIX}"))
    }

    /// The name of a file in the folder, if it is one of a record of this kind.
    pub(super) fn of_kind(kind: &str, name: &str) -> Option<Self> {
        let is = name.strip_prefix(kind)?.starts_with('-') && Self::is_one(name);
        is.then(|| Self(name.to_owned()))
    }

    /// Whether a file is a record.
    pub(super) fn is_one(name: &str) -> bool {
        name.ends_with(SUFFIX)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The bytes of the file; `None` if the content is too long, or the cipher refused.
pub(super) fn seal<T: Serialize>(
    sealer: &Sealer,
    name: &Name,
    content: &T,
    random: &dyn Random,
) -> Option<Vec<u8>> {
    let plain = Zeroizing::new(serde_json::to_vec(content).ok()?);
    let mut out = format!("{MAGIC}{VERSION}\n").into_bytes();
    let sealed = sealer.seal(name.as_str().as_bytes(), &out, &plain, random).ok()?;
    out.extend_from_slice(&sealed);
    Some(out)
}

/// The content of a file's bytes.
pub(super) fn open<T: DeserializeOwned>(
    sealer: &Sealer,
    name: &Name,
    bytes: &[u8],
    path: &dyn Fn() -> PathBuf,
) -> Done<T> {
    let damaged = || StoreError::Damaged(path());
    let end = bytes
        .iter()
        .take(64)
        .position(|byte| *byte == b'\n')
        .ok_or_else(damaged)?;
    let (line, rest) = bytes.split_at_checked(end + 1).ok_or_else(damaged)?;
    let version = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix(MAGIC)?.strip_suffix('\n'))
        .ok_or_else(damaged)?;
    if version != VERSION {
        return Err(match version.parse::<u32>() {
            Ok(number) if number > 1 => StoreError::Newer {
                path: path(),
                found: number.to_string(),
            },
            _ => damaged(),
        });
    }
    let plain = match sealer.open(name.as_str().as_bytes(), line, rest) {
        Ok(plain) => plain,
        Err(OpenError::UnknownKey) => return Err(StoreError::OtherKey(path())),
        Err(OpenError::NotSealed | OpenError::Broken) => return Err(damaged()),
    };
    serde_json::from_slice(&plain).map_err(|_| damaged())
}
