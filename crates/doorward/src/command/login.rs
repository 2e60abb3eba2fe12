//! `doorward login …`: logs a person in to an MCP server elsewhere, and tells who is logged in where.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;
use doorward_local_login::session::{LoggedIn, Session};
use doorward_local_login::store::{Kept, TokensEntry};
use doorward_types::time::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::remote_options::{RemoteOptions, server_url};
use super::remote_session;
use crate::error::CommandError;
use crate::output::{Format, Output};

/// `doorward login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The MCP server, as it is given to a host: <https://mcp.example.com/mcp>
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub(crate) url: Option<String>,
    /// List who is logged in where; never shows a secret
    #[arg(long)]
    pub(crate) list: bool,
    /// Log in anew, also if the tokens that are there are good
    #[arg(long, conflicts_with = "list")]
    pub(crate) force: bool,
    /// How to answer
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) remote: Box<RemoteOptions>,
}

/// Runs it.
pub(crate) async fn run(args: LoginArgs) -> Result<(), CommandError> {
    let mut output = Output::stdout(args.format);
    let Some(url) = &args.url else {
        return list(&args, &mut output);
    };
    let url = server_url(url, args.remote.network.allow_insecure_http)?;
    let session = remote_session::open(
        &args.remote,
        &url,
        remote_session::Mode::Command(pasted_lines(&args)),
    )?;
    let logged_in = interruptible(&session, args.force).await?;
    match &logged_in {
        LoggedIn::NotNeeded => {
            if args.format == Format::Json {
                output.json(&json!({ "server": url.as_str(), "logged_in": false, "needed": false }))?;
            } else {
                output.line(format!("{url} answers without a login: there is nothing to keep"))?;
            }
        }
        LoggedIn::Already(entry) => report(&mut output, entry, "already logged in")?,
        LoggedIn::Now(entry) => report(&mut output, entry, "logged in")?,
    }
    Ok(())
}

/// A signal ends a login at once: listener, browser wait and locks go with it. Only an answer with tokens that is on its way
/// is waited for.
async fn interruptible(session: &Session, force: bool) -> Result<LoggedIn, CommandError> {
    tokio::select! {
        done = session.log_in(force) => done.map_err(|error| remote_session::explain(&error)),
        () = doorward_process::asked_to_end() => {
            session.settled().await;
            Err(CommandError::no("interrupted: `doorward login --list` tells who is logged in"))
        }
    }
}

/// What a person pastes into the terminal, line by line.
fn pasted_lines(args: &LoginArgs) -> Option<mpsc::Receiver<String>> {
    let reads_secret = args.remote.client.client_secret_file.as_deref() == Some(std::path::Path::new("-"));
    if reads_secret || !may_read_stdin() {
        return None;
    }
    let (sender, receiver) = mpsc::channel(4);
    // A thread of its own: a read of a terminal cannot be taken back, and must not hold up the end.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    Some(receiver)
}

/// A terminal may be read by the group in its foreground; the others are stopped when they try.
fn may_read_stdin() -> bool {
    let stdin = std::io::stdin();
    !stdin.is_terminal()
        || rustix::termios::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}

fn report(output: &mut Output, entry: &TokensEntry, what: &str) -> Result<(), CommandError> {
    if output.format == Format::Json {
        let mut shown = shown(entry);
        if let Some(object) = shown.as_object_mut() {
            object.insert("logged_in".to_owned(), Value::Bool(true));
            object.insert("new".to_owned(), Value::Bool(what == "logged in"));
        }
        return Ok(output.json(&shown)?);
    }
    let tokens = entry.tokens();
    output.line(format!("{what} to {}", entry.server))?;
    output.line(format!("  at       {}", entry.issuer()))?;
    if entry.resource() != entry.server {
        output.line(format!("  for      {}", entry.resource()))?;
    }
    output.line(format!("  as       {}", tokens.client_id))?;
    if entry.user != "default" {
        output.line(format!("  user     {}", entry.user))?;
    }
    output.line(format!("  scopes   {}", scopes(entry)))?;
    let lacking = lacking(entry);
    if !lacking.is_empty() {
        output.line(format!("  not      {} (asked for, not given)", lacking.join(" ")))?;
    }
    output.line(format!("  until    {}", until(entry)))?;
    if what != "logged in" {
        output.line("log in anew with --force, as somebody else with --user LABEL")?;
    }
    Ok(())
}

fn list(args: &LoginArgs, output: &mut Output) -> Result<(), CommandError> {
    let store = remote_session::existing_store(&args.remote.tokens)?;
    let kept = match &store {
        Some(store) => store
            .all_tokens()
            .map_err(|error| CommandError::failed("the token store cannot be read").because(&error))?,
        None => Kept::default(),
    };
    if args.format == Format::Json {
        let all: Vec<Value> = kept.tokens.iter().map(shown).collect();
        output.json(&all)?;
    } else if kept.tokens.is_empty() && kept.unreadable.is_empty() {
        output.line("nobody is logged in anywhere: `doorward login URL` does it")?;
    } else {
        for entry in &kept.tokens {
            if let Some(client_id) = entry.signed_on_as() {
                output.line(format!("{}  {}", entry.issuer(), entry.user))?;
                output.line(format!(
                    "    single sign-on as {client_id}, until {}",
                    until(entry)
                ))?;
                continue;
            }
            output.line(format!("{}  {}", entry.server, entry.user))?;
            output.line(format!(
                "    at {}, scopes: {}, until {}",
                entry.issuer(),
                scopes(entry),
                until(entry)
            ))?;
        }
    }
    match kept.unreadable.first() {
        None => Ok(()),
        Some(first) => {
            let what = match kept.unreadable.len() {
                1 => "a record cannot be read".to_owned(),
                count => format!("{count} records cannot be read; the first"),
            };
            Err(CommandError::failed(what).because(first))
        }
    }
}

fn scopes(entry: &TokensEntry) -> String {
    let scope = entry.tokens().scope;
    if scope.is_empty() {
        "not told".to_owned()
    } else {
        scope.to_string()
    }
}

/// What was asked for and is not there. A server that names no scopes says nothing about it.
fn lacking(entry: &TokensEntry) -> Vec<String> {
    let tokens = entry.tokens();
    if tokens.scope.is_empty() {
        return Vec::new();
    }
    let asked = tokens.requested.iter();
    let lacking = asked.filter(|scope| !tokens.scope.contains(scope));
    lacking.map(|scope| scope.as_str().to_owned()).collect()
}

fn until(entry: &TokensEntry) -> String {
    let tokens = entry.tokens();
    let renewed = tokens.refresh_token.is_some();
    match tokens.expires_at {
        _ if renewed => "revoked or unused for long: it is renewed when needed".to_owned(),
        None => "revoked: it ends at no time that was told".to_owned(),
        Some(end) if end <= SystemClock.now() => format!("{end}, which is over: log in again"),
        Some(end) => end.to_string(),
    }
}

/// Everything but the tokens.
fn shown(entry: &TokensEntry) -> Value {
    let tokens = entry.tokens();
    if entry.signed_on_as().is_some() {
        return json!({
            "single_sign_on": true,
            "user": entry.user,
            "issuer": entry.issuer(),
            "client_id": tokens.client_id,
            "expires_at": tokens.expires_at.map(|end| end.to_string()),
            "expired": tokens.expires_at.is_some_and(|end| end <= SystemClock.now()),
            "renewable": tokens.refresh_token.is_some(),
            "obtained_at": entry.obtained_at().to_string(),
        });
    }
    json!({
        "server": entry.server,
        "user": entry.user,
        "issuer": entry.issuer(),
        "resource": entry.resource(),
        "client_id": tokens.client_id,
        "scopes": tokens.scope,
        "requested_scopes": tokens.requested,
        "expires_at": tokens.expires_at.map(|end| end.to_string()),
        "expired": tokens.expires_at.is_some_and(|end| end <= SystemClock.now()),
        "renewable": tokens.refresh_token.is_some(),
        "dpop": tokens.dpop,
        "obtained_at": entry.obtained_at().to_string(),
    })
}
