//! `doorward grant …`: what people allowed, and ending it.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args, Subcommand};
use doorward_authorization_server::account::end_grants;
use doorward_authorization_server::administer;
use doorward_authorization_server::client::for_display;
use doorward_records::facts::{GrantFacts, GrantFilter};
use doorward_records::grant::Family;
use doorward_storage::{CommitError, SqliteStore, Store as _};
use doorward_types::id::{ClientId, GrantId, UserId};
use serde_json::{Value, json};

use super::user::known as known_user;
use super::{Context, now, unreadable};
use crate::error::CommandError;
use crate::serve::lifetimes;

/// `doorward grant …`.
#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// List what people allowed, with the sign-ins under it
    List {
        /// Only this person's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only those of this client
        #[arg(long, value_name = "ID")]
        client: Option<String>,
    },
    /// End grants with every sign-in and token under them; a running server refuses them within 5 seconds
    Revoke(Which),
}

/// Which grants.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["grant", "user", "client"])))]
pub(crate) struct Which {
    /// The grant's id, as `grant list` shows it
    #[arg(conflicts_with_all = ["user", "client"])]
    grant: Option<String>,
    /// All of this person's; with --client only theirs for that client
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// All of this client's
    #[arg(long, value_name = "ID")]
    client: Option<String>,
}

/// So often the rows may change under a command before it gives up.
const ATTEMPTS: u32 = 5;

/// Runs it.
pub(crate) async fn run(command: GrantCommand, context: &mut Context) -> Result<(), CommandError> {
    match command {
        GrantCommand::List { user, client } => list(context, user, client).await,
        GrantCommand::Revoke(which) => revoke(context, &which).await,
    }
}

async fn list(
    context: &mut Context,
    user: Option<String>,
    client: Option<String>,
) -> Result<(), CommandError> {
    let store = context.store()?;
    let which = Which {
        grant: None,
        user,
        client,
    };
    let found = find(&store, &which).await?;
    let names = names(&store).await?;
    if context.is_json() {
        let all: Vec<Value> = found.iter().map(|facts| shown(facts, &names)).collect();
        return Ok(context.output.json(&all)?);
    }
    if found.is_empty() {
        context
            .output
            .line("no grants: people make them when they allow an app to use a server")?;
    }
    for facts in &found {
        let grant = &facts.grant;
        let app = grant.evidence.client_name.as_deref();
        context.output.line(format!(
            "{}  {}  {}  {}",
            grant.id,
            name(&names, grant.user),
            app.map_or_else(|| "(no name)".to_owned(), for_display),
            grant.client
        ))?;
        context.output.line(format!(
            "    {} for {}, back to {}, since {}",
            grant.scopes, grant.resource, grant.redirect_host, grant.created
        ))?;
        for family in &facts.families {
            context.output.line(format!(
                "    signed in {}, last used {}: {}",
                family.created,
                family.last_used,
                device(family)
            ))?;
        }
    }
    Ok(())
}

async fn revoke(context: &mut Context, which: &Which) -> Result<(), CommandError> {
    let store = context.store()?;
    let kept = administer::kept(&lifetimes(&context.config));
    let mut attempt = 0;
    let ended = loop {
        let found = find(&store, which).await?;
        if found.is_empty() {
            break found;
        }
        match store.commit(end_grants(&found, kept, now())).await {
            Ok(_) => break found,
            // An app of theirs signed in at this moment: look again.
            Err(CommitError::Conflict) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => {
                return Err(CommandError::failed("nothing was changed")
                    .because(&error)
                    .hint("run the command again"));
            }
        }
    };
    let chains: usize = ended.iter().map(|facts| facts.families.len()).sum();
    if context.is_json() {
        let ids: Vec<GrantId> = ended.iter().map(|facts| facts.grant.id).collect();
        return Ok(context
            .output
            .json(&json!({ "revoked": ids, "sign_ins": chains }))?);
    }
    if ended.is_empty() {
        return Ok(context
            .output
            .line("there was no such grant: nothing was changed")?);
    }
    Ok(context.output.line(format!(
        "{} grants revoked, {chains} sign-ins ended: a running server refuses their tokens within 5 seconds",
        ended.len()
    ))?)
}

/// The grants that are meant. A person or a grant that does not exist is an error; a client that nobody knows is none,
/// because its grants may still be there to be looked for.
async fn find(store: &SqliteStore, which: &Which) -> Result<Vec<GrantFacts>, CommandError> {
    let (filter, client, id) = match (&which.grant, &which.user, &which.client) {
        (Some(id), _, _) => {
            let parsed: GrantId = id.parse().map_err(|_| unknown_grant(id))?;
            (GrantFilter::All, None, Some((id, parsed)))
        }
        (None, Some(user), client) => {
            let user = known_user(store, user).await?;
            (
                GrantFilter::User(user.id),
                client.as_deref().map(ClientId::new),
                None,
            )
        }
        (None, None, Some(client)) => (GrantFilter::Client(ClientId::new(client)), None, None),
        (None, None, None) => (GrantFilter::All, None, None),
    };
    let mut found = store.grants(filter).await.map_err(unreadable)?;
    if let Some(client) = client {
        found.retain(|facts| facts.grant.client == client);
    }
    if let Some((text, id)) = id {
        found.retain(|facts| facts.grant.id == id);
        if found.is_empty() {
            return Err(unknown_grant(text));
        }
    }
    Ok(found)
}

fn unknown_grant(id: &str) -> CommandError {
    CommandError::no(format!("there is no grant `{}`", id.escape_debug())).hint("see `doorward grant list`")
}

async fn names(store: &SqliteStore) -> Result<BTreeMap<UserId, String>, CommandError> {
    let users = store.users().await.map_err(unreadable)?;
    Ok(users.into_iter().map(|user| (user.id, user.username)).collect())
}

fn name(names: &BTreeMap<UserId, String>, user: UserId) -> String {
    names.get(&user).cloned().unwrap_or_else(|| user.to_string())
}

fn device(family: &Family) -> String {
    family
        .device
        .as_deref()
        .map_or_else(|| "did not say what it is".to_owned(), for_display)
}

fn shown(facts: &GrantFacts, names: &BTreeMap<UserId, String>) -> Value {
    let grant = &facts.grant;
    let chains = facts.families.iter().map(|family| {
        json!({
            "family": family.id,
            "device": family.device,
            "created": family.created.to_string(),
            "last_used": family.last_used.to_string(),
        })
    });
    json!({
        "grant": grant.id,
        "user": name(names, grant.user),
        "client_id": grant.client,
        "client_name": grant.evidence.client_name,
        "resource": grant.resource,
        "redirect_host": grant.redirect_host,
        "scopes": grant.scopes,
        "created": grant.created.to_string(),
        "updated": grant.updated.to_string(),
        "sign_ins": chains.collect::<Vec<_>>(),
    })
}
