//! `docs/requirements.toml` and `docs/attacks.md` against the code and the tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::ids::{self, Mention, Test};
use crate::run;

const REQUIREMENTS: &str = "docs/requirements.toml";
const ATTACKS: &str = "docs/attacks.md";

/// How far tests have come with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// A test proves the whole row.
    Tested,
    /// A test proves what the product has of it so far.
    Partly,
    /// No test yet.
    Planned,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        [Self::Tested, Self::Partly, Self::Planned]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tested => "tested",
            Self::Partly => "partly",
            Self::Planned => "planned",
        }
    }

    /// What it is given that the row has tests or not. That a row is only partly proved is for people to say.
    const fn given(self, has_tests: bool) -> Self {
        match (self, has_tests) {
            (_, false) => Self::Planned,
            (Self::Planned, true) => Self::Tested,
            (kept, true) => kept,
        }
    }
}

/// A requirement or an attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    sentence: String,
    status: Status,
    /// The public clause.
    clause: String,
    /// Whom it binds.
    #[serde(default)]
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    requirement: Vec<Row>,
}

/// Everything that is known about every row.
struct Traceability {
    rows: Vec<Row>,
    tests: Vec<Test>,
    mentions: Vec<Mention>,
}

impl Traceability {
    fn read(root: &Path) -> Result<Self> {
        let text = read(root, REQUIREMENTS)?;
        let document: Document =
            toml::from_str(&text).with_context(|| format!("{REQUIREMENTS} cannot be read"))?;
        let mut rows = document.requirement;
        rows.extend(attacks(&read(root, ATTACKS)?)?);
        let (tests, mentions) = ids::scan(root)?;
        Ok(Self {
            rows,
            tests,
            mentions,
        })
    }

    fn tests_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Test> {
        self.tests
            .iter()
            .filter(move |test| test.ids().iter().any(|have| have == id))
    }

    /// Whether a test proves the row. Attacks are proved against the real binary only.
    fn is_proved(&self, id: &str) -> bool {
        let is_attack = id.contains('-');
        self.tests_of(id)
            .any(|test| !is_attack || test.place.starts_with("e2e/"))
    }

    /// What is wrong, one sentence each.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut seen = BTreeMap::new();
        for row in &self.rows {
            if !ids::is_id(&row.id) {
                problems.push(format!("{} is not written as ids are", row.id));
            }
            if seen.insert(&row.id, row).is_some() {
                problems.push(format!("{} is listed twice", row.id));
            }
            if row.status != Status::Planned && !self.is_proved(&row.id) {
                problems.push(format!(
                    "{} is said to be {}, and no test carries it",
                    row.id,
                    row.status.as_str()
                ));
            }
        }
        for test in &self.tests {
            for id in test.ids().iter().filter(|id| !seen.contains_key(id)) {
                problems.push(format!(
                    "{} at {} carries {id}, which is not listed",
                    test.name, test.place
                ));
            }
        }
        for mention in self.mentions.iter().filter(|mention| mention.id.contains('-')) {
            if !seen.contains_key(&mention.id) {
                problems.push(format!(
                    "{} names {}, which is not listed",
                    mention.place, mention.id
                ));
            }
        }
        problems
    }

    fn report(&self) -> String {
        let mut report = String::new();
        for row in &self.rows {
            let role = row
                .role
                .as_ref()
                .map_or_else(String::new, |role| format!(" [{role}]"));
            let _ = writeln!(report, "{}{role} {} ({})", row.id, row.sentence, row.clause);
            let _ = writeln!(report, "    {}", row.status.as_str());
            for mention in self.mentions.iter().filter(|mention| mention.id == row.id) {
                let _ = writeln!(report, "    code {}", mention.place);
            }
            for test in self.tests_of(&row.id) {
                let _ = writeln!(report, "    test {} {}", test.name, test.place);
            }
        }
        let count = |status| self.rows.iter().filter(|row| row.status == status).count();
        let (tested, partly, planned) = (
            count(Status::Tested),
            count(Status::Partly),
            count(Status::Planned),
        );
        let _ = writeln!(report, "\n{tested} tested, {partly} partly, {planned} planned");
        report
    }
}

fn read(root: &Path, name: &str) -> Result<String> {
    fs::read_to_string(root.join(name)).with_context(|| format!("could not read {name}"))
}

/// The cells of a catalogue row; none for any other line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split(" | ")
        .collect();
    ids::is_id(cells.first()?).then_some(cells)
}

fn attacks(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for cells in text.lines().filter_map(cells) {
        let [id, severity, role, _, send, must, clause, status] = cells[..] else {
            bail!("{ATTACKS}: {} has {} cells, not 8", cells[0], cells.len());
        };
        let status = Status::parse(status).with_context(|| format!("{ATTACKS}: {id} ends in {status:?}"))?;
        rows.push(Row {
            id: id.to_owned(),
            sentence: format!("({severity}) {send}: {must}"),
            status,
            clause: clause.to_owned(),
            role: Some(role.to_owned()),
        });
    }
    Ok(rows)
}

/// `cargo xtask requirements`.
pub(crate) fn command(update: bool) -> Result<()> {
    let root = run::root();
    if update {
        write_statuses(root, &Traceability::read(root)?)?;
    }
    let traceability = Traceability::read(root)?;
    print!("{}", traceability.report());
    let problems = traceability.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn write_statuses(root: &Path, traceability: &Traceability) -> Result<()> {
    let status = |id: &str| {
        let row = traceability.rows.iter().find(|row| row.id == id)?;
        Some(row.status.given(traceability.is_proved(id)).as_str())
    };
    let mut id = String::new();
    let requirements = read(root, REQUIREMENTS)?
        .lines()
        .fold(String::new(), |mut text, line| {
            if let Some(quoted) = line.strip_prefix("id = ") {
                quoted.trim_matches('"').clone_into(&mut id);
            }
            let status = line.starts_with("status = ").then(|| status(&id)).flatten();
            let line = status.map_or_else(|| line.to_owned(), |status| format!("status = \"{status}\""));
            text.push_str(&line);
            text.push('\n');
            text
        });
    let attacks = read(root, ATTACKS)?
        .lines()
        .fold(String::new(), |mut text, line| {
            let changed = cells(line).and_then(|cells| {
                let (_, kept) = cells.split_last()?;
                Some(format!("| {} | {} |", kept.join(" | "), status(cells[0])?))
            });
            text.push_str(changed.as_deref().unwrap_or(line));
            text.push('\n');
            text
        });
    fs::write(root.join(REQUIREMENTS), requirements)
        .with_context(|| format!("could not write {REQUIREMENTS}"))?;
    fs::write(root.join(ATTACKS), attacks).with_context(|| format!("could not write {ATTACKS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_documents_say_of_the_tests_is_true() {
        let traceability = Traceability::read(run::root()).unwrap();
        assert_eq!(
            traceability
                .rows
                .iter()
                .filter(|row| !row.id.contains('-'))
                .count(),
            183,
            "requirements"
        );
        assert_eq!(
            traceability
                .rows
                .iter()
                .filter(|row| row.id.contains('-'))
                .count(),
            183,
            "attacks"
        );
        let problems = traceability.problems();
        assert!(
            problems.is_empty(),
            "{}\n(`cargo xtask requirements --update` sets the statuses)",
            problems.join("\n")
        );
    }

    #[test]
    fn a_status_follows_the_tests_but_partly_stays() {
        assert_eq!(Status::Planned.given(true), Status::Tested);
        assert_eq!(Status::Partly.given(true), Status::Partly);
        assert_eq!(Status::Tested.given(false), Status::Planned);
    }

    #[test]
    fn a_test_with_an_unknown_id_and_a_claim_without_a_test_are_problems() {
        let row = |id: &str, status| Row {
            id: id.to_owned(),
            sentence: String::new(),
            status,
            clause: String::new(),
            role: None,
        };
        let test = |name: &str| Test {
            name: name.to_owned(),
            place: "f.rs:1".to_owned(),
        };
        let traceability = Traceability {
            rows: vec![
                row("A1", Status::Tested),
                row("A2", Status::Tested),
                row("A3", Status::Planned),
            ],
            tests: vec![test("a1_works"), test("a99_works"), test("a3_works_in_part")],
            mentions: Vec::new(),
        };
        assert_eq!(
            traceability.problems(),
            [
                "A2 is said to be tested, and no test carries it",
                "a99_works at f.rs:1 carries A99, which is not listed"
            ]
        );
    }
}
