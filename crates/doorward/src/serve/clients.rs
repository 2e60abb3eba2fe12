//! The clients of the configuration file become rows, at every start and reload.

use doorward_authorization_server::clients::{self, Configuring};
use doorward_storage::{CommitError, Store};
use doorward_types::time::UnixTime;

use super::compose::lifetimes;
use crate::config::Config;
use crate::error::CommandError;

/// After so many rounds we give up: somebody changes the same clients all the time.
const ROUNDS: u32 = 5;

/// Makes the rows what the file says. Nothing of it is undone if something else fails later: the file says so.
pub(super) async fn configure(store: &dyn Store, config: &Config, now: UnixTime) -> Result<(), CommandError> {
    for _ in 0..ROUNDS {
        let existing = store.clients().await.map_err(|error| unusable(&error))?;
        let defined = config.clients.iter().map(|entry| entry.client.clone()).collect();
        let changes = clients::configure(&existing, defined, &lifetimes(config), now).map_err(|error| {
            unusable(&error)
                .hint("remove that one with `doorward client remove`, or use another id in the file")
        })?;
        if commit(store, &changes).await? {
            tell(&changes);
            return Ok(());
        }
    }
    Err(CommandError::failed(
        "the clients of the file were changed by something else all the time",
    ))
}

/// Whether nothing changed in between.
async fn commit(store: &dyn Store, changes: &Configuring) -> Result<bool, CommandError> {
    for unit in &changes.units {
        match store.commit(unit.clone()).await {
            Ok(_) => {}
            Err(CommitError::Conflict) => return Ok(false),
            Err(error) => return Err(unusable(&error)),
        }
    }
    Ok(true)
}

fn tell(changes: &Configuring) {
    for client in &changes.withdrawn {
        tracing::info!(client = %client, "a client is not in the file any more: it is switched off, with its tokens");
    }
    for client in &changes.switched_off {
        tracing::warn!(
            client = %client,
            "a client of the file stays switched off: `doorward client enable` switches it on"
        );
    }
}

fn unusable(error: &dyn std::error::Error) -> CommandError {
    CommandError::failed("the clients of the file cannot be used").because(error)
}
