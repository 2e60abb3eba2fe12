//! Which scenarios there are, as the installed suite says itself: a new version's new scenario is seen here.

use std::collections::BTreeSet;

use crate::node;

/// The revision that a scenario's server speaks.
pub(crate) type Revision = &'static str;

/// The package's own folder.
pub(crate) const SUITE: &str = "@modelcontextprotocol/conformance";

/// What is in no requirement set, and runs at a revision of its own.
const IN_NO_SET: [(&str, Revision); 3] = [
    ("auth/2025-03-26-oauth-endpoint-fallback", "2025-03-26"),
    ("auth/2025-03-26-oauth-metadata-backcompat", "2025-03-26"),
    ("sep-2640-client-no-prefetch", "2026-07-28"),
];

/// What judges a host that loads skills: it reads a file that was tampered with and looks whether the host believes it.
/// Neither the library nor the bridge reads files, so only the test client's own code would be under test.
const OF_SKILL_HOSTS: [&str; 3] = [
    "sep-2640-client-verify-digest",
    "sep-2640-client-verify-frontmatter",
    "sep-2640-client-verify-size",
];

/// The client's part of a requirement set.
pub(crate) struct Set {
    pub(crate) scored: Vec<String>,
    pub(crate) not_scored: Vec<String>,
}

pub(crate) struct Catalogue {
    /// 2025-11-25
    pub(crate) older: Set,
    /// 2026-07-28
    pub(crate) newer: Set,
    pub(crate) in_no_set: Vec<String>,
}

impl Catalogue {
    /// # Panics
    /// When the suite has a scenario that nobody has decided about.
    pub(crate) fn of_the_suite() -> Self {
        let (older, newer) = (Set::read("2025-11-25"), Set::read("2026-07-28"));
        let mut known: BTreeSet<String> = IN_NO_SET.map(|(name, _)| name.to_owned()).into();
        let in_no_set = known.iter().cloned().collect();
        known.extend(OF_SKILL_HOSTS.map(str::to_owned));
        for set in [&older, &newer] {
            known.extend(set.scored.iter().chain(&set.not_scored).cloned());
        }
        assert_eq!(
            all(),
            known,
            "the scenarios of the suite, and those that are decided about"
        );
        Self {
            older,
            newer,
            in_no_set,
        }
    }
}

/// # Panics
/// When `scenario` is in a requirement set, or not known.
pub(crate) fn revision_of(scenario: &str) -> Revision {
    let found = IN_NO_SET.iter().find(|(name, _)| *name == scenario);
    found.expect("a scenario of no requirement set").1
}

/// Every client scenario, as `conformance list --client` prints them: `  - auth/dpop [extension]`
fn all() -> BTreeSet<String> {
    let script = node::Folder::new().command(&format!("{SUITE}/dist/index.js"));
    let output = std::process::Command::new(&script[0])
        .args([&script[1], "list", "--client"])
        .output()
        .expect("the suite can be started");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = printed.lines().filter_map(|line| line.trim().strip_prefix("- "));
    lines
        .filter_map(|line| line.split_once(" ["))
        .map(|(name, _)| name.to_owned())
        .collect()
}

impl Set {
    /// Reads `requirements/REVISION.yaml`: a list under `client`, and under `not_scored` entries of three lines.
    fn read(revision: Revision) -> Self {
        let text = node::file(&format!("{SUITE}/requirements/{revision}.yaml"));
        let mut set = Self {
            scored: Vec::new(),
            not_scored: Vec::new(),
        };
        let (mut key, mut entry) = ("", "");
        for line in text.lines() {
            let item = line.trim();
            if !line.starts_with(' ') && line.ends_with(':') {
                key = line.trim_end_matches(':');
            } else if let Some(name) = item.strip_prefix("- scenario: ") {
                entry = name;
            } else if item == "leg: client" && key == "not_scored" {
                set.not_scored.push(entry.to_owned());
            } else if let Some(name) = item.strip_prefix("- ")
                && key == "client"
            {
                set.scored.push(name.to_owned());
            }
        }
        set
    }
}
