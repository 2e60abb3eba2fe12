//! What is wrong with a configuration, and where: frames of the source in the manner of rustc.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::json;

/// A configuration file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// How the person named it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Line and column of a byte offset, both from 1; columns count characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    /// The byte offset of a line and a column, both from 1.
    pub(crate) fn offset(&self, line: usize, column: usize) -> usize {
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let rest = self.text.get(start..).unwrap_or_default();
        let before = rest.char_indices().nth(column.saturating_sub(1));
        start + before.map_or(rest.len(), |(at, _)| at)
    }

    /// Whether a line (from 1) belongs to a table `env`, as far as can be told of text that may be broken.
    fn is_in_env(&self, line: usize) -> bool {
        let (mut in_table, mut in_braces) = (false, false);
        for (number, text) in self.text.lines().take(line).enumerate() {
            let text = text.trim();
            if let Some(header) = text.strip_prefix('[') {
                let name = header
                    .trim_start_matches('[')
                    .split(']')
                    .next()
                    .unwrap_or_default();
                (in_table, in_braces) = (names_env(name), false);
            } else if in_braces {
                in_braces = !text.starts_with('}');
            } else if names_env(text.split('=').next().unwrap_or_default()) {
                if number + 1 == line {
                    return true;
                }
                in_braces = text.contains('{') && !text.ends_with('}');
            }
        }
        in_table || in_braces
    }

    /// The line that `span` starts in, with the span underlined.
    fn frame(&self, span: &Range<usize>) -> String {
        let (line, column) = self.position(span.start);
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let length = self.text.get(span.clone()).unwrap_or_default();
        let length = length.lines().next().unwrap_or_default().chars().count().max(1);
        let gutter = " ".repeat(line.to_string().len());
        let text = if self.is_in_env(line) {
            // What a command finds in its environment is a secret more often than not.
            text.split('=')
                .next()
                .map(|key| format!("{key}= …"))
                .unwrap_or_default()
        } else {
            without_secret(text)
        };
        // Nor how long it is.
        let length = if text.ends_with('…') { 1 } else { length };
        let text = text.replace('\t', " ");
        format!(
            "{gutter}--> {}:{line}:{column}\n{gutter} |\n{line} | {text}\n{gutter} | {}{}",
            self.name,
            " ".repeat(column - 1),
            "^".repeat(length),
        )
    }
}

/// Whether a table header or a key path names `env`.
fn names_env(path: &str) -> bool {
    path.split('.')
        .any(|part| part.trim_matches(['"', '\'', ' ', '\t']) == "env")
}

/// A line that sets a secret is shown up to the equals sign: error messages end up in logs and tickets.
fn without_secret(line: &str) -> String {
    match line.split_once('=') {
        Some((key, value)) if names_a_secret(key) && !is_reference(value) => {
            format!("{key}= …")
        }
        _ => line.into(),
    }
}

/// Whether a value says where a secret is and not what it is.
fn is_reference(value: &str) -> bool {
    let value = value.trim_start_matches([' ', '"', '\'']);
    value.starts_with("env:") || value.starts_with("file:")
}

fn names_a_secret(key: &str) -> bool {
    let key = key.trim().trim_matches('"');
    // `access_token` in `[lifetimes]` is a time, not a token.
    let lifetime = key == "access_token" || key.starts_with("lifetimes");
    !lifetime
        && ["secret", "password", "token"]
            .iter()
            .any(|word| key.ends_with(word))
}

/// Where a wrong value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// A byte offset of another file, one that this one names.
    Elsewhere(Arc<Source>, usize),
    /// A flag or a variable, in words.
    Named(String),
    /// The configuration as a whole.
    Nowhere,
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) message: String,
    /// Where.
    pub(crate) place: Place,
    /// What to do.
    pub(crate) help: Vec<String>,
}

impl Problem {
    /// A problem without help so far.
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place,
            help: Vec::new(),
        }
    }

    /// Adds what to do.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// A configuration that cannot be used. Displays every problem with its frame.
#[derive(Clone, Debug)]
pub(crate) struct ConfigError {
    /// The file, if there is one.
    pub(crate) source: Option<Source>,
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems as JSON, for scripts.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let problems = self.problems.iter().map(|problem| {
            let (message, help) = (&problem.message, &problem.help);
            match (&problem.place, &self.source) {
                (Place::File(span), Some(source)) => {
                    let (line, column) = source.position(span.start);
                    json!({ "message": message, "help": help, "file": source.name, "line": line, "column": column })
                }
                (Place::Elsewhere(source, offset), _) => {
                    let (line, column) = source.position(*offset);
                    json!({ "message": message, "help": help, "file": source.name, "line": line, "column": column })
                }
                (Place::Named(name), _) => json!({ "message": message, "help": help, "origin": name }),
                _ => json!({ "message": message, "help": help }),
            }
        });
        serde_json::Value::Array(problems.collect())
    }
}

impl ConfigError {
    /// Every problem in one line, for a log record: `FILE:LINE:COLUMN: what (what to do)`.
    pub(crate) fn in_one_line(&self) -> String {
        let problems = self.problems.iter().map(|problem| {
            let place = match (&problem.place, &self.source) {
                (Place::File(span), Some(source)) => {
                    let (line, column) = source.position(span.start);
                    format!("{}:{line}:{column}: ", source.name)
                }
                (Place::Elsewhere(source, offset), _) => {
                    let (line, column) = source.position(*offset);
                    format!("{}:{line}:{column}: ", source.name)
                }
                (Place::Named(name), _) => format!("{name}: "),
                _ => String::new(),
            };
            let help = if problem.help.is_empty() {
                String::new()
            } else {
                format!(" ({})", problem.help.join("; "))
            };
            format!("{place}{}{help}", problem.message)
        });
        problems.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "error: {}", problem.message)?;
            match (&problem.place, &self.source) {
                (Place::File(span), Some(source)) => write!(f, "\n{}", source.frame(span))?,
                (Place::Elsewhere(source, offset), _) => {
                    write!(f, "\n{}", source.frame(&(*offset..*offset)))?;
                }
                (Place::Named(name), _) => write!(f, "\n --> {name}")?,
                _ => {}
            }
            for help in &problem.help {
                write!(f, "\n  = help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
