//! Commands behind servers: checked at the start, started for each user with folders of their own.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_gateway::{Launcher, Launching, Owner};
use doorward_process::{Caps, Confinement, Isolation, Spec, StartError, Supervisor, isolation};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tracing::Instrument as _;

use crate::config::command::real;
use crate::config::{Command, Config, Server};
use crate::error::CommandError;

/// What a child finds in its environment besides what is named for it, if we have it.
const INHERITED: [&str; 3] = ["PATH", "LANG", "TZ"];
/// Where programs are looked for if nobody says where.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Below the data folder; then the server's name and the user's id.
const HOMES: &str = "homes";

/// Finds out whether the commands of a configuration could be started. `config check` asks this too.
pub(crate) fn check(config: &Config) -> Result<(), CommandError> {
    for server in &config.servers {
        if let Some(command) = server.command() {
            check_folder(server, command)?;
            check_program(server, command)?;
        }
    }
    Ok(())
}

/// Refuses to start commands where users cannot be kept apart, unless that was accepted. Says what the commands
/// may see.
pub(crate) fn check_isolation(config: &Config) -> Result<(), CommandError> {
    let accepted = config.allow_insecure_shared_uid.value.0;
    for server in &config.servers {
        let Some(command) = server.command() else {
            continue;
        };
        let variables: Vec<&str> = environment_names(command).collect();
        let (variables, folder) = (variables.join(" "), command.working_directory.display());
        let here = real(&command.working_directory);
        if let Some(hidden) = config
            .hidden_from_commands()
            .iter()
            .find(|path| path.starts_with(&here))
        {
            // A right on a folder would hold for all below it.
            tracing::warn!(
                server = server.name,
                working_directory = %folder,
                "its processes cannot make files in this folder, nor read those made there later, because {} lies in it: set `working_directory`, or move that",
                hidden.display()
            );
        }
        if rustix::process::geteuid().is_root() {
            tracing::warn!(
                server = server.name,
                "its processes may write the system's files, because Doorward runs as root, and so make the system give them whatever is hidden from them: run Doorward as a user of its own"
            );
        }
        match isolation() {
            Isolation::Full => tracing::info!(
                server = server.name,
                program = %command.program.display(),
                working_directory = %folder,
                environment = variables,
                "its processes may read this machine's files as this user, but neither the data folder nor what belongs to other users"
            ),
            Isolation::None { why } if accepted => tracing::warn!(
                server = server.name,
                program = %command.program.display(),
                working_directory = %folder,
                environment = variables,
                why,
                "its processes may read everything that Doorward can: its keys, its database, and what belongs to other users"
            ),
            Isolation::None { why } => {
                return Err(CommandError::usage(format!(
                    "server `{}`: a command can only be started where one user's processes can be kept from another user's files, and here they cannot: {why}",
                    server.name
                ))
                .hint("use a Linux kernel with Landlock (5.13 or later, `landlock` among the active security modules)")
                .hint("or start the server yourself with its HTTP transport, as another system user, and give its `upstream` URL")
                .hint("or accept that every user of it can read Doorward's keys: `allow_insecure_shared_uid = true`"));
            }
        }
    }
    Ok(())
}

fn check_folder(server: &Server, command: &Command) -> Result<(), CommandError> {
    let folder = &command.working_directory;
    let told = |what: &str| {
        CommandError::usage(format!(
            "server `{}`: `working_directory` {} {what}",
            server.name,
            folder.display()
        ))
    };
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(told("is not a folder")),
        Err(error) => Err(told("cannot be used").because(&error)),
    }
}

fn check_program(server: &Server, command: &Command) -> Result<(), CommandError> {
    let program = Path::new(&command.program);
    let shown = program.display();
    let is_path = program.as_os_str().as_encoded_bytes().contains(&b'/');
    let candidates: Vec<PathBuf> = if is_path {
        vec![command.working_directory.join(program)]
    } else {
        let path = search_path(command);
        std::env::split_paths(&path)
            .map(|folder| command.working_directory.join(folder).join(program))
            .collect()
    };
    let found: Vec<_> = candidates
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file))
        .collect();
    if found.iter().any(|file| file.permissions().mode() & 0o111 != 0) {
        return Ok(());
    }
    let name = &server.name;
    if !found.is_empty() {
        return Err(CommandError::usage(format!(
            "server `{name}`: the program `{shown}` may not be executed"
        ))
        .hint(format!(
            "is it a program? then `chmod +x` it; else name the program that reads it, such as `node {shown}`"
        )));
    }
    let missing = CommandError::usage(format!("server `{name}`: there is no program `{shown}`"));
    Err(if is_path {
        missing.hint(format!(
            "the path is read from the working directory, {}",
            command.working_directory.display()
        ))
    } else {
        missing.hint("install it, or write its whole path: it was looked for in the folders of PATH")
    })
}

fn search_path(command: &Command) -> OsString {
    match command.environment.get("PATH").and_then(|path| path.value()) {
        Some(path) => path.expose().into(),
        None => std::env::var_os("PATH").unwrap_or_else(|| PATH.into()),
    }
}

fn environment_names(command: &Command) -> impl Iterator<Item = &str> {
    let inherited = INHERITED
        .into_iter()
        .filter(|name| *name == "PATH" || std::env::var_os(name).is_some());
    let own = command.environment.keys().map(String::as_str);
    let own = own.filter(|name| !INHERITED.contains(name));
    inherited.chain(["HOME", "TMPDIR"]).chain(own)
}

/// Starts the command of one server.
pub(crate) struct Children {
    supervisor: Arc<Supervisor>,
    start: Arc<Start>,
}

struct Start {
    server: String,
    command: Command,
    data: PathBuf,
    /// Without the folders of a user.
    confinement: Confinement,
}

impl Children {
    /// `data` is the data folder. `confinement` hides it, and has no `own` folders: each user's are added.
    pub(crate) fn new(
        supervisor: Arc<Supervisor>,
        server: &str,
        command: &Command,
        data: &Path,
        confinement: Confinement,
    ) -> Self {
        Self {
            supervisor,
            start: Arc::new(Start {
                server: server.to_owned(),
                command: command.clone(),
                data: real(data),
                confinement,
            }),
        }
    }
}

impl Launcher for Children {
    fn launch(&self, owner: Owner) -> Launching {
        let (supervisor, start) = (Arc::clone(&self.supervisor), Arc::clone(&self.start));
        let span = tracing::info_span!("child", server = start.server, user = %owner.user);
        let starting = async move {
            let making = tokio::task::spawn_blocking(move || start.spec(owner)).await;
            let spec = making.map_err(|error| StartError::NotStarted(error.to_string()))??;
            supervisor.start(spec).await
        };
        Box::pin(starting.instrument(span))
    }
}

impl Start {
    fn spec(&self, owner: Owner) -> Result<Spec, StartError> {
        let own = self.folders(owner).map_err(|error| {
            StartError::NotStarted(format!(
                "the folder of user {} for server `{}` cannot be made: {error}",
                owner.user, self.server
            ))
        })?;
        Ok(Spec {
            program: self.command.program.clone(),
            arguments: self.command.arguments.clone(),
            environment: self.environment(&own),
            working_directory: self.command.working_directory.clone(),
            confinement: Confinement {
                own: vec![own],
                ..self.confinement.clone()
            },
            caps: Caps {
                memory: self.command.memory.0,
                processes: self.command.max_children.saturating_add(1),
                line: usize::try_from(self.command.max_message.0).unwrap_or(usize::MAX),
            },
        })
    }

    fn environment(&self, own: &Path) -> Vec<(OsString, OsString)> {
        let mut environment: Vec<(OsString, OsString)> = vec![("PATH".into(), search_path(&self.command))];
        environment.extend(
            INHERITED
                .into_iter()
                .filter(|name| *name != "PATH")
                .filter_map(|name| Some((name.into(), std::env::var_os(name)?))),
        );
        environment.push(("HOME".into(), own.join("home").into()));
        environment.push(("TMPDIR".into(), own.join("tmp").into()));
        for (name, variable) in &self.command.environment {
            let Some(value) = variable.value() else {
                continue;
            };
            environment.retain(|(known, _)| known.as_os_str() != name.as_str());
            environment.push((name.into(), value.expose().into()));
        }
        environment
    }

    /// `homes/SERVER/USER/{home,tmp}` below the data folder, for this user only. The path is walked folder by
    /// folder without following links: what a child can write to must not lead us elsewhere.
    fn folders(&self, owner: Owner) -> std::io::Result<PathBuf> {
        let user = owner.user.to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut folder = rustix::fs::open(&self.data, flags, Mode::empty())?;
        for name in [HOMES, &self.server, &user] {
            folder = private_folder(&folder, name)?;
        }
        for name in ["home", "tmp"] {
            private_folder(&folder, name)?;
        }
        Ok(self.data.join(HOMES).join(&self.server).join(user))
    }
}

fn private_folder(within: &OwnedFd, name: &str) -> std::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(within, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = rustix::fs::openat(within, name, flags, Mode::empty())?;
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use doorward_types::id::UserId;

    use super::*;
    use crate::cli::ServeArgs;
    use crate::config::Environment;

    fn start(data: &Path) -> Start {
        let args = ServeArgs {
            command: vec!["true".into()],
            env: vec!["TOKEN".into(), "LANG".into()],
            ..ServeArgs::default()
        };
        let environment = Environment::from([("TOKEN", "s3cr3t"), ("LANG", "tlh")]);
        let config = Config::load_for_serve(&args, &environment).unwrap();
        check(&config).unwrap();
        Start {
            server: "mcp".into(),
            command: config.servers[0].command().unwrap().clone(),
            data: real(data),
            confinement: Confinement {
                hidden: vec![real(data)],
                ..Confinement::default()
            },
        }
    }

    const OWNER: Owner = Owner { user: UserId::nil() };

    #[test]
    fn vt_12_a_child_gets_an_environment_and_folders_of_its_own() {
        let data = tempfile::tempdir().unwrap();
        let spec = start(data.path()).spec(OWNER).unwrap();
        let names: Vec<_> = spec
            .environment
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert!(names.starts_with(&["PATH"]), "{names:?}");
        for name in names {
            assert!(
                ["PATH", "TZ", "HOME", "TMPDIR", "TOKEN", "LANG"].contains(&name),
                "{name}"
            );
        }
        let value = |name: &str| {
            spec.environment
                .iter()
                .filter(|(known, _)| known == name)
                .collect::<Vec<_>>()
        };
        assert_eq!(value("LANG"), [&("LANG".into(), "tlh".into())]);
        let own = &spec.confinement.own[0];
        assert!(own.starts_with(&spec.confinement.hidden[0]));
        for folder in [own.clone(), own.join("home"), own.join("tmp")] {
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{}", folder.display());
        }
        // Again, with a folder that was opened up meanwhile.
        std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o777)).unwrap();
        start(data.path()).spec(OWNER).unwrap();
        assert_eq!(
            std::fs::metadata(own).unwrap().permissions().mode() & 0o7777,
            0o700
        );
    }

    #[test]
    fn vt_12_a_link_in_the_place_of_a_folder_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let own = start(data.path()).folders(OWNER).unwrap();
        for link in [own.join("home"), own.clone(), data.path().join(HOMES)] {
            std::fs::remove_dir_all(&link).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
            let error = start(data.path()).spec(OWNER).unwrap_err().to_string();
            assert!(error.contains("cannot be made"), "{error}");
            assert!(!error.contains("s3cr3t"));
            std::fs::remove_file(&link).unwrap();
            std::fs::create_dir(&link).unwrap();
        }
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn vt_12_files_with_secrets_are_hidden_from_commands() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let file = folder.join("doorward.toml");
        std::fs::create_dir(folder.join("live")).unwrap();
        std::os::unix::fs::symlink(folder.join("live"), folder.join("tls")).unwrap();
        let text = "public_url = \"https://mcp.example.com\"\n[tls]\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n\
                    [decision_log]\nfile = \"logs/decisions\"\n\
                    [[servers]]\nname = \"a\"\npath = \"/a/mcp\"\ncommand = [\"true\"]\n";
        std::fs::write(&file, text).unwrap();
        let args = ServeArgs {
            config: crate::cli::ConfigArgs {
                config: Some(file.clone()),
                ..Default::default()
            },
            ..ServeArgs::default()
        };
        let config = Config::load_for_serve(&args, &Environment::default()).unwrap();
        let hidden = config.hidden_from_commands();
        assert_eq!(
            hidden,
            [
                real(Path::new("doorward-data")),
                folder.join("logs/decisions"),
                folder.join("logs/decisions.1"),
                folder.join("logs/decisions.2"),
                file,
                folder.join("live/key.pem"),
                folder.join("tls/key.pem"),
            ],
            "both the key that is used and what the link leads to after it was renewed, and decisions that were put aside"
        );
    }
}
