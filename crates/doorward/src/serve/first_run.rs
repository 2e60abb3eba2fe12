//! What a person is told when the server starts, and the account of `--demo`.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use doorward_authorization_server::password;
use doorward_records::account::User;
use doorward_records::{Precondition, Unit, Write};
use doorward_storage::{CommitError, Store};
use doorward_types::id::{Tenant, UserId};
use doorward_types::random::{self, Random};
use doorward_types::secret::Secret;

use super::Sources;
use crate::config::{Config, Origin, Server};
use crate::error::CommandError;
use crate::output::{Format, Output};

/// The account that `--demo` makes.
const DEMO_USER: &str = "demo";
/// Letters and digits that nobody takes for another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What came of the demo user.
pub(crate) enum DemoUser {
    /// It was there.
    Known,
    /// It was made; the password goes to the terminal.
    Shown(Secret),
    /// It was made; the password is in this file.
    Written(PathBuf),
}

/// Makes the user `demo`, unless it is there. Its password is told once: on a terminal, else in a file
/// that only this user can read, because logs are kept and copied.
pub(crate) async fn demo_user(
    store: &dyn Store,
    config: &Config,
    sources: &Sources,
) -> Result<DemoUser, CommandError> {
    let failed =
        |error: &dyn std::error::Error| CommandError::failed("cannot add the user `demo`").because(error);
    if store
        .user_by_name(DEMO_USER)
        .await
        .map_err(|error| failed(&error))?
        .is_some()
    {
        return Ok(DemoUser::Known);
    }
    let secret = readable_password(&*sources.random);
    let told = if std::io::stdout().is_terminal() {
        DemoUser::Shown(secret.clone())
    } else {
        // Before the account: an account whose password nobody knows would be of no use.
        let path = config.data.value.join("demo-password");
        write_private(&path, &secret).map_err(|error| failed(&error))?;
        DemoUser::Written(path)
    };
    let hashing = {
        let random = std::sync::Arc::clone(&sources.random);
        tokio::task::spawn_blocking(move || password::hash(&secret, &*random)).await
    };
    let password_hash = hashing
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    let now = sources.clock.now();
    let user = User {
        tenant: Tenant::default_tenant(),
        id: UserId::generate(now, &*sources.random),
        username: DEMO_USER.into(),
        password_hash: Some(password_hash),
        groups: Vec::new(),
        admin: false,
        disabled: false,
        created: now,
    };
    let unit = Unit::default()
        .given(Precondition::UsernameFree(DEMO_USER.into()))
        .then(Write::InsertUser(user));
    match store.commit(unit).await {
        Ok(_) => Ok(told),
        // Somebody added it in this moment.
        Err(CommitError::Conflict) => Ok(DemoUser::Known),
        Err(error) => Err(failed(&error)),
    }
}

/// 100 random bits in five groups of four.
fn readable_password(random: &dyn Random) -> Secret {
    let bytes: [u8; 20] = random::bytes(random);
    let mut text = String::with_capacity(24);
    for (position, byte) in bytes.into_iter().enumerate() {
        if position > 0 && position % 4 == 0 {
            text.push('-');
        }
        // 32 divides 256: every character is equally likely.
        text.push(
            ALPHABET
                .get(usize::from(byte % 32))
                .copied()
                .map_or('a', char::from),
        );
    }
    Secret::new(text)
}

fn write_private(path: &Path, secret: &Secret) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", secret.expose())
}

/// Says where the server is, how to sign in, and how to add it to common clients.
pub(crate) async fn greet(
    store: &dyn Store,
    config: &Config,
    demo: Option<DemoUser>,
) -> Result<(), CommandError> {
    let users = store
        .users()
        .await
        .map_err(|error| CommandError::failed("the database cannot be read").because(&error))?;
    let mut output = Output::stdout(Format::Human);
    output.text(&greeting(config, demo.as_ref(), users.is_empty()))?;
    Ok(())
}

fn greeting(config: &Config, demo: Option<&DemoUser>, nobody: bool) -> String {
    let url = &config.public_url.value;
    let same_data = same_data(config);
    let mut lines = vec![format!("Doorward {} protects:", env!("CARGO_PKG_VERSION"))];
    lines.extend(
        config
            .servers
            .iter()
            .map(|server| format!("  {url}{}", server.path)),
    );
    let weakened = config.weakened();
    if !weakened.is_empty() {
        lines.push(String::new());
        lines.push("Weakened by the configuration:".into());
        lines.extend(weakened.iter().map(|what| format!("  {what}")));
    }
    lines.push(String::new());
    match demo {
        Some(DemoUser::Shown(secret)) => {
            lines.push(format!(
                "Sign in as `demo` with the password  {}",
                secret.expose()
            ));
            lines.push("It is shown this once.".into());
        }
        Some(DemoUser::Written(path)) => {
            lines.push(format!(
                "Sign in as `demo`; the password is in {}",
                path.display()
            ));
        }
        Some(DemoUser::Known) => {
            lines.push(
                "Sign in as `demo`; the password was told when the account was made. To set another one:"
                    .into(),
            );
            lines.push(format!("  doorward user passwd demo{same_data}"));
        }
        None if nobody => {
            lines.push("Nobody can sign in yet. Add the first account:".into());
            lines.push(format!("  doorward user add NAME{same_data}"));
        }
        None => {}
    }
    lines.push(String::new());
    lines.push("Add it to a client:".into());
    for server in &config.servers {
        lines.extend(client_lines(url.as_str(), server));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn client_lines(public_url: &str, server: &Server) -> [String; 4] {
    let (name, url) = (&server.name, format!("{public_url}{}", server.path));
    [
        format!("  Claude Code  claude mcp add --transport http {name} {url}"),
        format!(r#"  VS Code      code --add-mcp '{{"name":"{name}","type":"http","url":"{url}"}}'"#),
        format!(r#"  Cursor       ~/.cursor/mcp.json: {{"mcpServers":{{"{name}":{{"url":"{url}"}}}}}}"#),
        format!("  Inspector    npx @modelcontextprotocol/inspector --transport http --server-url {url}"),
    ]
}

/// The flags with which another command finds this server's data (and with it its URL).
fn same_data(config: &Config) -> String {
    let mut flags = String::new();
    if let Some(file) = config.file() {
        flags.push_str(&format!(" --config {}", file.display()));
    }
    if matches!(config.data.origin, Origin::Flag(_)) {
        flags.push_str(&format!(" --data {}", config.data.value.display()));
    }
    flags
}
