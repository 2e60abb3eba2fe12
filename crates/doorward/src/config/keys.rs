//! `[keys]`: when the keys rotate.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration::Span;
use super::parse::Parsed;
use super::source::Problem;

/// A running server looks at the keys of others once a second; twice that, and a margin.
const SHORTEST_PUBLICATION: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_hours(3650 * 24);

/// When the keys that sign access tokens and derive refresh tokens rotate.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeysFile {
    /// How long a key is used. Default: `90d`.
    pub(crate) rotate_every: Option<Span>,
    /// How long the next key is published before it is used: longer than anybody keeps the key set, which may be
    /// kept for five minutes. Default: `10m`.
    pub(crate) publish_before: Option<Span>,
}

/// [`KeysFile`] with the defaults filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) rotate_every: Span,
    pub(crate) publish_before: Span,
}

impl Keys {
    /// Fills in the defaults.
    pub(crate) fn from_file(file: KeysFile) -> Self {
        Self {
            rotate_every: file.rotate_every.unwrap_or(Span(Duration::from_hours(90 * 24))),
            publish_before: file.publish_before.unwrap_or(Span(Duration::from_mins(10))),
        }
    }

    /// Each key and its value.
    pub(crate) fn entries(self) -> [(&'static str, Span); 2] {
        [
            ("rotate_every", self.rotate_every),
            ("publish_before", self.publish_before),
        ]
    }
}

/// A key is known before it is used, and used for longer than it takes to become known.
pub(super) fn check(parsed: &Parsed, problems: &mut Vec<Problem>) {
    let keys = Keys::from_file(parsed.file.keys);
    let mut problem =
        |key: &str, text: String| problems.push(Problem::new(parsed.place(&format!("keys.{key}")), text));
    if keys.publish_before.0 < SHORTEST_PUBLICATION {
        let shortest = Span(SHORTEST_PUBLICATION);
        problem(
            "publish_before",
            format!("`publish_before` must be {shortest} or more"),
        );
    }
    if keys.rotate_every.0 > LONGEST {
        let longest = Span(LONGEST);
        problem(
            "rotate_every",
            format!("`rotate_every` must be {longest} at most"),
        );
    }
    if keys.rotate_every.0 < keys.publish_before.0.saturating_mul(2) {
        let text = "`rotate_every` must be at least twice `publish_before`";
        problem("rotate_every", text.into());
    }
}
