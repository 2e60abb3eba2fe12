//! Why a command failed: a kind that decides the exit code, what happened, why, and what to do.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;

/// What kind of failure; each is an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The answer is no (exit 1).
    No,
    /// Wrong usage or configuration (exit 2).
    Usage,
    /// Could not run (exit 3).
    Failed,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// The configuration's own account, which has frames.
    config: Option<Box<ConfigError>>,
}

impl CommandError {
    /// The answer is no.
    pub(crate) fn no(message: impl Into<String>) -> Self {
        Self::new(Kind::No, message)
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Could not run.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            config: None,
        }
    }

    /// Adds an error and everything it came from.
    #[must_use]
    pub(crate) fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat their source in their own text.
            if !self.causes.last().is_some_and(|last| last.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Everything in one line, for a log record: `what: why (what to do)`.
    pub(crate) fn in_one_line(&self) -> String {
        if let Some(config) = &self.config {
            return config.in_one_line();
        }
        let mut line = self.message.clone();
        for cause in &self.causes {
            line.push_str(&format!(": {cause}"));
        }
        if !self.hints.is_empty() {
            line.push_str(&format!(" ({})", self.hints.join("; ")));
        }
        line
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::No => 1,
            Kind::Usage => 2,
            Kind::Failed => 3,
        })
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        // It renders itself, with the word `error` before each of its problems.
        let mut usage = Self::usage(error.to_string().trim_start_matches("error: "));
        usage.config = Some(Box::new(error));
        usage
    }
}

impl From<std::io::Error> for CommandError {
    /// For output that could not be written.
    fn from(error: std::io::Error) -> Self {
        Self::failed("cannot write the output").because(&error)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  because: {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\n  = help: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_kind_cause_and_what_to_do() {
        let cause = std::io::Error::other("disk on fire");
        let error = CommandError::failed("cannot open the data folder")
            .because(&cause)
            .hint("call the fire brigade");
        insta::assert_snapshot!(error, @r"
        error: cannot open the data folder
          because: disk on fire
          = help: call the fire brigade
        ");
    }
}
