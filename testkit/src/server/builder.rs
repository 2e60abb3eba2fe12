//! How a server is to be started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::Doorward;
use crate::command;
use crate::disk::Disk;
use crate::http::{Destination, Site};
use crate::port::Port;

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    args: Vec<String>,
    config: Option<String>,
    public_url: Option<String>,
    users: Vec<(String, String, Vec<String>)>,
    env: BTreeMap<String, String>,
    faketime: bool,
    tls: Option<rustls::pki_types::CertificateDer<'static>>,
    disk: Option<u32>,
    binary: Option<PathBuf>,
    surroundings: Surroundings,
}

/// Where the output of a server goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Into a file, which [`Doorward::logs`] shows.
    #[default]
    File,
    /// Into a pipe that nobody reads.
    Unread,
    /// Nowhere: the descriptor is closed.
    Closed,
}

/// What the process finds when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    descriptors: Option<u32>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

impl Surroundings {
    /// The command in a shell that sets things up and then becomes it.
    pub(super) fn around(self, command: &Command) -> Command {
        let mut script = String::new();
        if let Some(descriptors) = self.descriptors {
            script.push_str(&format!("ulimit -n {descriptors} && "));
        }
        script.push_str("exec \"$0\" \"$@\"");
        for (output, number) in [(self.stdout, 1), (self.stderr, 2)] {
            if output == Output::Closed {
                script.push_str(&format!(" {number}>&-"));
            }
        }
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell
    }
}

impl Builder {
    /// At most so many descriptors.
    #[must_use]
    pub const fn descriptors(mut self, most: u32) -> Self {
        self.surroundings.descriptors = Some(most);
        self
    }

    /// Where stdout goes.
    #[must_use]
    pub const fn stdout(mut self, output: Output) -> Self {
        self.surroundings.stdout = output;
        self
    }

    /// Where stderr goes.
    #[must_use]
    pub const fn stderr(mut self, output: Output) -> Self {
        self.surroundings.stderr = output;
        self
    }

    /// The built-in server: `--demo`.
    #[must_use]
    pub fn demo(self) -> Self {
        self.arg("--demo")
    }

    /// `--upstream URL`.
    #[must_use]
    pub fn upstream(self, url: &str) -> Self {
        self.arg("--upstream").arg(url)
    }

    /// `-- COMMAND ARGUMENTS`: a server that speaks stdio. To be called last among those that add arguments.
    #[must_use]
    pub fn command<A: AsRef<str>>(self, words: impl IntoIterator<Item = A>) -> Self {
        words
            .into_iter()
            .fold(self.arg("--"), |builder, word| builder.arg(word.as_ref()))
    }

    /// A configuration file with this text. `listen`, `public_url` and `data` come by flag.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// Another public URL than `http://127.0.0.1:PORT`; `{port}` is filled in.
    #[must_use]
    pub fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// A local account that is there before the start.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        self.user_in(name, password, &[])
    }

    /// A local account with groups.
    #[must_use]
    pub fn user_in(mut self, name: &str, password: &str, groups: &[&str]) -> Self {
        self.users.push((
            name.into(),
            password.into(),
            groups.iter().map(|&group| group.into()).collect(),
        ));
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The data folder lies on a disk of its own with so many KiB, which [`Doorward::fill_disk`] fills.
    #[must_use]
    pub const fn disk(mut self, kib: u32) -> Self {
        self.disk = Some(kib);
        self
    }

    /// Another binary than the one under test, such as that of an older build.
    #[must_use]
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// Starts under libfaketime, so that [`Doorward::advance`] can move its wall clock.
    #[must_use]
    pub const fn faketime(mut self) -> Self {
        self.faketime = true;
        self
    }

    /// The server speaks TLS with this certificate (its files are given by configuration).
    #[must_use]
    pub fn tls(mut self, certificate: rustls::pki_types::CertificateDer<'static>) -> Self {
        self.tls = Some(certificate);
        self
    }

    /// Makes the folders and the accounts, starts the server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message holds its output.
    pub async fn start(self) -> Doorward {
        let doorward = self.prepare();
        doorward.spawn();
        doorward.ready().await;
        doorward
    }

    /// Everything of [`Builder::start`] but the start.
    ///
    /// # Panics
    /// When a folder or an account cannot be made.
    #[must_use]
    pub fn prepare(self) -> Doorward {
        let home = crate::folder("doorward-e2e-");
        let port = Port::reserve();
        let number = port.number();
        let public_url = self
            .public_url
            .unwrap_or_else(|| "http://127.0.0.1:{port}".into())
            .replace("{port}", &number.to_string());
        let work = home.path().join("work");
        let disk = self.disk.map(|kib| Disk::mount(&home.path().join("disk"), kib));
        let data = home
            .path()
            .join(if disk.is_some() { "disk/data" } else { "data" });
        std::fs::create_dir(&work).expect("a working folder");
        let address = SocketAddr::from(([127, 0, 0, 1], number));
        let mut args = vec!["serve".to_owned()];
        if let Some(config) = self.config {
            let file = home.path().join("doorward.toml");
            std::fs::write(&file, config).expect("a configuration file");
            args.extend(["--config".into(), file.display().to_string()]);
        }
        args.extend([
            "--listen".into(),
            address.to_string(),
            "--public-url".into(),
            public_url.clone(),
        ]);
        args.extend(["--data".into(), data.display().to_string()]);
        args.extend(self.args);
        let clock = self.faketime.then(|| {
            let file = home.path().join("clock");
            std::fs::write(&file, "+0").expect("a clock file");
            file
        });
        let mut env = self.env;
        if self.binary.is_none() {
            // Servers run side by side here, and only one could have the default port. Another build may not know
            // the variable.
            env.entry("DOORWARD_ADMIN_LISTEN".into())
                .or_insert_with(|| "off".into());
        }
        let doorward = Doorward {
            site: Site::at(
                &public_url,
                Destination {
                    address,
                    tls: self.tls,
                },
            ),
            data,
            work,
            address,
            args,
            env,
            binary: self.binary.unwrap_or_else(command::doorward_binary),
            surroundings: self.surroundings,
            disk,
            clock,
            offset: Mutex::new(0.0),
            running: Mutex::new(None),
            _port: port,
            home,
        };
        for (name, password, groups) in &self.users {
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            doorward.add_user(name, password, &groups);
        }
        doorward
    }
}
