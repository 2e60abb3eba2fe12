//! `doorward client add`: a client that need not register.

use std::path::PathBuf;

use clap::Args;
use doorward_authorization_server::clients::{self, Credential, Definition};
use doorward_records::client::ClientOrigin;
use doorward_storage::{CommitError, Store as _};
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;

use super::super::{Context, now};
use super::show;
use crate::config::clients::{custom_schemes, keys};
use crate::error::CommandError;

/// What `client add` takes.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Where it sends people back to: https, http on a loopback host (any port), or an app's own scheme; may be
    /// repeated
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Its name, as people see it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its id, instead of a random one: letters, digits, `.`, `_`, `~`, `-`
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Make a secret for it, and print it once
    #[arg(long, conflicts_with_all = ["jwks", "jwks_uri"])]
    secret: bool,
    /// It sends its secret in the body (client_secret_post), not in an Authorization header (client_secret_basic)
    #[arg(long, requires = "secret")]
    secret_in_body: bool,
    /// It authenticates with a key of the JWK set in this file (private_key_jwt)
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// It authenticates with a key of the JWK set at this https URL (private_key_jwt)
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// It may get tokens for itself, without a person; needs --secret or keys
    #[arg(long)]
    client_credentials: bool,
    /// It may use the device grant
    #[arg(long)]
    device: bool,
    /// A scope it may ask for; may be repeated (default: all)
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A server it may get tokens for, by name; may be repeated (default: all)
    #[arg(long = "server", value_name = "SERVER")]
    servers: Vec<String>,
    /// A server whose tokens it may introspect, by name; may be repeated; needs --secret or keys
    #[arg(long = "introspect", value_name = "SERVER")]
    introspect: Vec<String>,
}

/// Runs it.
pub(super) async fn run(args: AddArgs, context: &mut Context) -> Result<(), CommandError> {
    known_servers(context, args.servers.iter().chain(&args.introspect))?;
    let secret = args.secret.then(|| clients::generate_secret(&SystemRandom));
    let definition = definition(args, secret.as_ref())?;
    let schemes = custom_schemes(&context.config.registration);
    let client = clients::judge(&definition, ClientOrigin::Operator, &schemes)
        .map_err(|problem| CommandError::usage(format!("no such client can be added: {problem}")))?;
    let (client, unit) = clients::add(client, now());
    match context.store()?.commit(unit).await {
        Ok(_) => {}
        Err(CommitError::Conflict) => {
            return Err(CommandError::no("there is a client with this id already")
                .hint("leave `--id` out, or use another one"));
        }
        Err(error) => return Err(CommandError::failed("nothing was changed").because(&error)),
    }
    show::added(context, &client, secret.as_ref())
}

fn definition(args: AddArgs, secret: Option<&Secret>) -> Result<Definition, CommandError> {
    let credential = match (secret, &args.jwks, args.jwks_uri) {
        (Some(secret), ..) if args.secret_in_body => Credential::SecretInBody(secret.digest()),
        (Some(secret), ..) => Credential::Secret(secret.digest()),
        (None, Some(file), _) => Credential::Keys(keys(file).map_err(CommandError::usage)?),
        (None, None, Some(uri)) => Credential::KeysAt(uri),
        (None, None, None) => Credential::None,
    };
    let mut grant_types = Vec::new();
    if !args.redirect_uris.is_empty() {
        grant_types.extend(["authorization_code", "refresh_token"]);
    }
    if args.client_credentials {
        grant_types.push("client_credentials");
    }
    if args.device {
        grant_types.push("urn:ietf:params:oauth:grant-type:device_code");
        grant_types.push("refresh_token");
    }
    Ok(Definition {
        id: args.id.unwrap_or_else(|| clients::new_id(&SystemRandom)),
        name: args.name,
        redirect_uris: args.redirect_uris,
        grant_types: grant_types.into_iter().map(str::to_owned).collect(),
        credential,
        scope: (!args.scopes.is_empty()).then(|| args.scopes.join(" ")),
        servers: (!args.servers.is_empty()).then_some(args.servers),
        introspects: args.introspect,
    })
}

/// A mistyped name would be a client that can use nothing. Without a file the server runs with flags, which we
/// do not know.
fn known_servers<'a>(
    context: &Context,
    mut named: impl Iterator<Item = &'a String>,
) -> Result<(), CommandError> {
    let servers = &context.config.servers;
    let unknown =
        named.find(|name| !servers.is_empty() && !servers.iter().any(|server| server.name == **name));
    match unknown {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
            let message = format!("there is no server `{}`", name.escape_debug());
            Err(CommandError::usage(message).hint(format!("known are: {}", known.join(", "))))
        }
    }
}
