//! Rules in the [Cedar](https://www.cedarpolicy.com) language, on top of access rules and scopes.
//!
//! Once there is a [`CedarPolicy`], what no policy permits is denied, and a `forbid` beats every `permit`. The files
//! are read, named and held against [`SCHEMA`] before any call is judged by them: a policy with a typing mistake
//! is no policy that never holds, it is an error with a line and a column.
//!
//! Only calls that touch something are judged (a tool, a prompt, a resource, an extension's method); handshakes and
//! lists pass, and lists are filtered. Where no arguments are known (lists, subscriptions, tasks, completion) a
//! policy that looks at them is taken to be as kind as it could be: what is shown is what *some* arguments may do.

mod arguments;
mod head;
mod load;
mod problem;
mod reads;
mod request;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicySet};
use doorward_mcp::Object;
use quick_cache::sync::Cache;

pub use load::{PolicyPlace, SCHEMA, SchemaUnreadable, schema_as_json};
pub use problem::{PolicyFile, PolicyLoadError, PolicyProblem};

use self::load::{Everything, Loaded, Variant};
use self::reads::Reads;
use self::request::Facts;
use crate::{Grounds, Policy, Question, Refusal};

/// Answers that are remembered.
const DECISIONS: usize = 16_384;
/// The longest question whose answer is remembered, in bytes: who asks chooses names, and URIs have no limit of their own.
const LONGEST_KEY: usize = 1024;
/// Selections of policies that are kept ready. There are hardly more than there are different heads.
const SELECTIONS: usize = 256;

/// A set of Cedar policies. Immutable: what changes is another set, which remembers nothing of this one.
pub struct CedarPolicy {
    everything: Everything,
    authorizer: Authorizer,
    selections: Cache<(bool, Box<[u64]>), Arc<Selection>>,
    decisions: Cache<Box<[u8]>, Verdict>,
}

/// What a policy names of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedObject {
    /// A tool.
    Tool(String),
    /// A prompt.
    Prompt(String),
}

impl NamedObject {
    /// As what calls are about.
    #[must_use]
    pub fn as_object(&self) -> Object<'_> {
        match self {
            Self::Tool(name) => Object::Tool(name),
            Self::Prompt(name) => Object::Prompt(name),
        }
    }
}

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// By these, in the order of their names.
    Permitted(Arc<[String]>),
    /// By these; by none: because nothing permits it.
    Denied(Arc<[String]>),
    /// Because these cannot be evaluated.
    Failed(Arc<[String]>),
}

/// The policies that may concern an object.
struct Selection {
    /// None if they cannot be put together: then nothing they concern is done.
    policies: Option<PolicySet>,
    reads: Reads,
    /// Those that look at arguments.
    readers: Arc<[String]>,
}

impl CedarPolicy {
    /// Reads and checks policies: every file, every problem.
    pub fn load(files: &[PolicyFile]) -> Result<Self, PolicyLoadError> {
        Ok(Self {
            everything: load::load(files)?,
            authorizer: Authorizer::new(),
            selections: Cache::new(SELECTIONS),
            decisions: Cache::new(DECISIONS),
        })
    }

    /// The policies, in the order of the files.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyPlace> {
        self.everything.policies.iter().map(|policy| &policy.place)
    }

    /// What is worth a second look, although it can be used.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyProblem] {
        &self.everything.warnings
    }

    /// The policies that look at where a call comes from.
    pub fn about_addresses(&self) -> impl Iterator<Item = &PolicyPlace> {
        let all = self.everything.policies.iter();
        all.filter(|policy| policy.exact.reads.address)
            .map(|policy| &policy.place)
    }

    /// The tools and prompts of `server` that policies name one by one, each with the policy that does.
    pub fn objects(&self, server: &str) -> impl Iterator<Item = (NamedObject, &PolicyPlace)> {
        let prefix = format!("{server}/");
        self.everything.policies.iter().flat_map(move |policy| {
            let literals = policy.exact.policy.entity_literals().into_iter();
            let prefix = prefix.clone();
            literals.filter_map(move |uid| {
                let id: &str = uid.id().as_ref();
                let name = id.strip_prefix(&prefix)?.to_owned();
                let object = match uid.type_name().basename() {
                    "Tool" => NamedObject::Tool(name),
                    "Prompt" => NamedObject::Prompt(name),
                    _ => return None,
                };
                Some((object, &policy.place))
            })
        })
    }

    /// The servers that policies name, each with the policy that does.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &PolicyPlace)> {
        self.everything.policies.iter().flat_map(|policy| {
            let servers = policy.servers.iter();
            servers.map(|server| (server.as_str(), &policy.place))
        })
    }

    /// Asks the policies; `hopeful` where no arguments are known.
    fn answer(&self, facts: &Facts<'_>, hopeful: bool) -> Verdict {
        let key = facts.key(hopeful);
        if let Some(known) = self.decisions.get(key.as_slice()) {
            return known;
        }
        let selection = self.selection(facts, hopeful);
        let verdict = self.ask(facts, &selection);
        if !selection.reads.changes() && key.len() <= LONGEST_KEY {
            self.decisions.insert(key.into(), verdict.clone());
        }
        verdict
    }

    fn ask(&self, facts: &Facts<'_>, selection: &Selection) -> Verdict {
        let (Some(policies), Ok((request, entities))) =
            (&selection.policies, facts.request(&selection.reads))
        else {
            // What cannot be shown to those who want to see it is not done.
            return Verdict::Denied(Arc::clone(&selection.readers));
        };
        let response = self.authorizer.is_authorized(&request, policies, &entities);
        let failed = response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
        });
        let failed: BTreeSet<String> = failed.collect();
        // Cedar leaves out a policy that fails. A forbid that is left out forbids nothing: so it counts.
        if !failed.is_empty() {
            return Verdict::Failed(failed.into_iter().collect());
        }
        let reasons = response.diagnostics().reason().map(ToString::to_string);
        let reasons = reasons.collect::<BTreeSet<String>>().into_iter().collect();
        match response.decision() {
            Decision::Allow => Verdict::Permitted(reasons),
            Decision::Deny => Verdict::Denied(reasons),
        }
    }

    fn selection(&self, facts: &Facts<'_>, hopeful: bool) -> Arc<Selection> {
        let policies = &self.everything.policies;
        let mut bits = vec![0_u64; policies.len().div_ceil(64)].into_boxed_slice();
        for (word, policies) in bits.iter_mut().zip(policies.chunks(64)) {
            for (bit, policy) in policies.iter().enumerate() {
                *word |= u64::from(policy.head.concerns(facts)) << bit;
            }
        }
        if let Some(known) = self.selections.get(&(hopeful, bits.clone())) {
            return known;
        }
        let chosen = bits.iter().zip(policies.chunks(64)).flat_map(|(word, policies)| {
            let chosen = policies.iter().enumerate();
            chosen.filter_map(move |(bit, policy)| (word >> bit & 1 == 1).then_some(policy))
        });
        let selection = Arc::new(Selection::of(chosen, hopeful));
        self.selections.insert((hopeful, bits), Arc::clone(&selection));
        selection
    }
}

impl Policy for CedarPolicy {
    fn objection(&self, question: &Question<'_>) -> Option<Refusal> {
        self.verdict(question).err()
    }

    fn verdict(&self, question: &Question<'_>) -> Result<Grounds, Refusal> {
        self.judged(question, !brings_arguments(question))
    }

    fn objection_to_listing(&self, question: &Question<'_>) -> Option<Refusal> {
        self.judged(question, true).err()
    }
}

impl CedarPolicy {
    fn judged(&self, question: &Question<'_>, hopeful: bool) -> Result<Grounds, Refusal> {
        let Some(object) = question.object else {
            return Ok(Grounds::default());
        };
        let facts = Facts {
            subject: question.subject,
            server: question.server.name.as_str(),
            object,
            now: question.context.now,
            address: question.context.address,
            revision: question.revision().as_str(),
            arguments: question.call.and_then(|call| call.arguments()),
        };
        match self.answer(&facts, hopeful) {
            Verdict::Permitted(policies) => Ok(policies.into()),
            Verdict::Denied(policies) => Err(Refusal::DeniedByPolicy {
                policies: policies.to_vec(),
            }),
            Verdict::Failed(policies) => Err(Refusal::PolicyFailed {
                policies: policies.to_vec(),
            }),
        }
    }
}

/// Whether the call is the one whose arguments policies speak of. A subscription to a resource, a completion, a task's
/// state concern the same object, and bring others or none.
fn brings_arguments(question: &Question<'_>) -> bool {
    let own = match question.object {
        Some(Object::Tool(_)) => "tools/call",
        Some(Object::Prompt(_)) => "prompts/get",
        Some(Object::Resource(_)) => "resources/read",
        Some(Object::Method(_)) => return question.call.is_some(),
        None => return false,
    };
    question.call.and_then(|call| call.method()) == Some(own)
}

impl Selection {
    fn of<'a>(chosen: impl Iterator<Item = &'a Loaded>, hopeful: bool) -> Self {
        let (mut reads, mut readers) = (Reads::default(), BTreeSet::new());
        let policies = chosen.map(|loaded| {
            let Variant { policy, reads: its } = if hopeful { &loaded.hopeful } else { &loaded.exact };
            reads.join(its);
            if its.reads_arguments() {
                readers.insert(loaded.place.id.clone());
            }
            policy.clone()
        });
        let policies = PolicySet::from_policies(policies).ok();
        Self {
            policies,
            reads,
            readers: readers.into_iter().collect(),
        }
    }
}

impl fmt::Debug for CedarPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarPolicy")
            .field("policies", &self.everything.policies.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
