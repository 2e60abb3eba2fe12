//! `doorward user show|groups|reset-second-factor`.

use doorward_authorization_server::{administer, sign_in_methods};
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::facts::GrantFilter;
use doorward_storage::Store as _;
use serde_json::{Value, json};

use super::{known, shown, told};
use crate::command::{Context, commit, now, unreadable};
use crate::error::CommandError;

/// Each of them can be a group.
pub(super) fn check_groups(groups: &[String]) -> Result<(), CommandError> {
    for group in groups {
        administer::check_group(group).map_err(|problem| {
            CommandError::usage(format!("`{}` cannot be a group", group.escape_debug()))
                .because(&problem)
                .hint("use up to 64 letters, digits, `.`, `_`, `-`, `+`, `@` and `/`, beginning with a letter or digit")
        })?;
    }
    Ok(())
}

/// Changes the groups. Rules such as `allow = ["group:…"]` are judged with the new ones at the next refresh, which is
/// within minutes; what they took away from a token that is out there is taken away at once.
pub(super) async fn groups(
    context: &mut Context,
    name: &str,
    add: &[String],
    remove: &[String],
) -> Result<(), CommandError> {
    if add.is_empty() && remove.is_empty() {
        return Err(CommandError::usage("which groups?").hint(format!(
            "such as `doorward user groups {name} --add eng --remove ops`"
        )));
    }
    check_groups(add)?;
    if let Some(both) = add.iter().find(|group| remove.contains(group)) {
        let both = both.escape_debug();
        return Err(CommandError::usage(format!(
            "`{both}` cannot be added and removed at once"
        )));
    }
    let store = context.store()?;
    let user = known(&store, name).await?;
    if let Some(missing) = remove.iter().find(|group| !user.groups.contains(group)) {
        let missing = missing.escape_debug();
        return Err(CommandError::no(format!("user `{name}` is not in `{missing}`"))
            .hint(format!("see `doorward user show {name}`")));
    }
    let lifetimes = crate::serve::lifetimes(&context.config);
    let (user, unit) = administer::change_groups(&user, add, remove, &lifetimes, now());
    commit(&store, unit).await?;
    let groups = if user.groups.is_empty() {
        "no group".to_owned()
    } else {
        user.groups.join(", ")
    };
    told(context, &user, &format!("is in {groups}"), None)
}

/// Takes every second factor and passkey away.
pub(super) async fn reset_second_factor(context: &mut Context, name: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    commit(&store, sign_in_methods::reset(&user)).await?;
    let what = if user.password_hash.is_some() {
        "authenticator app, recovery codes and passkeys are gone, every browser is signed out; the password signs in alone"
    } else {
        "authenticator app, recovery codes and passkeys are gone, every browser is signed out; there is no password: `doorward user passwd` makes a link to set one"
    };
    told(context, &user, what, None)
}

/// Shows everything about an account but its secrets.
pub(super) async fn show(context: &mut Context, name: &str) -> Result<(), CommandError> {
    let store = context.store()?;
    let user = known(&store, name).await?;
    let authenticators = store.authenticators_of(user.id).await.map_err(unreadable)?;
    let sessions = store.sessions_of(user.id).await.map_err(unreadable)?;
    let present = now();
    let sessions: Vec<_> = sessions
        .into_iter()
        .filter(|session| present < session.expires)
        .collect();
    let grants = store
        .grants(GrantFilter::User(user.id))
        .await
        .map_err(unreadable)?;
    let of = |kind| authenticators.iter().filter(move |one| one.kind == kind);
    let passkeys: Vec<&Authenticator> = of(AuthenticatorKind::Passkey).collect();
    let has_app = of(AuthenticatorKind::Totp).next().is_some();
    let codes = of(AuthenticatorKind::RecoveryCode).count();
    let time = |time: Option<doorward_types::time::UnixTime>| time.map(|time| time.to_string());
    if context.is_json() {
        let passkeys: Vec<Value> = passkeys
            .iter()
            .map(|one| json!({ "name": one.name, "created": one.created.to_string(), "last_used": time(one.last_used) }))
            .collect();
        let sessions: Vec<Value> = sessions
            .iter()
            .map(|session| {
                json!({
                    "device": session.device, "methods": session.methods,
                    "signed_in": session.authenticated_at.to_string(), "expires": session.expires.to_string(),
                })
            })
            .collect();
        let clients: Vec<Value> = grants
            .iter()
            .map(|facts| json!({ "client_id": facts.grant.client, "resource": facts.grant.resource.as_str(), "scopes": facts.grant.scopes.to_string(), "signed_in": facts.families.len() }))
            .collect();
        let mut all = shown(&user);
        if let Some(all) = all.as_object_mut() {
            all.insert("authenticator_app".into(), json!(has_app));
            all.insert("recovery_codes".into(), json!(codes));
            all.insert("passkeys".into(), json!(passkeys));
            all.insert("sessions".into(), json!(sessions));
            all.insert("clients".into(), json!(clients));
        }
        return Ok(context.output.json(&all)?);
    }
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let output = &mut context.output;
    output.line(format!("user       {}", user.username))?;
    output.line(format!("id         {}", user.id))?;
    output.line(format!(
        "state      {}",
        if user.disabled { "disabled" } else { "enabled" }
    ))?;
    output.line(format!("admin      {}", yes(user.admin)))?;
    let groups = if user.groups.is_empty() {
        "-".into()
    } else {
        user.groups.join(", ")
    };
    output.line(format!("groups     {groups}"))?;
    output.line(format!("password   {}", yes(user.password_hash.is_some())))?;
    output.line(format!("app        {}{}", yes(has_app), recovery(has_app, codes)))?;
    for passkey in passkeys {
        let used = time(passkey.last_used).unwrap_or_else(|| "never".into());
        output.line(format!(
            "passkey    {}, last used {used}",
            passkey.name.escape_debug()
        ))?;
    }
    for session in sessions {
        let device = session.device.unwrap_or_else(|| "unknown browser".into());
        let (since, how) = (session.authenticated_at, session.methods.join("+"));
        output.line(format!(
            "signed in  {}, since {since} ({how})",
            device.escape_debug()
        ))?;
    }
    for facts in grants {
        let (client, resource) = (&facts.grant.client, facts.grant.resource.as_str());
        output.line(format!(
            "client     {client} for {resource}, {} signed in",
            facts.families.len()
        ))?;
    }
    Ok(())
}

fn recovery(has_app: bool, codes: usize) -> String {
    if has_app {
        format!(", {codes} recovery codes left")
    } else {
        String::new()
    }
}
