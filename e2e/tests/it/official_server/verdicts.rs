//! What the suite wrote down, and what "no verdict is worse" means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The verdicts of a run: scenario and check id, and the worst status that this check got there.
///
/// `INFO` is the suite's log of what went over the wire, no verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts(pub(crate) BTreeMap<(String, String), Verdict>);

/// From good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Success,
    Skipped,
    Warning,
    Failure,
}

impl Verdict {
    fn from_status(status: &str) -> Option<Self> {
        match status {
            "SUCCESS" => Some(Self::Success),
            "SKIPPED" => Some(Self::Skipped),
            "WARNING" => Some(Self::Warning),
            "FAILURE" => Some(Self::Failure),
            "INFO" => None,
            other => panic!("the suite has a status {other} now: say here how bad it is"),
        }
    }
}

impl Verdicts {
    /// Reads `RESULTS/server-SCENARIO-TIME/checks.json` of every scenario.
    pub(crate) fn read(results: &Path) -> Self {
        let mut found = Self::default();
        for folder in folders(results) {
            let scenario = scenario_of(&folder);
            let text = std::fs::read(folder.join("checks.json"))
                .unwrap_or_else(|error| panic!("{scenario} wrote its checks: {error}"));
            let checks: Value = serde_json::from_slice(&text).expect("JSON");
            for check in checks.as_array().expect("a list of checks") {
                let id = check["id"].as_str().expect("a check has an id");
                let status = check["status"].as_str().expect("a check has a status");
                if let Some(verdict) = Verdict::from_status(status) {
                    found.note(&scenario, id, verdict);
                }
            }
        }
        found
    }

    fn note(&mut self, scenario: &str, check: &str, verdict: Verdict) {
        let entry = self.0.entry((scenario.into(), check.into())).or_insert(verdict);
        *entry = verdict.max(*entry);
    }

    pub(crate) fn scenarios(&self) -> usize {
        let mut names: Vec<&String> = self.0.keys().map(|(scenario, _)| scenario).collect();
        names.dedup();
        names.len()
    }

    pub(crate) fn successes(&self) -> usize {
        self.0.len() - self.blemishes().len()
    }

    /// How much there is, for people.
    pub(crate) fn summary(&self) -> String {
        let (scenarios, checks) = (self.scenarios(), self.0.len());
        let blemishes = self.blemishes().len();
        format!("{scenarios} scenarios, {checks} checks, {blemishes} of them no success")
    }

    /// Everything that is not a success.
    pub(crate) fn blemishes(&self) -> Vec<Worse> {
        let bad = self.0.iter().filter(|(_, verdict)| **verdict != Verdict::Success);
        bad.map(|(key, verdict)| Worse::of(key, format!("{verdict:?}")))
            .collect()
    }

    /// What is worse here than in `direct`: a worse verdict, a check that is missing, or a check that only
    /// appears here and is no success.
    pub(crate) fn worse_than(&self, direct: &Self) -> Vec<Worse> {
        let missing_or_worse = direct.0.iter().filter_map(|(key, before)| {
            let what = match self.0.get(key) {
                None => format!("{before:?} directly, missing here"),
                Some(now) if now > before => format!("{before:?} directly, {now:?} here"),
                Some(_) => return None,
            };
            Some(Worse::of(key, what))
        });
        let only_here = self.0.iter().filter_map(|(key, now)| {
            let new = !direct.0.contains_key(key) && *now != Verdict::Success;
            new.then(|| Worse::of(key, format!("only here, {now:?}")))
        });
        missing_or_worse.chain(only_here).collect()
    }

    /// Forgets what is known of a scenario for what another run of it found.
    pub(crate) fn replace(&mut self, scenario: &str, other: &Self) {
        self.0.retain(|(name, _), _| name != scenario);
        self.0.extend(other.0.clone());
    }
}

/// One thing that is worse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worse {
    pub(crate) scenario: String,
    pub(crate) check: String,
    what: String,
}

impl Worse {
    fn of((scenario, check): &(String, String), what: String) -> Self {
        Self {
            scenario: scenario.clone(),
            check: check.clone(),
            what,
        }
    }
}

fn folders(results: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(results).expect("the suite wrote its results");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// `server-ping-2026-11-21T06-33-09-123Z` → `ping`
fn scenario_of(folder: &Path) -> String {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy();
    let time = "-2026-11-21T06-33-09-123Z".len();
    let scenario = name
        .strip_prefix("server-")
        .expect("results of a server's scenario");
    scenario[..scenario.len() - time].to_owned()
}

fn verdicts(list: &[(&str, &str, Verdict)]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for (scenario, check, verdict) in list {
        verdicts.note(scenario, check, *verdict);
    }
    verdicts
}

#[test]
fn a_worse_verdict_is_noticed() {
    let direct = verdicts(&[("ping", "answers", Verdict::Success)]);
    for verdict in [Verdict::Skipped, Verdict::Warning, Verdict::Failure] {
        let here = verdicts(&[("ping", "answers", verdict)]);
        assert_eq!(here.worse_than(&direct).len(), 1, "{verdict:?}");
        assert_eq!(direct.worse_than(&here), Vec::new());
    }
}

#[test]
fn a_missing_check_and_a_new_failure_are_noticed() {
    let direct = verdicts(&[("ping", "answers", Verdict::Success)]);
    let here = verdicts(&[("ping", "stays up", Verdict::Warning)]);
    assert_eq!(here.worse_than(&direct).len(), 2);
}

#[test]
fn the_worst_of_several_verdicts_counts() {
    let both = [
        ("ping", "answers", Verdict::Failure),
        ("ping", "answers", Verdict::Success),
    ];
    assert_eq!(verdicts(&both).blemishes()[0].what, "Failure");
}
