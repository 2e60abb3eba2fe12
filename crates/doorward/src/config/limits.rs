//! `[limits]` and `[servers.limits]`: how often somebody may call.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use doorward_gateway::RateLimits;
use doorward_limits::Rate;
use doorward_policy::Pattern;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Config;
use super::parse::Parsed;
use super::show::Shown;
use super::source::Problem;

/// How often somebody may call a server, which then answers `429`. Each is `"off"`, or a rate such as `"600/m"` (`/s`,
/// `/m`, `/h`, `/d`), of which all can be used at once, or so many as `"600/m burst 50"` says.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    /// Calls of one client for one user. Default: `3000/m`.
    pub(crate) calls: Option<RateFile>,
    /// Discovery, `initialize`, `ping` and lists of one client for one user, which are no calls. Default: `1200/m`.
    pub(crate) discovery: Option<RateFile>,
    /// Requests from one address (IPv6: one /64 network; a /48 four times as many), over all servers with the same rate;
    /// loopback is exempt, because a proxy speaks there for everybody. Default: `60000/m`.
    pub(crate) address: Option<RateFile>,
    /// Calls of one tool by one user. Default: `1200/m`.
    pub(crate) tool: Option<RateFile>,
    /// Instead of `tool` for tools whose names match: `{ "send_*" = "10/m" }`, each of them on its own. Of several
    /// that match the one with the most characters counts. Default: none.
    pub(crate) tools: BTreeMap<String, RateFile>,
    /// Different refusals of one client for one user, and ten times as many forged tokens from one address. Default: `300/m`.
    pub(crate) refused: Option<RateFile>,
    /// Streams of one user on which a client listens for what the server sends unasked, at once; a number or `"off"`.
    /// Default: `256`.
    pub(crate) streams: Option<StreamsFile>,
}

/// A rate, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateFile(pub(crate) Option<Rate>);

/// A number of streams, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamsFile(pub(crate) Option<u32>);

const OFF: &str = "off";
const MOST_STREAMS: i64 = 10_000_000;

impl<'de> Deserialize<'de> for RateFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == OFF {
            return Ok(Self(None));
        }
        let rate = text.parse().map_err(|error| {
            serde::de::Error::custom(format!("`{}` is {error}; or `off`", text.escape_debug()))
        })?;
        Ok(Self(Some(rate)))
    }
}

impl JsonSchema for RateFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(off|[0-9]+/[smhd]( burst [0-9]+)?)$" })
    }
}

impl fmt::Display for RateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str(OFF),
        }
    }
}

impl<'de> Deserialize<'de> for StreamsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) if text == OFF => return Ok(Self(None)),
            toml::Value::Integer(number @ 1..=MOST_STREAMS) => u32::try_from(number).ok(),
            _ => None,
        };
        number.map(|number| Self(Some(number))).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`streams` must be a number between 1 and {MOST_STREAMS}, or \"off\""
            ))
        })
    }
}

impl JsonSchema for StreamsFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Streams".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "type": "integer", "minimum": 1, "maximum": MOST_STREAMS }, { "const": "off" }] })
    }
}

/// The limits of a server: its own, else those of all, else the defaults.
pub(super) fn of_server(own: &LimitsFile, all: &LimitsFile) -> RateLimits {
    let default = RateLimits::default();
    let rate = |own: Option<RateFile>, all: Option<RateFile>, default| {
        own.or(all).map_or(default, |RateFile(rate)| rate)
    };
    let mut tools = all.tools.clone();
    tools.extend(own.tools.clone());
    RateLimits {
        calls: rate(own.calls, all.calls, default.calls),
        discovery: rate(own.discovery, all.discovery, default.discovery),
        address: rate(own.address, all.address, default.address),
        tool: rate(own.tool, all.tool, default.tool),
        tools: tools
            .iter()
            .filter_map(|(pattern, rate)| Some((pattern.parse().ok()?, rate.0)))
            .collect(),
        refused: rate(own.refused, all.refused, default.refused),
        streams: own
            .streams
            .or(all.streams)
            .map_or(default.streams, |StreamsFile(most)| most),
    }
}

/// Patterns are patterns.
pub(super) fn check(parsed: &Parsed, problems: &mut Vec<Problem>) {
    let servers = parsed.file.servers.iter().enumerate();
    let of_servers = servers.map(|(index, server)| (format!("servers[{index}].limits"), &server.limits));
    for (key, limits) in of_servers.chain([("limits".to_owned(), &parsed.file.limits)]) {
        for pattern in limits.tools.keys() {
            let in_alphabet =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*');
            let message = match pattern.parse::<Pattern>() {
                Err(error) => error.to_string(),
                Ok(_) if !pattern.bytes().all(in_alphabet) => format!(
                    "`{}` can match no tool: their names hold only `A-Z a-z 0-9 _ - .`",
                    pattern.escape_debug()
                ),
                Ok(_) => continue,
            };
            let place = parsed.place(&format!("{key}.tools.{pattern}"));
            let problem = Problem::new(place, message);
            problems.push(problem.help("write a tool's name, `*` for any characters in it"));
        }
    }
}

/// Each key and its value.
fn entries(limits: &RateLimits) -> [(&'static str, Value); 7] {
    let rate = |rate| json!(RateFile(rate).to_string());
    let tools = limits
        .tools
        .iter()
        .map(|(pattern, limit)| (pattern.to_string(), rate(*limit)))
        .collect();
    [
        ("calls", rate(limits.calls)),
        ("discovery", rate(limits.discovery)),
        ("address", rate(limits.address)),
        ("tool", rate(limits.tool)),
        ("tools", Value::Object(tools)),
        ("refused", rate(limits.refused)),
        ("streams", limits.streams.map_or(json!(OFF), |most| json!(most))),
    ]
}

impl Config {
    /// Those of all servers.
    pub(super) fn show_limits(&self, lines: &mut Vec<Shown>) {
        for (key, value) in entries(&of_server(&LimitsFile::default(), &self.limits)) {
            lines.push(self.in_file(&format!("limits.{key}"), value));
        }
    }

    /// Those of one server.
    pub(super) fn show_limits_of(&self, limits: &RateLimits, index: usize, lines: &mut Vec<Shown>) {
        for (key, value) in entries(limits) {
            let from = format!("limits.{key}");
            lines.push(self.inherited(&format!("servers[{index}].{from}"), &from, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<LimitsFile, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn r34_a_server_has_its_own_limits_then_those_of_all_then_the_defaults() {
        let all = file("calls = \"10/m\"\ntool = \"off\"\ntools = { a = \"1/m\", b = \"2/m\" }\nstreams = 7")
            .unwrap();
        let own = file("calls = \"20/m burst 5\"\ntools = { b = \"off\" }\nstreams = \"off\"").unwrap();
        let limits = of_server(&own, &all);
        let shown = |limits: &RateLimits| {
            entries(limits)
                .map(|(key, value)| format!("{key}={value}"))
                .join(" ")
        };
        assert_eq!(
            shown(&limits),
            "calls=\"20/m burst 5\" discovery=\"1200/m\" address=\"60000/m\" tool=\"off\" \
             tools={\"a\":\"1/m\",\"b\":\"off\"} refused=\"300/m\" streams=\"off\""
        );
        let none = LimitsFile::default();
        assert_eq!(of_server(&none, &none), RateLimits::default());
        assert_eq!(of_server(&none, &all).streams, Some(7));
    }

    #[test]
    fn what_is_no_limit_is_told_in_words() {
        for (text, told) in [
            ("calls = \"600/min\"", "`600/min` is not a rate"),
            ("calls = \"0/m\"", "between 1 and 10000000"),
            ("calls = 600", "expected a string"),
            ("tools = { a = \"none\" }", "or `off`"),
            ("streams = 0", "`streams` must be a number between 1 and"),
            ("streams = \"many\"", "or \"off\""),
            ("call = \"1/m\"", "unknown field `call`"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
