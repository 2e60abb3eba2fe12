//! `doorward client …`: clients, however they came to be known.

mod add;
mod show;

use clap::Subcommand;
use doorward_authorization_server::clients;
use doorward_records::Unit;
use doorward_records::client::{Client, ClientOrigin, ClientStatus};
use doorward_storage::{SqliteStore, Store as _};
use doorward_types::id::ClientId;
use doorward_types::random::SystemRandom;
use serde_json::json;

use super::{Context, commit, now, unreadable};
use crate::error::CommandError;
use crate::serve::lifetimes;

/// `doorward client …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add a client that need not register; prints its id, and its secret once
    Add(Box<add::AddArgs>),
    /// List the clients, newest first
    List,
    /// Show a client, who allowed it what, and what to write into an MCP host
    Show {
        /// Its client id
        id: String,
    },
    /// Let a client that waits for it start logins; from then on it is not forgotten
    Approve {
        /// Its client id
        id: String,
    },
    /// Switch a client off: no login, no refresh, no call, within a second or two
    Disable {
        /// Its client id
        id: String,
    },
    /// Switch a client on again; what it could use before stays revoked until people log in again
    Enable {
        /// Its client id
        id: String,
    },
    /// End everything that was granted to a client, and keep the client: people are asked again
    Revoke {
        /// Its client id
        id: String,
    },
    /// Give a client with a secret another one; the one before is void at once
    RotateSecret {
        /// Its client id
        id: String,
    },
    /// Remove a client with everything that was granted to it
    Remove {
        /// Its client id
        id: String,
    },
}

/// Runs it.
pub(crate) async fn run(command: ClientCommand, context: &mut Context) -> Result<(), CommandError> {
    match command {
        ClientCommand::Add(args) => add::run(*args, context).await,
        ClientCommand::List => show::list(context).await,
        ClientCommand::Show { id } => show::one(context, &id).await,
        ClientCommand::Approve { id } => approve(context, &id).await,
        ClientCommand::Disable { id } => disable(context, &id).await,
        ClientCommand::Enable { id } => enable(context, &id).await,
        ClientCommand::Revoke { id } => revoke(context, &id).await,
        ClientCommand::RotateSecret { id } => rotate_secret(context, &id).await,
        ClientCommand::Remove { id } => remove(context, &id).await,
    }
}

async fn approve(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    if client.status == ClientStatus::Disabled {
        return Err(CommandError::no("this client is switched off, not waiting")
            .hint("switch it on with `doorward client enable`"));
    }
    let unit = clients::approve(&client, now());
    done(context, &store, &client, unit, "approved").await
}

async fn disable(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    let unit = clients::disable(&client, &lifetimes(&context.config), now());
    done(
        context,
        &store,
        &client,
        unit,
        "switched off, with everything that was granted to it",
    )
    .await
}

async fn enable(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    if clients::is_withdrawn(&client) {
        return Err(CommandError::no(
            "this client is off because the configuration file does not name it any more",
        )
        .hint("put it back under `[[clients]]`, or add it with `doorward client add` under another id"));
    }
    if client.status != ClientStatus::Disabled {
        return Err(CommandError::no("this client is not switched off").hint("see `doorward client list`"));
    }
    let unit = clients::enable(&client, now());
    done(context, &store, &client, unit, "switched on").await
}

async fn revoke(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    let grants = store.grants_of_client(&client.id).await.map_err(unreadable)?;
    let unit = clients::revoke(&client, &grants, &lifetimes(&context.config), now());
    done(
        context,
        &store,
        &client,
        unit,
        "everything that was granted to it is revoked",
    )
    .await
}

async fn rotate_secret(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    not_of_the_file(&client, "its secret is the one that the file names")?;
    let rotated = clients::rotate_secret(&client, &lifetimes(&context.config), now(), &SystemRandom);
    let Some((secret, unit)) = rotated else {
        return Err(CommandError::no("this client has no secret")
            .hint("add another one with `doorward client add --secret`"));
    };
    commit(&store, unit).await?;
    if context.is_json() {
        let told = json!({ "client_id": client.id, "client_secret": secret.expose() });
        return Ok(context.output.json(&told)?);
    }
    context.output.line(format!(
        "client {}: the secret before is void; the new one is shown only now",
        client.id
    ))?;
    Ok(context.output.line(secret.expose())?)
}

async fn remove(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    if !clients::is_withdrawn(&client) {
        not_of_the_file(&client, "at its next start Doorward would make it again")?;
    }
    let unit = clients::remove(&client, &lifetimes(&context.config), now());
    done(
        context,
        &store,
        &client,
        unit,
        "removed, with everything that was granted to it",
    )
    .await
}

fn not_of_the_file(client: &Client, why: &str) -> Result<(), CommandError> {
    if client.origin != ClientOrigin::Configured {
        return Ok(());
    }
    Err(
        CommandError::no(format!("this client is defined in the configuration file: {why}"))
            .hint("change `[[clients]]` in the file, then restart Doorward or send it SIGHUP"),
    )
}

async fn done(
    context: &mut Context,
    store: &SqliteStore,
    client: &Client,
    unit: Unit,
    what: &str,
) -> Result<(), CommandError> {
    commit(store, unit).await?;
    if context.is_json() {
        return Ok(context
            .output
            .json(&json!({ "client_id": client.id, "done": what }))?);
    }
    Ok(context.output.line(format!("client {}: {what}", client.id))?)
}

async fn known(store: &SqliteStore, id: &str) -> Result<Client, CommandError> {
    let found = store.client(&ClientId::new(id)).await.map_err(unreadable)?;
    found.ok_or_else(|| {
        CommandError::no(format!("there is no client `{}`", id.escape_debug()))
            .hint("see `doorward client list`")
    })
}
