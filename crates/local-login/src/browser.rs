//! Shows a URL in the person's browser, without a shell.
//!
//! The URL comes from a server. It is opened only if it is `https`, or `http` on this machine; it is always exactly one
//! argument of a program (CVE-2025-6514, RUSTSEC-2026-0257), and characters that mean something to the shell scripts that
//! some openers are do not occur in it.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use doorward_types::url::is_loopback;
use tokio::process::{Child, Command};
use url::Url;

/// The longest URL that is handed to a program, in bytes.
const MAX_URL: usize = 32 * 1024;
/// How long an opener is watched before it is taken for working.
const WATCHED: Duration = Duration::from_secs(1);

/// Why no browser shows the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrowserError {
    /// Not a URL that is opened at all.
    #[error("this address is not opened in a browser: {0}")]
    Refused(&'static str),
    /// Neither a desktop nor the variable `BROWSER`.
    #[error("there is no desktop here to open a browser on, and the variable BROWSER is not set")]
    NoDesktop,
    /// Everything was tried.
    #[error("no browser could be started ({})", .0.join("; "))]
    Failed(Vec<String>),
}

/// What opens URLs on this machine.
#[derive(Clone, Debug)]
pub struct Browser {
    /// Programs with their arguments, in the order in which they are tried. The first `%s` becomes the URL; without one the
    /// URL is the last argument.
    commands: Vec<Vec<String>>,
}

/// A program that was started with the URL.
#[derive(Debug)]
pub struct Opened {
    /// Its name.
    program: String,
    end: Option<tokio::task::JoinHandle<std::io::Result<ExitStatus>>>,
}

impl Opened {
    /// The program that was started.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Waits until the program ends, and tells if it failed after all: then the person has seen nothing, and must be shown
    /// the URL. It may run as long as the browser does.
    pub async fn finished(self) -> Result<(), BrowserError> {
        let Some(end) = self.end else { return Ok(()) };
        match end.await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(BrowserError::Failed(vec![format!("{}: {status}", self.program)])),
            _ => Ok(()),
        }
    }
}

impl Browser {
    /// The programs of this platform, after those of the variable `BROWSER` (a list separated by `:`), all read by
    /// `variable`.
    #[must_use]
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let mut commands: Vec<Vec<String>> = set("BROWSER")
            .unwrap_or_default()
            .split(if cfg!(windows) { ';' } else { ':' })
            .map(words)
            .filter(|words| !words.is_empty())
            .collect();
        if cfg!(target_os = "macos") {
            commands.push(words("open"));
        } else if cfg!(windows) {
            commands.push(words("rundll32 url.dll,FileProtocolHandler"));
        } else {
            let wsl = set("WSL_DISTRO_NAME").is_some();
            if wsl {
                commands.push(words("wslview"));
            }
            if wsl || set("DISPLAY").is_some() || set("WAYLAND_DISPLAY").is_some() {
                commands.push(words("xdg-open"));
                commands.push(words("gio open"));
            }
        }
        Self { commands }
    }

    /// Starts the first program that works. Its output goes nowhere: what is written here to stdout may be a protocol.
    pub async fn open(&self, url: &Url) -> Result<Opened, BrowserError> {
        let argument = argument(url)?;
        if self.commands.is_empty() {
            return Err(BrowserError::NoDesktop);
        }
        let mut tried = Vec::new();
        for command in &self.commands {
            let Some((program, arguments)) = command.split_first() else {
                continue;
            };
            let mut child = match start(program, arguments, &argument) {
                Ok(child) => child,
                Err(error) => {
                    tried.push(format!("{program}: {error}"));
                    continue;
                }
            };
            match tokio::time::timeout(WATCHED, child.wait()).await {
                Ok(Ok(status)) if status.success() => {
                    return Ok(Opened {
                        program: program.clone(),
                        end: None,
                    });
                }
                Ok(Ok(status)) => tried.push(format!("{program}: {status}")),
                Ok(Err(error)) => tried.push(format!("{program}: {error}")),
                // It is the browser itself, or slow. Whoever waits for the end reaps it.
                Err(_) => {
                    return Ok(Opened {
                        program: program.clone(),
                        end: Some(tokio::spawn(async move { child.wait().await })),
                    });
                }
            }
        }
        Err(BrowserError::Failed(tried))
    }
}

/// Whether a URL may be shown at all: `https`, or `http` on this machine, to a host and not as a user of it (B20, B21).
pub fn may_open(url: &Url) -> Result<(), BrowserError> {
    let plain = url.scheme() == "http" && is_loopback(url);
    if url.scheme() != "https" && !plain {
        return Err(BrowserError::Refused("only https is, or http on this machine"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(BrowserError::Refused("it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BrowserError::Refused("it has a user name in it"));
    }
    if url.as_str().len() > MAX_URL {
        return Err(BrowserError::Refused("it is too long"));
    }
    Ok(())
}

/// The URL as one argument. What a URL parser leaves as it is and a shell would not is percent-encoded, which means the
/// same to every server that decodes parameters.
fn argument(url: &Url) -> Result<String, BrowserError> {
    may_open(url)?;
    let mut out = String::with_capacity(url.as_str().len());
    for c in url.as_str().chars() {
        match c {
            '!'..='~' if !"\"'`$()<>\\^{|}".contains(c) => out.push(c),
            // The serialized form of a URL is ASCII without spaces or controls.
            '!'..='~' => out.push_str(&format!("%{:02X}", u32::from(c))),
            _ => return Err(BrowserError::Refused("it is not written in ASCII")),
        }
    }
    Ok(out)
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Replaces the first `%s`, drops further ones: the URL is there once.
fn filled(arguments: &[String], url: &str) -> Vec<OsString> {
    let mut used = false;
    let mut out: Vec<OsString> = Vec::with_capacity(arguments.len() + 1);
    for word in arguments {
        match word.split_once("%s") {
            Some((before, after)) if !used => {
                used = true;
                out.push(format!("{before}{url}{after}").into());
            }
            Some(_) => {}
            None => out.push(word.into()),
        }
    }
    if !used {
        out.push(url.into());
    }
    out
}

fn start(program: &str, arguments: &[String], url: &str) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(filled(arguments, url))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(false);
    // Ctrl-C at our terminal is not meant for the browser.
    #[cfg(unix)]
    command.process_group(0);
    // What is meant for us (tokens, the place of the store) is not the browser's business.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DOORWARD_") {
            command.env_remove(name);
        }
    }
    command.spawn()
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
