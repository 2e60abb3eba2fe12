//! What commands print on stdout: lines for people, JSON for scripts.

use std::io::{ErrorKind, Write};

use serde::Serialize;

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    #[default]
    Human,
    /// JSON for scripts.
    Json,
}

/// A command's stdout.
pub(crate) struct Output {
    /// How to answer.
    pub(crate) format: Format,
    stdout: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// The process's stdout.
    pub(crate) fn stdout(format: Format) -> Self {
        Self {
            format,
            stdout: Box::new(std::io::stdout()),
        }
    }

    /// One line for people; control characters are escaped, because names come from clients.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(text.as_ref().len() + 1);
        crate::log::escape_controls(text.as_ref().as_bytes(), &mut bytes);
        bytes.push(b'\n');
        self.write(&bytes)
    }

    /// Text that we wrote ourselves, as it is.
    pub(crate) fn text(&mut self, text: &str) -> std::io::Result<()> {
        self.write(text.as_bytes())
    }

    /// One JSON document.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> std::io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value)?;
        bytes.push(b'\n');
        self.write(&bytes)
    }

    /// A reader that went away (`| head`) is no failure.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self.stdout.write_all(bytes).and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}
