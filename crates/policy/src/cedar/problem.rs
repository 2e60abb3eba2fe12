//! What is wrong with a policy file, and where.

use std::fmt;

use miette::Diagnostic;

/// A policy file: its name, as people know it, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its name, for messages and for the ids of policies that have none.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// One thing that is wrong with a policy, or worth a second look. It displays as `FILE:LINE:COLUMN: what (what to
/// do)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Policies that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policies cannot be used: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PolicyLoadError {
    /// At least one.
    pub problems: Vec<PolicyProblem>,
}

impl PolicyFile {
    /// A problem at a byte offset.
    pub(super) fn problem(&self, offset: usize, message: impl Into<String>) -> PolicyProblem {
        let (line, column) = self.position(offset);
        PolicyProblem {
            file: self.name.clone(),
            line,
            column,
            message: message.into(),
            help: None,
        }
    }

    /// What a diagnostic of the language says; `start` is where it is about if it does not say.
    pub(super) fn diagnosed(&self, diagnostic: &dyn Diagnostic, start: usize) -> PolicyProblem {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let offset = label.as_ref().map_or(start, |label| label.offset());
        let message = without_action(diagnostic.to_string());
        let help = diagnostic.help().map(|help| help.to_string());
        let expected = label.and_then(|label| label.label().map(ToOwned::to_owned));
        PolicyProblem {
            help: help.or(expected),
            ..self.problem(offset, message)
        }
    }

    /// Line and column of a byte offset, from 1.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}

/// What is wrong for one action is wrong for all of them: they have the same context.
fn without_action(message: String) -> String {
    const ACTION: &str = " for Doorward::Action::\"";
    let Some((before, rest)) = message.split_once(ACTION) else {
        return message;
    };
    match rest.split_once('"') {
        Some((_, after)) => format!("{before}{after}"),
        None => message,
    }
}
