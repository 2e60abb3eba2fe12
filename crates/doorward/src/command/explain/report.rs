//! What the hops of a trace mean. Its JSON form is stable: members are added, never changed.

use doorward_oauth::requirement::Requirement;
use doorward_recorder::{Actor, Hop, Joined, Note};
use doorward_types::id::TraceId;
use doorward_types::time::UnixTime;
use serde::Serialize;
use uuid::Uuid;

use super::advice::advice;

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The client has, or had last, a token.
    Token,
    /// The last thing that happened is a refusal.
    Refused,
    /// Neither: somebody stopped, or goes on still.
    Unfinished,
}

/// A rule that was enforced.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rule {
    /// Its id in `docs/requirements.toml`.
    pub(crate) id: String,
    /// What it says; absent if this version does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sentence: Option<&'static str>,
    /// Where it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clause: Option<&'static str>,
}

/// What ended it, or what the decision was that was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    /// Which hop.
    pub(crate) hop: usize,
    /// What happened there.
    pub(crate) what: String,
    /// Why, in one word of the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// What was asked: the method and what it acts on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    /// The scopes that the call needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) needed: Option<String>,
    /// The scopes that the token has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
    /// The policies that forbid it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policies: Option<String>,
    /// The limit that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    /// Seconds after which it could be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<String>,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Rule>,
    /// What to do.
    pub(crate) advice: String,
}

/// A hop with what follows from its neighbours.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) at: String,
    pub(crate) offset_ms: u64,
    pub(crate) took_ms: u64,
    pub(crate) from: Actor,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: Option<u16>,
    pub(crate) joined: Joined,
    pub(crate) failed: bool,
    pub(crate) notes: Vec<Note>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<TraceId>,
}

/// Everything about one trace.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) trace: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision_id: Option<Uuid>,
    pub(crate) begun: String,
    pub(crate) outcome: Outcome,
    pub(crate) client: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) scopes: Option<String>,
    pub(crate) failure: Option<Failure>,
    pub(crate) hops: Vec<Step>,
}

impl Report {
    /// From the hops, oldest first. With `decision`, that refusal is what is explained.
    pub(crate) fn new(trace: TraceId, hops: Vec<Hop>, decision: Option<Uuid>) -> Self {
        let begun = hops.first().map_or(UnixTime::EPOCH, |hop| hop.at);
        let newest = |name: &str| {
            hops.iter()
                .rev()
                .find_map(|hop| hop.field(name))
                .map(str::to_owned)
        };
        let succeeded = hops.iter().rposition(has_token);
        let asked = decision.and_then(|id| hops.iter().position(|hop| hop.decision == Some(id)));
        let last_failed = hops.iter().rposition(has_failed);
        let final_failure =
            last_failed.filter(|failed| succeeded.is_none_or(|succeeded| *failed > succeeded));
        let failure = asked.or(final_failure).and_then(|at| {
            let hop = hops.get(at)?;
            Some(failure(at, hop, newest("client").as_deref()))
        });
        Self {
            trace,
            decision_id: decision,
            begun: begun.to_string(),
            outcome: match (final_failure, succeeded) {
                (Some(_), _) => Outcome::Refused,
                (None, Some(_)) => Outcome::Token,
                (None, None) => Outcome::Unfinished,
            },
            client: newest("client"),
            user: newest("user"),
            resource: newest("resource"),
            scopes: newest("scopes"),
            failure,
            hops: hops.into_iter().map(|hop| step(hop, begun)).collect(),
        }
    }
}

fn step(hop: Hop, begun: UnixTime) -> Step {
    Step {
        failed: has_failed(&hop),
        at: hop.at.to_string(),
        offset_ms: u64::try_from(hop.at.since(begun).as_millis()).unwrap_or(u64::MAX),
        took_ms: hop.took,
        from: hop.actor,
        method: hop.method,
        path: hop.path,
        status: hop.status,
        joined: hop.joined,
        notes: hop.notes,
        decision_id: hop.decision,
        traceparent: hop.parent,
    }
}

fn failure(at: usize, hop: &Hop, client: Option<&str>) -> Failure {
    let note = hop
        .notes
        .iter()
        .rev()
        .find(|note| is_refusal(note))
        .or(hop.notes.last());
    let reason = hop.field("reason").or_else(|| hop.field("error"));
    let id = note.and_then(|note| note.rule.as_deref()).or_else(|| hop.rule());
    let rule = id.map(|id| {
        let known = Requirement::find(id);
        Rule {
            id: id.to_owned(),
            sentence: known.map(|rule| rule.sentence),
            clause: known.map(|rule| rule.clause),
        }
    });
    let what = note.map_or_else(
        || format!("{} {} was refused", hop.method, hop.path),
        |note| note.message.clone(),
    );
    let told = |name: &str| hop.field(name).map(str::to_owned);
    let asked = hop.field("method").filter(|_| hop.decision.is_some());
    Failure {
        hop: at,
        asked: asked.map(|method| match hop.field("name") {
            Some(name) => format!("{method} {name}"),
            None => method.to_owned(),
        }),
        // Elsewhere `scopes` are those that were granted.
        needed: told("scopes").filter(|_| hop.decision.is_some()),
        held: told("held"),
        policies: told("policies"),
        limit: told("limit"),
        retry_after: told("retry_after"),
        advice: advice(&what, reason.unwrap_or_default(), id.unwrap_or_default(), client),
        what,
        reason: reason.map(str::to_owned),
        rule,
    }
}

/// Whether a client got, or used, a token in this hop.
fn has_token(hop: &Hop) -> bool {
    let done = hop.status.is_none_or(|status| status < 400);
    done && hop.notes.iter().any(|note| {
        let message = note.message.as_str();
        message.starts_with("call: first")
            || (message.starts_with("token: ") && note.fields.contains_key("token") && !is_refusal(note))
    })
}

/// Whether something was refused in this hop. The `401` with which a login begins is none, nor is a device that asks whether
/// its person has answered.
fn has_failed(hop: &Hop) -> bool {
    let reason = hop.field("reason").unwrap_or_default();
    if matches!(reason, "no_token" | "DevicePending" | "SlowDown") {
        return false;
    }
    hop.status.is_some_and(|status| status >= 400) || hop.notes.iter().any(is_refusal)
}

fn is_refusal(note: &Note) -> bool {
    let message = note.message.as_str();
    [
        "refused",
        "failed",
        "not given",
        "not asked",
        "not signed",
        "denied",
        "shown anew",
    ]
    .iter()
    .any(|word| message.contains(word))
}
