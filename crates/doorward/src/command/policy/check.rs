//! `doorward policy check`: what scopes and policies say together, and what they leave out.

use doorward_policy::cedar::CedarPolicy;
use doorward_policy::{Object, ProtectedServer};
use serde_json::{Value, json};

use super::ask::{Asking, Inventory};
use crate::config::Config;
use crate::config::scopes::notes;
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::serve::compose::protected;

/// What is found out about one server.
struct Finding {
    server: ProtectedServer,
    /// What its table rarely means, as `config check` has it.
    notes: Vec<String>,
    /// What no scope names, or why the server did not say what it offers.
    unnamed: Option<Result<Vec<String>, String>>,
}

/// Looks at everything. What cannot be used was refused when the configuration was read.
pub(super) async fn run(config: Config, offline: bool, output: &mut Output) -> Result<(), CommandError> {
    let public_url = config.public_url.value.to_string();
    let mut servers = Vec::new();
    for server in &config.servers {
        servers.push((protected(&public_url, server)?, notes(&server.scopes)));
    }
    let policies = config.policies.loaded().cloned();
    // Where one scope opens everything and no policy names anything there is nothing to compare.
    let compares = |server: &ProtectedServer| {
        let mut policies = policies.iter();
        !server.scopes.is_whole() || policies.any(|all| all.objects(server.name.as_str()).next().is_some())
    };
    let asking = if offline || !servers.iter().any(|(server, _)| compares(server)) {
        None
    } else {
        Some(Asking::start(config).await?)
    };
    let mut findings = Vec::new();
    for (server, mut notes) in servers {
        let inventory = match &asking {
            Some(asking) if compares(&server) => Some(asking.inventory(&server.path).await),
            _ => None,
        };
        if let (Some(Ok(inventory)), Some(policies)) = (&inventory, &policies) {
            notes.extend(named_for_nothing(&server, inventory, policies));
        }
        let unnamed = inventory.map(|told| match told {
            Ok(inventory) => Ok(unnamed(&server, &inventory)),
            Err(error) => Err(error.to_string()),
        });
        findings.push(Finding {
            server,
            notes,
            unnamed,
        });
    }
    if let Some(asking) = asking {
        asking.stop().await;
    }
    match output.format {
        Format::Json => Ok(output.json(&json!({
            "servers": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "policies": policies.as_deref().map(policies_as_json),
        }))?),
        Format::Human => {
            for finding in &findings {
                finding.tell(output)?;
            }
            tell_policies(policies.as_deref(), output)
        }
    }
}

impl Finding {
    fn tell(&self, output: &mut Output) -> Result<(), CommandError> {
        let (name, table) = (&self.server.name, &self.server.scopes);
        if table.is_whole() {
            output.line(format!("server {name}: one scope, `{name}`, opens everything"))?;
            for note in &self.notes {
                output.line(format!("  note: {note}"))?;
            }
            return Ok(());
        }
        output.line(format!("server {name}: {} scopes", table.entries().len()))?;
        for entry in table.entries() {
            let step_up = if entry.step_up { " (step-up)" } else { "" };
            output.line(format!("  {}{step_up}: {}", entry.scope, entry.description))?;
        }
        for note in &self.notes {
            output.line(format!("  note: {note}"))?;
        }
        match &self.unnamed {
            None => output.line("  not asked what it offers")?,
            Some(Err(why)) => output.line(format!("  it did not say what it offers: {why}"))?,
            Some(Ok(unnamed)) if unnamed.is_empty() => {
                output.line("  everything it offers is named by a scope")?;
            }
            Some(Ok(unnamed)) => {
                output.line("  no scope names these, so nobody may use them:")?;
                for object in unnamed {
                    output.line(format!("    {object}"))?;
                }
            }
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let (unnamed, unasked) = match &self.unnamed {
            Some(Ok(unnamed)) => (Some(unnamed), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        json!({
            "server": self.server.name.as_str(),
            "scopes": self.server.scopes.entries().iter().map(|entry| entry.scope.as_str()).collect::<Vec<_>>(),
            "notes": self.notes,
            "unnamed": unnamed,
            "not_told": unasked,
        })
    }
}

fn policies_as_json(policies: &CedarPolicy) -> Value {
    let all = policies.policies().map(|policy| {
        json!({ "id": policy.id, "file": policy.file, "line": policy.line, "forbids": policy.forbids })
    });
    let warnings = policies.warnings().iter().map(ToString::to_string);
    json!({ "all": all.collect::<Vec<_>>(), "warnings": warnings.collect::<Vec<_>>() })
}

fn tell_policies(policies: Option<&CedarPolicy>, output: &mut Output) -> Result<(), CommandError> {
    let Some(policies) = policies else {
        return Ok(output.line("no Cedar policies: `allow` and scopes say everything")?);
    };
    let forbids = policies.policies().filter(|policy| policy.forbids).count();
    let all = policies.policies().count();
    output.line(format!(
        "{all} Cedar policies, {forbids} of which forbid; what none of them permits is denied"
    ))?;
    for policy in policies.policies() {
        let effect = if policy.forbids { "forbid" } else { "permit" };
        output.line(format!(
            "  {effect} {} ({}:{})",
            policy.id, policy.file, policy.line
        ))?;
    }
    for warning in policies.warnings() {
        output.line(format!("  note: {warning}"))?;
    }
    Ok(())
}

/// What policies name one by one and the server does not offer: a typing mistake, most of the time.
fn named_for_nothing(server: &ProtectedServer, inventory: &Inventory, policies: &CedarPolicy) -> Vec<String> {
    let offers = |object: Object<'_>| match object {
        Object::Tool(name) => inventory.tools.iter().any(|tool| tool.name == name),
        _ => inventory.prompts.iter().any(|prompt| prompt == object.name()),
    };
    let named = policies.objects(server.name.as_str());
    let for_nothing = named.filter(|(object, _)| !offers(object.as_object()));
    let told = for_nothing.map(|(object, policy)| {
        let (id, object) = (&policy.id, object.as_object());
        format!("policy `{id}` names the {object}, which the server does not offer")
    });
    told.collect()
}

/// What the server offers under names that no scope has.
fn unnamed(server: &ProtectedServer, inventory: &Inventory) -> Vec<String> {
    let tools = inventory.tools.iter().map(|tool| Object::Tool(&tool.name));
    let prompts = inventory.prompts.iter().map(|name| Object::Prompt(name));
    let resources = inventory.resources.iter().chain(&inventory.templates);
    let resources = resources.map(|uri| Object::Resource(uri));
    tools
        .chain(prompts)
        .chain(resources)
        .filter(|object| server.scopes.needs(*object).is_unnamed())
        .map(|object| object.to_string())
        .collect()
}
