//! `docs/clients.md`: its tables are what the tests measure. Each test compares its lines with the page;
//! `cargo xtask clients --update` lets it write them instead.

use std::path::PathBuf;
use std::sync::Mutex;

use super::client::Kind;
use super::servers::RealServer;

/// Set: write what is measured, do not compare.
const UPDATE: &str = "DOORWARD_UPDATE_CLIENTS";

/// A table of the page, between `<!-- measured: NAME -->` and `<!-- /measured -->`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    /// What a client says of itself and asks for.
    Sends,
    /// The names of what it sends.
    Names,
    /// What it exchanges with the authorization server in the course of its life.
    Lives,
    /// What it does when a call needs more than its first login gave.
    StepUps,
    /// Which real servers it is tried with.
    Servers,
}

impl Table {
    const ALL: [Self; 5] = [
        Self::Sends,
        Self::Names,
        Self::Lives,
        Self::StepUps,
        Self::Servers,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Sends => "sends",
            Self::Names => "names",
            Self::Lives => "lives",
            Self::StepUps => "step-ups",
            Self::Servers => "servers",
        }
    }

    /// The first cells of its lines, in order.
    fn keys(self) -> Vec<String> {
        match self {
            Self::Servers => RealServer::ALL.map(RealServer::how).to_vec(),
            Self::StepUps => Kind::STEPPING.map(|kind| kind.name().to_owned()).to_vec(),
            _ => Kind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
        }
    }

    /// The page before, in and after this table's lines.
    fn split(self, page: &str) -> (String, Vec<String>, String) {
        let begin = format!("<!-- measured: {} -->\n", self.name());
        let (before, rest) = page
            .split_once(&begin)
            .unwrap_or_else(|| panic!("docs/clients.md has {begin}"));
        let (lines, after) = rest.split_once("<!-- /measured -->").expect("the table ends");
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        let head: Vec<String> = lines.drain(..2).collect();
        (
            format!("{before}{begin}{}\n", head.join("\n")),
            lines,
            format!("<!-- /measured -->{after}"),
        )
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/clients.md")
}

fn key(line: &str) -> &str {
    line.trim_start_matches("| ")
        .split_once(" |")
        .map_or(line, |(key, _)| key)
}

/// Holds a line of the page to what was measured, or writes it.
///
/// # Panics
/// When the page says something else; the message says what it should say.
pub(super) fn measured(table: Table, cells: &[&str]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let line = format!("| {} |", cells.join(" | "));
    let page = std::fs::read_to_string(path()).expect("docs/clients.md");
    let (before, mut lines, after) = table.split(&page);
    if lines.contains(&line) {
        return;
    }
    assert!(
        std::env::var_os(UPDATE).is_some(),
        "docs/clients.md does not say what was measured; `cargo xtask clients --update` writes it:\n{line}"
    );
    let keys = table.keys();
    lines.retain(|line| key(line) != cells[0] && keys.iter().any(|known| known == key(line)));
    lines.push(line);
    lines.sort_by_key(|line| keys.iter().position(|known| known == key(line)));
    let text = lines.iter().fold(before, |text, line| text + line + "\n") + &after;
    std::fs::write(path(), text).expect("docs/clients.md can be written");
}

#[test]
fn the_page_has_one_line_for_each_client_and_server_that_is_tested() {
    let page = std::fs::read_to_string(path()).expect("docs/clients.md");
    for table in Table::ALL {
        let (_, lines, _) = table.split(&page);
        let found: Vec<&str> = lines.iter().map(|line| key(line)).collect();
        assert_eq!(found, table.keys(), "{table:?}");
    }
}
