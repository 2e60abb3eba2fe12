//! `doorward logout …`: ends a login where it was made, and forgets it here.

use clap::{ArgGroup, Args};
use doorward_client::grant::AssertionSource as _;
use doorward_local_login::session::LoggedOut;
use doorward_local_login::sign_on::Provider;
use doorward_local_login::store::TokensEntry;
use serde_json::{Value, json};
use url::Url;

use super::remote_options::{RemoteOptions, server_url};
use super::remote_session;
use crate::error::CommandError;
use crate::output::{Format, Output};

/// `doorward logout`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["url", "all"])))]
pub(crate) struct LogoutArgs {
    /// The MCP server, as it was given to `doorward login`; or the issuer of an identity provider, as `login --list` shows it
    pub(crate) url: Option<String>,
    /// Every server, every user, and what was signed on for
    #[arg(long)]
    pub(crate) all: bool,
    /// Keep what cannot be revoked: without this it is forgotten here although the server still accepts it
    #[arg(long)]
    pub(crate) keep_unrevoked: bool,
    /// How to answer
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) remote: Box<RemoteOptions>,
}

/// Runs it.
pub(crate) async fn run(args: LogoutArgs) -> Result<(), CommandError> {
    let mut output = Output::stdout(args.format);
    let Some(which) = which(&args)? else {
        return nothing(&mut output, args.all);
    };
    let mut results = Vec::new();
    let mut unrevoked = 0_usize;
    for (url, user) in &which {
        let mut remote = args.remote.clone();
        remote.tokens.user.clone_from(user);
        let session = remote_session::open(&remote, url, remote_session::Mode::Headless)?;
        let done = tokio::select! {
            done = session.log_out(args.keep_unrevoked) => done.map_err(|error| remote_session::explain_as("log out", &error))?,
            () = doorward_process::asked_to_end() => {
                // What is forgotten here is revoked there as well.
                session.settled().await;
                return Err(CommandError::no("interrupted: `doorward login --list` tells who is still logged in"));
            }
        };
        if let LoggedOut::Nobody = done {
            continue;
        }
        if let LoggedOut::NotRevoked { .. } = done {
            unrevoked += 1;
        }
        results.push(tell(&mut output, url, user, &done, args.keep_unrevoked)?);
    }
    for sign_on in sign_ons(&args)? {
        let (shown, revoked) = sign_off(&args, &mut output, sign_on).await?;
        unrevoked += usize::from(!revoked);
        results.push(shown);
    }
    if results.is_empty() {
        return nothing(&mut output, args.all);
    }
    if args.format == Format::Json {
        output.json(&results)?;
    }
    if unrevoked > 0 && args.keep_unrevoked {
        return Err(
            CommandError::failed("not everything could be revoked, so it was kept")
                .hint("try again later, or run it without --keep-unrevoked"),
        );
    }
    Ok(())
}

fn nothing(output: &mut Output, all: bool) -> Result<(), CommandError> {
    if output.format == Format::Json {
        return Ok(output.json(&Vec::<Value>::new())?);
    }
    Ok(output.line(if all {
        "nobody was logged in anywhere: nothing to forget"
    } else {
        "nobody was logged in there: nothing to forget (`doorward login --list` tells who is logged in where)"
    })?)
}

/// The logins that are meant; `None` if there is no store at all.
fn which(args: &LogoutArgs) -> Result<Option<Vec<(Url, String)>>, CommandError> {
    let store = remote_session::existing_store(&args.remote.tokens)?;
    if let Some(url) = &args.url {
        let url = server_url(url, true)?;
        return Ok(store.map(|_| vec![(url, args.remote.tokens.user.clone())]));
    }
    let Some(store) = store else {
        return Ok(None);
    };
    let unreadable = |error| CommandError::failed("the token store cannot be read").because(&error);
    let kept = store.all_tokens().map_err(unreadable)?;
    if let Some(first) = kept.unreadable.first() {
        return Err(CommandError::failed("some records cannot be read, and nothing was done").because(first));
    }
    let parsed = |entry: TokensEntry| Some((Url::parse(&entry.server).ok()?, entry.user));
    let logins = kept
        .tokens
        .into_iter()
        .filter(|entry| entry.signed_on_as().is_none());
    Ok(Some(logins.filter_map(parsed).collect()))
}

/// The sign-ons that are meant: all, or the one at the identity provider whose issuer was given. Other servers may need that of
/// a single server.
fn sign_ons(args: &LogoutArgs) -> Result<Vec<(Provider, String)>, CommandError> {
    let Some(store) = remote_session::existing_store(&args.remote.tokens)? else {
        return Ok(Vec::new());
    };
    let kept = store
        .all_tokens()
        .map_err(|error| CommandError::failed("the token store cannot be read").because(&error))?;
    let meant = |entry: &TokensEntry| {
        args.all || (args.url.as_deref() == Some(entry.issuer()) && entry.user == args.remote.tokens.user)
    };
    let found = kept.tokens.iter().filter(|entry| meant(entry));
    let found = found.filter_map(|entry| {
        let provider = Provider {
            issuer: entry.issuer().to_owned(),
            client_id: entry.signed_on_as()?.to_owned(),
        };
        Some((provider, entry.user.clone()))
    });
    Ok(found.collect())
}

/// Ends one of them.
async fn sign_off(
    args: &LogoutArgs,
    output: &mut Output,
    (provider, user): (Provider, String),
) -> Result<(Value, bool), CommandError> {
    let mut remote = args.remote.clone();
    remote.tokens.user.clone_from(&user);
    let issuer = provider.issuer.clone();
    let sign_on = remote_session::open_sign_on(&remote, provider)?;
    let done = tokio::select! {
        done = sign_on.log_out(args.keep_unrevoked) => done.map_err(|error| remote_session::explain_as("log out", &error))?,
        () = doorward_process::asked_to_end() => {
            sign_on.settled().await;
            return Err(CommandError::no("interrupted: `doorward login --list` tells who is still logged in"));
        }
    };
    let why = match done {
        LoggedOut::NotRevoked { why } => Some(why),
        LoggedOut::Revoked | LoggedOut::Nobody => None,
    };
    if output.format == Format::Human {
        output.line(match &why {
            None => format!("signed off at {issuer}, and forgotten here"),
            Some(why) if args.keep_unrevoked => format!("still signed on at {issuer}: {why}"),
            Some(why) => format!("forgotten here, but the sign-on was not revoked at {issuer}: {why}"),
        })?;
    }
    let shown = json!({
        "single_sign_on": true,
        "issuer": issuer,
        "user": user,
        "revoked": why.is_none(),
        "forgotten": why.is_none() || !args.keep_unrevoked,
        "why": why,
    });
    Ok((shown, why.is_none()))
}

fn tell(
    output: &mut Output,
    url: &Url,
    user: &str,
    done: &LoggedOut,
    kept: bool,
) -> Result<Value, CommandError> {
    let (revoked, why) = match done {
        LoggedOut::Revoked => (true, None),
        LoggedOut::NotRevoked { why } => (false, Some(why.clone())),
        LoggedOut::Nobody => (false, None),
    };
    if output.format == Format::Human {
        match &why {
            None => output.line(format!("logged out of {url}: revoked there, and forgotten here"))?,
            Some(why) if kept => output.line(format!("still logged in to {url}: {why}"))?,
            Some(why) => output.line(format!(
                "forgotten here, but not revoked at {url}: {why}. Until they end, the tokens would still be accepted if \
                 somebody has a copy; end the login where you made it if that matters"
            ))?,
        }
    }
    Ok(json!({
        "server": url.as_str(),
        "user": user,
        "revoked": revoked,
        "forgotten": revoked || !kept,
        "why": why,
    }))
}
