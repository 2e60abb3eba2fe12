//! `doorward data …`: backup and restore of the data folder.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use doorward_seal::MasterKey;
use doorward_storage::{DataFolderError, Restored};
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use serde_json::json;

use super::{Context, now};
use crate::error::CommandError;

/// `doorward data …`.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Write everything that is kept to one file, also while a server runs
    Backup {
        /// The file, which must not be there
        file: PathBuf,
        /// Put the master key into it as well: the file alone is then enough, for a thief too
        #[arg(long)]
        with_master_key: bool,
    },
    /// Put a backup in place. It revives nothing: everybody signs in again. No server may run
    Restore {
        /// The file that `doorward data backup` wrote
        file: PathBuf,
        /// The master.key that the backup was made under, if it is neither in the file nor in the data folder
        #[arg(long, value_name = "FILE")]
        master_key: Option<PathBuf>,
    },
}

/// Runs it.
pub(crate) async fn run(command: &DataCommand, context: &mut Context) -> Result<(), CommandError> {
    match command {
        DataCommand::Backup {
            file,
            with_master_key,
        } => backup(file, *with_master_key, context).await,
        DataCommand::Restore { file, master_key } => restore(file, master_key.as_deref(), context).await,
    }
}

async fn backup(file: &Path, with_key: bool, context: &mut Context) -> Result<(), CommandError> {
    let folder = context.existing_folder()?;
    let (target, at) = (file.to_owned(), now());
    blocking(move || folder.backup(&target, with_key, at))
        .await?
        .map_err(|error| CommandError::failed("nothing was backed up").because(&error))?;
    if context.is_json() {
        let answer = json!({"file": file, "with_master_key": with_key, "taken": at.to_string()});
        return Ok(context.output.json(&answer)?);
    }
    context.output.line(format!("wrote {}", file.display()))?;
    let note = if with_key {
        "it holds the master key: whoever reads it can forge every token, so keep it like one"
    } else {
        "it does not hold master.key: keep a copy of that in another place"
    };
    Ok(context.output.line(note)?)
}

async fn restore(file: &Path, key: Option<&Path>, context: &mut Context) -> Result<(), CommandError> {
    let key = key.map(read_key).transpose()?;
    let folder = context.config.data.value.clone();
    let (source, at) = (file.to_owned(), now());
    let restored = blocking(move || doorward_storage::restore(&folder, &source, key, at, &SystemRandom))
        .await?
        .map_err(|error| CommandError::failed("nothing was restored").because(&error))?;
    if context.is_json() {
        return Ok(context.output.json(&json!({
            "taken": restored.taken.map(|at| at.to_string()),
            "users": restored.users,
            "clients": restored.clients,
            "merged": restored.merged,
            "weakened": restored.weakened,
            "older_key": restored.older_key,
            "aside": restored.aside,
        }))?);
    }
    tell(&restored, context)
}

fn tell(restored: &Restored, context: &mut Context) -> Result<(), CommandError> {
    let Restored {
        taken,
        users,
        clients,
        merged,
        weakened,
        older_key,
        aside,
    } = restored;
    let taken = taken.map_or_else(String::new, |at| format!(" of {at}"));
    let output = &mut context.output;
    output.line(format!(
        "restored the backup{taken}: {users} accounts, {clients} clients"
    ))?;
    output.line("every token, sign-in and consent has ended; the next start makes new keys")?;
    if *merged {
        output.line("accounts and clients that were removed or disabled since the backup stay so")?;
    } else {
        output.line(
            "what changed since the backup is not known here. Check before you start: accounts to disable or remove \
             (`doorward user list`), clients (`doorward client list`), passwords and second factors that were replaced",
        )?;
    }
    if *older_key {
        output.line(
            "the master key was replaced since the backup, and the one before is in use again: if somebody may have read \
             it, run `doorward key rotate --master` before you start",
        )?;
    }
    if !weakened.is_empty() {
        output.line(format!(
            "second factors that could not be kept, so that a password is enough for now: {}",
            weakened.join(", ")
        ))?;
    }
    if let Some(aside) = aside {
        output.line(format!("the files of before are in {}", aside.display()))?;
    }
    Ok(())
}

fn read_key(path: &Path) -> Result<MasterKey, CommandError> {
    let unreadable = |error: &dyn std::error::Error| {
        CommandError::usage(format!("{} cannot be used", path.display())).because(error)
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    MasterKey::parse(Secret::new(text).expose()).map_err(|error| unreadable(&error))
}

/// Runs what reads and writes files off the threads that wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DataFolderError> + Send + 'static,
) -> Result<Result<T, DataFolderError>, CommandError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CommandError::failed("stopped by a defect").because(&error))
}
