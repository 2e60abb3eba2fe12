//! `[policy]`: rules in the Cedar language, on top of access rules and scopes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_policy::cedar::{CedarPolicy, PolicyFile, PolicyPlace, PolicyProblem};
use doorward_policy::{NoFurtherPolicy, Policy};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::Config;
use super::parse::Parsed;
use super::server::Server;
use super::show::Shown;
use super::source::{Place, Problem, Source};

/// The longest file of policies, in bytes: as many rules as anybody can think about.
const LONGEST: u64 = 1 << 20;

/// Rules in the Cedar language, on top of `allow` and `scopes`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PolicySection {
    /// A file with Cedar policies, or a list of such files; relative to the folder of this file. With it, what no
    /// policy permits is denied. `doorward policy schema` says what policies can speak of. Default: none.
    pub(crate) file: Option<FilesFile>,
}

/// One path or several.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the variants are the schema; what is read is a list")]
enum Written {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

/// The files of policies.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct FilesFile(#[schemars(with = "Written")] Vec<PathBuf>);

impl<'de> Deserialize<'de> for FilesFile {
    /// Serde's own error would say that no variant matches.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = |value: toml::Value| match value {
            toml::Value::String(text) => Ok(PathBuf::from(text)),
            _ => Err(serde::de::Error::custom(
                "write a path in quotes, or a list of such paths",
            )),
        };
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Array(values) => values.into_iter().map(text).collect::<Result<_, _>>().map(Self),
            value => Ok(Self(vec![text(value)?])),
        }
    }
}

/// The policies of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Their files, as they are named.
    written: Vec<PathBuf>,
    /// Their files, from where they are.
    files: Vec<PathBuf>,
    /// What the files say, where something is started or checked.
    loaded: Option<Arc<CedarPolicy>>,
}

impl Policies {
    /// The files; none if Cedar is off.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the files say; `None` if Cedar is off, and for commands that start nothing.
    pub(crate) fn loaded(&self) -> Option<&Arc<CedarPolicy>> {
        self.loaded.as_ref()
    }

    /// How many policies permit, and how many forbid: a file that was cut off has fewer.
    pub(crate) fn counted(&self) -> (usize, usize) {
        let all = || self.loaded.iter().flat_map(|loaded| loaded.policies());
        let forbids = all().filter(|policy| policy.forbids).count();
        (all().count() - forbids, forbids)
    }

    /// What calls are judged by.
    pub(crate) fn policy(&self) -> Arc<dyn Policy> {
        match &self.loaded {
            Some(loaded) => Arc::clone(loaded) as _,
            None => Arc::new(NoFurtherPolicy),
        }
    }

    /// Policies that speak of servers that are not there: such a policy never holds, and a forbid among them
    /// protects nothing.
    fn strangers<'p>(
        loaded: &'p CedarPolicy,
        servers: &'p [Server],
    ) -> impl Iterator<Item = (&'p str, &'p PolicyPlace)> {
        let known = |name: &str| servers.iter().any(|server| server.name == name);
        loaded.servers().filter(move |(name, _)| !known(name))
    }
}

/// Reads the section, and the files if something is started or checked (`strict`).
pub(super) fn from_file(
    parsed: &Parsed,
    folder: &Path,
    strict: bool,
    servers: &[Server],
    problems: &mut Vec<Problem>,
) -> Policies {
    let Some(FilesFile(written)) = &parsed.file.policy.file else {
        if parsed.span("policy").is_some() {
            let problem = Problem::new(
                parsed.place("policy"),
                "`[policy]` names no file, so it denies nothing",
            );
            problems.push(problem.help("name one with `file`, or leave the table out"));
        }
        return Policies::default();
    };
    let files: Vec<PathBuf> = written.iter().map(|path| folder.join(path)).collect();
    if files.is_empty() {
        let problem = Problem::new(parsed.place("policy.file"), "`file` names no file");
        problems.push(problem.help(
            "name one, or leave `[policy]` out: then everything is permitted that `allow` and `scopes` open",
        ));
    }
    let loaded = strict.then(|| load(&files, parsed, servers, problems)).flatten();
    Policies {
        written: written.clone(),
        files,
        loaded,
    }
}

fn load(
    files: &[PathBuf],
    parsed: &Parsed,
    servers: &[Server],
    problems: &mut Vec<Problem>,
) -> Option<Arc<CedarPolicy>> {
    let before = problems.len();
    let texts: Vec<PolicyFile> = files
        .iter()
        .filter_map(|path| match read(path) {
            Ok(text) => Some(PolicyFile {
                name: path.display().to_string(),
                text,
            }),
            Err(why) => {
                let message = format!("cannot read the policies in {}: {why}", path.display());
                let problem = Problem::new(parsed.place("policy.file"), message);
                problems.push(problem.help("a path is relative to the folder of the configuration file"));
                None
            }
        })
        .collect();
    let sources: BTreeMap<&str, Arc<Source>> = texts
        .iter()
        .map(|file| {
            let (name, text) = (file.name.clone(), file.text.clone());
            (file.name.as_str(), Arc::new(Source { name, text }))
        })
        .collect();
    let place = |file: &str, line, column| match sources.get(file) {
        Some(source) => Place::Elsewhere(Arc::clone(source), source.offset(line, column)),
        None => parsed.place("policy.file"),
    };
    match CedarPolicy::load(&texts) {
        Ok(loaded) => {
            if !files.is_empty() && problems.len() == before && loaded.policies().next().is_none() {
                let message = "there is no policy in the files, so nobody could do anything";
                let problem = Problem::new(parsed.place("policy.file"), message);
                problems.push(problem.help(
                    "write one, such as `permit(principal, action, resource);`, or leave `[policy]` out. Was a file cut off?",
                ));
            }
            for (server, policy) in Policies::strangers(&loaded, servers) {
                let message = format!(
                    "policy `{}` speaks of the server `{server}`, which is not there",
                    policy.id
                );
                let place = place(&policy.file, policy.line, 1);
                problems.push(Problem::new(place, message).help("correct the name, or take the policy out"));
            }
            (problems.len() == before).then(|| Arc::new(loaded))
        }
        Err(error) => {
            problems.extend(error.problems.iter().map(|problem: &PolicyProblem| {
                let place = place(&problem.file, problem.line, problem.column);
                let told = Problem::new(place, problem.message.clone());
                match &problem.help {
                    Some(help) => told.help(help.clone()),
                    None => told,
                }
            }));
            None
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > LONGEST) {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

impl Config {
    /// What is odd about the policies, although they can be used.
    pub(crate) fn policy_notes(&self) -> Vec<String> {
        let Some(loaded) = self.policies.loaded() else {
            return Vec::new();
        };
        let warnings = loaded.warnings().iter().map(ToString::to_string);
        let mut notes: Vec<String> = warnings.collect();
        let hidden =
            !self.public_url.value.is_loopback() && self.tls.is_none() && self.trusted_proxies.is_empty();
        if let Some(policy) = loaded.about_addresses().next().filter(|_| hidden) {
            notes.push(format!(
                "policy `{}` looks at `context.address`, which is never known here: calls come through a proxy that `trusted_proxies` does not name",
                policy.id
            ));
        }
        notes
    }

    /// `[policy]`, as `config show` tells it.
    pub(super) fn show_policy(&self, lines: &mut Vec<Shown>) {
        let files: Vec<_> = self
            .policies
            .written
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        lines.push(self.in_file("policy.file", json!(files)));
    }
}

#[cfg(test)]
mod tests;
