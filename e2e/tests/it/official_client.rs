//! The official suite's client scenarios, one at a time: the client library under rmcp's client, and the bridge.

mod bridge;
mod catalogue;
mod judge;
mod suite;

use catalogue::{Catalogue, Revision};
use suite::Way;

/// Runs scenarios one after another, and those that do not pass again, alone: the suite allows a fifth of a
/// second for a reconnection, which a busy machine exceeds. What is wrong stays wrong.
async fn all_pass(way: &Way, runs: &[(&str, Revision)]) {
    let mut wrong = Vec::new();
    for (scenario, revision) in runs {
        if let Err(problem) = suite::passes(way, scenario, revision).await {
            wrong.push(problem);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        runs.len(),
        wrong.join("\n")
    );
}

fn at(scenarios: &[String], revision: Revision) -> Vec<(&str, Revision)> {
    scenarios.iter().map(|name| (name.as_str(), revision)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_every_scored_scenario_of_2025_11_25_passes() {
    let catalogue = Catalogue::of_the_suite();
    assert_eq!(catalogue.older.scored.len(), 18);
    all_pass(&Way::Library, &at(&catalogue.older.scored, "2025-11-25")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_every_scored_scenario_of_2026_07_28_passes() {
    let catalogue = Catalogue::of_the_suite();
    assert_eq!(catalogue.newer.scored.len(), 32);
    all_pass(&Way::Library, &at(&catalogue.newer.scored, "2026-07-28")).await;
}

/// What is not scored in either set, and what is in none.
fn not_scored(catalogue: &Catalogue) -> Vec<(&str, Revision)> {
    let mut runs = at(&catalogue.older.not_scored, "2025-11-25");
    runs.extend(at(&catalogue.newer.not_scored, "2026-07-28"));
    runs.extend(at(&catalogue.in_no_set, ""));
    for (scenario, revision) in &mut runs {
        if revision.is_empty() {
            *revision = catalogue::revision_of(scenario);
        }
    }
    assert_eq!(runs.len(), 7 + 7 + 3);
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_every_scenario_that_is_not_scored_passes() {
    let catalogue = Catalogue::of_the_suite();
    all_pass(&Way::Library, &not_scored(&catalogue)).await;
}

/// Nobody passes by doing nothing: neither where the suite only finds nothing wrong, nor where it expects a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_nothing_passes_no_scenario() {
    let tempting = [
        ("initialize", "2025-11-25"),
        ("sse-retry", "2025-11-25"),
        ("http-standard-headers", "2026-07-28"),
        ("http-invalid-tool-headers", "2026-07-28"),
        ("json-schema-ref-no-deref", "2026-07-28"),
        ("auth/scope-retry-limit", "2026-07-28"),
        ("auth/resource-mismatch", "2026-07-28"),
        ("auth/iss-wrong-issuer", "2026-07-28"),
        ("auth/metadata-issuer-mismatch", "2026-07-28"),
        ("auth/authorization-server-migration", "2026-07-28"),
    ];
    for (scenario, revision) in tempting {
        let run = suite::run(&Way::Nothing, scenario, revision).await;
        assert!(!run.problems(scenario).is_empty(), "{scenario}: {}", run.printed);
    }
}
