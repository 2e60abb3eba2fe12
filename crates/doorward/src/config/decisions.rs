//! `[decision_log]` and `admin_listen`: where what was decided is written down, and where it is counted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use doorward_recorder::decisions::Settings;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Config;
use super::parse::Parsed;
use super::show::Shown;
use super::size::Size;
use super::source::Problem;

/// Port of `admin_listen` if nobody says: the one that Prometheus exporters of OpenTelemetry have.
const PORT: u16 = 9464;
/// Less would put files aside all the time.
const SMALLEST: Size = Size(64 << 10);
const LARGEST: Size = Size(1 << 40);
const DEFAULT: Size = Size::mebibytes(64);

/// One line of JSON for every decision about a call.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DecisionLogFile {
    /// Whether decisions are written down. Default: `true`.
    pub(crate) enabled: Option<bool>,
    /// The file; relative to the folder of this file. Default: `decisions.jsonl` in the data folder.
    pub(crate) file: Option<PathBuf>,
    /// How large it may become before it is put aside as `FILE.1`, and that one as `FILE.2`. Default: `64MiB`.
    pub(crate) max_size: Option<Size>,
}

/// [`DecisionLogFile`] with its path made whole.
#[derive(Clone, Debug)]
pub(crate) struct DecisionLog {
    pub(super) enabled: bool,
    pub(super) file: PathBuf,
    max_size: Size,
}

impl DecisionLog {
    /// Fills in the defaults; `file` is where it goes.
    pub(super) fn new(written: &DecisionLogFile, file: PathBuf) -> Self {
        Self {
            enabled: written.enabled.unwrap_or(true),
            file,
            max_size: written.max_size.unwrap_or(DEFAULT),
        }
    }
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// A text is no such place.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("neither an address such as `127.0.0.1:9464` or `localhost:9464`, nor `off`")]
pub(crate) struct NotAnAdminListen;

impl Default for AdminListen {
    fn default() -> Self {
        Self::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT))
    }
}

impl FromStr for AdminListen {
    type Err = NotAnAdminListen;

    fn from_str(text: &str) -> Result<Self, NotAnAdminListen> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| NotAnAdminListen)?;
            return Ok(Self::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse().map(Self::At).map_err(|_| NotAnAdminListen)
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// A size that files can have.
pub(super) fn check(parsed: &Parsed, problems: &mut Vec<Problem>) {
    let size = parsed.file.decision_log.max_size.unwrap_or(DEFAULT);
    if size < SMALLEST || size > LARGEST {
        let text = format!("`max_size` must be between {SMALLEST} and {LARGEST}");
        problems.push(Problem::new(parsed.place("decision_log.max_size"), text));
    }
}

impl Config {
    /// Where decisions are written; `None` if they are not.
    pub(crate) fn decision_log(&self) -> Option<Settings> {
        let log = &self.decision_log;
        log.enabled.then(|| Settings {
            path: log.file.clone(),
            max_size: log.max_size.0,
        })
    }

    pub(super) fn show_decision_log(&self, lines: &mut Vec<Shown>) {
        let log = &self.decision_log;
        lines.push(self.in_file("decision_log.enabled", json!(log.enabled)));
        lines.push(self.in_file("decision_log.file", json!(log.file)));
        lines.push(self.in_file("decision_log.max_size", json!(log.max_size.to_string())));
    }
}
