//! `doorward key …`: the keys that sign and derive tokens.

use clap::Subcommand;
use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_storage::Store as _;
use serde_json::{Value, json};

use super::{Context, unreadable};
use crate::error::CommandError;

/// `doorward key …`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys, newest first; never their secrets
    List,
}

/// Runs it.
pub(crate) async fn run(command: &KeyCommand, context: &mut Context) -> Result<(), CommandError> {
    let KeyCommand::List = command;
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
