//! `doorward user …`: local accounts.

mod change;

use std::io::Read as _;
use std::time::Duration;

use clap::Subcommand;
use doorward_authorization_server::administer::{self, NewUser};
use doorward_authorization_server::{password, setup};
use doorward_records::Unit;
use doorward_records::account::User;
use doorward_storage::{SqliteStore, Store as _};
use doorward_types::id::Tenant;
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use serde_json::{Value, json};

use super::{Context, commit, now, unreadable};
use crate::config::duration::Span;
use crate::error::CommandError;
use crate::serve::lifetimes;

/// `doorward user …`.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account; without --password-stdin, print a one-time link to set its password
    Add {
        /// What the person types to sign in: lower-case letters, digits, `.`, `_`, `-`, `+`, `@`
        name: String,
        /// May administer
        #[arg(long)]
        admin: bool,
        /// A group, for `allow = ["group:…"]`; may be repeated
        #[arg(long = "group", value_name = "G")]
        groups: Vec<String>,
        /// Read the password from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the accounts
    List,
    /// Show one account: groups, how it signs in, where it is signed in, what is connected
    Show {
        /// Whose
        name: String,
    },
    /// Put an account into groups, or take it out of them; takes effect at once, for tokens that are out there too
    Groups {
        /// Whose
        name: String,
        /// A group to be in; may be repeated
        #[arg(long = "add", value_name = "G")]
        add: Vec<String>,
        /// A group to be in no longer; may be repeated
        #[arg(long = "remove", value_name = "G")]
        remove: Vec<String>,
    },
    /// Take away authenticator app, recovery codes and passkeys of somebody who lost them
    ResetSecondFactor {
        /// Whose
        name: String,
    },
    /// Set a password, or print a one-time link to set it
    Passwd {
        /// Whose
        name: String,
        /// Read the password from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// Shut an account out: no sign-in, no refresh, no call, within a second or two
    Disable {
        /// Whose
        name: String,
    },
    /// End everything that is signed in with an account, browsers and apps; the account stays
    Revoke {
        /// Whose
        name: String,
    },
    /// Let an account in again; what it could use before stays revoked until it logs in again
    Enable {
        /// Whose
        name: String,
    },
    /// Remove an account with everything that was granted by it
    Remove {
        /// Whose
        name: String,
    },
}

/// Longest line read as a password; longer ones are refused by the password rules anyway.
const LONGEST_LINE: u64 = 8192;

/// Runs it.
pub(crate) async fn run(command: UserCommand, context: &mut Context) -> Result<(), CommandError> {
    match command {
        UserCommand::Add {
            name,
            admin,
            groups,
            password_stdin,
        } => {
            let new = NewUser {
                username: name,
                password_hash: None,
                groups,
                admin,
            };
            add(context, new, password_stdin).await
        }
        UserCommand::List => list(context).await,
        UserCommand::Show { name } => change::show(context, &name).await,
        UserCommand::Groups { name, add, remove } => change::groups(context, &name, &add, &remove).await,
        UserCommand::ResetSecondFactor { name } => change::reset_second_factor(context, &name).await,
        UserCommand::Passwd { name, password_stdin } => passwd(context, &name, password_stdin).await,
        UserCommand::Disable { name } => disable(context, &name).await,
        UserCommand::Revoke { name } => revoke(context, &name).await,
        UserCommand::Enable { name } => enable(context, &name).await,
        UserCommand::Remove { name } => remove(context, &name).await,
    }
}

async fn add(context: &mut Context, mut new: NewUser, password_stdin: bool) -> Result<(), CommandError> {
    administer::check_username(&new.username).map_err(|problem| {
        CommandError::usage(format!("`{}` cannot be a user name", new.username.escape_debug()))
            .because(&problem)
            .hint("use up to 64 lower-case letters, digits, `.`, `_`, `-`, `+` and `@`, beginning with a letter or digit")
    })?;
    change::check_groups(&new.groups)?;
    if password_stdin {
        new.password_hash = Some(hashed(password_from_stdin(&new.username)?).await?);
    }
    let store = context.store()?;
    if store
        .user_by_name(&new.username)
        .await
        .map_err(unreadable)?
        .is_some()
    {
        let name = &new.username;
        return Err(CommandError::no(format!("user `{name}` is there already"))
            .hint(format!("to set a new password: `doorward user passwd {name}`")));
    }
    let (user, unit) = administer::add_user(new, &Tenant::default_tenant(), now(), &SystemRandom)
        .map_err(|problem| CommandError::usage("the account cannot be added").because(&problem))?;
    commit(&store, unit).await?;
    if password_stdin {
        return told(context, &user, "added", None);
    }
    let link = link(context, &store, &user).await?;
    told(context, &user, "added", Some(link))
}

async fn passwd(context: &mut Context, name: &str, password_stdin: bool) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    if user.disabled {
        return Err(
            CommandError::no(format!("user `{name}` is disabled")).hint(format!(
                "let the account in again first: `doorward user enable {name}`"
            )),
        );
    }
    if !password_stdin {
        let link = link(context, &store, &user).await?;
        return told(context, &user, "can set a new password", Some(link));
    }
    let hash = hashed(password_from_stdin(name)?).await?;
    commit(&store, setup::set_password(Unit::default(), &user, hash)).await?;
    told(
        context,
        &user,
        "has a new password; every browser is signed out. Apps stay connected: `doorward user revoke` ends them",
        None,
    )
}

async fn disable(context: &mut Context, name: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    let unit = administer::disable_user(&user, &lifetimes(&context.config), now());
    commit(&store, unit).await?;
    told(
        context,
        &user,
        "disabled: no sign-in, no refresh, and calls end within seconds",
        None,
    )
}

/// The kill switch: who can still sign in starts from nothing.
async fn revoke(context: &mut Context, name: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    let unit = administer::revoke_user(&user, &lifetimes(&context.config), now());
    commit(&store, unit).await?;
    told(
        context,
        &user,
        "everything that was signed in ends within seconds: every browser, every app. The account and its password stay",
        None,
    )
}

async fn enable(context: &mut Context, name: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    commit(&store, administer::enable_user(&user)).await?;
    told(
        context,
        &user,
        "enabled: what was signed in before has to log in again",
        None,
    )
}

async fn remove(context: &mut Context, name: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    let unit = administer::remove_user(&user, &lifetimes(&context.config), now());
    commit(&store, unit).await?;
    told(
        context,
        &user,
        "removed, with everything that was granted by it",
        None,
    )
}

async fn list(context: &mut Context) -> Result<(), CommandError> {
    let users = context.store()?.users().await.map_err(unreadable)?;
    if context.is_json() {
        return Ok(context
            .output
            .json(&users.iter().map(shown).collect::<Vec<_>>())?);
    }
    if users.is_empty() {
        context
            .output
            .line("no accounts yet: `doorward user add NAME` makes one")?;
    }
    for user in users {
        let mut facts = Vec::new();
        facts.extend(user.admin.then_some("admin"));
        facts.extend(user.disabled.then_some("disabled"));
        facts.extend(user.password_hash.is_none().then_some("no password yet"));
        let groups = if user.groups.is_empty() {
            "-".into()
        } else {
            user.groups.join(",")
        };
        context
            .output
            .line(format!("{:<24} {groups:<24} {}", user.username, facts.join(", ")).trim_end())?;
    }
    Ok(())
}

fn shown(user: &User) -> Value {
    json!({
        "username": user.username,
        "id": user.id,
        "groups": user.groups,
        "admin": user.admin,
        "disabled": user.disabled,
        "has_password": user.password_hash.is_some(),
        "created": user.created.to_string(),
    })
}

struct Link {
    url: String,
    lifetime: Duration,
}

/// Makes a one-time link to set a password; earlier ones of the user stop working.
async fn link(context: &Context, store: &SqliteStore, user: &User) -> Result<Link, CommandError> {
    let lifetimes = lifetimes(&context.config);
    let (secret, unit) = setup::issue(&lifetimes, user.id, now(), &SystemRandom);
    commit(store, unit).await?;
    let url = format!(
        "{}/setup?token={}",
        crate::known_url::public_url(&context.config),
        secret.expose()
    );
    Ok(Link {
        url,
        lifetime: lifetimes.setup_link,
    })
}

fn told(context: &mut Context, user: &User, what: &str, link: Option<Link>) -> Result<(), CommandError> {
    if context.is_json() {
        let link = link.map(|link| link.url);
        return Ok(context
            .output
            .json(&json!({ "username": user.username, "id": user.id, "setup_link": link }))?);
    }
    context.output.line(format!("user `{}`: {what}", user.username))?;
    if let Some(link) = link {
        let lifetime = Span(link.lifetime);
        context.output.line(format!(
            "Send this link to the person; it works once, within {lifetime}:"
        ))?;
        context.output.line(link.url)?;
    }
    Ok(())
}

/// The account with this name.
pub(super) async fn known(store: &SqliteStore, name: &str) -> Result<User, CommandError> {
    let found = store.user_by_name(name).await.map_err(unreadable)?;
    found.ok_or_else(|| {
        CommandError::no(format!("there is no user `{}`", name.escape_debug()))
            .hint("see `doorward user list`")
    })
}

fn password_from_stdin(username: &str) -> Result<Secret, CommandError> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST_LINE)
        .read_to_string(&mut text)
        .map_err(|error| CommandError::failed("cannot read the password from stdin").because(&error))?;
    let line = text.split('\n').next().unwrap_or_default();
    let password = Secret::new(line.strip_suffix('\r').unwrap_or(line));
    zeroize::Zeroize::zeroize(&mut text);
    password::check(&password, username)
        .map_err(|problem| CommandError::usage("the password is not accepted").because(&problem))?;
    Ok(password)
}

/// Hashing takes long on purpose: not on a thread that others wait for.
async fn hashed(password: Secret) -> Result<String, CommandError> {
    let failed =
        |error: &dyn std::error::Error| CommandError::failed("the password cannot be hashed").because(error);
    let hash = tokio::task::spawn_blocking(move || password::hash(&password, &SystemRandom)).await;
    hash.map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}
