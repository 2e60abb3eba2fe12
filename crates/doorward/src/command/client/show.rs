//! `doorward client list` and `show`.

use doorward_authorization_server::client::for_display;
use doorward_records::client::{Client, ClientOrigin, ClientStatus};
use doorward_records::grant::Grant;
use doorward_storage::Store as _;
use doorward_types::secret::Secret;
use serde_json::{Value, json};

use super::super::{Context, unreadable};
use super::known;
use crate::config::Config;
use crate::error::CommandError;

/// `client list`.
pub(super) async fn list(context: &mut Context) -> Result<(), CommandError> {
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
            "{}  {:<8}  {:<12}  {name}  {uris}",
            client.id,
            status(client.status),
            origin(client.origin),
        ))?;
    }
    Ok(())
}

/// `client show`.
pub(super) async fn one(context: &mut Context, id: &str) -> Result<(), CommandError> {
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
    let hosts = host_lines(&context.config, &client, None);
    if context.is_json() {
        let grants: Vec<Value> = grants
            .iter()
            .map(|(user, grant)| shown_grant(user, grant))
            .collect();
        let mut value = shown(&client);
        if let Some(object) = value.as_object_mut() {
            object.insert("grants".into(), grants.into());
            object.insert("hosts".into(), hosts);
        }
        return Ok(context.output.json(&value)?);
    }
    for (name, value) in lines(&client) {
        context.output.line(format!("{name:<14} {value}"))?;
    }
    for (user, grant) in grants {
        context.output.line(format!(
            "allowed by     {user}: {} for {} (back to {}, {})",
            grant.scopes, grant.resource, grant.redirect_host, grant.updated
        ))?;
    }
    tell_hosts(context, &hosts)
}

/// What `client add` prints.
pub(super) fn added(
    context: &mut Context,
    client: &Client,
    secret: Option<&Secret>,
) -> Result<(), CommandError> {
    let hosts = host_lines(&context.config, client, secret);
    if context.is_json() {
        let mut value = shown(client);
        if let Some(object) = value.as_object_mut() {
            if let Some(secret) = secret {
                object.insert("client_secret".into(), secret.expose().into());
            }
            object.insert("hosts".into(), hosts);
        }
        return Ok(context.output.json(&value)?);
    }
    context.output.line(format!("client_id      {}", client.id))?;
    if let Some(secret) = secret {
        context
            .output
            .line(format!("client_secret  {}", secret.expose()))?;
        context
            .output
            .line("The secret is shown only now: Doorward keeps a digest of it.")?;
    }
    tell_hosts(context, &hosts)
}

fn tell_hosts(context: &mut Context, hosts: &Value) -> Result<(), CommandError> {
    for (host, line) in hosts.as_object().into_iter().flatten() {
        let line = line.as_str().map_or_else(|| line.to_string(), str::to_owned);
        context.output.line(format!("{host:<14} {line}"))?;
    }
    Ok(())
}

/// What to write into MCP hosts so that they use this client instead of registering: one entry for each, for the
/// first server that it may use.
fn host_lines(config: &Config, client: &Client, secret: Option<&Secret>) -> Value {
    let usable = |name: &str| {
        client
            .servers
            .as_ref()
            .is_none_or(|names| names.iter().any(|known| known == name))
    };
    let origin = crate::known_url::public_url(config);
    let server = config.servers.iter().find(|server| usable(&server.name));
    // A server that was started by flags is called `mcp` and lives at `/mcp`.
    let (name, path) = server.map_or(("mcp", "/mcp"), |server| {
        (server.name.as_str(), server.path.as_str())
    });
    let url = format!("{origin}{path}");
    if !client.metadata.registered("authorization_code") {
        return json!({ "token_endpoint": format!("{origin}/token"), "resource": url });
    }
    let id = client.id.as_str();
    let mut claude = format!("claude mcp add --transport http --client-id {id}");
    let (information, cursor) = if client.secret.is_some() {
        // Where the secret is not known (any more) there is a place to put it.
        let secret = secret.map_or("SECRET", Secret::expose);
        claude.push_str(" --client-secret");
        (
            json!({ "client_id": id, "client_secret": secret }),
            json!({ "CLIENT_ID": id, "CLIENT_SECRET": secret }),
        )
    } else {
        (json!({ "client_id": id }), json!({ "CLIENT_ID": id }))
    };
    let cursor = json!({ "mcpServers": { name: { "url": url, "auth": cursor } } });
    json!({
        "claude-code": format!("{claude} {name} {url}"),
        "mcp-remote": format!("npx mcp-remote {url} --static-oauth-client-info '{information}'"),
        "cursor": cursor.to_string(),
        "other": format!("{url} with client id {id}"),
    })
}

fn lines(client: &Client) -> Vec<(&'static str, String)> {
    let metadata = &client.metadata;
    let mut lines = vec![
        ("id", client.id.to_string()),
        ("status", status(client.status).into()),
        ("origin", origin(client.origin).into()),
        ("name", client_text(metadata.client_name.as_deref(), "-")),
        ("page", client_text(metadata.client_uri.as_deref(), "-")),
    ];
    lines.extend(metadata.redirect_uris.iter().map(|uri| ("redirect", uri.clone())));
    lines.push(("grant types", metadata.grant_types.join(" ")));
    lines.push(("authenticates", metadata.token_endpoint_auth_method.clone()));
    if let Some(servers) = &client.servers {
        lines.push(("servers", servers.join(" ")));
    }
    if !client.introspects.is_empty() {
        lines.push(("introspects", client.introspects.join(" ")));
    }
    lines.push(("registered", client.created.to_string()));
    if let Some(approved) = client.approved {
        lines.push(("approved", approved.to_string()));
    }
    lines.push(("last used", client.last_used.to_string()));
    lines
}

/// What a client says of itself, made safe for a terminal.
fn client_text(text: Option<&str>, absent: &str) -> String {
    text.map_or_else(|| absent.to_owned(), for_display)
}

const fn status(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Approved => "approved",
        ClientStatus::Pending => "pending",
        ClientStatus::Disabled => "disabled",
    }
}

const fn origin(origin: ClientOrigin) -> &'static str {
    match origin {
        ClientOrigin::Dynamic => "registered",
        ClientOrigin::Confidential => "confidential",
        ClientOrigin::Operator => "added",
        ClientOrigin::Configured => "file",
        ClientOrigin::MetadataDocument => "document",
    }
}

fn shown(client: &Client) -> Value {
    json!({
        "client_id": client.id,
        "status": client.status,
        "origin": client.origin,
        "metadata": client.metadata,
        "has_secret": client.secret.is_some(),
        "servers": client.servers,
        "introspects": client.introspects,
        "created": client.created.to_string(),
        "approved": client.approved.map(|at| at.to_string()),
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
