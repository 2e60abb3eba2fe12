//! `doorward client …`: registered clients.

use clap::Subcommand;
use doorward_authorization_server::administer;
use doorward_authorization_server::client::for_display;
use doorward_records::client::{Client, ClientStatus};
use doorward_records::grant::Grant;
use doorward_storage::{SqliteStore, Store as _};
use doorward_types::id::ClientId;
use serde_json::{Value, json};

use super::{Context, commit, now, unreadable};
use crate::error::CommandError;
use crate::serve::lifetimes;

/// `doorward client …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List the registered clients, newest first
    List,
    /// Show what a client registered and who allowed it what
    Show {
        /// Its client id
        id: String,
    },
    /// Let a client that waits for it start logins
    Approve {
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
        ClientCommand::List => list(context).await,
        ClientCommand::Show { id } => show(context, &id).await,
        ClientCommand::Approve { id } => approve(context, &id).await,
        ClientCommand::Remove { id } => remove(context, &id).await,
    }
}

async fn list(context: &mut Context) -> Result<(), CommandError> {
    let clients = context.store()?.clients().await.map_err(unreadable)?;
    if context.is_json() {
        return Ok(context
            .output
            .json(&clients.iter().map(shown).collect::<Vec<_>>())?);
    }
    if clients.is_empty() {
        context
            .output
            .line("no clients yet: they register themselves when they first log in")?;
    }
    for client in clients {
        let name = client_text(client.metadata.client_name.as_deref(), "(no name)");
        let uris = client.metadata.redirect_uris.join(" ");
        context.output.line(format!(
            "{}  {:<8}  {name}  {uris}",
            client.id,
            status(client.status)
        ))?;
    }
    Ok(())
}

async fn show(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    let mut grants = Vec::new();
    for grant in store.grants_of_client(&client.id).await.map_err(unreadable)? {
        let user = store.user(grant.user).await.map_err(unreadable)?;
        grants.push((
            user.map_or_else(|| grant.user.to_string(), |user| user.username),
            grant,
        ));
    }
    if context.is_json() {
        let grants: Vec<Value> = grants
            .iter()
            .map(|(user, grant)| shown_grant(user, grant))
            .collect();
        let mut value = shown(&client);
        if let Some(object) = value.as_object_mut() {
            object.insert("grants".into(), grants.into());
        }
        return Ok(context.output.json(&value)?);
    }
    let metadata = &client.metadata;
    context.output.line(format!("id             {}", client.id))?;
    context
        .output
        .line(format!("status         {}", status(client.status)))?;
    context.output.line(format!(
        "name           {}",
        client_text(metadata.client_name.as_deref(), "-")
    ))?;
    context.output.line(format!(
        "page           {}",
        client_text(metadata.client_uri.as_deref(), "-")
    ))?;
    for uri in &metadata.redirect_uris {
        context.output.line(format!("redirect       {uri}"))?;
    }
    context
        .output
        .line(format!("grant types    {}", metadata.grant_types.join(" ")))?;
    context
        .output
        .line(format!("registered     {}", client.created))?;
    context
        .output
        .line(format!("last used      {}", client.last_used))?;
    for (user, grant) in grants {
        context.output.line(format!(
            "allowed by     {user}: {} for {} (back to {}, {})",
            grant.scopes, grant.resource, grant.redirect_host, grant.updated
        ))?;
    }
    Ok(())
}

async fn approve(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    if client.status == ClientStatus::Pending {
        let unit = administer::approve_client(&client, now());
        commit(&store, unit).await?;
    }
    told(context, &client, "approved")
}

async fn remove(context: &mut Context, id: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let client = known(&store, id).await?;
    let unit = administer::remove_client(&client, &lifetimes(&context.config), now());
    commit(&store, unit).await?;
    told(
        context,
        &client,
        "removed, with everything that was granted to it",
    )
}

fn told(context: &mut Context, client: &Client, what: &str) -> Result<(), CommandError> {
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

/// What a client says of itself, made safe for a terminal.
fn client_text(text: Option<&str>, absent: &str) -> String {
    text.map_or_else(|| absent.to_owned(), for_display)
}

const fn status(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Approved => "approved",
        ClientStatus::Pending => "pending",
    }
}

fn shown(client: &Client) -> Value {
    json!({
        "client_id": client.id,
        "status": client.status,
        "origin": client.origin,
        "metadata": client.metadata,
        "created": client.created.to_string(),
        "last_used": client.last_used.to_string(),
    })
}

fn shown_grant(user: &str, grant: &Grant) -> Value {
    json!({
        "user": user,
        "resource": grant.resource,
        "redirect_host": grant.redirect_host,
        "scopes": grant.scopes,
        "created": grant.created.to_string(),
        "updated": grant.updated.to_string(),
    })
}
