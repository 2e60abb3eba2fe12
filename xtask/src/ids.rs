//! Ids of requirements and attacks, and the tests that carry them in their names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The families of the attack catalogue.
const FAMILIES: [&str; 14] = [
    "rs", "hd", "mb", "az", "tk", "rt", "rg", "cn", "vt", "cl", "ex", "ds", "ft", "lk",
];
/// The letters of the requirements.
const LETTERS: &str = "radgsbecpwx";
/// Where Rust files of ours are.
const FOLDERS: [&str; 6] = ["crates", "servers", "testkit", "e2e", "bench", "xtask"];

/// A test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// The name of its function.
    pub(crate) name: String,
    /// Its file, from the root of the workspace, and line.
    pub(crate) place: String,
}

impl Test {
    /// The ids at the start of its name: `rs_05_…` proves RS-05, `r18_a3_…` proves R18 and A3.
    pub(crate) fn ids(&self) -> Vec<String> {
        ids_of(&self.name)
    }
}

/// Where non-test code names an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) id: String,
    pub(crate) place: String,
}

/// Every test of the workspace and every mention of an id in its code.
pub(crate) fn scan(root: &Path) -> Result<(Vec<Test>, Vec<Mention>)> {
    let (mut tests, mut mentions) = (Vec::new(), Vec::new());
    for folder in FOLDERS {
        for file in rust_files(&root.join(folder))? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            tests.extend(tests_in(&text, &name));
            if (folder == "crates" || folder == "servers") && !name.contains("/tests") {
                mentions.extend(mentions_in(&text, &name));
            }
        }
    }
    Ok((tests, mentions))
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The functions with a test attribute.
fn tests_in(text: &str, file: &str) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut is_test = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && let Some(name) = function_name(line) {
            tests.push(Test {
                name: name.to_owned(),
                place: format!("{file}:{}", number + 1),
            });
            is_test = false;
        }
    }
    tests
}

fn function_name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .next()
        .filter(|name| !name.is_empty())
}

/// Ids in comments and in string literals, before the tests at the end of a file.
fn mentions_in(text: &str, file: &str) -> Vec<Mention> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut mentions = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let comment = line.split_once("//").map_or("", |(_, comment)| comment);
        let literals = line.split('"').skip(1).step_by(2);
        let words = literals.chain(comment.split(|letter: char| !letter.is_alphanumeric() && letter != '-'));
        for id in words.filter(|word| is_id(word)) {
            mentions.push(Mention {
                id: id.to_owned(),
                place: format!("{file}:{}", number + 1),
            });
        }
    }
    mentions
}

/// Whether a word is written as ids are in the documents: `A31`, `RS-05`.
pub(crate) fn is_id(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let id = match lower.split_once('-') {
        Some((family, number)) => attack_id(family, number),
        None => requirement_id(&lower),
    };
    id.is_some_and(|id| id == word)
}

fn ids_of(name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut parts = name.split('_').peekable();
    while let Some(part) = parts.next() {
        let next = parts.peek().copied().unwrap_or_default();
        if let Some(id) = attack_id(part, next) {
            parts.next();
            // `rs_00_…` shows that a family's own tools work; it is no case of the catalogue.
            ids.extend((next != "00").then_some(id));
        } else if let Some(id) = requirement_id(part) {
            // `p3_…` is the third promise of the catalogue, which is no row; `p3_dpop_…` is rule P3.
            let is_promise = id.starts_with('P') && next != "dpop";
            ids.extend((!is_promise).then_some(id));
        } else {
            break;
        }
    }
    ids
}

fn attack_id(family: &str, number: &str) -> Option<String> {
    let is_one = FAMILIES.contains(&family) && number.len() == 2 && is_number(number);
    is_one.then(|| format!("{}-{number}", family.to_ascii_uppercase()))
}

fn requirement_id(part: &str) -> Option<String> {
    let letter = part.chars().next().filter(|&letter| LETTERS.contains(letter))?;
    let number = part
        .get(1..)
        .filter(|number| (1..=2).contains(&number.len()) && is_number(number))?;
    let width = if letter == 'r' { 2 } else { 1 };
    Some(format!("{}{number:0>width$}", letter.to_ascii_uppercase()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_their_ids() {
        let cases: [(&str, &[&str]); 10] = [
            ("rs_00_the_tokens_of_these_tests_are_good", &[]),
            ("rs_05_an_audience_is_matched_exactly", &["RS-05"]),
            ("a31_the_challenge_names_scopes", &["A31"]),
            ("r18_s5_az_05_pkce_is_mandatory", &["R18", "S5", "AZ-05"]),
            ("r7_one_digit", &["R07"]),
            ("p11_a_promise", &[]),
            ("p3_dpop_a_proof_is_used_once", &["P3"]),
            ("p256_keys_are_read", &[]),
            ("rs_is_not_an_id", &[]),
            ("proves_a31_in_the_middle", &[]),
        ];
        for (name, ids) in cases {
            assert_eq!(ids_of(name), ids, "{name}");
        }
    }

    #[test]
    fn tests_are_found_by_their_attribute() {
        let attribute = "#[tokio::test(flavor = \"multi_thread\")]";
        let text = format!(
            "fn helper() {{}}\n{attribute}\n#[should_panic]\nasync fn rs_01_x() {{\n    fn inner() {{}}\n}}\n"
        );
        let names: Vec<String> = tests_in(&text, "f.rs")
            .into_iter()
            .map(|test| test.name)
            .collect();
        assert_eq!(names, ["rs_01_x"]);
    }

    #[test]
    fn mentions_are_in_comments_and_literals() {
        let text = "const A1: u8 = 2; // A31: why\nlet x = (\"R18\", S5, \"P-256\");\n#[cfg(test)]\n// A32\n";
        let ids: Vec<String> = mentions_in(text, "f.rs")
            .into_iter()
            .map(|mention| mention.id)
            .collect();
        assert_eq!(ids, ["A31", "R18"]);
    }
}
