//! What counts as passing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Checks that nobody can exercise: scenario and name. The suite asks for the messages of `initialize` at a revision that
/// has none.
const SKIPPED: [(&str, &str); 2] = [
    ("http-standard-headers", "ClientMcpMethodHeader_initialize"),
    (
        "http-standard-headers",
        "ClientMcpMethodHeader_notifications_initialized",
    ),
];

/// Where the client has to refuse, and the words that say why: a client that fails for another reason passes there, too.
const REFUSED: [(&str, &str); 7] = [
    ("auth/resource-mismatch", "[A20,"),
    ("auth/iss-supported-missing", "[A16,"),
    ("auth/iss-wrong-issuer", "[A16,"),
    ("auth/iss-unexpected", "[A16,"),
    ("auth/iss-normalized", "[A16,"),
    ("auth/metadata-issuer-mismatch", "[D7,"),
    ("auth/scope-retry-limit", "mcp:admin"),
];

/// What one run wrote down.
pub(crate) struct Run {
    /// Check (id and name) and the statuses that it got.
    pub(crate) checks: BTreeMap<(String, String), Vec<String>>,
    /// Whether the suite itself was content: no failure, no warning, and the client ended well where it had to.
    pub(crate) content: bool,
    /// What the suite said.
    pub(crate) printed: String,
    /// What the client said.
    pub(crate) said: String,
}

impl Run {
    /// Reads `RESULTS/…/checks.json`, and what the client said from beside it.
    pub(crate) fn read(results: &Path, content: bool, mut printed: String) -> Self {
        let mut checks: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for file in found(results, "checks.json") {
            let listed: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
            for check in listed.as_array().expect("a list of checks") {
                let text = |name: &str| check[name].as_str().expect("a check has it").to_owned();
                let statuses = checks.entry((text("id"), text("name"))).or_default();
                statuses.push(text("status"));
                if !matches!(check["status"].as_str(), Some("SUCCESS" | "INFO")) {
                    let why = check.get("errorMessage").unwrap_or(&check["description"]);
                    printed.push_str(&format!(
                        "{}: {}: {why} {}\n",
                        text("status"),
                        text("id"),
                        check["details"]
                    ));
                }
            }
        }
        let mut said = String::new();
        for file in found(results, "stderr.txt") {
            said.push_str(&std::fs::read_to_string(&file).expect("UTF-8"));
        }
        Self {
            checks,
            content,
            printed,
            said,
        }
    }

    /// Everything that keeps this run from passing. At least one check must have succeeded: a list of nothing is no success.
    pub(crate) fn problems(&self, scenario: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut successes = 0;
        for ((id, name), statuses) in &self.checks {
            for status in statuses {
                match status.as_str() {
                    "SUCCESS" => successes += 1,
                    "INFO" => {}
                    "SKIPPED" if skipped(scenario, name) => {}
                    other => problems.push(format!("{other}: {id} ({name})")),
                }
            }
        }
        let refusal = REFUSED.iter().find(|(there, _)| *there == scenario);
        if let Some((_, words)) = refusal
            && !self.said.contains(words)
        {
            problems.push(format!("the client does not say {words:?}"));
        }
        if successes == 0 {
            problems.push("not one check succeeded".to_owned());
        }
        if !self.content {
            problems.push("the suite calls it a failure".to_owned());
        }
        problems
    }
}

fn skipped(scenario: &str, name: &str) -> bool {
    SKIPPED.contains(&(scenario, name))
}

fn found(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| {
            if path.is_dir() {
                found(&path, name)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.file_name().is_some_and(|given| given == name))
        .collect()
}
