//! `doorward policy test`: cases with the answers that somebody expects.

use std::net::IpAddr;
use std::path::Path;

use bytes::Bytes;
use doorward_mcp::{Call, Envelope, Revision};
use doorward_policy::{Context, ProtectedServer, Subject, judge, may_list};
use doorward_types::id::{ClientId, Tenant, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::the_server;
use crate::config::duration::Span;
use crate::config::{Config, Server};
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::serve::compose::protected;

/// Wednesday, 2026-01-07, 12:00 UTC: without a time of its own a case has the same answer every day.
const NOON: UnixTime = UnixTime::from_seconds(1_767_787_200);

/// What `expect` can be besides `permit` and `deny`.
const REASONS: [&str; 7] = [
    "not_allowed",
    "insufficient_scope",
    "no_scope_opens_it",
    "scope_not_for_user",
    "scope_not_for_client",
    "denied_by_policy",
    "policy_failed",
];
/// What `expect` is where a case is about a list.
const LISTED: [&str; 2] = ["shown", "hidden"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Vec<Spanned<Case>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    title: Option<String>,
    who: Option<String>,
    id: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    client: Option<String>,
    scopes: Option<String>,
    client_scopes: Option<String>,
    server: Option<String>,
    method: Option<String>,
    name: Option<String>,
    arguments: Option<toml::Value>,
    revision: Option<String>,
    time: Option<toml::value::Datetime>,
    address: Option<IpAddr>,
    authenticated: Option<Span>,
    expect: String,
    policies: Option<Vec<String>>,
}

/// What came out of a case.
struct Outcome {
    title: String,
    line: usize,
    expected: String,
    got: String,
    /// What was expected and what came, where those who permit or deny it matter.
    policies: (Option<Vec<String>>, Vec<String>),
}

impl Outcome {
    fn holds(&self) -> bool {
        let answer = self.expected == self.got || (self.expected == "deny" && self.got != "permit");
        answer
            && self
                .policies
                .0
                .as_ref()
                .is_none_or(|policies| *policies == self.policies.1)
    }

    fn to_json(&self) -> Value {
        json!({
            "title": self.title,
            "line": self.line,
            "holds": self.holds(),
            "expected": self.expected,
            "got": self.got,
            "policies": self.policies.1,
        })
    }
}

/// Holds every case against the configuration.
pub(super) fn run(config: &Config, path: &Path, output: &mut Output) -> Result<(), CommandError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::usage(format!("cannot read {shown}")).because(&error))?;
    let file: File = toml::from_str(&text)
        .map_err(|error| CommandError::usage(format!("{shown} is no list of cases")).because(&error))?;
    let mut outcomes = Vec::new();
    for case in file.cases {
        let line = text
            .get(..case.span().start)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1;
        let outcome = case.into_inner().outcome(config, line);
        outcomes.push(outcome.map_err(|why| CommandError::usage(format!("{shown}:{line}: {why}")))?);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.holds()).count();
    if output.format == Format::Json {
        let cases: Vec<Value> = outcomes.iter().map(Outcome::to_json).collect();
        output.json(&json!({ "cases": cases, "failed": failed }))?;
    } else {
        for outcome in &outcomes {
            tell(outcome, &shown.to_string(), output)?;
        }
    }
    let all = outcomes.len();
    if failed > 0 {
        return Err(CommandError::no(format!(
            "{failed} of {all} cases have another answer than the expected one"
        )));
    }
    if output.format == Format::Human {
        output.line(format!("{all} cases, as expected"))?;
    }
    Ok(())
}

fn tell(outcome: &Outcome, file: &str, output: &mut Output) -> Result<(), CommandError> {
    if outcome.holds() {
        return Ok(output.line(format!("ok   {}", outcome.title))?);
    }
    output.line(format!("FAIL {} ({file}:{})", outcome.title, outcome.line))?;
    output.line(format!("  - expect = {:?}", outcome.expected))?;
    output.line(format!("  + {}", outcome.got))?;
    if let (Some(expected), got) = &outcome.policies {
        output.line(format!("  - policies = {expected:?}"))?;
        output.line(format!("  + policies = {got:?}"))?;
    } else if !outcome.policies.1.is_empty() {
        output.line(format!("  + policies = {:?}", outcome.policies.1))?;
    }
    Ok(())
}

impl Case {
    fn outcome(self, config: &Config, line: usize) -> Result<Outcome, String> {
        self.check_expectation()?;
        let server = the_server(config, self.server.as_deref()).map_err(|error| error.in_one_line())?;
        let protected = self.protected(config, server)?;
        let now = self.time.map_or(Ok(NOON), instant)?;
        let subject = self.subject(&protected, now)?;
        let revision = self.revision.as_deref().unwrap_or("2026-07-28");
        let revision =
            Revision::parse(revision).ok_or_else(|| format!("there is no revision `{revision}`"))?;
        let call = self.call(revision, &protected)?;
        let context = Context {
            address: self.address,
            ..Context::new(now, revision)
        };
        let policy = config.policies.policy();
        let (got, policies) = if LISTED.contains(&self.expect.as_str()) {
            let object = call
                .object()
                .ok_or("lists show tools, prompts and resources: name one with `name`")?;
            let shown = may_list(&protected, &subject, &context, object, &*policy);
            (if shown { "shown" } else { "hidden" }, Vec::new())
        } else {
            match judge(&protected, &subject, &context, call, &*policy) {
                Ok(permit) => ("permit", permit.grounds().policies().to_vec()),
                Err(refusal) => (refusal.reason(), refusal.policies().to_vec()),
            }
        };
        Ok(Outcome {
            title: self.title(&protected),
            line,
            expected: self.expect,
            got: got.to_owned(),
            policies: (self.policies, policies),
        })
    }

    fn check_expectation(&self) -> Result<(), String> {
        let words = [&["permit", "deny"][..], &LISTED, &REASONS].concat();
        if !words.contains(&self.expect.as_str()) {
            return Err(format!(
                "`expect = {:?}`: it can be one of {}",
                self.expect,
                words.join(", ")
            ));
        }
        if self.policies.is_some() && LISTED.contains(&self.expect.as_str()) {
            return Err("`policies` are those that permit or deny a call: what a list shows has none".into());
        }
        Ok(())
    }

    fn protected(&self, config: &Config, server: &Server) -> Result<ProtectedServer, String> {
        protected(&config.public_url.value.to_string(), server).map_err(|error| error.in_one_line())
    }

    fn title(&self, server: &ProtectedServer) -> String {
        let who = self.who.as_deref().or(self.client.as_deref()).unwrap_or_default();
        let what = [self.method(), self.name.as_deref().unwrap_or_default()].join(" ");
        let told = format!("{who}: {} on {}", what.trim(), server.name);
        self.title.clone().unwrap_or(told)
    }

    fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("tools/call")
    }

    fn subject(&self, server: &ProtectedServer, now: UnixTime) -> Result<Subject, String> {
        let client = ClientId::new(self.client.as_deref().unwrap_or("client"));
        let for_itself = self.who.is_none();
        if for_itself && self.client.is_none() {
            return Err(
                "who calls? name an account with `who`, or a client that acts for itself with `client`"
                    .into(),
            );
        }
        let nobody = "00000000-0000-7000-8000-000000000000";
        let id = self.id.as_deref().unwrap_or(nobody);
        let user = id.parse().map_err(|_| format!("`{id}` is no id of an account"))?;
        let set = |key: &str, written: &Option<String>| -> Result<Option<ScopeSet>, String> {
            let read = written.as_deref().map(str::parse).transpose();
            read.map_err(|error| format!("`{key}`: {error}"))
        };
        let scopes = set("scopes", &self.scopes)?;
        Ok(Subject {
            user: if for_itself {
                UserId::of_client(&client)
            } else {
                user
            },
            username: match &self.who {
                Some(who) => who.clone(),
                None => format!("client:{client}"),
            },
            groups: self.groups.clone(),
            for_itself,
            scopes: scopes.unwrap_or_else(|| server.default_scopes()),
            client_scopes: set("client_scopes", &self.client_scopes)?,
            tenant: Tenant::default_tenant(),
            authenticated: self.authenticated.map(|ago| now.minus(ago.0)),
            client,
        })
    }

    /// The message that a client would send.
    fn call(&self, revision: Revision, server: &ProtectedServer) -> Result<Call, String> {
        let method = self.method();
        let mut params = Map::new();
        let name = self.name.clone();
        match method {
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                params.insert("uri".into(), json!(name));
            }
            _ if name.is_some() => {
                params.insert("name".into(), json!(name));
            }
            _ => {}
        }
        if let Some(arguments) = &self.arguments {
            params.insert("arguments".into(), as_json(arguments));
        }
        let mut headers = HeaderMap::new();
        let mut header = |name: &'static str, value: &str| match value.parse() {
            Ok(value) => {
                headers.insert(name, value);
                Ok(())
            }
            Err(_) => Err(format!("`{value}` cannot be said in a header")),
        };
        header("mcp-protocol-version", revision.as_str())?;
        if !revision.is_legacy() {
            let meta = json!({ "io.modelcontextprotocol/protocolVersion": revision.as_str() });
            params.insert("_meta".into(), meta);
            header("mcp-method", method)?;
            if let Some(name) = &name {
                let plain = name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && name.trim() == name;
                let encoded = format!("=?base64?{}?=", base64(name.as_bytes()));
                header("mcp-name", if plain { name } else { &encoded })?;
            }
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let envelope = Envelope::read(Bytes::from(body)).map_err(|error| error.to_string())?;
        Call::admit(envelope, &headers, server.scopes.extensions()).map_err(|error| error.to_string())
    }
}

/// The instant, in seconds; a local time is one in UTC.
fn instant(written: toml::value::Datetime) -> Result<UnixTime, String> {
    let incomplete = || format!("`time = {written}` names no instant: write it as 2026-01-07T12:00:00Z");
    let (date, time) = (
        written.date.ok_or_else(incomplete)?,
        written.time.ok_or_else(incomplete)?,
    );
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    // Days since 1970-01-01 in the Gregorian calendar, from March on, so that a leap day is the last of a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days =
        era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds =
        i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    let offset = match written.offset {
        Some(toml::value::Offset::Custom { minutes }) => i64::from(minutes) * 60,
        _ => 0,
    };
    Ok(UnixTime::from_seconds(days * 86_400 + seconds - offset))
}

fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Datetime(written) => json!(written.to_string()),
        toml::Value::Array(items) => items.iter().map(as_json).collect(),
        toml::Value::Table(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), as_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(answer) => json!(answer),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_instants() {
        for (written, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-07T12:00:00Z", NOON.seconds()),
            ("2026-01-07T13:00:00+01:00", NOON.seconds()),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(
                instant(written.parse().unwrap()),
                Ok(UnixTime::from_seconds(seconds)),
                "{written}"
            );
        }
        assert!(instant("2026-01-07".parse().unwrap()).is_err());
    }
}
