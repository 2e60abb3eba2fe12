//! From files to policies that are known to make sense: parsed, named, held against the schema.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cedar_policy::pst::{Effect, Template};
use cedar_policy::{
    EntityUid, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, Validator,
};
use doorward_types::id::UserId;

use super::head::Head;
use super::problem::{PolicyFile, PolicyLoadError, PolicyProblem};
use super::reads::{Reads, hopeful};

/// What policies can speak of, in Cedar's schema language.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// Longest id of a policy: it travels in answers, logs and explanations.
const LONGEST_ID: usize = 100;

/// The schema, parsed.
pub(super) static PARSED_SCHEMA: LazyLock<Result<Schema, String>> = LazyLock::new(|| {
    let parsed = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
    Ok(parsed.0)
});

/// [`SCHEMA`] in Cedar's JSON form, for tools.
pub fn schema_as_json() -> Result<serde_json::Value, SchemaUnreadable> {
    let unreadable = |error: &dyn std::fmt::Display| SchemaUnreadable(error.to_string());
    let (fragment, _) = SchemaFragment::from_cedarschema_str(SCHEMA).map_err(|error| unreadable(&error))?;
    fragment.to_json_value().map_err(|error| unreadable(&error))
}

/// Our own schema cannot be read: a mistake of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SchemaUnreadable(String);

/// One policy and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPlace {
    /// Its id: what `@id("…")` says, else `FILE:LINE`.
    pub id: String,
    /// Its file.
    pub file: String,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Whether it forbids.
    pub forbids: bool,
}

/// A policy, and what was found out about it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) place: PolicyPlace,
    pub(super) head: Head,
    pub(super) exact: Variant,
    /// For lists, where no arguments are known.
    pub(super) hopeful: Variant,
    pub(super) servers: BTreeSet<String>,
}

/// One form of a policy.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) policy: Policy,
    pub(super) reads: Reads,
}

/// Everything that the files say.
#[derive(Debug, Default)]
pub(super) struct Everything {
    pub(super) policies: Vec<Loaded>,
    pub(super) warnings: Vec<PolicyProblem>,
}

/// Reads files completely: every problem of every file, not the first.
pub(super) fn load(files: &[PolicyFile]) -> Result<Everything, PolicyLoadError> {
    let mut problems = Vec::new();
    let mut everything = Everything::default();
    let mut ids = BTreeSet::new();
    for file in files {
        one_file(file, &mut ids, &mut everything, &mut problems);
    }
    if problems.is_empty() {
        return Ok(everything);
    }
    problems.sort_by(|one, other| {
        let place = |problem: &PolicyProblem| {
            (
                problem.file.clone(),
                problem.line,
                problem.column,
                problem.message.clone(),
            )
        };
        place(one).cmp(&place(other))
    });
    // The same mistake is found once for every action.
    problems.dedup_by(|later, earlier| {
        (&later.file, later.line, later.column, &later.message)
            == (&earlier.file, earlier.line, earlier.column, &earlier.message)
    });
    Err(PolicyLoadError { problems })
}

fn one_file(
    file: &PolicyFile,
    ids: &mut BTreeSet<String>,
    everything: &mut Everything,
    problems: &mut Vec<PolicyProblem>,
) {
    let set: PolicySet = match file.text.parse() {
        Ok(set) => set,
        Err(error) => {
            let error: cedar_policy::ParseErrors = error;
            return problems.extend(error.iter().map(|error| file.diagnosed(error, 0)));
        }
    };
    let mut named = Vec::new();
    for (offset, policy) in statements(file, &set, problems) {
        let Some(id) = name(file, offset, &policy, problems) else {
            continue;
        };
        if !ids.insert(id.clone()) {
            let message = format!("there is another policy with the id `{id}`");
            let help = "give it an `@id(\"…\")` of its own".to_owned();
            problems.push(PolicyProblem {
                help: Some(help),
                ..file.problem(offset, message)
            });
            continue;
        }
        named.push((offset, policy.new_id(PolicyId::new(&id))));
    }
    if named.is_empty() && set.num_of_templates() == 0 {
        let message = "there is no policy in this file".to_owned();
        everything.warnings.push(PolicyProblem {
            help: Some("what no policy permits is denied".into()),
            ..file.problem(0, message)
        });
    }
    validate(file, &named, &mut everything.warnings, problems);
    for (offset, policy) in named {
        match loaded(file, offset, policy) {
            Ok(policy) => {
                mistaken_names(file, offset, &policy, problems);
                everything.policies.push(policy);
            }
            Err(error) => problems.push(file.problem(offset, error)),
        }
    }
}

/// The policies in the order of the text, with the offset of each.
fn statements(file: &PolicyFile, set: &PolicySet, problems: &mut Vec<PolicyProblem>) -> Vec<(usize, Policy)> {
    for template in set.templates() {
        let offset = file.text.find(&template.to_cedar()).unwrap_or(0);
        problems.push(PolicyProblem {
            help: Some("write a policy for each of those it is meant for".into()),
            ..file.problem(
                offset,
                "this is a template (`?principal`, `?resource`), and nothing fills it in",
            )
        });
    }
    let number = |policy: &Policy| {
        let id: &str = policy.id().as_ref();
        id.trim_start_matches("policy").parse::<usize>().unwrap_or(0)
    };
    let mut policies: Vec<Policy> = set.policies().cloned().collect();
    policies.sort_by_key(number);
    let mut end = 0;
    let placed = policies.into_iter().map(|policy| {
        let text = policy.to_cedar().unwrap_or_default();
        let rest = file.text.get(end..).unwrap_or_default();
        let offset = rest.find(&text).map_or(end, |at| end + at);
        end = offset + text.len();
        (offset, policy)
    });
    placed.collect()
}

/// Its id.
fn name(
    file: &PolicyFile,
    offset: usize,
    policy: &Policy,
    problems: &mut Vec<PolicyProblem>,
) -> Option<String> {
    let Some(id) = policy.annotation("id") else {
        return Some(format!("{}:{}", file.name, file.position(offset).0));
    };
    let good = !id.trim().is_empty() && id.chars().count() <= LONGEST_ID && !id.chars().any(char::is_control);
    if !good {
        let help = format!("write one to {LONGEST_ID} characters, without line breaks");
        problems.push(PolicyProblem {
            help: Some(help),
            ..file.problem(offset, "this cannot be the id of a policy")
        });
        return None;
    }
    Some(id.to_owned())
}

fn validate(
    file: &PolicyFile,
    policies: &[(usize, Policy)],
    warnings: &mut Vec<PolicyProblem>,
    problems: &mut Vec<PolicyProblem>,
) {
    let schema = match &*PARSED_SCHEMA {
        Ok(schema) => schema.clone(),
        Err(error) => return problems.push(file.problem(0, format!("our own schema is wrong: {error}"))),
    };
    let set = match PolicySet::from_policies(policies.iter().map(|(_, policy)| policy.clone())) {
        Ok(set) => set,
        Err(error) => return problems.push(file.problem(0, error.to_string())),
    };
    let start = |id: &PolicyId| {
        let found = policies.iter().find(|(_, policy)| policy.id() == id);
        found.map_or(0, |(offset, _)| *offset)
    };
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let mut problem = file.diagnosed(error, start(error.policy_id()));
        problem.help = problem
            .help
            .or_else(|| Some("`doorward policy schema` prints what policies can speak of".to_owned()));
        problems.push(problem);
    }
    let told = result.validation_warnings();
    warnings.extend(told.map(|warning| file.diagnosed(warning, start(warning.policy_id()))));
}

fn loaded(file: &PolicyFile, offset: usize, policy: Policy) -> Result<Loaded, String> {
    let pst = policy.to_pst().map_err(|error| error.to_string())?;
    let template: &Template = pst.body();
    let left = hopeful(template).map_err(|error| error.to_string())?;
    let servers = policy
        .entity_literals()
        .into_iter()
        .filter_map(|uid| server_of(&uid))
        .collect();
    Ok(Loaded {
        place: PolicyPlace {
            id: AsRef::<str>::as_ref(policy.id()).to_owned(),
            file: file.name.clone(),
            line: file.position(offset).0,
            forbids: template.effect == Effect::Forbid,
        },
        head: Head::of(template),
        hopeful: Variant {
            reads: Reads::of(left.body()),
            policy: Policy::from_pst(left.clone()).map_err(|error| error.to_string())?,
        },
        exact: Variant {
            reads: Reads::of(template),
            policy,
        },
        servers,
    })
}

/// The server that a name speaks of.
fn server_of(uid: &EntityUid) -> Option<String> {
    let id: &str = uid.id().as_ref();
    match uid.type_name().basename() {
        "Server" => Some(id.to_owned()),
        "Tool" | "Prompt" | "Resource" | "Method" => id.split_once('/').map(|(server, _)| server.to_owned()),
        _ => None,
    }
}

/// How an id of an account is written, if this is one in other words.
fn respelled(id: &str) -> Option<String> {
    let user: UserId = id.parse().ok()?;
    let written = user.to_string();
    (written != id).then_some(written)
}

/// Names that cannot be anybody's: such a policy would never hold, and nobody would notice.
fn mistaken_names(file: &PolicyFile, offset: usize, policy: &Loaded, problems: &mut Vec<PolicyProblem>) {
    for uid in policy.exact.policy.entity_literals() {
        let id: &str = uid.id().as_ref();
        let (message, help) = match uid.type_name().basename() {
            "Tool" | "Prompt" | "Resource" | "Method" if !id.contains('/') => (
                format!("`{uid}` names no server"),
                format!(
                    "write `Doorward::{}::\"SERVER/{id}\"`",
                    uid.type_name().basename()
                ),
            ),
            // Compared as texts: in another spelling it is nobody.
            "User" if respelled(id).is_some() => (
                format!("`{uid}` is nobody: ids of accounts are written in one way only"),
                format!(
                    "write `Doorward::User::\"{}\"`",
                    respelled(id).unwrap_or_default()
                ),
            ),
            "User" if id.parse::<UserId>().is_err() => (
                format!("`{uid}` is nobody: an account's id is one that Doorward made"),
                format!(
                    "write `principal is Doorward::User` in the head and `principal.name == \"{id}\"` as a condition"
                ),
            ),
            _ => continue,
        };
        let at = file
            .text
            .get(offset..)
            .and_then(|rest| rest.find(&format!("\"{id}\"")));
        problems.push(PolicyProblem {
            help: Some(help),
            ..file.problem(offset + at.unwrap_or(0), message)
        });
    }
}
