//! `doorward policy check`: what scopes and policies say together, and what they leave out.

use doorward_policy::cedar::CedarPolicy;
use doorward_policy::{Object, Pattern, ProtectedServer, ScopeEntry};
use serde_json::{Value, json};

use super::ask::{Asking, Inventory};
use crate::config::Config;
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::serve::compose::protected;

/// What is found out about one server.
struct Finding {
    server: ProtectedServer,
    /// Two scopes and a pattern of each that some name matches.
    overlaps: Vec<String>,
    /// What no scope names, or why the server did not say what it offers.
    unnamed: Option<Result<Vec<String>, String>>,
}

/// Looks at everything. What cannot be used was refused when the configuration was read.
pub(super) async fn run(config: Config, offline: bool, output: &mut Output) -> Result<(), CommandError> {
    let public_url = config.public_url.value.to_string();
    let servers = config.servers.iter().map(|server| protected(&public_url, server));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    let policies = config.policies.loaded().cloned();
    let asking = if offline || servers.iter().all(|server| server.scopes.is_whole()) {
        None
    } else {
        Some(Asking::start(config).await?)
    };
    let mut findings = Vec::new();
    for server in servers {
        let unnamed = match &asking {
            Some(asking) if !server.scopes.is_whole() => Some(match asking.inventory(&server.path).await {
                Ok(inventory) => Ok(unnamed(&server, &inventory)),
                Err(error) => Err(error.to_string()),
            }),
            _ => None,
        };
        findings.push(Finding {
            overlaps: overlaps(server.scopes.entries()),
            server,
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
            return Ok(output.line(format!("server {name}: one scope, `{name}`, opens everything"))?);
        }
        output.line(format!("server {name}: {} scopes", table.entries().len()))?;
        for entry in table.entries() {
            let step_up = if entry.step_up { " (step-up)" } else { "" };
            output.line(format!("  {}{step_up}: {}", entry.scope, entry.description))?;
        }
        for overlap in &self.overlaps {
            output.line(format!("  note: {overlap}"))?;
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
            "overlaps": self.overlaps,
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

/// Pairs of scopes that some name would need both of. Where one implies the other that is meant.
fn overlaps(entries: &[ScopeEntry]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, one) in entries.iter().enumerate() {
        for other in entries.iter().skip(index + 1) {
            if one.implies.contains(&other.scope) || other.implies.contains(&one.scope) {
                continue;
            }
            for (kind, ours, theirs) in [
                ("tools", &one.tools, &other.tools),
                ("prompts", &one.prompts, &other.prompts),
                ("resources", &one.resources, &other.resources),
            ] {
                let pairs = ours
                    .iter()
                    .flat_map(|left| theirs.iter().map(move |right| (left, right)));
                let meet = |(left, right): &(&Pattern, &Pattern)| meet(left.as_str(), right.as_str());
                found.extend(pairs.filter(meet).map(|(left, right)| {
                    format!(
                        "{} (`{left}`) and {} (`{right}`) name the same {kind}, which need both",
                        one.scope, other.scope
                    )
                }));
            }
        }
    }
    found
}

/// Whether there is a name that both patterns match.
fn meet(left: &str, right: &str) -> bool {
    let right: Vec<char> = right.chars().collect();
    // Which ends of the right pattern can be reached with what was read of the left one.
    let mut reached = close(vec![true; 1], &right);
    for character in left.chars() {
        let at = |row: &[bool], index: usize| row.get(index).copied().unwrap_or(false);
        let next: Vec<bool> = (0..=right.len())
            .map(|index| {
                let before = index.checked_sub(1);
                let theirs = before.and_then(|before| right.get(before)).copied();
                if character == '*' {
                    // Our star takes nothing, or any one of theirs.
                    return (0..=index).any(|from| at(&reached, from));
                }
                let both = before.is_some_and(|before| at(&reached, before));
                (theirs == Some(character) && both) || (theirs == Some('*') && (both || at(&reached, index)))
            })
            .collect();
        reached = close(next, &right);
    }
    reached.get(right.len()).copied().unwrap_or(false)
}

/// A star of the right pattern may take nothing.
fn close(mut reached: Vec<bool>, right: &[char]) -> Vec<bool> {
    reached.resize(right.len() + 1, false);
    for index in 0..right.len() {
        let here = reached.get(index).copied().unwrap_or(false);
        if here
            && right.get(index) == Some(&'*')
            && let Some(next) = reached.get_mut(index + 1)
        {
            *next = true;
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_some_name_matches_both() {
        for (left, right, expected) in [
            ("read", "read", true),
            ("read", "write", false),
            ("*", "anything", true),
            ("read_*", "*_file", true),
            ("read_*", "write_*", false),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("*a*", "*b*", true),
            ("a*", "b*", false),
            ("a*b", "a*c", false),
            ("ab*", "a*", true),
        ] {
            assert_eq!(meet(left, right), expected, "{left} {right}");
            assert_eq!(meet(right, left), expected, "{right} {left}");
        }
    }

    proptest::proptest! {
        #[test]
        fn they_meet_if_a_name_is_found(left in "[ab*]{1,5}", right in "[ab*]{1,5}", name in "[ab]{0,6}") {
            let (one, other): (Pattern, Pattern) = (left.parse().unwrap(), right.parse().unwrap());
            if one.matches(&name) && other.matches(&name) {
                proptest::prop_assert!(meet(&left, &right), "{left} {right} {name}");
            }
        }
    }
}
