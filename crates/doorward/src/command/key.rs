//! `doorward key …`: the keys that sign and derive tokens, and the master key that they are sealed under.

use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use doorward_authorization_server::keys::{self, KeyError, Rotation};
use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_seal::MasterKey;
use doorward_storage::{CommitError, DataFolder, SqliteStore, Store as _};
use doorward_types::id::{KeyId, Tenant};
use doorward_types::random::SystemRandom;
use serde_json::{Value, json};

use super::{Context, now, unreadable};
use crate::clock;
use crate::error::CommandError;

/// How long the next key is known before `rotate --now` uses it: running servers look every second.
const BECOMES_KNOWN: Duration = Duration::from_secs(3);

/// `doorward key …`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys, newest first; never their secrets
    List,
    /// Publish the next keys; a running server uses them when they have been known for long enough
    Rotate {
        /// Use them at once. Tokens of the old keys stay good
        #[arg(long, conflicts_with = "master")]
        now: bool,
        /// Replace the master key instead, and seal everything under the new one. No server may run
        #[arg(long)]
        master: bool,
    },
    /// Remove a key at once: every token that it signed is void
    Revoke {
        /// Its `kid`
        kid: String,
    },
}

/// Runs it.
pub(crate) async fn run(command: &KeyCommand, context: &mut Context) -> Result<(), CommandError> {
    match command {
        KeyCommand::List => list(context).await,
        KeyCommand::Rotate { master: true, .. } => rotate_master(context).await,
        KeyCommand::Rotate { now, .. } => rotate(*now, context).await,
        KeyCommand::Revoke { kid } => revoke(kid, context).await,
    }
}

async fn list(context: &mut Context) -> Result<(), CommandError> {
    let keys = context.store()?.keys().await.map_err(unreadable)?;
    if context.is_json() {
        return Ok(context.output.json(&keys.iter().map(shown).collect::<Vec<_>>())?);
    }
    if keys.is_empty() {
        context
            .output
            .line("no keys yet: the first start of `doorward serve` makes them")?;
    }
    for key in keys {
        let (purpose, state) = (purpose(key.purpose), state(key.state));
        context
            .output
            .line(format!("{}  {purpose:<14}  {state:<7}  {}", key.id, key.created))?;
    }
    Ok(())
}

async fn rotate(at_once: bool, context: &mut Context) -> Result<(), CommandError> {
    let (folder, store) = open(context)?;
    let stored = store.keys().await.map_err(unreadable)?;
    let master = folder.master_key();
    let published =
        keys::rotate(&stored, &tenant(), master, now(), &SystemRandom).map_err(|e| unusable(&e))?;
    let mut steps = commit_all(&store, published).await?;
    if at_once {
        // A server that does not know a key yet would refuse what another one signs with it.
        tokio::time::sleep(BECOMES_KNOWN).await;
        let stored = store.keys().await.map_err(unreadable)?;
        steps.extend(commit_all(&store, keys::switch(&stored, now())).await?);
    }
    report(&steps, context)?;
    if context.is_json() {
        return Ok(());
    }
    let after = context.config.keys.publish_before;
    let note = match (at_once, steps.is_empty()) {
        (true, _) => "what the old keys made stays good until it expires".to_owned(),
        (false, true) => "the next keys are published already: a running server will use them in time".into(),
        (false, false) => format!("a running server uses them in {after}; `--now` does not wait"),
    };
    Ok(context.output.line(note)?)
}

async fn revoke(kid: &str, context: &mut Context) -> Result<(), CommandError> {
    let (folder, store) = open(context)?;
    let stored = store.keys().await.map_err(unreadable)?;
    let kid = KeyId::new(kid);
    let step = keys::revoke(
        &stored,
        &kid,
        &tenant(),
        folder.master_key(),
        now(),
        &SystemRandom,
    )
    .map_err(|error| unusable(&error))?
    .map_err(|error| {
        CommandError::usage("nothing was revoked")
            .because(&error)
            .hint("`doorward key list` shows the keys")
    })?;
    let what = match step.purpose {
        KeyPurpose::AccessToken => {
            "access tokens that it signed are refused from now on; clients get new ones"
        }
        KeyPurpose::RefreshToken => {
            "clients whose refresh tokens it derives must sign in again; every access token is refused, and other clients get new ones"
        }
    };
    super::commit(&store, step.unit.clone()).await?;
    report(&[step], context)?;
    if !context.is_json() {
        context.output.line(what)?;
    }
    Ok(())
}

async fn rotate_master(context: &mut Context) -> Result<(), CommandError> {
    let path = context.config.data.value.clone();
    let failed = |error: doorward_storage::DataFolderError| {
        CommandError::failed("the master key was not replaced").because(&error)
    };
    let folder = DataFolder::open_alone(&path).map_err(failed)?;
    clock::remember(folder.clock_mark());
    let store = folder.store();
    let (stored, authenticators) = (
        store.keys().await.map_err(unreadable)?,
        store.authenticators().await.map_err(unreadable)?,
    );
    let new = MasterKey::generate(&SystemRandom);
    let unit = keys::reseal(&stored, &authenticators, folder.master_key(), &new, &SystemRandom)
        .map_err(|error| unusable(&error))?;
    folder.replace_master_key(&new, unit).await.map_err(failed)?;
    let (keys, others) = (stored.len(), authenticators.len());
    if context.is_json() {
        let answer = json!({"master_key": "replaced", "keys": keys, "authenticators": others});
        return Ok(context.output.json(&answer)?);
    }
    context.output.line(format!(
        "the master key was replaced; {keys} keys and {others} authenticators are sealed under the new one"
    ))?;
    Ok(context
        .output
        .line("backups of before need the old one: make a new backup now (`doorward data backup FILE`)")?)
}

fn open(context: &Context) -> Result<(DataFolder, Arc<SqliteStore>), CommandError> {
    let folder = context.folder()?;
    let store = folder.store();
    Ok((folder, store))
}

fn tenant() -> Tenant {
    Tenant::default_tenant()
}

fn unusable(error: &KeyError) -> CommandError {
    CommandError::failed("the keys cannot be used").because(error)
}

/// Commits each step; one that somebody else made first is left out.
async fn commit_all(store: &SqliteStore, steps: Vec<Rotation>) -> Result<Vec<Rotation>, CommandError> {
    let mut made = Vec::new();
    for step in steps {
        match store.commit(step.unit.clone()).await {
            Ok(_) => made.push(step),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(CommandError::failed("the keys were not rotated").because(&error)),
        }
    }
    Ok(made)
}

fn report(steps: &[Rotation], context: &mut Context) -> Result<(), CommandError> {
    if context.is_json() {
        let shown = |step: &Rotation| {
            json!({
                "kid": step.key,
                "purpose": step.purpose,
                "step": step.step.name(),
            })
        };
        return Ok(context
            .output
            .json(&steps.iter().map(shown).collect::<Vec<_>>())?);
    }
    for step in steps {
        let (purpose, name) = (purpose(step.purpose), step.step.name());
        context
            .output
            .line(format!("{}  {purpose:<14}  {name}", step.key))?;
    }
    Ok(())
}

fn shown(key: &StoredKey) -> Value {
    let public: Option<Value> = key
        .public_jwk
        .as_deref()
        .and_then(|jwk| serde_json::from_str(jwk).ok());
    json!({
        "kid": key.id,
        "purpose": key.purpose,
        "state": key.state,
        "created": key.created.to_string(),
        "activated": key.activated.map(|at| at.to_string()),
        "retired": key.retired.map(|at| at.to_string()),
        "public_jwk": public,
    })
}

const fn purpose(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::AccessToken => "access tokens",
        KeyPurpose::RefreshToken => "refresh tokens",
    }
}

const fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Next => "next",
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    }
}
